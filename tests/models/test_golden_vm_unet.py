"""VM-UNet, its block and its SS2D against the stored outputs of the authors' code."""

import pytest
import torch

from golden import assert_golden, drawn, filled, golden_case, golden_shapes
from mlla.blocks import VMUNetVSSBlock
from mlla.layers import VMUNetSS2D
from mlla.models import VMUNet, load_published
from mlla.models.vm_unet_names import rename_vm_unet_state

BLOCK = ("layers.0.blocks.0.", "encoder.0.0.")
SS2D = (BLOCK[0] + "self_attention.", BLOCK[1] + "ss2d.")


def renamed(tensors, theirs, ours):
    """Rename the tensors of a part of the network."""
    state = rename_vm_unet_state({theirs + name: tensor for name, tensor in tensors.items()})
    return {name.removeprefix(ours): tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    ("name", "module", "prefixes"),
    [("vmunet-vssblock-16", VMUNetVSSBlock, BLOCK), ("vmunet-ss2d-24", VMUNetSS2D, SS2D)],
)
def test_block_and_ss2d_with_all_gradients(name, module, prefixes):
    case = golden_case("vss_ema", name)
    tensors = filled(golden_shapes("vss_ema", name))
    layer = module(case["dim"])
    layer.load_state_dict(renamed(tensors, *prefixes))
    grid = drawn(f"{name}/input", case["input"]).requires_grad_()
    output = layer(grid)
    (output * drawn(f"{name}/cotangent", list(output.shape))).sum().backward()
    assert_golden("vss_ema", name, "output", output)
    assert_golden("vss_ema", name, "grad_input", grid.grad)
    gradients = {n: p.grad for n, p in layer.named_parameters()}
    checked = [array[5:] for array in case["arrays"] if array.startswith("grad:")]
    assert len(checked) == len(gradients)
    for theirs in checked:
        (ours,) = renamed({theirs: tensors[theirs]}, *prefixes)
        # they store the four scans in one dimension
        gradient = gradients[ours].reshape(tensors[theirs].shape)
        assert_golden("vss_ema", name, f"grad:{theirs}", gradient)


@torch.no_grad()
def test_logits_of_the_network():
    case = golden_case("vss_ema", "vmunet-64")
    model = VMUNet(depths=case["depths"], depths_decoder=case["depths_decoder"]).eval()
    load_published(model, filled(golden_shapes("vss_ema", "vmunet-64")))
    logits = model(drawn("vmunet-64/input", case["input"]))
    assert_golden("vss_ema", "vmunet-64", "logits", logits)


@pytest.mark.parametrize(
    ("case", "depths", "depths_decoder"),
    [
        ("vmunet-64", (2, 2, 2, 2), (2, 2, 2, 1)),
        # what the authors' class builds when nothing is said
        ("vmunet-default-parameters", (2, 2, 9, 2), (2, 9, 2, 2)),
    ],
)
def test_number_of_parameters(case, depths, depths_decoder):
    with torch.device("meta"):
        model = VMUNet(depths=depths, depths_decoder=depths_decoder)
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert counted == golden_case("vss_ema", case)["parameters"]
