"""Findings about single runs: broken, interrupted, changed, not repeatable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlla.study.audit.arguments import has_cuda, unique
from mlla.study.audit.case import Case
from mlla.study.audit.claims import NOTHING_FOUND
from mlla.study.audit.existing_run import ExistingRun
from mlla.study.audit.finding import Finding, Weight, counted, listed
from mlla.study.audit.trust import foreign_names

# written into args.yaml and, later, into the checkpoint; others Ultralytics changes in between
_COMPARED = {"data", "epochs", "imgsz", "seed", "patience", "pretrained", "fraction", "mosaic"}


def health_findings(case: Case) -> Iterator[Finding]:
    """Yield what is wrong with single runs."""
    yield from _interrupted(case)
    yield from _not_finite(case)
    yield from _nothing_learned(case)
    yield from _broken(case)
    yield from _changed(case)
    yield from _not_repeatable(case)
    yield from _resumed(case)
    yield from _own_layers(case)
    yield from _other_tasks(case)


def _names(runs: list[ExistingRun]) -> tuple[str, ...]:
    return tuple(run.name for run in runs)


def _interrupted(case: Case) -> Iterator[Finding]:
    found = [run for run in case.runs if run.is_interrupted]
    if found:
        states = (f"{run.name} after {run.num_epochs} of {run.planned_epochs}" for run in found)
        yield Finding(
            Weight.FAULT,
            "interrupted runs",
            f"{counted(len(found), 'run')} ended before the last epoch (or still runs): "
            f"{listed(states)}. They were left out of all figures.",
            "The scores of the last epochs, at low learning rates, are missing.",
            f"Go on: mlla train resume={found[0].folder / 'weights' / 'last.pt'}",
            _names(found),
        )


def _not_finite(case: Case) -> Iterator[Finding]:
    for run in case.runs:
        if run.epochs.bad_epochs:
            yield Finding(
                Weight.FAULT,
                "losses that are no numbers",
                f"{run.name} has NaN or infinity in epoch {listed(run.epochs.bad_epochs)}. It was "
                "left out of all figures.",
                "Weights after such an epoch may be spoiled; half precision is the usual cause.",
                "Train it again with amp=False.",
                (run.name,),
            )


def _nothing_learned(case: Case) -> Iterator[Finding]:
    found = [run for run in case.runs if run.scores and run.best_score < NOTHING_FOUND]
    if found:
        yield Finding(
            Weight.FAULT,
            "nothing was learned",
            f"The score of {listed(_names(found))} is below {NOTHING_FOUND} in every epoch.",
            "Detectors that find nothing cannot be compared.",
            "Train longer, on larger images or from pretrained weights, and look at the labels: "
            "mlla data check.",
            _names(found),
            tuple(group.name for group in case.groups if any(run in found for run in group.runs)),
        )


def _broken(case: Case) -> Iterator[Finding]:
    for run in case.runs:
        if run.problems:
            yield Finding(
                Weight.FAULT,
                "files that cannot be read",
                f"{run.name}: {'; '.join(run.problems)}.",
                "What is said of this run rests on the rest of its files.",
                "Restore the files, or leave the run out.",
                (run.name,),
            )
        elif run.checkpoint is None:
            yield Finding(
                Weight.NOT_CHECKED,
                "weights",
                f"{run.name} has no weights, so neither its version nor its network is known.",
                runs=(run.name,),
            )


def _changed(case: Case) -> Iterator[Finding]:
    for run in case.runs:
        ran_with = run.checkpoint.arguments if run.checkpoint is not None else {}
        written = run.written_arguments
        changed: dict[str, tuple[Any, Any]] = {
            key: (written[key], ran_with[key])
            for key in sorted(_COMPARED)
            if key in written and key in ran_with and written[key] != ran_with[key]
        }
        if changed and not run.was_resumed:
            text = "; ".join(f"{key}: {a} and {b}" for key, (a, b) in changed.items())
            yield Finding(
                Weight.FAULT,
                "args.yaml and the checkpoint disagree",
                f"{run.name}, args.yaml and last.pt: {text}.",
                "The folder was used twice, or a file in it was edited; results.csv may belong to "
                "either.",
                "Train it again into an empty folder.",
                (run.name,),
            )


def _not_repeatable(case: Case) -> Iterator[Finding]:
    found = [run for run in case.runs if run.arguments.get("deterministic") is False]
    if found:
        yield Finding(
            Weight.NOTE,
            "not deterministic",
            f"{counted(len(found), 'run')} had deterministic=False.",
            "The same seed does not give the same result again, so others cannot repeat it.",
            "Leave deterministic=True.",
            _names(found),
        )
    kinds = unique(has_cuda(run.arguments.get("device")) for run in case.runs)
    if len(kinds) > 1:
        words = {True: "a graphics card", False: "a CPU (or MPS)", None: "whatever was there"}
        yield Finding(
            Weight.NOTE,
            "different devices",
            f"Runs were trained on {listed(words[kind] for kind in kinds)}.",
            "amp=True rounds to half precision on a graphics card and does nothing on a CPU.",
            "Train all arms on one kind of device.",
        )


def _resumed(case: Case) -> Iterator[Finding]:
    found = [run for run in case.runs if run.was_resumed]
    if found:
        yield Finding(
            Weight.NOTE,
            "resumed runs",
            f"{listed(_names(found))} were interrupted and went on.",
            "Ultralytics does not save the state of the random numbers, so a resumed run is "
            "not the run that its seed stands for.",
            "mlla compare goes on exactly where it stopped.",
            _names(found),
        )


def _own_layers(case: Case) -> Iterator[Finding]:
    for group in case.groups:
        found = unique(
            name for run in group.runs if run.checkpoint for name in foreign_names(run.checkpoint)
        )
        if found:
            yield Finding(
                Weight.NOTE,
                "layers from elsewhere",
                f"The weights of {group.name} name {listed(found)}, which belong neither to torch "
                "nor to Ultralytics or mlla; they were not loaded.",
                "A pasted block may not do what its name says.",
                "Test the block: mlla check FILE.py:Class. To let audit load the weights, which "
                "runs their code: trust=True.",
                tuple(run.name for run in group.runs),
            )


def _other_tasks(case: Case) -> Iterator[Finding]:
    task = case.baseline.runs[0].task
    others = [group.name for group in case.groups if group.runs[0].task != task]
    if others:
        yield Finding(
            Weight.NOT_CHECKED,
            "arms of other tasks",
            f"{listed(others)}: not compared with {case.baseline.name}, whose task is {task}.",
            remedy="Audit them with a baseline of their own: baseline=NAME.",
        )
