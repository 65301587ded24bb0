"""Do space and channels stay apart, and does a pixel of the output belong to that of the input?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlla.check.attempt import FailedError
from mlla.check.probes.watch import Watched, watch_inputs
from mlla.check.report import Finding, Verdict
from mlla.check.subject import Subject

_CHECK_TOKENS, _CHECK_OUTPUT = "pixels stay whole", "output in its place"
_FEATURES, _POSITIONS, _INPUTS, _CHANNELS = 6, 3, 4, 4
# correlations above and below which two maps are taken for the same and for different
_ALIKE, _UNLIKE = 0.8, 0.3
# output pixels as shares of the side, each with the way to another one
_PAIRS = (
    ((0.5, 0.5), (2, 3)),
    ((0.2, 0.75), (3, -3)),
    ((0.75, 0.25), (-2, 3)),
    ((0.3, 0.4), (3, 3)),
)
# share of the sensitivity within 3x3 pixels from which on a feature has one place
_SHARP = 0.5
# how many times a place must exceed the median of all to stand out
_CONTRAST = 5.0
_WHY = (
    "A pixel is described by all its channels together. reshape or view of (B, C, H, W) to "
    "(B, H*W, C) does not turn pixels into tokens: it cuts the memory into pieces of C numbers, "
    "which are neighbouring pixels of one channel. Space and channels are scrambled; the network "
    "loses where things are."
)
_REMEDY = (
    "Use x.flatten(2).transpose(1, 2) for (B, C, H, W) -> (B, H*W, C), and "
    "tokens.transpose(1, 2).reshape(B, C, H, W) for the way back."
)


def probe_places(subject: Subject) -> list[Finding]:
    """Ask by gradients which pixels each inner token and each output pixel depend on."""
    return [_probe_tokens(subject), _probe_output(subject)]


@dataclass(frozen=True)
class _Token:
    """Where the features of one token come from: (row, column) of each, and the channels."""

    places: tuple[tuple[int, int], ...]
    num_channels: int

    def is_mixed(self, side: int) -> bool:
        """Tell whether the features of this one token come from all over the map."""
        rows, columns = zip(*self.places, strict=True)
        extent = max(max(rows) - min(rows), max(columns) - min(columns))
        return len(set(self.places)) >= 3 and extent >= max(8, side // 2)


def _probe_tokens(subject: Subject) -> Finding:
    module = subject.build_spread()
    maps = subject.square().requires_grad_()
    side = subject.side
    mixed: dict[str, _Token] = {}
    judged = []
    for watched in watch_inputs(module, lambda: subject.run(module, maps)):
        tokens = [
            token
            for position in _spread(watched.tokens.shape[0], _POSITIONS)
            if (token := _trace_token(watched, position, maps, _FEATURES))
        ]
        if not tokens:
            continue
        scattered = [token for token in tokens if token.is_mixed(side)]
        # a layer over the pixels of a channel, or over a row of it, mixes space on purpose
        over_space = watched.tokens.shape[1] in (side, side * side)
        if not (scattered and over_space):
            judged.append(watched.name)
            if 2 * len(scattered) >= len(tokens):
                middle = watched.tokens.shape[0] // 2
                every = _trace_token(watched, middle, maps, watched.tokens.shape[1])
                mixed[watched.name] = every or scattered[0]
    if not judged:
        return Finding(
            _CHECK_TOKENS, Verdict.NOT_CHECKED, "no inner layer sees anything as local as a pixel"
        )
    if not mixed:
        seen = f"each token that {_names(judged)} gets holds the channels of one place"
        return Finding(_CHECK_TOKENS, Verdict.OK, seen)
    name, token = next(iter(mixed.items()))
    rows, columns = zip(*token.places, strict=True)
    seen = (
        f"one token that {name} gets is made of {len(set(token.places))} different pixels, "
        f"from rows {min(rows)}-{max(rows)} and columns {min(columns)}-{max(columns)}, and of "
        f"{token.num_channels} of {subject.width} channels; right is one pixel and all channels"
    )
    others = list(mixed)[1:]
    return Finding(
        _CHECK_TOKENS,
        Verdict.FAULT,
        seen + (f" (the same at {_names(others)})" if others else ""),
        done=f"Followed the gradient of what the inner layers get back to a {side}x{side} map.",
        why=_WHY,
        remedy=_REMEDY,
    )


def _trace_token(watched: Watched, position: int, maps: Tensor, num_features: int) -> _Token | None:
    """Find the place of several features of one token; None if they have none."""
    token = watched.tokens[position]
    features = _spread(token.numel(), num_features)
    places, channels = [], set()
    for feature in features:
        (gradient,) = torch.autograd.grad(
            token[feature], maps, retain_graph=True, allow_unused=True
        )
        if gradient is None or not gradient.abs().sum() > 0:
            continue
        energy = gradient[0].square()
        by_place = energy.sum(dim=0)
        near = 9 * functional.avg_pool2d(by_place[None, None], 3, stride=1, padding=1)
        if near.max() < _SHARP * by_place.sum():
            continue
        places.append(_place(by_place))
        channels.update((energy.sum(dim=(1, 2)) > 0.01 * energy.sum()).nonzero().flatten().tolist())
    if len(places) < max(3, len(features) // 2):
        return None
    return _Token(tuple(places), len(channels))


def _probe_output(subject: Subject) -> Finding:
    side = subject.side
    done = (
        f"Summed squared gradients of output pixels with respect to {2 * _INPUTS} random "
        f"{side}x{side} maps."
    )
    module = subject.build_spread().requires_grad_(False)
    pairs = [(_at(side, *start), _at(side, *start, *step)) for start, step in _PAIRS]
    places = [place for pair in pairs for place in pair]
    try:
        first, second = (_dependence(subject, module, places, seed) for seed in (1, 2))
    except (FailedError, RuntimeError) as failure:
        return Finding(_CHECK_OUTPUT, Verdict.NOT_CHECKED, f"no gradient: {failure}")
    # what holds for one set of inputs only is chance
    clear = {p: first[p] + second[p] for p in places if _agree(first[p], second[p])}
    decided = [pair for pair in pairs if all(place in clear for place in pair)]
    scrambled = [pair for pair in decided if _is_scrambled(pair, clear)]
    peaks = {place: _place(energy) for place, energy in clear.items()}
    if len(scrambled) > max(1, len(decided) // 2):
        place = max((p for pair in scrambled for p in pair), key=lambda p: _far(p, peaks[p]))
        return Finding(
            _CHECK_OUTPUT,
            Verdict.FAULT,
            f"the output at pixel {place} depends most on {peaks[place]}, not on itself "
            f"({_text(clear[place])})",
            done=done,
            why="The pixel of the output is not that of the input any more: boxes end up where "
            "the objects are not. A reshape that cuts maps into tokens, or tokens into maps, does "
            "this.",
            remedy=_REMEDY,
        )
    for place, peak in peaks.items():
        if _far(place, peak) <= 2:
            seen = f"the output at pixel {place} depends most on {peak} ({_text(clear[place])})"
            return Finding(_CHECK_OUTPUT, Verdict.OK, seen)
    return Finding(_CHECK_OUTPUT, Verdict.OK, "no far-away pixel stands out")


def _agree(first: Tensor, second: Tensor) -> bool:
    """Tell whether a place stands out, the same way for two sets of inputs."""
    peak = _place(first)
    is_strong = min(_contrast(first, peak), _contrast(second, peak)) >= _CONTRAST
    return is_strong and _correlation(first, second) > _ALIKE


def _is_scrambled(
    pair: tuple[tuple[int, int], tuple[int, int]], energies: Mapping[tuple[int, int], Tensor]
) -> bool:
    """Tell whether what two pixels depend on fails to move along with them.

    What a convolution, a window or an attention looks at does move along.
    """
    (row, column), (other_row, other_column) = pair
    first, second = (energies[place] for place in pair)
    down, right = other_row - row, other_column - column
    height, width = first.shape
    moved = first[max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
    there = second[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]
    return _correlation(moved, there) < _UNLIKE


def _correlation(first: Tensor, second: Tensor) -> float:
    both = torch.stack((first.flatten(), second.flatten()))
    return torch.corrcoef(both)[0, 1].nan_to_num().item()


def _far(place: tuple[int, int], peak: tuple[int, int]) -> int:
    return max(abs(peak[0] - place[0]), abs(peak[1] - place[1]))


def _at(side: int, row: float, column: float, down: int = 0, right: int = 0) -> tuple[int, int]:
    return int(side * row) + down, int(side * column) + right


def _dependence(
    subject: Subject, module: nn.Module, places: list[tuple[int, int]], seed: int
) -> dict[tuple[int, int], Tensor]:
    """Return per place how much each input pixel moves it, other channels only if there are any.

    What a pixel passes on in its own channel, as every residual does, would hide the rest.
    """
    maps = subject.square(_INPUTS, seed=seed).requires_grad_()
    output = subject.run(module, maps)
    results = {}
    for row, column in places:
        across, within = torch.zeros(2, *maps.shape[2:])
        for channel in _spread(subject.width, _CHANNELS):
            (gradient,) = torch.autograd.grad(
                output[:, channel, row, column].sum(), maps, retain_graph=True
            )
            energy = gradient.square().sum(dim=0)
            within += energy[channel]
            across += energy.sum(dim=0) - energy[channel]
        results[row, column] = across if across.max() > 1e-6 * within.max() else within
    return results


def _contrast(energy: Tensor, place: tuple[int, int]) -> float:
    return (energy[place] / energy.median().clamp_min(1e-6 * energy.max())).item()


def _text(energy: Tensor) -> str:
    strength = _contrast(energy, _place(energy))
    if strength > 1e4:
        return "most other pixels hardly matter"
    return f"{strength:.0f} times more than on the median pixel"


def _place(energy: Tensor) -> tuple[int, int]:
    row, column = divmod(int(energy.argmax()), energy.shape[1])
    return row, column


def _spread(length: int, count: int) -> list[int]:
    return sorted({round(i) for i in torch.linspace(0, length - 1, min(count, length)).tolist()})


def _names(names: list[str]) -> str:
    shown = ", ".join(names[:4])
    return shown + (f" and {len(names) - 4} more" if len(names) > 4 else "")
