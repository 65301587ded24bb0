"""The `mlla compare` command that would answer what the runs leave open."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import PurePath

from mlla.study.audit.arguments import effective_arguments, unique
from mlla.study.audit.case import Case
from mlla.study.audit.existing_run import ExistingRun
from mlla.study.audit.rescored import Rescored
from mlla.study.files import read_json
from mlla.study.planning.settings import OPEN
from mlla.study.statistics.verdict import min_runs

_SEEDS, _MOST_SEEDS = 5, 12
# a published checkpoint: the model by name, its weights by pretrained=
_STOCK_NAME = re.compile(r"yolov?\d+[nsmlx]|rtdetr-[lx]")
# arguments that are always said, whatever their defaults
_SAID = ("epochs", "imgsz", "batch")


def next_command(case: Case, data: str | None, rescored: Sequence[Rescored]) -> str | None:
    """Return the command that compares the same models as they should have been.

    Args:
        case: The runs.
        data: The data.yaml that the user named, if any.
        rescored: Results of the claims, for the number of seeds.

    Returns:
        The words of the command; None where there are no two models to compare.
    """
    num_seeds = _num_seeds(case, rescored)
    if (asked := _command_of_study(case.baseline.runs[0])) is not None:
        more, count = re.subn(r"\bseeds=\d+", f"seeds={num_seeds}", asked)
        return more if count else f"{asked} seeds={num_seeds}"
    groups = [case.baseline, *(group for group in case.groups if group is not case.baseline)]
    if any(run.task != "detect" for run in case.runs):
        return None
    models = unique(_model(group.runs[0]) for group in groups)
    plugs = [model for model in models if "@" in model]
    named = [model for model in models if "@" not in model]
    if len(models) < 2 or not named:
        return None
    first = case.baseline.runs[0]
    dataset = case.dataset_of(first)
    words = [
        "mlla",
        "compare",
        f"data={data or (dataset.given if dataset.problem is None else 'DATA.yaml')}",
        f"models={','.join(named)}",
    ]
    if plugs:
        words.append(f"plug={','.join(plugs)}")
    words.append(f"seeds={num_seeds}")
    words += [f"{key}={value}" for key, value in _settings(first).items()]
    sources = unique(found.source for found in case.transfers.values() if found and found.source)
    sources = [source for source in sources if source not in models]
    if sources:
        words.append(f"pretrained={sources[0]}")
    if dataset.problem is None and dataset.scored == "val":
        words.append("test=0.2")
    return shlex.join(words)


def _command_of_study(run: ExistingRun) -> str | None:
    """Return the command of the study that a run belongs to, if it belongs to one."""
    if run.job is None:
        return None
    try:
        # OUT/runs/ARM/seed-0
        return str(read_json(run.folder.resolve().parents[2] / "study.json")["command"])
    except (OSError, ValueError, KeyError, IndexError):
        return None


def _model(run: ExistingRun) -> str:
    """Return the model as `compare` takes it: a name, a file, or block@place."""
    plugged = run.checkpoint.config.get("plug") if run.checkpoint is not None else None
    path = PurePath(run.model.replace("\\", "/"))
    if isinstance(plugged, dict):
        block, rows = plugged.get("block"), plugged.get("rows")
        label = PurePath(str((run.checkpoint.config if run.checkpoint else {}).get("yaml_file")))
        place = label.stem.rpartition("-")[2]
        if place not in ("neck", "p5"):
            place = "-".join(map(str, rows if isinstance(rows, list) else []))
        return f"{block}@{place}"
    if path.suffix == ".pt" and not _STOCK_NAME.fullmatch(path.stem):
        return run.model
    is_name = path.parent == PurePath() or path.suffix == ".pt"
    return path.stem if is_name else run.model


def _num_seeds(case: Case, rescored: Sequence[Rescored]) -> int:
    wanted = [one.needed.runs for one in rescored if one.needed is not None and one.needed.runs]
    least = max(_SEEDS, min_runs(max(len(case.pairs), 1)))
    return max(least, min(max(wanted, default=0), _MOST_SEEDS))


def _settings(run: ExistingRun) -> dict[str, object]:
    """Return the arguments of a run that `compare` takes, where they are not the defaults."""
    try:
        # ultralytics takes seconds to import, and may be missing
        from mlla.yolo.training_arguments import default_arguments

        defaults = default_arguments()
    except ModuleNotFoundError:
        defaults = dict(run.arguments)
    # amp as it was asked for, since the device may be another
    found = {**effective_arguments(run), "amp": run.arguments.get("amp", True)}
    asked = {key: value for key, value in found.items() if key in OPEN}
    is_auto = str(run.written_arguments.get("optimizer")).lower() == "auto"
    kept = {
        key: value
        for key, value in asked.items()
        if key in _SAID or (key in defaults and value != defaults[key])
    }
    if is_auto or str(found.get("optimizer")).lower() == "auto":
        # what auto chooses for short trainings is what compare takes by itself
        for key in ("optimizer", "lr0", "momentum", "warmup_bias_lr"):
            kept.pop(key, None)
    return {key: kept[key] for key in (*_SAID, *sorted(set(kept) - set(_SAID))) if key in kept}
