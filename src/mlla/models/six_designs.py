"""The rows of the paper's Tables 1 and 2: what each model is, and what was published of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """A model of the comparison.

    Args:
        label: What the paper's table calls it.
        table: Number of that table; the baseline and the forget gate stand in both.
        switches: How `LinearSwin` is built, beyond its size.
        single_head: Whether it has one head in every stage.
        wider_heads: Queries and keys as a multiple of those of the other rows.
        parameters_m: Published parameters in millions.
        flops_g: Published floating-point operations in billions, of an image of 224 x 224.
        images_per_second: Published throughput, on a device the paper does not name.
        top1: Published accuracy on ImageNet-1K in percent.
    """

    label: str
    table: int
    switches: Mapping[str, Any] = field(default_factory=dict)
    single_head: bool = False
    wider_heads: float = 1.0
    parameters_m: int
    flops_g: float
    images_per_second: int
    top1: float


def _row(
    label: str, table: int, numbers: tuple[int, float, int, float], **options: Any
) -> PublishedRow:
    parameters, flops, throughput, top1 = numbers
    structure = {name: options.pop(name) for name in _STRUCTURE if name in options}
    return PublishedRow(
        label=label,
        table=table,
        switches=MappingProxyType(options),
        parameters_m=parameters,
        flops_g=flops,
        images_per_second=throughput,
        top1=top1,
        **structure,
    )


_STRUCTURE = ("single_head", "wider_heads")

#: By the end of their names in timm; arXiv 2405.16605, Tables 1 and 2.
ROWS: Mapping[str, PublishedRow] = MappingProxyType(
    {
        "": _row("Baseline", 1, (28, 4.5, 1152, 77.6)),
        "input_gate": _row("+ Input Gate", 1, (29, 4.5, 1069, 77.8), input_gate=True),
        "forget_gate": _row("+ Forget Gate", 1, (29, 4.8, 743, 78.4), forget_gate=True),
        "shortcut": _row("+ Shortcut", 1, (28, 4.5, 1066, 77.8), shortcut=True),
        "no_norm": _row("- Normalization", 1, (28, 4.5, 1215, 72.4), normalise=False),
        "single_head": _row("- Multi-head Design", 1, (24, 3.9, 1540, 73.5), single_head=True),
        "block_all": _row(
            "+ Block Design all.", 1, (28, 4.7, 915, 79.4), block_design="all", wider_heads=1.5
        ),
        "block_sub": _row("+ Block Design sub.", 1, (31, 4.8, 1010, 80.9), block_design="sub"),
        "ape": _row("+ APE", 2, (30, 4.5, 1132, 80.0), positions=("ape",)),
        "lepe": _row("+ LePE", 2, (28, 4.5, 1074, 81.6), positions=("lepe",)),
        "cpe": _row("+ CPE", 2, (28, 4.5, 1099, 81.7), positions=("cpe",)),
        "rope": _row("+ RoPE", 2, (28, 4.5, 1113, 80.0), positions=("rope",)),
    }
)

#: Structures: that of the paper, and one for machines without a GPU and images of 64 pixels.
SIZES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "tiny": {
            "dim": 96,
            "depths": (2, 2, 6, 2),
            "num_heads": (3, 6, 12, 24),
            "head_dim": 32,
            "img_size": 224,
        },
        "mini": {
            "dim": 48,
            "depths": (1, 1, 2, 1),
            "num_heads": (3, 6, 12, 24),
            "head_dim": 16,
            "img_size": 64,
        },
    }
)


def model_name(size: str, row: str = "") -> str:
    """Return the name in timm of a row of the tables at a size.

    Args:
        size: A key of `SIZES`.
        row: A key of `ROWS`; "" for the baseline.

    Raises:
        ValueError: If there is no such size or row.
    """
    for name, value, known in (("size", size, SIZES), ("row", row, ROWS)):
        if value not in known:
            raise ValueError(f"{name}={value!r} must be one of {tuple(known)}")
    return "_".join(filter(None, ("linear_swin", size, row)))


def row_options(size: str, row: str = "") -> dict[str, Any]:
    """Return the arguments of `LinearSwin` for a row of the tables at a size.

    Args:
        size: A key of `SIZES`.
        row: A key of `ROWS`; "" for the baseline.
    """
    options = dict(SIZES[size])
    published = ROWS[row]
    if published.single_head:
        options["num_heads"] = (1,) * len(options["num_heads"])
    options["head_dim"] = int(options["head_dim"] * published.wider_heads)
    return {**options, **published.switches}
