"""Findings about the images that are reported: which they are, and whether they chose the model."""

from __future__ import annotations

import math
from collections.abc import Iterator

from mlla.study.audit.case import Case
from mlla.study.audit.claims import figures_of
from mlla.study.audit.finding import Finding, Weight, listed


def selection_findings(case: Case) -> Iterator[Finding]:
    """Yield what is wrong with the images that are reported."""
    yield from _shared_images(case)
    yield from _chosen_on_reported(case)
    yield from _missing_data(case)


def _chosen_on_reported(case: Case) -> Iterator[Finding]:
    known = [found for found in case.datasets.values() if found.problem is None]
    without_test = [found.given for found in known if found.scored == "val"]
    optimism = {group.name: figures_of(group.distinct).optimism for group in case.groups}
    amounts = {name: gain for name, gain in optimism.items() if gain > 0}
    gains = ", ".join(f"{name} {gain:+.4f}" for name, gain in amounts.items())
    text = "The scores in results.csv, and those printed for best.pt, are of the val images."
    text += (
        f" On these, best.pt exceeds the last epoch by, on average: {gains}."
        if gains
        else " Here the last epoch was the best one, so the choice gained nothing."
    )
    if without_test:
        text += f" {listed(without_test)} names no test images."
    why = (
        "best.pt is the epoch that scored best on the very images that are reported, so its score "
        "is too good, and more so for an arm that swings more."
    )
    if not known and not any(math.isfinite(gain) for gain in optimism.values()):
        return
    if not without_test and known:
        yield Finding(
            Weight.NOTE,
            "scores in results.csv are of the images that chose best.pt",
            text,
            why,
            "Report the test images: mlla val model=best.pt data=... split=test.",
        )
        return
    yield Finding(
        Weight.FAULT if without_test or gains else Weight.NOTE,
        "the reported images chose the checkpoint",
        text,
        why,
        "Keep a third split that nothing is chosen on: mlla compare test=0.2 makes one. Without "
        "one, report last.pt.",
    )


def _shared_images(case: Case) -> Iterator[Finding]:
    for found in case.datasets.values():
        if found.num_shared:
            yield Finding(
                Weight.FAULT,
                "scored on training images",
                f"{found.num_shared} of the {found.num_images['val']} val images of {found.given} "
                "are training images, too.",
                "A score on images that the model has learned says nothing about new ones.",
                "Split the images anew: mlla data convert ... --split 0.8, and mlla data check.",
            )


def _missing_data(case: Case) -> Iterator[Finding]:
    for found in case.datasets.values():
        if found.problem is not None:
            yield Finding(
                Weight.NOT_CHECKED,
                "the images",
                f"The dataset ({found.given}) cannot be read here: {found.problem}.",
                remedy="Name the data.yaml: mlla audit RUNS_DIR data=FILE.",
            )
