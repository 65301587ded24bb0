"""What the inner layers of a module get to see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mlla.check.attempt import FailedError

_LAST_IS_FEATURES = (nn.Linear, nn.LayerNorm, nn.MultiheadAttention)


@dataclass(frozen=True)
class Watched:
    """The input of one inner layer, as tokens (positions, features).

    Attributes:
        name: Name of the layer inside the module.
        tokens: Features of the first sample, with their graph.
    """

    name: str
    tokens: Tensor


def watch_inputs(module: nn.Module, run: Callable[[], object]) -> list[Watched]:
    """Run a module and keep what its linear, normalising and convolving layers get.

    Args:
        module: The module.
        run: Runs it once.

    Returns:
        One entry per layer that got several tokens of several features; none if it raises.
    """
    watched: list[Watched] = []

    def keep(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
            if not inputs or not isinstance(inputs[0], Tensor) or not inputs[0].requires_grad:
                return
            tensor = inputs[0]
            if isinstance(layer, nn.Conv2d) and tensor.dim() == 4:
                tensor = tensor.movedim(1, -1)
            if tensor.dim() >= 2:
                tokens = tensor.reshape(-1, tensor.shape[-1])
                if min(tokens.shape) > 2:
                    watched.append(Watched(name, tokens))

        return hook

    hooks = [
        layer.register_forward_pre_hook(keep(name))
        for name, layer in module.named_modules()
        if name and isinstance(layer, (*_LAST_IS_FEATURES, nn.Conv2d))
    ]
    try:
        run()
    except FailedError:
        return []
    finally:
        for hook in hooks:
            hook.remove()
    return watched
