"""The runs of a study, and the trial runs before it."""

# the punctuation of Chinese is meant
# ruff: noqa: RUF001

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from mlla.models.six_designs import model_name
from mlla.study.files import file_digest, write_json
from mlla.study.guards.plan_guards import FAILED, NOT_CHECKED, PASSED, Guard, guard, replaced
from mlla.study.guards.run_guards import same_data_order
from mlla.study.guards.seed_guard import NUM_BATCHES, TRIALS, judge_trials, spread
from mlla.study.runs.progress import Progress, Watched
from mlla.study.runs.run_folder import Outcome
from mlla.study.runs.training_runs import Run, train_runs, unfinished
from mlla.study.six_designs.classifier_run import TRAINING, WEIGHTS
from mlla.study.six_designs.image_folders import IMAGES, splits_of, write_splits
from mlla.study.six_designs.plan import DECISIVE, PLAN
from mlla.study.six_designs.published_effects import BASELINE


def planned_runs(plan: Mapping[str, Any], out: Path) -> list[Run]:
    """List the runs of a plan: all rows of the first seed, then of the next one.

    Args:
        plan: The plan.
        out: Folder of the study.
    """
    return [
        Run(row, seed, run_folder(out, row, seed), make_job(plan, row, seed))
        for seed in plan["seeds"]
        for row in plan["rows"]
    ]


def run_folder(out: Path, row: str, seed: int) -> Path:
    """Return the folder of a run."""
    return out / "runs" / row / f"seed-{seed}"


def make_job(plan: Mapping[str, Any], row: str, seed: int) -> dict[str, Any]:
    """Return what a worker is asked to do.

    Args:
        plan: The plan.
        row: Name of the row.
        seed: The seed.
    """
    # only the tables of absolute positions depend on the size of images
    model_args = {"img_size": plan["image_size"]}
    if plan["recipe"]["drop_path"]:
        model_args["drop_path_rate"] = plan["recipe"]["drop_path"]
    return {
        "kind": "classifier",
        "arm": {"name": row},
        "model": model_name(plan["size"], "" if row == BASELINE else row),
        "model_args": model_args,
        "seed": seed,
        "data": plan["data"]["folder"],
        "scored": plan["data"]["scored"],
        "checkpoint": plan["checkpoint"],
        "image_size": plan["image_size"],
        "settings": plan["settings"],
        "recipe": plan["recipe"],
        "threads": plan["threads"],
        "predict": True,
    }


def check_seeds(plan: dict[str, Any], out: Path, executor: Executor) -> dict[str, Any]:
    """Find out by trial runs, once for a study, whether seeds are replications.

    Args:
        plan: The plan.
        out: Folder of the study.
        executor: Who works on the trial runs.

    Returns:
        The plan with the two guards, as it is now written.

    Raises:
        RuntimeError: If the first row does not train, or seeds are no replications.
    """
    states = {one["name"]: one["state"] for one in plan["guards"]}
    if states["seed_changes_result"] != NOT_CHECKED:
        return plan
    trials = trial_runs(plan, out)
    with Progress([Watched(run.label, run.folder) for run in trials], 1) as progress:
        failures = train_runs(unfinished(trials), executor, progress)
    if failures:
        label, error = next(iter(failures.items()))
        raise RuntimeError(
            f"{label} failed, so {plan['rows'][0]} does not train: {error}; "
            f"{trials[0].folder.parent} has the logs"
        )
    guards = judge_trials(trials, _trained_digest)
    for one in guards:
        if one["state"] == FAILED:
            raise RuntimeError(f"{one['en']} Nothing was trained")
    plan = {**plan, "guards": replaced(plan["guards"], guards)}
    write_json(out / PLAN, plan)
    return plan


def trial_runs(plan: Mapping[str, Any], out: Path) -> list[Run]:
    """Return runs of the first row over an epoch of few images: two of one seed, one of another.

    Args:
        plan: The plan.
        out: Folder of the study; these images get folders there.
    """
    folder = out / "probe"
    whole = splits_of(Path(plan["data"]["folder"]))["train"]
    few = spread(whole, NUM_BATCHES * plan["settings"]["batch"])
    if not (folder / IMAGES).exists():
        folder.mkdir(exist_ok=True)
        # what is scored does not matter, so it can be of classes that are learnt
        write_splits(folder / IMAGES, {"train": few, "val": few[:: max(len(few) // 16, 1)]})
    recipe = {**plan["recipe"], "warmup_epochs": 0.0}
    changes = {
        "data": str(folder / IMAGES),
        "settings": {**plan["settings"], "epochs": 1},
        "recipe": recipe,
        "scored": "val",
        "checkpoint": "last",
        "predict": False,
    }
    row = plan["rows"][0]
    return [
        Run(f"trial {name}", seed, folder / name, {**make_job(plan, row, seed), **changes})
        for name, seed in TRIALS.items()
    ]


def finished_guards(plan: Mapping[str, Any], outcomes: Sequence[Outcome]) -> list[Guard]:
    """Compare the finished runs with each other and with the plan.

    Args:
        plan: The plan.
        outcomes: Those of all finished runs, at least one.
    """
    return [same_data_order(outcomes), _one_version(plan, outcomes)]


def _one_version(plan: Mapping[str, Any], outcomes: Sequence[Outcome]) -> Guard:
    found = {
        package: sorted({plan["versions"][package], *(o.versions[package] for o in outcomes)})
        for package in DECISIVE
    }
    devices = sorted({outcome.device for outcome in outcomes})
    text = ", ".join(f"{package} {' / '.join(values)}" for package, values in found.items())
    is_one = all(len(values) == 1 for values in found.values())
    return guard(
        "one_version",
        PASSED if is_one else FAILED,
        {**found, "devices": devices},
        f"All runs are of {text}, on {' and '.join(devices)}."
        if is_one
        else f"The runs are of several versions: {text}.",
        f"所有运行均使用 {text}，设备：{'、'.join(devices)}。"
        if is_one
        else f"各次运行使用了不同的版本：{text}。",
    )


def _trained_digest(folder: Path) -> str:
    return file_digest(folder / TRAINING / "last" / WEIGHTS)
