"""The arms of a study: which controls explain which variants, and what is refused."""

import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mlla.study.planning.arms import Arm, make_arms

GATE = """from torch import nn


class Gate(nn.Conv2d):
    def __init__(self, width):
        super().__init__(width, width, 1)


class Nothing(nn.Module):
    def __init__(self, width):
        super().__init__()

    def forward(self, x):
        return x.relu()
"""


@pytest.fixture(autouse=True)
def empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def gate_file(empty_folder: Path) -> Iterator[Path]:
    """A file with blocks of the user; its import is forgotten afterwards."""
    file = empty_folder / "blocks" / "arms_test_gate.py"
    file.parent.mkdir()
    file.write_text(GATE)
    path = list(sys.path)
    yield file
    sys.path[:] = path
    sys.modules.pop(file.stem, None)


def named(arms: Sequence[Arm]) -> list[tuple[str, str, str | None]]:
    return [(arm.name, arm.kind, arm.control_of) for arm in arms]


# -- which arms --------------------------------------------------------------------------------


def test_a_plugged_block_gets_both_controls_at_its_place() -> None:
    arms = make_arms(["yolov8n"], ["mlla@neck"])
    variant = "yolov8n+mlla@neck"
    assert named(arms) == [
        ("yolov8n", "baseline", None),
        (variant, "variant", None),
        ("yolov8n+conv_like_mlla@neck", "convolution", variant),
        ("yolov8n+identity@neck", "identity", variant),
    ]
    assert {arm.model for arm in arms} == {"yolov8n.yaml"}
    assert [arm.block for arm in arms] == [None, "mlla", "conv_like_mlla", "identity"]
    assert [arm.at for arm in arms] == [None, "neck", "neck", "neck"]
    assert [arm.gate for arm in arms] == [None, "zero", "zero", "none"]


def test_variants_share_the_identity_of_their_place() -> None:
    plug = ["mlla@neck", "multiscale_attention@neck", "mlla@neck@none", "mlla@p5", "mlla@4-6-9"]
    arms = {arm.name: arm for arm in make_arms(["yolov8n", "yolov8n-mlla"], plug)}
    assert list(arms) == [
        *("yolov8n", "yolov8n-mlla", "yolov8n+mlla@neck", "yolov8n+multiscale_attention@neck"),
        *("yolov8n+mlla@neck@none", "yolov8n+mlla@p5", "yolov8n+mlla@4-6-9"),
        *("yolov8n+conv_like_mlla@neck", "yolov8n+identity@neck"),
        *("yolov8n+conv_like_multiscale_attention@neck", "yolov8n+conv_like_mlla@neck@none"),
        *("yolov8n+conv_like_mlla@p5", "yolov8n+identity@p5"),
        *("yolov8n+conv_like_mlla@4-6-9", "yolov8n+identity@4-6-9"),
    ]
    assert arms["yolov8n+identity@neck"].control_of == "yolov8n+mlla@neck"
    assert arms["yolov8n+conv_like_mlla@neck@none"].gate == "none"
    assert arms["yolov8n+mlla@4-6-9"].at == [4, 6, 9]


def test_controls_are_on_for_plug_alone_unless_told_otherwise() -> None:
    models, plug = ["yolov8n", "yolov8n-mlla"], ["mlla@6"]
    variants = ["yolov8n", "yolov8n-mlla", "yolov8n+mlla@6"]
    of_plug = ["yolov8n+conv_like_mlla@6", "yolov8n+identity@6"]
    of_yaml = "yolov8n+conv_like_yolov8n-mlla@neck"
    for controls, expected in {None: of_plug, False: [], True: [of_yaml, *of_plug]}.items():
        arms = make_arms(models, plug, controls=controls)
        assert [arm.name for arm in arms] == [*variants, *expected]
    control = next(arm for arm in arms if arm.name == of_yaml)
    assert (control.model, control.block) == ("yolov8n.yaml", "conv_like:yolov8n-mlla.yaml")
    assert (control.at, control.gate, control.control_of) == ("neck", "zero", "yolov8n-mlla")


def test_a_smaller_model_has_no_convolution_to_match_and_a_warning_says_so() -> None:
    with pytest.warns(UserWarning, match="yolov8n-c2f-mlla has 220,160 parameters fewer than"):
        arms = make_arms(["yolov8n", "yolov8n-c2f-mlla"], controls=True)
    assert [arm.kind for arm in arms] == ["baseline", "variant"]


def test_a_control_asked_for_by_name_explains_its_variant() -> None:
    plug = ["conv_like_mlla@neck", "mlla@neck"]
    arms = make_arms(["yolov8n"], plug, controls=False)
    assert named(arms)[1:] == [
        ("yolov8n+mlla@neck", "variant", None),
        ("yolov8n+conv_like_mlla@neck", "convolution", "yolov8n+mlla@neck"),
    ]
    assert named(make_arms(["yolov8n"], plug)) == named(make_arms(["yolov8n"], ["mlla@neck"]))
    # without one it stands for itself
    alone = make_arms(["yolov8n"], ["conv_like_mlla@neck", "identity@p5"])
    assert named(alone)[1:] == [
        ("yolov8n+conv_like_mlla@neck", "variant", None),
        ("yolov8n+identity@p5", "variant", None),
    ]


