"""Findings about the weights that arms started with."""

from __future__ import annotations

from collections.abc import Iterator

from mlla.study.audit.case import Case
from mlla.study.audit.finding import Finding, Weight, listed
from mlla.study.audit.grouping import RunGroup
from mlla.study.audit.transfer import Transfer

# arms whose shares of pretrained weights differ by more than this started unequal
_UNEQUAL = 0.1


def start_findings(case: Case) -> Iterator[Finding]:
    """Yield what is wrong with the initial weights."""
    for group in case.groups:
        yield from _lost(case, group)
    for arm, against in case.pairs:
        yield from _unequal(case, arm, against)
    yield from _unknown(case)


def start_text(found: Transfer | None) -> str:
    """Say in a few words what a run started from."""
    if found is None:
        return "unknown weights"
    if found.source is None:
        return "random weights"
    if found.share is None:
        return f"an unknown share of {found.source}"
    return f"{round(found.share * found.total)} of {found.total} tensors of {found.source}"


def _first(case: Case, group: RunGroup) -> Transfer | None:
    return next((case.transfers[run.name] for run in group.runs), None)


def _lost(case: Case, group: RunGroup) -> Iterator[Finding]:
    found = _first(case, group)
    if found is None or found.by_row is None or found.by_row - found.by_name < 0.02 * found.total:
        return
    by_name, by_row = (f"{n} of {found.total}" for n in (found.by_name, found.by_row))
    text = (
        f"By row number, as stock Ultralytics matches weights, {by_name} tensors of "
        f"{found.source} fit {group.name}; with the inserted rows taken into account {by_row} do."
    )
    if found.kernels:
        text += (
            f" Of the {found.kernels} large kernels among these, {found.alike} still resemble the "
            "pretrained ones."
        )
    if found.share is None:
        weight, title = Weight.NOTE, "pretrained weights may have been left out"
    elif found.share * found.total < found.by_row - 0.05 * found.total:
        weight, title = Weight.FAULT, "pretrained weights were left out"
    else:
        # carried over row by row: all is well
        return
    yield Finding(
        weight,
        title,
        text,
        "A block inserted into the model shifts the numbers of all rows behind it, and "
        "Ultralytics drops weights whose number differs: these layers started from random numbers.",
        "Train with mlla train model=... pretrained=..., which matches weights row by row, or "
        "insert the block with mlla plug.",
        tuple(run.name for run in group.runs),
    )


def _unequal(case: Case, arm: RunGroup, against: RunGroup) -> Iterator[Finding]:
    first, second = _first(case, against), _first(case, arm)
    shares = [found.share if found is not None else None for found in (first, second)]
    both_known = shares[0] is not None and shares[1] is not None
    if not both_known or abs(shares[0] - shares[1]) <= _UNEQUAL:  # type: ignore[operator]
        return
    yield Finding(
        Weight.FAULT,
        "unequal start",
        f"{arm.name} started from {start_text(second)}, {against.name} from {start_text(first)}.",
        "Pretrained weights are worth many points of mAP on small datasets, more than any block: "
        "this comparison shows their effect, not that of the change.",
        "Start both arms from the same weights: the same pretrained= for both, matched row by row.",
        tuple(run.name for run in (*arm.runs, *against.runs)),
        (arm.name, against.name),
    )


def _unknown(case: Case) -> Iterator[Finding]:
    missing = {
        found.source
        for found in case.transfers.values()
        if found is not None and found.source is not None and found.file is None
    }
    if missing:
        yield Finding(
            Weight.NOT_CHECKED,
            "pretrained weights",
            f"{listed(sorted(missing))} is not here, so nobody can count which of its weights were "
            "taken over.",
            remedy="Put the file where the runs were started from, and audit from that folder.",
        )
    plugged = [name for name, found in case.transfers.items() if found is None]
    if plugged:
        yield Finding(
            Weight.NOT_CHECKED,
            "initial weights",
            f"{listed(plugged)} do not say what they started from: they were resumed, or the "
            "weights were loaded in memory.",
            remedy="Look it up in the log of the training.",
            runs=tuple(plugged),
        )
