"""How far is it from the published operator with the same weights?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mlla.blocks import MLLABlock
from mlla.check.probes.options import heads_of
from mlla.check.report import Finding, Verdict
from mlla.check.subject import Subject
from mlla.check.variants import VARIANTS, Variant
from mlla.models.mlla_names import rename_published

_CHECK = "published operator"
_EQUAL = 1e-3
_BLOCK, _OUR_BLOCK = "layers.0.blocks.0.", "stages.0.blocks.0."
_ATTENTION, _OUR_ATTENTION = "attn.", "gated_attention.attention."
_ATTENTION_NAMES = frozenset(
    f"{part}.{kind}" for part in ("query_key", "local_position") for kind in ("weight", "bias")
)


def probe_published(subject: Subject) -> list[Finding]:
    """Give the published operator the weights of the class, and compare outputs."""
    return [_probe(subject)]


@torch.no_grad()
def _probe(subject: Subject) -> Finding:
    module = subject.build_spread()
    state = {name: tensor.detach() for name, tensor in module.named_parameters()}
    maps = subject.square(2)
    answer = subject.run(module, maps)
    if (block := _under_our_names(state, _ATTENTION)) and set(block) == _block_names():
        return _compare_block(subject, block, maps, answer)
    # an attention on its own has no name in front of its parts
    attention = _under_our_names(state, "")
    if attention and "query_key.weight" in attention and set(attention) <= _ATTENTION_NAMES:
        return _compare_attention(subject, module, attention, maps, answer)
    return Finding(
        _CHECK,
        Verdict.NOT_CHECKED,
        f"cannot compare: the weights ({', '.join(list(state)[:5])}{', ...' * (len(state) > 5)}) "
        "are not named like those of the published attention (qk, lepe) or block",
    )


def _under_our_names(state: dict[str, Tensor], attention: str) -> dict[str, Tensor]:
    """Rename weights of a block ("attn.") or of an attention (""), whatever stands before them."""
    ours = _OUR_ATTENTION if attention else ""
    prefixes = {
        name.removesuffix(end)
        for name in state
        for end in (f"{attention}qk.weight", f"{ours}query_key.weight")
        if name.endswith(end)
    }
    if len(prefixes) != 1:
        return {}
    (prefix,) = prefixes
    if not all(name.startswith(prefix) for name in state):
        return {}
    renamed = {}
    for name, tensor in state.items():
        bare = name.removeprefix(prefix)
        theirs = _BLOCK + (bare if attention else _ATTENTION + bare)
        known = rename_published(theirs)
        if known != theirs:
            bare = known.removeprefix(_OUR_BLOCK + ("" if attention else _OUR_ATTENTION))
        renamed[bare] = tensor
    return renamed


def _block_names() -> set[str]:
    return {name for name, _ in MLLABlock(4, 1).named_parameters()}


def _compare_block(
    subject: Subject, weights: dict[str, Tensor], maps: Tensor, answer: Tensor
) -> Finding:
    hidden = weights["mlp.expand.weight"].shape[0]

    def published(num_heads: int) -> Tensor:
        block = MLLABlock(subject.width, num_heads, mlp_ratio=hidden / subject.width).eval()
        block.load_state_dict(weights)
        return block(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    try:
        error, heads = _closest(subject, answer, published)
    except (RuntimeError, ValueError) as failure:
        return Finding(
            _CHECK, Verdict.NOT_CHECKED, f"cannot compare: names fit, shapes do not ({failure})"
        )
    if error < _EQUAL:
        return _equal("block", error, heads)
    return _different(f"differs by {error:.1%} from the published block with the same weights")


def _compare_attention(
    subject: Subject, module: nn.Module, weights: dict[str, Tensor], maps: Tensor, answer: Tensor
) -> Finding:
    width = subject.width
    shapes = {
        "query_key.weight": (2 * width, width),
        "query_key.bias": (2 * width,),
        "local_position.weight": (width, 1, 3, 3),
        "local_position.bias": (width,),
    }
    try:
        # a 1x1 convolution is a linear layer; a bias that is left out is zero
        full = {
            name: weights[name].reshape(shape) if name in weights else torch.zeros(shape)
            for name, shape in shapes.items()
        }
    except RuntimeError as failure:
        return Finding(
            _CHECK, Verdict.NOT_CHECKED, f"cannot compare: names fit, shapes do not ({failure})"
        )

    def distance(variant: Variant) -> tuple[float, int]:
        return _closest(subject, answer, lambda heads: variant(full, maps, heads))

    right, heads = distance(Variant())
    if right < _EQUAL:
        return _equal("linear attention", right, heads)
    seen = f"differs by {right:.1%} from the published linear attention with the same weights"
    # the fewest mistakes that explain it
    for variant in sorted(VARIANTS, key=lambda v: len(v.mistakes())):
        error, heads = distance(variant)
        if error < _EQUAL:
            stated = heads_of(module)
            with_heads = f"{heads} head{'s' * (heads > 1)}"
            if stated not in (None, heads):
                with_heads += f" (it states {stated})"
            return _different(
                f"{seen}; equal to it within {error:.0e} if it is given {with_heads} and these "
                f"mistakes: {'; '.join(variant.mistakes())}"
            )
    return _different(f"{seen}; none of {len(VARIANTS) - 1} known mistakes explains it")


def _closest(
    subject: Subject, answer: Tensor, published: Callable[[int], Tensor]
) -> tuple[float, int]:
    """Return the smallest relative error over the numbers of heads, and that number."""
    heads = [count for count in range(1, subject.width + 1) if subject.width % count == 0]
    errors = []
    for count in heads:
        expected = published(count)
        error = (answer - expected).abs().max() / expected.abs().max().clamp_min(1e-12)
        errors.append((error.item() if error.isfinite() else float("inf"), count))
    return min(errors)


def _equal(what: str, error: float, heads: int) -> Finding:
    seen = (
        f"equal to the published {what} with {heads} head{'s' * (heads > 1)} and the same weights "
        f"(relative error {error:.0e})"
    )
    return Finding(_CHECK, Verdict.OK, seen)


def _different(seen: str) -> Finding:
    return Finding(
        _CHECK,
        Verdict.FAULT,
        seen,
        done="Matched the weights by their published names, ran both on the same random maps, and "
        "tried the known mistakes one by one and together.",
        why="It carries the names of the published operator but computes something else, so "
        "neither its results nor its pretrained weights apply.",
        remedy="Use mlla.layers.LinearAttention or mlla.MLLABlock, which equal the published "
        "code, or correct what is named here.",
    )