# -- blocks of the user ------------------------------------------------------------------------


def test_a_class_of_the_user_is_named_by_its_module_and_found_by_its_folder(
    gate_file: Path,
) -> None:
    arms = make_arms(["yolov8n"], ["blocks/arms_test_gate.py:Gate@p5@none"])
    assert [(arm.name, arm.block, arm.python_path) for arm in arms[1:]] == [
        (
            "yolov8n+arms_test_gate.Gate@p5@none",
            "arms_test_gate:Gate",
            (str(gate_file.parent),),
        ),
        (
            "yolov8n+conv_like_arms_test_gate.Gate@p5@none",
            "conv_like:arms_test_gate:Gate",
            (str(gate_file.parent),),
        ),
        ("yolov8n+identity@p5", "identity", ()),
    ]


def test_a_block_without_parameters_needs_no_convolution(gate_file: Path) -> None:
    arms = make_arms(["yolov8n"], [f"{gate_file}:Nothing@p5"])
    assert [arm.kind for arm in arms] == ["baseline", "variant", "identity"]


# -- names and files ---------------------------------------------------------------------------


def test_an_arm_survives_json_and_names_a_folder() -> None:
    for arm in make_arms(["yolov8n", "yolov8n-mlla"], ["mlla@4-6-9"]):
        assert Arm.from_dict(json.loads(json.dumps(arm.to_dict()))) == arm
        assert arm.folder == arm.name
    assert Arm("my net:1/2 (é)", "variant", "x.yaml").folder == "my_net_1_2____"


def test_files_are_found_from_anywhere(empty_folder: Path) -> None:
    from ultralytics.utils import ROOT

    text = (ROOT / "cfg" / "models" / "v8" / "yolov8.yaml").read_text()
    Path("yolov8-mine.yaml").write_text(text)
    Path("weights.pt").touch()
    arms = make_arms(["yolov8s-mine", "weights.pt", "yolov8n-mlla.yaml"])
    # the scale stands in the name that is asked for, not in that of the file
    assert [arm.model for arm in arms] == [
        str(empty_folder / "yolov8s-mine.yaml"),
        str(empty_folder / "weights.pt"),
        "yolov8n-mlla.yaml",
    ]


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("models", "plug", "error", "message"),
    [
        ([], [], ValueError, "models=[] names no model"),
        (["yolov8n"], [], ValueError, "leaves nothing to compare"),
        (["yolov8n-mla"], [], FileNotFoundError, "did you mean yolov8n-mlla.yaml"),
        (["nowhere.pt"], [], FileNotFoundError, "there is no checkpoint 'nowhere.pt'"),
        (["yolov8n", "yolov8n.yaml"], [], ValueError, "two arms are called 'yolov8n'"),
        (["yolov8n"], ["mlla@p5", "mlla@p5"], ValueError, "two arms are called 'yolov8n+mlla@p5'"),
        (["yolov8n"], ["mlla"], ValueError, "write block@place or block@place@gate"),
        (["yolov8n"], ["mlla@"], ValueError, "write block@place or block@place@gate"),
        (["yolov8n"], ["@neck"], ValueError, "write block@place or block@place@gate"),
        (["yolov8n"], ["mlla@p4"], ValueError, "the place 'p4' is unknown; choose neck, p5 or row"),
        (["yolov8n"], ["mlla@neck@one"], ValueError, "the place 'one' is unknown"),
        (["yolov8n"], ["mlla@4-x"], ValueError, "the place '4-x' is unknown"),
        (["yolov8n"], ["cbam@neck"], ValueError, "block='cbam' is unknown; choose from ['mlla', "),
        (["yolov8n"], ["no.py:Gate@neck"], FileNotFoundError, "there is no file 'no.py'"),
    ],
)
def test_what_makes_no_study_says_why(
    models: list[str], plug: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        make_arms(models, plug)
    assert message in str(caught.value)


def test_names_that_differ_in_case_only_would_share_a_folder(empty_folder: Path) -> None:
    for folder in ("a", "b"):
        (empty_folder / folder).mkdir()
    Path("a/best.pt").touch()
    Path("b/Best.pt").touch()
    with pytest.raises(ValueError, match=r"two arms are called 'Best': .*best\.pt and .*Best\.pt"):
        make_arms(["a/best.pt", "b/Best.pt"])


def test_no_warning_without_a_reason() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_arms(["yolov8n", "yolov8n-c2f-mlla"], ["mlla@p5"])
