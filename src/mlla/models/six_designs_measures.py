"""What the paper's figures 4b and 5 show, of any model and any images."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlla.blocks.six_designs_block import SixDesignsBlock
from mlla.layers.unified_attention import UnifiedAttention
from mlla.models.linear_swin import LinearSwin


def forget_gate_averages(
    model: LinearSwin, images: Float[Tensor, "B in_chans height width"]
) -> list[float]:
    """Return the average value of the forget gates of each block, from the first to the last.

    The average of exp(steps * rates) is over images, tokens, channels and states: 1 keeps
    everything that came before a token, 0 nothing.

    Args:
        model: A model with forget gates; it is evaluated, and comes back as it was.
        images: Images as the model takes them, on its device.

    Raises:
        ValueError: If a block has no forget gate.

    Source: arXiv 2405.16605, figure 4b.
    """
    attentions = [module for module in model.modules() if isinstance(module, UnifiedAttention)]
    gates = [a for a in attentions if a.A_log is not None and a.steps is not None]
    if len(gates) < len(attentions) or not gates:
        raise ValueError(
            f"{len(attentions) - len(gates)} of {len(attentions)} blocks have no forget gate; "
            "build the model with forget_gate=True"
        )
    averages = []

    def average(attention: UnifiedAttention) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, steps: Tensor) -> None:
            # state by state: all of them at once would take as many times the memory
            rates = attention.forget_rates().to(steps.dtype).unbind(1)
            averages.append(sum((steps * rate).exp().mean().item() for rate in rates) / len(rates))

        return hook

    with _hooked([(gate.steps, average(gate)) for gate in gates]):
        _evaluate(model, images)
    return averages


def token_length_deviations(
    model: LinearSwin, images: Float[Tensor, "B in_chans height width"]
) -> list[float]:
    """Return how much the lengths of tokens differ after each block, from the first to the last.

    The length of a token is its Euclidean norm; the standard deviation is over the tokens of an
    image, and the result its average over images.

    Args:
        model: The model; it is evaluated, and comes back as it was.
        images: Images as the model takes them, on its device.

    Source: arXiv 2405.16605, figure 5.
    """
    deviations = []

    def hook(_module: nn.Module, _inputs: object, grid: Tensor) -> None:
        lengths = grid.float().norm(dim=-1).flatten(1)
        deviations.append(lengths.std(dim=1, correction=0).mean().item())

    blocks = [module for module in model.modules() if isinstance(module, SixDesignsBlock)]
    with _hooked([(block, hook) for block in blocks]):
        _evaluate(model, images)
    return deviations


@contextmanager
def _hooked(hooks: list[tuple[Any, Callable[..., None]]]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _evaluate(model: nn.Module, images: Tensor) -> None:
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(images)
    finally:
        model.train(was_training)
