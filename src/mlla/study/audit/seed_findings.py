"""Findings about repetitions: how many there are, and whether they are any."""

from __future__ import annotations

from collections.abc import Iterator

from mlla.study.audit.arguments import has_cuda
from mlla.study.audit.case import Case
from mlla.study.audit.existing_run import ExistingRun
from mlla.study.audit.finding import Finding, Weight, counted, listed
from mlla.study.statistics.verdict import MIN_RUNS

# before this release, loader workers drew the same random numbers whatever the seed
SEEDED_SINCE = (8, 4, 124)


def seed_findings(case: Case) -> Iterator[Finding]:
    """Yield what is wrong with the repetitions."""
    yield from _copies(case)
    yield from _same_seed(case)
    yield from _seed_without_effect(case)
    yield from _too_few(case)


def _too_few(case: Case) -> Iterator[Finding]:
    few = [group for group in case.groups if len(group.distinct) < MIN_RUNS]
    if not few or not case.pairs:
        return
    arms_of: dict[int, list[str]] = {}
    for group in few:
        arms_of.setdefault(len(group.distinct), []).append(group.name)
    numbers = (
        f"{listed(arms)}: {counted(number, 'usable run')}{' each' if len(arms) > 1 else ''}"
        for number, arms in arms_of.items()
    )
    yield Finding(
        Weight.FAULT,
        "too few seeds",
        f"{'; '.join(numbers)}.",
        "Two trainings that differ in nothing but the seed end with different scores. With three "
        "runs an arm, even if all of one arm beat all of the other, chance alone would give that "
        "order in 1 of 10 studies.",
        f"Train at least {MIN_RUNS} seeds of every arm, better 5; the command below does.",
    )


def _copies(case: Case) -> Iterator[Finding]:
    for group in case.groups:
        same: dict[object, list[ExistingRun]] = {}
        for run in group.runs:
            if run.epochs.numbers and run.scores:
                same.setdefault(run.epochs.measured, []).append(run)
        for runs in same.values():
            seeds = {run.seed for run in runs}
            if len(runs) < 2:
                continue
            if len(seeds) > 1:
                cause = "so the seed changed nothing, and they count as one run"
                why = (
                    "Bit-identical losses and scores mean the same random numbers: these are not "
                    "repetitions, and their spread of zero says nothing about chance. Ultralytics "
                    "before 8.4.124 did this whenever loader workers were used."
                )
                remedy = "Update ultralytics to 8.4.124 or later and train them again."
            else:
                cause = "with the same seed, so they are copies and count as one run"
                why = "A repetition with the same seed is the same training."
                remedy = "Give every run of an arm a seed of its own."
            yield Finding(
                Weight.FAULT,
                "identical results",
                f"{listed(run.name for run in runs)} (seeds {listed(sorted(map(str, seeds)))}) "
                f"agree in every number of results.csv, {cause}.",
                why,
                remedy,
                tuple(run.name for run in runs),
            )


def _same_seed(case: Case) -> Iterator[Finding]:
    for group in case.groups:
        seeds = [run.seed for run in group.distinct]
        again = sorted({str(seed) for seed in seeds if seeds.count(seed) > 1})
        if again:
            yield Finding(
                Weight.NOTE,
                "one seed several times",
                f"{group.name} has several runs of seed {listed(again)}, with different results.",
                "The same seed gives the same result only on one machine with deterministic=True; "
                "these differ, and count as repetitions here.",
                "Give every run a seed of its own, so that others can repeat it.",
                tuple(run.name for run in group.distinct),
            )


def _seed_without_effect(case: Case) -> Iterator[Finding]:
    found = [run for run in case.runs if _has_seed_fault(run)]
    if not found:
        return
    versions = sorted({str(run.version) for run in found})
    yield Finding(
        Weight.FAULT,
        "seeds without effect on the images",
        f"{counted(len(found), 'run')} of ultralytics {listed(versions)} used loader workers.",
        "Before 8.4.124, the order of the images and their augmentation were then the same for "
        "every seed. Runs from the same weights differ by nothing, others by their initial weights "
        "alone: their spread is smaller than that of real repetitions, and a test over them finds "
        "differences that are not there.",
        "Update ultralytics to 8.4.124 or later and train them again.",
        tuple(run.name for run in found),
        tuple(group.name for group in case.groups if any(run in found for run in group.runs)),
    )


def _has_seed_fault(run: ExistingRun) -> bool:
    """Return whether the seed of a run did not reach the images."""
    version = version_numbers(run.version)
    # without a graphics card Ultralytics uses no workers, whatever it was told
    has_card = has_cuda(run.arguments.get("device")) is not False
    uses_workers = bool(run.arguments.get("workers")) and has_card
    return version is not None and version < SEEDED_SINCE and uses_workers


def version_numbers(version: str | None) -> tuple[int, ...] | None:
    """Return "8.4.190" as numbers; None for what is no version."""
    parts = (version or "").split(".")[:3]
    return tuple(map(int, parts)) if len(parts) == 3 and all(p.isdigit() for p in parts) else None
