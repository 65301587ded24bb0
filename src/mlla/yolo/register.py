# SPDX-License-Identifier: AGPL-3.0-only
"""How a class of ours becomes a name that Ultralytics' model YAMLs may use.

This is the only file that touches Ultralytics, and all it does is add names to the namespace of
`ultralytics.nn.tasks`, where `parse_model` looks rows up. Nothing there is replaced.

`parse_model` infers channels, scales widths and inserts repeats only for classes in sets local to
that function. So the name stands for an adapter: a class that compares and hashes equal to a stock
class, whose arguments it therefore gets, and that builds our module when called. Adapters end up
neither in models nor in checkpoints.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
import ultralytics
from torch import nn
from ultralytics.nn import tasks
from ultralytics.nn.modules import C2f, Index

TESTED_VERSIONS = ("8.3.70", "8.4.190")


class _ParsesLike(type):
    """Metaclass of adapters: equal to `stock` for the parser, a factory of `builds` when called."""

    stock: type[nn.Module]
    builds: type[nn.Module]

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is cls.stock

    def __hash__(cls) -> int:
        return hash(cls.stock)

    def __call__(cls, *args: Any) -> nn.Module:
        return cls.builds(*args)

    def __repr__(cls) -> str:
        return repr(cls.builds)


def register_scaled(row: type[nn.Module]) -> type[nn.Module]:
    """Let YAML rows name `row`, built as `row(in_channels, out_channels, repeats, *arguments)`.

    As in a C2f row, the first YAML argument is the width before scaling, and width and repeats
    scale with the model's size. Use as a class decorator.

    Raises:
        RuntimeError: If Ultralytics already has another class of that name.
    """
    return _register(row, stock=C2f)


def register_unscaled(row: type[nn.Module]) -> type[nn.Module]:
    """Let YAML rows name `row`, built as `row(*arguments)` after a first argument: its width.

    As in an Index row, nothing is scaled and the input width is not passed.

    Raises:
        RuntimeError: If Ultralytics already has another class of that name.
    """
    return _register(row, stock=Index)


def _register(row: type[nn.Module], *, stock: type[nn.Module]) -> type[nn.Module]:
    name = row.__name__
    present = getattr(tasks, name, None)
    if isinstance(present, _ParsesLike) and present.builds.__qualname__ == row.__qualname__:
        present.builds = row
        return row
    if present is not None:
        raise RuntimeError(
            f"ultralytics {ultralytics.__version__} already has a module called {name!r} "
            f"({present!r}); it was left as it is. Remove the other extension, or use a version "
            f"of ultralytics between {TESTED_VERSIONS[0]} and {TESTED_VERSIONS[1]}"
        )
    # a subclass of nn.Module, as restricted loading demands of every row
    setattr(tasks, name, _ParsesLike(name, (nn.Module,), {"stock": stock, "builds": row}))
    return row


def registered_rows() -> dict[str, type[nn.Module]]:
    """Return the names that were added to Ultralytics' YAML vocabulary, with their classes."""
    return {
        name: adapter.builds
        for name, adapter in vars(tasks).items()
        if isinstance(adapter, _ParsesLike)
    }


def check_parser() -> None:
    """Build a few rows at two scales and compare channels, repeats and classes.

    Raises:
        ImportError: If this version of Ultralytics parses the rows in another way.
    """
    config = {
        "nc": 3,
        "scales": {"n": [0.34, 0.25, 1024], "s": [1.0, 0.5, 1024]},
        "backbone": [
            [-1, 1, "Conv", [64, 3, 2]],
            [-1, 1, "MLLADownsample", [128]],
            [-1, 3, "MLLABlocks", [128]],
            [-1, 3, "C2fMLLA", [256, 1.0]],
        ],
        "head": [[-1, 1, "Inserted", [64, 64, "mlla", "none"]], [[2, 3], 1, "Concat", [1]]],
    }
    expected = {"n": (32, 1), "s": (64, 3)}
    cause: Exception | None = None
    for scale, (width, repeats) in expected.items():
        if scale == "s":
            config["head"] = [[[2, 3], 1, "Concat", [1]]]
        try:
            # the user's random numbers stay the same, whether or not mlla is imported
            with torch.random.fork_rng(devices=[]):
                rows, _ = tasks.parse_model({**config, "scale": scale}, ch=3, verbose=False)
            blocks, stage = rows[2].blocks, rows[3].m
            fits = len(blocks) == repeats == len(stage) and (
                blocks[0].attention_norm.normalized_shape == (width,)
                and stage[0].attention_norm.normalized_shape == (2 * width,)
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            fits, cause = False, error
        if not fits:
            raise ImportError(
                f"ultralytics {ultralytics.__version__} reads model YAMLs in a way mlla does not "
                f"know; tested are {TESTED_VERSIONS[0]} to {TESTED_VERSIONS[1]}. "
                f"Install one of them: pip install 'ultralytics>={TESTED_VERSIONS[0]},<8.5'"
            ) from cause


def warn_if_untested() -> None:
    """Warn when the installed Ultralytics is outside the range that the tests cover."""
    oldest, newest = (_as_numbers(version) for version in TESTED_VERSIONS)
    if not oldest <= _as_numbers(ultralytics.__version__) <= newest:
        warnings.warn(
            f"ultralytics {ultralytics.__version__} is outside the tested range "
            f"{TESTED_VERSIONS[0]} to {TESTED_VERSIONS[1]}; its model parser passed the checks",
            stacklevel=2,
        )


def _as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
