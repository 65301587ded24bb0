"""Floating-point operations as the paper counts them."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mlla.ops.unified_attention.forgetting import FORWARD_FLOPS

# per element that a layer norm with weights reads, and a batch norm: how fvcore counts them
_LAYER_NORM_OPERATIONS = 5
_BATCH_NORM_OPERATIONS = 2
# per token, channel and state: how VMamba counts a selective scan
_SCAN_OPERATIONS = 9


def count_flops(model: nn.Module, image_size_px: int = 224) -> int:
    """Count the operations of one image as papers of this field do, with the rules of fvcore.

    A multiplication with its addition is one operation; so are, per element, 5 for a layer norm
    and 2 for a batch norm. Activations and other work on single elements are free. A scan with a
    forget gate counts 9 per token, channel and state.

    Args:
        model: A network of this package that takes images; only its structure is used, on the
            device "meta", and it comes back as it was.
        image_size_px: Side of the image.

    Returns:
        The count.

    Source: fvcore.nn.flop_count; the scan as in VMamba, MzeroMiko/VMamba @25a9f9e.
    """
    elements = {nn.LayerNorm: 0, nn.BatchNorm2d: 0}

    def count_elements(module: nn.Module, inputs: tuple[torch.Tensor, ...], _: object) -> None:
        kind = nn.LayerNorm if isinstance(module, nn.LayerNorm) else nn.BatchNorm2d
        elements[kind] += inputs[0].numel()

    hooks = [
        module.register_forward_hook(count_elements)
        for module in model.modules()
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d)
    ]
    was_training = model.training
    weights = {name: tensor.to("meta") for name, tensor in model.state_dict().items()}
    in_chans = getattr(model, "in_chans", 3)
    image = torch.empty(1, in_chans, image_size_px, image_size_px, device="meta")
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            torch.func.functional_call(model.eval(), weights, image)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    counted = counter.get_flop_counts()["Global"]
    scanned = sum(counted.pop(op, 0) for op in list(counted) if "forgetting" in str(op))
    return (
        sum(counted.values()) // 2
        + scanned // FORWARD_FLOPS * _SCAN_OPERATIONS
        + elements[nn.LayerNorm] * _LAYER_NORM_OPERATIONS
        + elements[nn.BatchNorm2d] * _BATCH_NORM_OPERATIONS
    )
