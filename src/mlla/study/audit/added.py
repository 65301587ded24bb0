"""Runs that were trained before a study, as an arm of it."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlla.data import DataError
from mlla.study.audit.arguments import effective_arguments, rounds, unique
from mlla.study.audit.checkpoint import Checkpoint
from mlla.study.audit.existing_run import ExistingRun
from mlla.study.audit.grouping import fingerprint
from mlla.study.audit.read_runs import find_run_folders, read_run
from mlla.study.audit.trust import refuse_foreign
from mlla.study.files import file_digest, write_json, write_whole
from mlla.study.planning.arms import Arm
from mlla.study.planning.dataset import read_lists, read_study_data
from mlla.study.runs.run_folder import OUTCOME, PREDICTIONS
from mlla.study.scoring.ground_truth import read_ground_truth
from mlla.study.scoring.predictions import predict

# of the arguments of a plan, those that no model of the arm can be blamed for
_BUDGET = ("epochs", "imgsz", "batch", "optimizer", "lr0", "momentum", "weight_decay", "amp")


@dataclass(frozen=True)
class AddedArm:
    """Existing runs of one model.

    Attributes:
        arm: The arm that they make; its kind is "added", its model that of the first run.
        runs: The runs by the seed they have in the study: their own where the study has it, else
            numbered through in the order of their own.
    """

    arm: Arm
    runs: dict[int, ExistingRun]


def read_existing_runs(spec: str, seeds: list[int]) -> AddedArm:
    """Read the runs that `mlla compare` is to add; nothing is written, and no code is loaded.

    Args:
        spec: "NAME:FOLDER,FOLDER": a name for the arm, and run folders of Ultralytics or folders
            with such folders in them.
        seeds: Seeds of the study.

    Returns:
        The arm.

    Raises:
        ValueError: If `spec` is not understood, a folder holds no finished detector with its
            weights, or the runs are not repetitions of one training.
    """
    name, colon, places = spec.partition(":")
    folders = [Path(place.strip()) for place in places.split(",") if place.strip()]
    if not (name.strip() and colon and folders):
        raise ValueError(f"add={spec!r} is not understood; write NAME:FOLDER,FOLDER")
    runs: list[ExistingRun] = []
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"add={spec!r}: {folder} is no folder")
        found = find_run_folders(folder)
        if not found:
            raise ValueError(
                f"add={spec!r}: {folder} holds no training of Ultralytics, that is, no folder "
                "with args.yaml, results.csv and weights"
            )
        runs += [read_run(run, folder.parent) for run in found]
    for run in runs:
        _refuse_unusable(run, spec)
    _refuse_different(runs, spec)
    runs.sort(key=lambda run: (run.seed or 0, run.name))
    own = [run.seed for run in runs]
    if not set(own) <= set(seeds):
        own = list(range(len(runs)))
    arm = Arm(name.strip(), "added", runs[0].model)
    return AddedArm(arm, {seed: run for seed, run in zip(own, runs, strict=True) if seed in seeds})


def differences_from_plan(added: AddedArm, plan: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Find what the training of added runs had otherwise than the arms of a study.

    Args:
        added: The arm.
        plan: Content of study.json.

    Returns:
        By name, the value in the plan and the different values of the runs: arguments, the number
        of "epochs trained", the "version of ultralytics" and the "images" of train and val.

    Raises:
        ValueError: If the runs cannot stand beside the others: they have other classes, or have
            trained on images that the study scores on.
    """
    runs = list(added.runs.values())
    names = plan["data"]["names"]
    for run in runs:
        num_classes = run.checkpoint.config.get("nc") if run.checkpoint is not None else None
        if num_classes != len(names):
            raise ValueError(
                f"add: {run.folder} was trained for {num_classes} classes, and the study has "
                f"{len(names)}: {', '.join(names)}"
            )
    found: dict[str, list[Any]] = {}
    settings = {**plan["settings"], "amp": rounds(plan["settings"])}
    for key in _BUDGET:
        planned = settings.get(key)
        values = unique(effective_arguments(run).get(key) for run in runs)
        if planned is not None and values != [planned]:
            found[key] = [planned, *values]
    trained = unique(run.num_epochs for run in runs)
    if trained != [plan["settings"]["epochs"]]:
        found["epochs trained"] = [plan["settings"]["epochs"], *trained]
    versions = unique(run.version for run in runs)
    if versions != [plan["versions"].get("ultralytics")]:
        found["version of ultralytics"] = [plan["versions"].get("ultralytics"), *versions]
    for given in unique(str(run.arguments.get("data")) for run in runs):
        if text := _other_images(Path(given), plan["data"]):
            found["images"] = [plan["data"]["yaml"], text]
    return found


