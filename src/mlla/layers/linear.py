"""Linear layers as MLLA starts them."""

from torch import nn


def linear(in_dim: int, out_dim: int) -> nn.Linear:
    """Build a linear layer with the published initial values.

    Weights come from a normal distribution of std 0.02, truncated at two units, and biases are 0.
    PyTorch's own initial values are several times larger: a block would then start far from the
    identity, and a detector that contains it learns later.

    Args:
        in_dim: Input width.
        out_dim: Output width.

    Returns:
        The layer.

    Source: arXiv 2405.16605; MLLA in LeapLabTHU/MLLA @66b6d29.
    """
    layer = nn.Linear(in_dim, out_dim)
    init_linear(layer)
    return layer


def init_linear(module: nn.Module) -> None:
    """Give a linear layer the values that `linear` starts from; leave other modules alone."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
