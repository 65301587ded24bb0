"""Findings about the weights that arms started with."""

from __future__ import annotations

from collections.abc import Iterator

from mlla.study.audit.arguments import unique
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
        yield from _unequal_within(case, group)
    for arm, against in case.pairs:
        yield from _unequal(case, arm, against)
    yield from _unknown(case)


def start_text(found: Transfer | None) -> str:
    """Say in a few words what a run started from."""
    if found is None:
        return "unknown weights"
    if found.source is None:
        return "random weights"
    if found.is_guess and not found.count:
        return f"unknown weights, not those of {found.source}"
    if found.count is None:
        return f"an unknown share of {found.source}"
    return f"{found.count} of {found.total} tensors of {found.source}"


def _known(case: Case, group: RunGroup) -> list[tuple[str, Transfer]]:
    """Return name and start of the runs of an arm of which it is known."""
    found = ((run.name, case.transfers[run.name]) for run in group.runs)
    return [(name, one) for name, one in found if one is not None and one.share is not None]


def _lost(case: Case, group: RunGroup) -> Iterator[Finding]:
    behind = {
        run.name: found
        for run in group.runs
        if (found := case.transfers[run.name]) is not None and _may_have_lost(found)
    }
    if not behind:
        return
    found = next(iter(behind.values()))
    is_sure = found.count is not None
    yield Finding(
        Weight.FAULT if is_sure else Weight.NOTE,
        f"pretrained weights {'were' if is_sure else 'may have been'} left out",
        f"{listed(behind)}: by row number, as stock Ultralytics matches weights, {found.by_name} "
        f"of {found.total} tensors of {found.source} fit; with the inserted rows taken into "
        f"account {found.by_row} do. {_evidence(found)}",
        "A block inserted into the model shifts the numbers of all rows behind it, and "
        "Ultralytics drops weights whose number differs: these layers started from random numbers.",
        "Train with mlla train model=... pretrained=..., which matches weights row by row, or "
        "insert the block with mlla plug.",
        tuple(behind),
        (group.name,) if is_sure else (),
    )


def _may_have_lost(found: Transfer) -> bool:
    """Return whether more weights fit than the run started with, or may have started with."""
    if found.is_guess or found.by_row is None:
        return False
    matters = found.by_row - found.by_name > 0.02 * found.total
    return matters and (found.count is None or found.count < found.by_row)


def _evidence(found: Transfer) -> str:
    moved, unmoved = found.moved, found.unmoved
    if not moved.total:
        return "There is no large kernel to look at."
    return (
        f"Of the large kernels behind the insertion, {moved.alike} of {moved.total} still look "
        f"like the pretrained ones; before it, {unmoved.alike} of {unmoved.total}."
    )


def _unequal(case: Case, arm: RunGroup, against: RunGroup) -> Iterator[Finding]:
    first, second = (_known(case, group) for group in (arm, against))
    if not (first and second):
        return
    shares = [
        sum(found.share or 0.0 for _, found in known) / len(known) for known in (first, second)
    ]
    if abs(shares[0] - shares[1]) <= _UNEQUAL:
        return
    texts = [listed(unique(start_text(found) for _, found in known)) for known in (first, second)]
    yield Finding(
        Weight.FAULT,
        "unequal start",
        f"{arm.name} started from {texts[0]}; {against.name} from {texts[1]}.",
        "Pretrained weights are worth many points of mAP on small datasets, more than most blocks: "
        "this comparison shows their effect as well.",
        "Start both arms from the same weights: the same pretrained= for both, matched row by row.",
        tuple(run.name for run in (*arm.runs, *against.runs)),
        (arm.name, against.name),
    )


def _unequal_within(case: Case, group: RunGroup) -> Iterator[Finding]:
    known = _known(case, group)
    shares = [found.share or 0.0 for _, found in known]
    if shares and max(shares) - min(shares) > _UNEQUAL:
        lines = (f"{name} from {start_text(found)}" for name, found in known)
        yield Finding(
            Weight.FAULT,
            "runs of one arm started from different weights",
            f"{listed(lines, 6)}.",
            "They are no repetitions: their spread is that of the weights, not that of chance.",
            "Put them into arms of their own with arms=..., or train them again in one way.",
            tuple(name for name, _ in known),
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
