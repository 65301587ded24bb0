"""The module under test, whatever it takes for its input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mlla.check.arguments import guess_arguments, width_arguments
from mlla.check.attempt import FailedError, attempt
from mlla.check.load import LoadError


@dataclass(frozen=True)
class Layout:
    """A way to hand a map to a module, and to read its answer as a map.

    Attributes:
        name: For the report.
        call: Takes the module and a map (B, C, H, W); returns a map.
    """

    name: str
    call: Callable[[nn.Module, Tensor], Tensor]


def _call_with_map(module: nn.Module, maps: Tensor) -> Tensor:
    return _first_tensor(module(maps))


def _call_with_grid(module: nn.Module, maps: Tensor) -> Tensor:
    return _first_tensor(module(maps.permute(0, 2, 3, 1).contiguous())).permute(0, 3, 1, 2)


def _tokens_with(*extra: str) -> Callable[[nn.Module, Tensor], Tensor]:
    def call(module: nn.Module, maps: Tensor) -> Tensor:
        height, width = maps.shape[2:]
        sizes = {"H": height, "W": width, "HW": (height, width)}
        tokens = maps.flatten(2).transpose(1, 2).contiguous()
        answer = _first_tensor(module(tokens, *(sizes[name] for name in extra)))
        if answer.dim() != 3 or answer.shape[1] != height * width:
            raise ValueError(f"returns {tuple(answer.shape)} for tokens {tuple(tokens.shape)}")
        return answer.transpose(1, 2).unflatten(2, (height, width))

    return call


LAYOUTS = (
    Layout("a map (B, C, H, W)", _call_with_map),
    Layout("a grid (B, H, W, C)", _call_with_grid),
    Layout("tokens (B, N, C) and H, W", _tokens_with("H", "W")),
    Layout("tokens (B, N, C) and (H, W)", _tokens_with("HW")),
    Layout("tokens (B, N, C)", _tokens_with()),
)


@dataclass(frozen=True)
class Subject:
    """A class, the arguments it was built with, and the way to call it.

    Attributes:
        target: The class.
        arguments: Keyword arguments of its constructor.
        layout: How it takes a map.
        width: Number of channels C.
        side: Side of the square map it was first run on.
        seed: Seed of weights and inputs.
        keeps_shape: Whether its answer on that map has the shape of the map.
    """

    target: type[nn.Module]
    arguments: Mapping[str, Any]
    layout: Layout
    width: int
    side: int
    seed: int
    keeps_shape: bool = True

    def build(self, **changes: Any) -> nn.Module:
        """Build the module, the same weights every time, ready for inference.

        Raises:
            FailedError: If its constructor raises.
        """
        torch.manual_seed(self.seed)
        return attempt(lambda: self.target(**{**self.arguments, **changes})).eval()

    def build_spread(self, **changes: Any) -> nn.Module:
        """Build the module with weights under which every part of it has a visible effect."""
        module = self.build(**changes)
        spread_weights(module, self.seed)
        return module

    def maps(self, batch: int, height: int, width: int, *, seed: int = 0) -> Tensor:
        """Draw normal maps (B, C, H, W)."""
        generator = torch.Generator().manual_seed(self.seed + seed)
        return torch.randn(batch, self.width, height, width, generator=generator)

    def square(self, batch: int = 1, *, seed: int = 0) -> Tensor:
        """Draw maps of the size on which the module is known to run."""
        return self.maps(batch, self.side, self.side, seed=seed)

    def run(self, module: nn.Module, maps: Tensor) -> Tensor:
        """Call the module and return its answer as a map; random layers draw the same each time.

        The module gets a copy, so that one which overwrites its input spoils no comparison.

        Raises:
            FailedError: If it raises.
        """
        torch.manual_seed(self.seed)
        return attempt(lambda: self.layout.call(module, maps.clone()))

    @property
    def call_text(self) -> str:
        """The call that builds the module, as one would write it."""
        words = ", ".join(f"{key}={value!r}" for key, value in self.arguments.items())
        return f"{self.target.__name__}({words})"


def find_subject(
    target: type[nn.Module], *, width: int, given: Mapping[str, Any], seed: int
) -> Subject:
    """Find arguments and a layout with which a class runs on a square map.

    Args:
        target: The class.
        width: Number of channels to ask for.
        given: Arguments that the user has decided.
        seed: Seed of weights and inputs.

    Returns:
        The subject; its answer has the shape of its input if any layout gives that.

    Raises:
        LoadError: If nothing runs.
    """
    decided = [given[name] for name in width_arguments(target) if name in given]
    widths = [decided[0] if decided else width]
    failures: list[str] = []
    other_shape: Subject | None = None
    for channels in widths:
        # a side that cannot be taken for a width
        side = next(s for s in (16, 24, 20) if channels not in (s, s * s))
        for arguments in guess_arguments(target, channels, side, given):
            subject = Subject(target, arguments, LAYOUTS[0], channels, side, seed)
            try:
                module = subject.build()
            except FailedError as failure:
                failures.append(f"{subject.call_text} raises {failure}")
                continue
            if not width_arguments(target):
                widths += [own for own in _own_widths(module) if own not in widths]
            for layout in LAYOUTS:
                found = replace(subject, layout=layout)
                try:
                    with torch.no_grad():
                        answer = found.run(module, found.square())
                except FailedError as failure:
                    failures.append(f"called with {layout.name} it raises {failure}")
                    continue
                if answer.shape == found.square().shape:
                    return found
                other_shape = other_shape or replace(found, keeps_shape=False)
    if other_shape is not None:
        return other_shape
    raise LoadError(_nothing_runs(target, failures))


def _own_widths(module: nn.Module) -> list[int]:
    """Return the widths that the layers of a module take, for one that offers no choice."""
    names = ("in_channels", "in_features", "num_features", "embed_dim")
    widths = [vars(part).get(name) for part in module.modules() for name in names]
    return list(dict.fromkeys(width for width in widths if isinstance(width, int)))


def _nothing_runs(target: type[nn.Module], failures: list[str]) -> str:
    lines = "\n".join(f"  {line}" for line in dict.fromkeys(failures[:6]))
    needs_gpu = any("cuda" in line.lower() or "nvidia" in line.lower() for line in failures)
    hint = (
        "it needs a GPU, and checks run on the CPU: remove .cuda() and device='cuda'; " * needs_gpu
    )
    return (
        f"{target.__name__} runs on no input that was tried:\n{lines}\n{hint}"
        'name its arguments as in args="dim=64, num_heads=4", and set width= to its channels'
    )


def _first_tensor(answer: Any) -> Tensor:
    if isinstance(answer, dict):
        answer = next(iter(answer.values()), None)
    while isinstance(answer, list | tuple) and answer:
        answer = answer[0]
    if not isinstance(answer, Tensor):
        raise TypeError(f"returns {type(answer).__name__}, not a tensor")
    return answer


def spread_weights(module: nn.Module, seed: int) -> None:
    """Give weights values under which no part is shut: gates that start at zero open.

    Matrices and kernels get the scale that keeps the size of what passes through; vectors move by
    a tenth around their initial value, such as norms around 1.
    """
    generator = torch.Generator().manual_seed(seed)
    usual = {
        id(part.weight)
        for part in module.modules()
        if isinstance(part, nn.Linear | nn.modules.conv._ConvNd)
    }
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.numel():
                continue
            noise = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
            is_constant = bool((parameter == parameter.flatten()[0]).all())
            if parameter.numel() == max(parameter.shape, default=1):
                parameter.add_(0.1 * noise)
            elif id(parameter) in usual or is_constant:
                parameter.copy_(noise / max(1, parameter[0].numel()) ** 0.5)
