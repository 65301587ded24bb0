"""The one place that touches Ultralytics: it adds names, replaces nothing, and can tell when."""

import json
from collections.abc import Callable, Iterator
from importlib import import_module

import pytest
import torch
import ultralytics
from torch import nn
from ultralytics.nn import tasks
from ultralytics.nn.modules import C2f, Index

from mlla.yolo import YOLO, register, rows
from mlla.yolo.fused_row import FusedRow
from mlla.yolo.register import (
    check_parser,
    register_scaled,
    register_unscaled,
    registered_rows,
    warn_if_untested,
)

NAMES_OF_MODULE = {
    "rows": {"C2fMLLA", "Inserted", "MLLABlocks", "MLLADownsample", "MLLAFeatures", "MLLAStem"},
    "yolo11_rows": {"C2PSAMLLA", "C3k2MLLA"},
    "vss_rows": {"C2PSAVSS", "C3k2VSS"},
    "mamba_yolo_rows": {"ODSSBlocks", "SimpleStem", "VisionClueMerge", "XSSStage"},
    "multiscale_attention_rows": {"MultiscaleAttention"},
    "rtdetr_rows": {"ResNetLayerMLLA"},
}
MODULES = {name: module for module, names in NAMES_OF_MODULE.items() for name in names}


@pytest.fixture
def vocabulary() -> Iterator[None]:
    """Take names out again that a test put into Ultralytics' namespace."""
    before = dict(vars(tasks))
    yield
    for name in set(vars(tasks)) - set(before):
        delattr(tasks, name)
    vars(tasks).update(before)


def test_the_vocabulary_is_what_the_documentation_lists() -> None:
    assert set(registered_rows()) == set(MODULES)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_the_dotted_names_of_rows_are_frozen(name: str) -> None:
    # checkpoints name them: a renamed or moved class makes every stored model unreadable
    row = registered_rows()[name]
    assert f"{row.__module__}.{row.__qualname__}" == f"mlla.yolo.{MODULES[name]}.{name}"
    assert getattr(import_module(row.__module__), name) is row


def test_importing_adds_names_and_changes_nothing_else(fresh_python: Callable[..., str]) -> None:
    output = fresh_python(
        "import json, random, sys\n"
        "import numpy, torch, ultralytics\n"
        "from ultralytics.nn import modules, tasks\n"
        "from ultralytics.engine import exporter, model, trainer\n"
        "from ultralytics.models import yolo\n"
        "spaces = [tasks, modules, exporter, model, trainer, yolo, ultralytics, torch.nn]\n"
        "classes = [v for s in spaces for v in vars(s).values() if isinstance(v, type)]\n"
        "spaces += [c for c in classes if c.__module__.startswith('ultralytics')]\n"
        "before = [dict(vars(space)) for space in spaces]\n"
        "torch.manual_seed(0)\n"
        "states = torch.get_rng_state(), random.getstate(), str(numpy.random.get_state())\n"
        "import mlla.yolo\n"
        "after = torch.get_rng_state(), random.getstate(), str(numpy.random.get_state())\n"
        "added, changed = set(), []\n"
        "for space, old in zip(spaces, before):\n"
        "    for name, value in vars(space).items():\n"
        "        if name not in old: added.add(name)\n"
        "        elif value is not old[name]: changed.append(name)\n"
        "    changed += set(old) - set(vars(space))\n"
        "print(json.dumps([sorted(added), changed,\n"
        "    torch.equal(states[0], after[0]) and states[1:] == after[1:],\n"
        "    [m for m in ('timm', 'mlla.models') if m in sys.modules]]))\n"
    )
    added, changed, same_random_state, heavy = json.loads(output.splitlines()[-1])
    # importing a submodule binds its name in the package: not ours, and nothing replaced
    assert set(added) == set(MODULES)
    assert changed == []
    assert same_random_state
    assert heavy == []


