"""What the paper says each design does, and whether a study agrees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlla.models.six_designs import ROWS, PublishedRow
from mlla.study.statistics.comparison import Pair
from mlla.study.statistics.verdict import Verdict

#: In place of the empty name that the first row has in `ROWS`.
BASELINE = "baseline"
ROW_NAMES = tuple(row or BASELINE for row in ROWS)
# what the position encodings of Table 2 stand in for
FORGET_GATE = "forget_gate"
SUPPORTED, CONTRARY, UNDECIDED = "supported", "contrary", "undecided"


@dataclass(frozen=True)
class PublishedEffect:
    """A difference between two published rows.

    Attributes:
        table: Number of the table.
        row: Name of the row.
        against: Name of the row that it is compared with.
        points: How much more top-1 accuracy `row` has, in percent.
    """

    table: int
    row: str
    against: str
    points: float

    @property
    def pair(self) -> Pair:
        """The comparison to make; those of a table are corrected together for their number."""
        return Pair(self.row, self.against, f"table {self.table}")


def published_effects(rows: Sequence[str] = ROW_NAMES) -> list[PublishedEffect]:
    """List the effects of both tables: designs beside the baseline, positions beside the gate.

    Args:
        rows: Names of the rows that are studied; effects of others are left out.
    """
    effects = []
    for name in ROW_NAMES:
        published = published_row(name)
        against = BASELINE if published.table == 1 else FORGET_GATE
        if name != against and {name, against} <= set(rows):
            points = round(published.top1 - published_row(against).top1, 1)
            effects.append(PublishedEffect(published.table, name, against, points))
    return effects


def published_row(name: str) -> PublishedRow:
    """Return what was published of a row.

    Args:
        name: One of `ROW_NAMES`.
    """
    return ROWS["" if name == BASELINE else name]


def sign_here(effect: PublishedEffect, verdict: Verdict) -> str:
    """Say whether a study finds the sign of a published effect.

    Args:
        effect: The effect.
        verdict: What the study allows one to say of the difference between its rows.

    Returns:
        "supported" if it finds a difference of this sign, "contrary" if it finds one of the other,
        else "undecided".
    """
    found = {Verdict.SUPPORTED: 1, Verdict.HARMFUL: -1}.get(verdict, 0)
    if not found:
        return UNDECIDED
    return SUPPORTED if (found > 0) == (effect.points > 0) else CONTRARY
