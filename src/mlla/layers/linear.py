"""Linear layers as MLLA and VM-UNet start them."""

from torch import nn


def linear(in_dim: int, out_dim: int, *, bias: bool = True) -> nn.Linear:
    """Build a linear layer with the published initial values.

    Weights come from a normal distribution of std 0.02, truncated at two units, and biases are 0.
    PyTorch's own initial values are several times larger: a block would then start far from the
    identity, and a detector that contains it learns later.

    Args:
        in_dim: Input width.
        out_dim: Output width.
        bias: Whether the layer has a bias.

    Returns:
        The layer.

    Source: MLLA in LeapLabTHU/MLLA @66b6d29; VSSM in JCruan519/VM-UNet @43c495b.
    """
    layer = nn.Linear(in_dim, out_dim, bias=bias)
    init_linear(layer)
    return layer


def init_linear(module: nn.Module) -> None:
    """Give a linear layer the values that `linear` starts from; leave other modules alone."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
