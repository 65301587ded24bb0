"""What an export came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlla.export.difference import TOLERANCE, Difference
from mlla.export.latency import Latency


class WrongExportError(RuntimeError):
    """An exported file does not compute what PyTorch does; it was not kept."""


@dataclass(frozen=True)
class Scores:
    """What an export costs on a data set.

    Args:
        measure: What was measured, such as "AP50-95".
        data: On which data.
        pytorch: Score of the network in PyTorch, from 0 to 1.
        exported: Score of the file.
    """

    measure: str
    data: str
    pytorch: float
    exported: float

    @property
    def difference(self) -> float:
        """What the file gains, negative where it loses."""
        return self.exported - self.pytorch


@dataclass(frozen=True)
class Report:
    """What an export came to; as text, what the command prints.

    Args:
        file: The file or folder.
        format: Its format.
        precision: "float32", "float16" or "int8".
        differences: Errors of the raw outputs in float32; none if it was not run here.
        variant: Errors of the file where it computes in another precision; they have no limit.
        latency: Time beside PyTorch.
        scores: Scores on a data set, if one was given.
        remarks: What else the user should know.
    """

    file: Path
    format: str
    precision: str
    differences: Sequence[Difference] = ()
    variant: Sequence[Difference] = ()
    latency: Latency | None = None
    scores: Scores | None = None
    remarks: Sequence[str] = ()

    @property
    def error(self) -> float:
        """The largest relative error of float32; not a number if the file was not run."""
        return max((part.error for part in self.differences), default=float("nan"))

    @property
    def variant_error(self) -> float:
        """The largest relative error of the other precision; not a number if there is none."""
        return max((part.error for part in self.variant), default=float("nan"))

    def __str__(self) -> str:
        lines = [f"{self.format}, {self.precision}: {self.file}"]
        if self.differences:
            lines += [
                f"  raw outputs against PyTorch, float32: at most {TOLERANCE:g} relative",
                *map(_line, self.differences),
            ]
        else:
            lines.append(f"  exported, not run here: nothing was checked about {self.file.name}")
        if self.variant:
            lines += [f"  raw outputs in {self.precision}:", *map(_line, self.variant)]
        if self.latency is not None:
            lines.append(
                f"  latency: {self.latency.exported_ms:.1f} ms, PyTorch "
                f"{self.latency.pytorch_ms:.1f} ms, ratio {self.latency.ratio:.2f} "
                f"(CPU threads: {self.latency.num_threads}; measured in turns)"
            )
        if self.scores is not None:
            lines.append(
                f"  {self.scores.measure} on {self.scores.data}: {self.scores.exported:.4f}, "
                f"PyTorch {self.scores.pytorch:.4f}, difference {self.scores.difference:+.4f}"
            )
        return "\n".join([*lines, *(f"  {remark}" for remark in self.remarks)])


def _line(difference: Difference) -> str:
    batch, _, height, width = difference.shape
    return f"    {batch} x {height} x {width} px: {difference.error:.1e} ({difference.quantity})"
