"""Whether a layer may be computed without calling it."""

from torch import nn


def is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Tell whether calling a module does what its class says and nothing else.

    Subclasses (adapters, quantisation, parametrisations), hooks (counters, probes) and forwards
    that were replaced on the object must be called; their weights alone do not tell what they do.

    Args:
        module: Any module.
        kind: The class it must be, exactly.

    Returns:
        Whether its weights may be used directly.
    """
    hooks = (
        *(module._forward_hooks, module._forward_pre_hooks),
        *(module._backward_hooks, module._backward_pre_hooks),
    )
    return type(module) is kind and "forward" not in vars(module) and not any(hooks)
