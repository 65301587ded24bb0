"""The arms of a comparison: the models, the plugged blocks, and the controls that explain them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

GATES = ("zero", "none")


@dataclass(frozen=True)
class Arm:
    """One way to build a detector.

    Attributes:
        name: Unique among the arms of a study.
        kind: "baseline", "variant", "convolution", "identity", or "added" for existing runs.
        model: Packaged or stock name with its .yaml, path of a YAML, or a checkpoint.
        block: Block that is plugged into the model, if any, as `mlla.yolo.plug` takes it.
        at: Where the block goes.
        gate: "zero" or "none", where there is a block.
        control_of: Name of the variant that a control explains.
        python_path: Folders to search for the class of a block of the user.
    """

    name: str
    kind: str
    model: str
    block: str | None = None
    at: str | int | list[int] | None = None
    gate: str | None = None
    control_of: str | None = None
    python_path: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Name of its folder in a study."""
        return re.sub(r"[^A-Za-z0-9._+@-]", "_", self.name)

    def to_dict(self) -> dict[str, Any]:
        """Return what a JSON file stores."""
        return {**asdict(self), "python_path": list(self.python_path)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Arm:
        """Return the arm that `to_dict` described."""
        return cls(**{**stored, "python_path": tuple(stored["python_path"])})


def make_arms(
    models: Sequence[str], plug: Sequence[str] = (), *, controls: bool | None = None
) -> list[Arm]:
    """List the arms of a study: the baseline, the variants, and their controls.

    The controls of a plugged block are a plain convolution block of as many parameters at the same
    place, and nothing at the same place, which must give the baseline again. That of another model
    is a convolution block between neck and head, of as many parameters as the model has more.

    Args:
        models: Names or files of models, the first of which is the baseline.
        plug: Blocks to insert into the first model: "block@place" or "block@place@gate", such as
            "mlla@neck", "multiscale_attention@4-6-9@none" or "FILE.py:Class@p5".
        controls: True for all variants, False for none, None for those of `plug`.

    Returns:
        The arms: the baseline, the variants, the controls. Classes of the user were imported.

    Raises:
        FileNotFoundError: If there is no such model or file.
        ValueError: If nothing is compared, two arms have one name, or a plug is not understood.
    """
    if not models:
        raise ValueError("models=[] names no model; the first of them is the baseline")
    files = [_model_file(model) for model in models]
    baseline = Arm(Path(files[0]).stem, "baseline", files[0])
    asked = [_plugged(baseline, item) for item in plug]
    named = {arm.name for arm in asked if _is_control(arm)}
    variants = [Arm(Path(file).stem, "variant", file) for file in files[1:]]
    variants += [arm for arm in asked if arm.name not in named]
    made: dict[str, Arm] = {}
    for variant in variants:
        wanted = variant.block is not None if controls is None else controls
        if wanted or named:
            for control in _controls(baseline, variant):
                if wanted or control.name in named:
                    made.setdefault(control.name, control)
    # a control without its variant is a variant like any other
    variants += [arm for arm in asked if arm.name in named and arm.name not in made]
    arms = [baseline, *variants, *made.values()]
    if not variants:
        raise ValueError(
            f"models={list(models)} leaves nothing to compare; name another model, or plug a block"
        )
    _refuse_equal_names(arms)
    return arms


def search_blocks_in(folders: Sequence[str]) -> None:
    """Let checkpoints find the blocks of the user in these folders."""
    if folders:
        from mlla.yolo.user_block import make_importable

        for folder in folders:
            make_importable(folder)


def _model_file(model: str) -> str:
    """Return a name with its suffix, or the whole path of a file."""
    # ultralytics takes seconds to import, and reading a finished study needs none of it
    from mlla.yolo.config import local_file, model_config

    path = Path(str(model).strip())
    if path.suffix == ".pt":
        if not path.is_file():
            raise FileNotFoundError(
                f"models: there is no checkpoint {str(model)!r}; a model by name is "
                f"{path.stem!r}, and pretrained=FILE.pt gives it weights"
            )
        return str(path.absolute())
    if path.suffix not in (".yaml", ".yml"):
        path = path.with_name(f"{path.name}.yaml")
    model_config(path)
    return str(path if local_file(path) is None else path.absolute())


def _plugged(baseline: Arm, item: str) -> Arm:
    """Read one item of `plug`."""
    from mlla.yolo.block_names import resolved

    text, gate = item.strip(), "zero"
    if text.endswith(tuple(f"@{known}" for known in GATES)):
        text, _, gate = text.rpartition("@")
    block, separator, place = text.rpartition("@")
    if not (separator and block and place):
        raise ValueError(
            f"plug={item!r} is not understood; write block@place or block@place@gate, such as "
            "mlla@neck, mlla@p5@none or FILE.py:Class@4-6-9"
        )
    at: str | int | list[int] = place
    if place not in ("neck", "p5"):
        rows = place.split("-")
        if not all(row.isdigit() for row in rows):
            raise ValueError(
                f"plug={item!r}: the place {place!r} is unknown; choose neck, p5 or row numbers "
                f"such as 4-6-9, and as gate {' or '.join(GATES)}"
            )
        at = [int(row) for row in rows] if len(rows) > 1 else int(place)
    block, folder = resolved(block)
    gate = "none" if block == "identity" else gate
    arm = Arm("", "variant", baseline.model, block, at, gate, None, (folder,) * bool(folder))
    return replace(arm, name=_plug_name(baseline, arm))


def _plug_name(baseline: Arm, arm: Arm) -> str:
    at = "-".join(map(str, arm.at)) if isinstance(arm.at, list) else str(arm.at)
    block = str(arm.block).replace("conv_like:", "conv_like_").replace(":", ".")
    # nothing that is inserted has nothing to gate
    gate = "@none" if arm.gate == "none" and arm.block != "identity" else ""
    return f"{baseline.name}+{block}@{at}{gate}"


def _is_control(arm: Arm) -> bool:
    from mlla.yolo.block_names import imitated

    return arm.block == "identity" or imitated(str(arm.block)) is not None


def _controls(baseline: Arm, variant: Arm) -> Iterator[Arm]:
    from mlla.yolo.block_names import convolution_like, extra_parameters, has_parameters

    if variant.block is None:
        extra = extra_parameters(variant.model, baseline.model)
        if extra <= 0:
            warnings.warn(
                f"{variant.name} has {-extra:,} parameters fewer than {baseline.name}: no "
                "convolution block is added as its control",
                stacklevel=2,
            )
            return
        name = f"{baseline.name}+conv_like_{variant.name}@neck"
        block = convolution_like(variant.model)
        yield Arm(name, "convolution", baseline.model, block, "neck", "zero", variant.name)
        return
    shared = replace(variant, control_of=variant.name)
    if has_parameters(variant.block):
        control = replace(shared, kind="convolution", block=convolution_like(variant.block))
        yield replace(control, name=_plug_name(baseline, control))
    control = replace(shared, kind="identity", block="identity", gate="none", python_path=())
    yield replace(control, name=_plug_name(baseline, control))


def _refuse_equal_names(arms: Sequence[Arm]) -> None:
    # some file systems take upper and lower case for the same
    seen: dict[str, Arm] = {}
    for arm in arms:
        other = seen.setdefault(arm.folder.lower(), arm)
        if other is not arm:
            raise ValueError(
                f"two arms are called {arm.name!r}: {_origin(other)} and {_origin(arm)}; leave "
                "one out, or rename its file"
            )


def _origin(arm: Arm) -> str:
    return arm.model if arm.block is None else f"{arm.block} at {arm.at} in {arm.model}"