def write_added_run(
    run: ExistingRun, folder: Path, plan: Mapping[str, Any], arm: str, seed: int, *, trust: bool
) -> None:
    """Predict with an existing run, and write what a run of the study leaves; it is not copied.

    The folder gets predictions.json.gz and outcome.json, whose entry "existing" says where the run
    is and which seed it was trained with. What nobody measured is None.

    Args:
        run: The run.
        folder: The folder of the arm and seed in the study; it is made where it does not exist.
        plan: Content of study.json.
        arm: Name of the arm.
        seed: Seed that the run has in the study.
        trust: Whether weights may be loaded that name code of others.

    Raises:
        ValueError: If the weights name such code and `trust` is False, or are unreadable.
    """
    # ultralytics takes seconds to import
    from mlla.yolo import YOLO

    checkpoint = _weights(run, plan["checkpoint"])
    refuse_foreign(checkpoint, trust=trust)
    truth = read_ground_truth(plan["data"]["study_yaml"], plan["data"]["scored"])
    settings = plan["settings"]
    found = predict(
        YOLO(checkpoint.file),
        truth.images,
        imgsz=settings["imgsz"],
        batch=settings["batch"],
        device=settings.get("device"),
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / PREDICTIONS, gzip.compress(json.dumps(found).encode(), mtime=0))
    row = run.best_row if plan["checkpoint"] == "best" else -1
    times = run.epochs.column("time")
    content = {
        "arm": arm,
        "seed": seed,
        "existing": {"folder": str(run.folder.resolve()), "seed": run.seed},
        "counts": None,
        "start_sha256": None,
        "seen": [],
        "epochs": run.num_epochs,
        "train_seconds": times[-1] if times else None,
        "attempts": 1,
        "peak_memory_bytes": None,
        "peak_memory_kind": None,
        "checkpoint": plan["checkpoint"],
        "checkpoint_epoch": run.epochs.numbers[row] if row is not None else None,
        "parameters": checkpoint.num_parameters,
        "versions": {"ultralytics": run.version},
        "device": run.arguments.get("device"),
        "files": {PREDICTIONS: file_digest(folder / PREDICTIONS)},
    }
    write_json(folder / OUTCOME, content)


def _weights(run: ExistingRun, which: str) -> Checkpoint:
    checkpoint = run.best if which == "best" else run.last
    if checkpoint is None:
        raise ValueError(f"{run.folder} has no readable weights/{which}.pt")
    return checkpoint


def _refuse_unusable(run: ExistingRun, spec: str) -> None:
    for which in ("best", "last"):
        checkpoint = _weights(run, which)
        if not checkpoint.is_finished:
            raise ValueError(
                f"add={spec!r}: {run.folder} was interrupted after {run.num_epochs} of "
                f"{run.planned_epochs} epochs; finish it: mlla train resume={checkpoint.file}"
            )
    if run.task != "detect":
        raise ValueError(
            f"add={spec!r}: {run.folder} is of task {run.task}; a study compares detectors"
        )
    if not run.epochs.numbers:
        raise ValueError(f"add={spec!r}: {run.folder}: {'; '.join(run.problems)}")


def _refuse_different(runs: list[ExistingRun], spec: str) -> None:
    if len({fingerprint(run) for run in runs}) > 1:
        raise ValueError(
            f"add={spec!r}: the networks of these runs have different weights, so they are no "
            "repetitions of one training; add them as arms of their own"
        )
    for what, counts in (
        ("seed", Counter(run.seed for run in runs)),
        ("results.csv", Counter(run.epochs.measured for run in runs)),
    ):
        value, count = counts.most_common(1)[0]
        if count > 1:
            same = [run.name for run in runs if value in (run.seed, run.epochs.measured)]
            raise ValueError(
                f"add={spec!r}: {', '.join(same)} have the same {what}, so they are one run and "
                "not several; leave out all but one"
            )


def _other_images(given: Path, planned: Mapping[str, Any]) -> str | None:
    """Say in what way a run saw other images than the arms of a study; None if it did not."""
    if given.resolve() == Path(planned["study_yaml"]).resolve():
        return None
    try:
        data = read_study_data(given, near_duplicates=False, quiet=True)
    except DataError as error:
        return f"unknown, since {error}"
    scored = planned["scored"]
    judged = {file_digest(image) for image in read_lists(planned["study_yaml"])[scored]}
    learned = {file_digest(image) for image in data.lists["train"]}
    if shared := len(judged & learned):
        raise ValueError(
            f"add: {shared} of the {len(judged)} {scored} images, on which this study scores, were "
            f"trained on in {given}; train these runs on {planned['study_yaml']} instead"
        )
    same = all(
        data.digests.get(split) == stored["sha256"] for split, stored in planned["splits"].items()
    )
    return None if same else f"other images or labels ({given})"
