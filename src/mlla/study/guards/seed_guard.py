"""Trial runs before a study: does a seed change the result, and does the same one repeat it?"""

# the punctuation of Chinese is meant
# ruff: noqa: RUF001

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from mlla.study.guards.plan_guards import (
    FAILED,
    NOT_CHECKED,
    PASSED,
    WARNING,
    Guard,
    guard,
    replaced,
)
from mlla.study.planning.dataset import read_lists, write_lists
from mlla.study.planning.plan import write_plan
from mlla.study.runs.progress import Progress, Watched
from mlla.study.runs.run_folder import Outcome, read_outcome
from mlla.study.runs.training_runs import Run, make_job, train_runs, unfinished

# enough for several steps of the optimizer, and an order to differ in
NUM_BATCHES, MIN_IMAGES, NUM_VALIDATION_IMAGES = 4, 16, 16
TRIALS = {"first": 0, "again": 0, "other": 1}


def check_seeds(plan: dict[str, Any], out: Path, executor: Executor) -> dict[str, Any]:
    """Find out by trial runs, once for a study, whether seeds are replications.

    Args:
        plan: The plan.
        out: Folder of the study.
        executor: Who works on the trial runs.

    Returns:
        The plan with the two guards, as it is now written.

    Raises:
        RuntimeError: If the baseline does not train, or seeds are no replications.
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
            f"{label} failed, so the baseline does not train: {error}; "
            f"{trials[0].folder.parent} has the logs"
        )
    guards = judge_trials(trials)
    for one in guards:
        if one["state"] == FAILED:
            raise RuntimeError(f"{one['en']} Nothing was trained")
    plan = {**plan, "guards": replaced(plan["guards"], guards)}
    write_plan(out, plan)
    return plan


def trial_runs(plan: Mapping[str, Any], out: Path) -> list[Run]:
    """Return runs of the baseline over an epoch of few images: two of one seed, one of another.

    Args:
        plan: The plan.
        out: Folder of the study; the lists of these images are written.
    """
    folder = out / "probe"
    lists = read_lists(plan["data"]["study_yaml"])
    batch = plan["settings"]["batch"]
    few = {
        "train": spread(lists["train"], max(NUM_BATCHES * batch, MIN_IMAGES)),
        "val": spread(lists["val"], NUM_VALIDATION_IMAGES),
    }
    write_lists(folder / "data", few, tuple(plan["data"]["names"]))
    # the last epochs have no mosaic, and this is the first
    settings = {**plan["settings"], "epochs": 1, "close_mosaic": 0, "plots": False}
    changes = {
        "data": str(folder / "data" / "data.yaml"),
        "settings": settings,
        "checkpoint": "last",
        "scored": "val",
        "predict": False,
    }
    return [
        Run(
            f"trial {name}",
            seed,
            folder / name,
            {**make_job(plan, plan["arms"][0], seed), **changes},
        )
        for name, seed in TRIALS.items()
    ]


def judge_trials(
    runs: Sequence[Run], digest_of: Callable[[Path], str] | None = None
) -> list[Guard]:
    """Compare the trial runs.

    Args:
        runs: Finished runs, as `trial_runs` lists them.
        digest_of: From a run folder to a digest of the trained weights; by default that of a
            detector.

    Returns:
        The guards "seed_changes_result" and "seed_reproduces_result".
    """
    outcomes = {run.folder.name: read_outcome(run.folder) for run in runs}
    digests = {name: (digest_of or _weights_digest)(one.folder) for name, one in outcomes.items()}
    return [_changes(outcomes, digests), _reproduces(outcomes, digests)]


def _changes(outcomes: Mapping[str, Outcome], digests: Mapping[str, str]) -> Guard:
    name = "seed_changes_result"
    same_weights = digests["first"] == digests["other"]
    same_images = outcomes["first"].seen == outcomes["other"].seen
    detail = {"same_weights": same_weights, "same_images": same_images}
    if same_weights or same_images:
        what = (
            ("weights", "权重") if same_weights else ("images in the same order", "同样顺序的图像")
        )
        return guard(
            name,
            FAILED,
            detail,
            f"Seeds 0 and 1 gave the same {what[0]} after an epoch: the seeds of this study repeat "
            "one run, and are no replications.",
            f"种子 0 和 1 在一个轮次后得到相同的{what[1]}：本研究的各个种子只是重复同一次运行。",
        )
    return guard(
        name,
        PASSED,
        detail,
        "Seeds 0 and 1 gave other images and other weights in a trial epoch.",
        "在试运行的一个轮次中，种子 0 和 1 得到不同的图像顺序和不同的权重。",
    )


def _reproduces(outcomes: Mapping[str, Outcome], digests: Mapping[str, str]) -> Guard:
    name = "seed_reproduces_result"
    same_weights = digests["first"] == digests["again"]
    same_images = outcomes["first"].seen == outcomes["again"].seen
    detail = {"same_weights": same_weights, "same_images": same_images}
    if not same_images:
        return guard(
            name,
            FAILED,
            detail,
            "Seed 0 gave other images the second time: the arms of a seed do not see the same.",
            "种子 0 第二次得到不同的图像，因此同一种子下各方案看到的数据并不相同。",
        )
    if not same_weights:
        return guard(
            name,
            WARNING,
            detail,
            "Seed 0 gave the same images but other weights the second time: this device does not "
            "compute in a fixed order, which adds to the spread of all arms alike.",
            "种子 0 第二次得到相同的图像但不同的权重：该设备的计算顺序不固定，"
            "这会同样增大所有方案的离散程度。",
        )
    return guard(
        name,
        PASSED,
        detail,
        "Seed 0 gave the same images and the same weights, bit for bit, the second time.",
        "种子 0 第二次得到相同的图像以及逐位相同的权重。",
    )


def spread(images: Sequence[Path], number: int) -> tuple[Path, ...]:
    """Choose images evenly over a list."""
    number = min(number, len(images))
    return tuple(images[index * len(images) // number] for index in range(number))


def _weights_digest(folder: Path) -> str:
    # the file itself also holds a time and its own path
    from mlla.yolo.checked_model import CheckedModel
    from mlla.yolo.training_state import weights_digest

    network: Any = CheckedModel(folder / "weights" / "last.pt").model
    return weights_digest(network.state_dict())
