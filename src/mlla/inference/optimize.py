"""One step from a trained model to a fast one."""

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from mlla.inference.fast_path import takes_fast_path
from mlla.inference.folds_itself import FoldsItself
from mlla.inference.form import InferenceForm
from mlla.inference.forms import FORMS, with_forms
from mlla.inference.optimizations import Optimizations
from mlla.inference.packed import PackedLinear

# far above rounding, and far below what a wrong fold does
_TOLERANCE = 1e-4


def optimize(model: nn.Module, *, dtype: torch.dtype | None = None, example: Any = None) -> Any:
    """Return a copy of a model that is faster at inference and computes the same.

    Norms and identities go into the weights of their neighbours, activations into the layers before
    them, and on a CPU the blocks work in place and in tiles that fit the caches. The model may be
    anything that contains our blocks: a timm classifier or `features_only` backbone, a segmenter or
    detector around one, or a network of Ultralytics, whose own `fuse()` does this as well. In
    float32 outputs stay equal to 1e-5 of the largest. Traces, exports and torch.compile see
    ordinary operators.

    Args:
        model: The model, which is left as it is; whether it trains or not, the copy does not.
        dtype: What to turn the weights into, for example `torch.bfloat16`; by default they stay.
            MLLA's stem then takes images of any type. Sums over tokens stay in float32.
        example: An input, or a tuple of inputs, to compare the two models on.

    Returns:
        The copy, in evaluation mode and without gradients for its weights. Its attribute
        `optimizations` tells what was done.

    Raises:
        TypeError: If `model` is no module.
        ValueError: If there is none of our blocks in the model, it was optimized before, it is the
            `YOLO` around a network, or `dtype` is of no use there.
        RuntimeError: If the outputs for `example` differ, which a float32 model's must not.
    """
    _check(model, dtype)
    copy: Any = deepcopy(model).eval().requires_grad_(False)
    if callable(getattr(copy, "fuse", None)) and callable(getattr(copy, "is_fused", None)):
        # a network of Ultralytics: its rows keep what files need
        copy.fuse(verbose=False)
    replaced, left = Counter[str](), Counter[str]()
    optimized: Any = _folded(copy, replaced, left)
    if not replaced:
        kinds = ", ".join(kind.__name__ for kind in FORMS)
        raise ValueError(
            f"model of class {type(model).__name__} has nothing to optimize: there is no {kinds} "
            f"in it{' without hooks' if left else ''}; use it as it is"
        )
    optimized = optimized.to(dtype).requires_grad_(False)
    for part in optimized.modules():
        # now, and not in the first pass, which would look like one that needs memory
        if isinstance(part, PackedLinear) and takes_fast_path(part.weight.detach()):
            part.pack()
    own_dtype = next((p.dtype for p in optimized.parameters() if p.is_floating_point()), dtype)
    error = None if example is None else _largest_error(model, optimized, example, dtype)
    if error is not None and own_dtype == torch.float32 and not error <= _TOLERANCE:
        raise RuntimeError(
            f"the optimized model differs from the model by {error:.1e} of its largest output for "
            f"this example, which is more than rounding ({_TOLERANCE}); use the model as it is, "
            "and report this"
        )
    optimized.optimizations = Optimizations(replaced, left, own_dtype or torch.float32, error)
    return optimized


def _check(model: Any, dtype: Any) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model={model!r} is no torch.nn.Module")
    if hasattr(model, "overrides") and isinstance(getattr(model, "model", None), nn.Module):
        raise ValueError(
            f"model of class {type(model).__name__} holds a network and is none; call its fuse(), "
            "which does the same in place, or pass model.model"
        )
    if any(isinstance(module, InferenceForm) for module in model.modules()):
        raise ValueError(
            f"model of class {type(model).__name__} is optimized already; optimize the original"
        )
    if dtype is None:
        return
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"dtype={dtype!r} must be torch.float32 or torch.bfloat16, or None")
    devices = {parameter.device.type for parameter in model.parameters()}
    if dtype == torch.float16 and "cpu" in devices:
        raise ValueError(
            "dtype=torch.float16 is slower than float32 on a CPU; choose torch.bfloat16, or move "
            "the model to a GPU first"
        )


def _folded(module: nn.Module, replaced: "Counter[str]", left: "Counter[str]") -> nn.Module:
    if not any(isinstance(part, FoldsItself) for part in module.modules()):
        return with_forms(module, replaced, left, in_place=True)
    if isinstance(module, FoldsItself):
        module.fold()
        with_forms(module, replaced, left, in_place=False)
        return module
    for name, child in module.named_children():
        setattr(module, name, _folded(child, replaced, left))
    return module


@torch.no_grad()
def _largest_error(
    model: nn.Module, optimized: nn.Module, example: Any, dtype: torch.dtype | None
) -> float:
    inputs = example if isinstance(example, tuple) else (example,)
    cast = tuple(
        value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
        for value in inputs
    )
    was_training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        expected = list(_tensors(model(*inputs)))
    finally:
        for module in was_training:
            module.training = True
    pairs = zip(expected, _tensors(optimized(*cast)), strict=True)
    return max(_relative(wanted.double(), got.double()) for wanted, got in pairs)


def _relative(wanted: Tensor, got: Tensor) -> float:
    return float((wanted - got).abs().max() / wanted.abs().max().clamp_min(1e-30))


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        yield from _tensors(list(output.values()))
    elif isinstance(output, list | tuple):
        for part in output:
            yield from _tensors(part)
