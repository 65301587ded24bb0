"""All that is known of the runs under audit, before anything is said about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from mlla.study.audit.arguments import differences
from mlla.study.audit.datasets import Dataset, read_dataset
from mlla.study.audit.existing_run import ExistingRun
from mlla.study.audit.grouping import RunGroup
from mlla.study.audit.transfer import Transfer, start_of, transfer_of

CONTROLS = ("convolution", "identity")


@dataclass(frozen=True)
class Case:
    """Runs in arms, and what they rest on.

    Attributes:
        root: The folder under audit.
        groups: The arms.
        baseline: The arm that the others are compared with, unless another is more like them.
        pairs: Every claim: an arm, and the arm that it is compared with.
        transfers: Pretrained weights of each run, by its name.
        datasets: Datasets by what runs call them; all the same one if the user named it.
    """

    root: Path
    groups: list[RunGroup]
    baseline: RunGroup
    pairs: list[tuple[RunGroup, RunGroup]]
    transfers: dict[str, Transfer | None]
    datasets: dict[str, Dataset]

    @property
    def runs(self) -> list[ExistingRun]:
        """All runs."""
        return [run for group in self.groups for run in group.runs]

    def dataset_of(self, run: ExistingRun) -> Dataset:
        """Return the dataset of a run."""
        return self.datasets[str(run.arguments.get("data"))]


def make_case(root: Path, groups: Sequence[RunGroup], baseline: RunGroup, data: str | None) -> Case:
    """Collect what the runs rest on.

    Args:
        root: The folder under audit.
        groups: The arms.
        baseline: One of them.
        data: A data.yaml to use in place of those that the runs name, or None.

    Returns:
        The case.
    """
    runs = [run for group in groups for run in group.runs]
    given = {str(run.arguments.get("data")) for run in runs}
    places = [root, root.parent]
    named = {source for run in runs if run.job is None and (source := start_of(run))}
    guess = named.pop() if len(named) == 1 else None
    return Case(
        root,
        list(groups),
        baseline,
        _pairs(groups, baseline),
        {run.name: transfer_of(run, places, guess) for run in runs},
        {name: read_dataset(data or name) for name in given},
    )


def _pairs(groups: Sequence[RunGroup], baseline: RunGroup) -> list[tuple[RunGroup, RunGroup]]:
    """Pair every arm with the arm of the baseline's model that is most like it."""
    references = [group for group in groups if _model(group) == _model(baseline)]
    # controls of a study explain its answers and are none themselves
    groups = [group for group in groups if group.runs[0].arm.get("kind") not in CONTROLS]
    # a score of boxes and one of classes have nothing in common
    groups = [group for group in groups if group.runs[0].task == baseline.runs[0].task]
    pairs = []
    for group in groups:
        if group not in references:
            pairs.append((group, min(references, key=lambda other: _distance(group, other))))
    used = [against for _, against in pairs]
    # variations of the baseline's own arguments, where they serve no other model
    spare = [group for group in references if group not in used and group is not baseline]
    return pairs + [(group, baseline) for group in spare]


def _model(group: RunGroup) -> Any:
    first = group.runs[0]
    return first.arm.get("name") or PurePath(first.model.replace("\\", "/")).stem


def _distance(first: RunGroup, second: RunGroup) -> int:
    return len(differences({"first": first.runs, "second": second.runs}))