def test_registering_again_changes_nothing(vocabulary: None) -> None:
    adapter = tasks.C2fMLLA
    assert register_scaled(rows.C2fMLLA) is rows.C2fMLLA
    assert tasks.C2fMLLA is adapter
    assert registered_rows()["C2fMLLA"] is rows.C2fMLLA


@pytest.mark.parametrize("register_row", [register_scaled, register_unscaled])
@pytest.mark.parametrize("name", ["Conv", "Detect", "foreign"])
def test_a_foreign_class_of_the_same_name_is_left_alone(
    vocabulary: None, register_row: Callable[[type], type], name: str
) -> None:
    foreign = vars(tasks).setdefault(name, type(name, (nn.Module,), {}))
    with pytest.raises(RuntimeError, match=f"already has a module called '{name}'"):
        register_row(type(name, (nn.Module,), {}))
    assert getattr(tasks, name) is foreign


def test_adapters_pass_for_the_stock_class_whose_arguments_they_get() -> None:
    assert tasks.C2fMLLA == C2f
    assert tasks.C2fMLLA in frozenset({C2f})
    assert tasks.Inserted in {Index}
    assert tasks.C2fMLLA != Index
    assert issubclass(tasks.C2fMLLA, nn.Module)  # restricted loading demands it of every row


def test_our_rows_are_none_of_the_classes_that_the_exporter_rewrites() -> None:
    # it replaces the forward of C2f and its subclasses
    for row in registered_rows().values():
        bases = row.__mro__[1:]
        assert bases in (nn.Module.__mro__, FusedRow.__mro__)


def test_no_adapter_gets_into_a_model() -> None:
    network = YOLO("yolov8n-c2f-mlla").model
    for module in network.modules():
        assert type(type(module)) is type
    assert network.model[6].type == "mlla.yolo.rows.C2fMLLA"


def test_the_check_accepts_this_version() -> None:
    check_parser()


STOCK_PARSER = tasks.parse_model


def scales_nothing(config: dict, ch: int, verbose: bool) -> object:
    return STOCK_PARSER({**config, "scales": {key: [1, 1, 1024] for key in "ns"}}, ch, verbose)


def repeats_nothing(config: dict, ch: int, verbose: bool) -> object:
    rows = [[source, 1, *rest] for source, _, *rest in config["backbone"]]
    return STOCK_PARSER({**config, "backbone": rows}, ch, verbose)


def knows_no_such_row(config: dict, ch: int, verbose: bool) -> object:
    raise KeyError("C2fMLLA")


def takes_other_arguments(config: dict) -> object:
    raise AssertionError("not reached")


@pytest.mark.parametrize(
    "parser", [scales_nothing, repeats_nothing, knows_no_such_row, takes_other_arguments]
)
def test_the_check_refuses_a_parser_that_reads_rows_otherwise(
    monkeypatch: pytest.MonkeyPatch, parser: Callable[..., object]
) -> None:
    monkeypatch.setattr(tasks, "parse_model", parser)
    with pytest.raises(ImportError, match=r"reads model YAMLs in a way mlla does not know") as e:
        check_parser()
    assert "pip install 'ultralytics>=8.3.70,<8.5'" in str(e.value)


def test_the_check_leaves_the_random_numbers_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    check_parser()
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("version", ["8.3.69", "8.2.103", "8.4.191", "8.5.0", "9.0.0"])
def test_an_untested_version_is_warned_of(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(ultralytics, "__version__", version)
    with pytest.warns(UserWarning, match=f"ultralytics {version} is outside the tested range"):
        warn_if_untested()


@pytest.mark.parametrize("version", ["8.3.70", "8.3.200", "8.4.0", "8.4.190"])
def test_a_tested_version_is_not(
    monkeypatch: pytest.MonkeyPatch, version: str, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(ultralytics, "__version__", version)
    warn_if_untested()
    assert not recwarn.list


def test_the_installed_version_is_within_the_range() -> None:
    oldest, newest = (register._as_numbers(version) for version in register.TESTED_VERSIONS)
    assert oldest <= register._as_numbers(ultralytics.__version__) <= newest
