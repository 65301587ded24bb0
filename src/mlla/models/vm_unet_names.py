"""How the names in the authors' VM-UNet files map to ours."""

from collections.abc import Mapping

from torch import Tensor

from mlla.models.rename_table import RenameTable
from mlla.ops.grid_scan import NUM_SCANS

#: What a block of JCruan519/VM-UNet @43c495b consists of, and what we call it.
_BLOCK_PARTS = {
    "ln_1": "norm",
    "self_attention.in_proj": "ss2d.input_and_gate_projection",
    "self_attention.conv2d": "ss2d.local_mixing",
    "self_attention.x_proj_weight": "ss2d.scan.x_proj_weight",
    "self_attention.dt_projs_weight": "ss2d.scan.dt_proj_weight",
    "self_attention.dt_projs_bias": "ss2d.scan.dt_proj_bias",
    "self_attention.A_logs": "ss2d.scan.A_log",
    "self_attention.Ds": "ss2d.scan.D",
    "self_attention.out_norm": "ss2d.scan_norm",
    "self_attention.out_proj": "ss2d.output_projection",
}
_STAGES = {"layers.{stage}.blocks.{block}.": "encoder.{stage}.{block}."} | {
    "layers_up.{stage}.blocks.{block}.": "decoder.{stage}.{block}."
}

#: Every part of the network. The authors end a stage of the encoder with its merging, and begin
#: all but the first of the decoder with their expansion.
PUBLISHED_PARTS = {
    "patch_embed.proj": "patch_projection",
    "patch_embed.norm": "patch_norm",
    **{
        their_stage + theirs: our_stage + ours
        for their_stage, our_stage in _STAGES.items()
        for theirs, ours in _BLOCK_PARTS.items()
    },
    "layers.{stage}.downsample.norm": "merges.{stage}.norm",
    "layers.{stage}.downsample.reduction": "merges.{stage}.reduce",
    "layers_up.{stage}.upsample.expand": "expansions.{previous_stage}.expand",
    "layers_up.{stage}.upsample.norm": "expansions.{previous_stage}.norm",
    "final_up": "final_expansion",
    "final_conv": "head",
}
_TABLE = RenameTable(PUBLISHED_PARTS)


def rename_vm_unet(name: str) -> str:
    """Return our name for one of the authors' parameters; unknown names come back as they are."""
    return _TABLE.rename(name)


def rename_vm_unet_state(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring a state dict of the authors under our names.

    They store the rates and the direct weights of the four scans in one dimension with the
    channels; here the scans have a dimension of their own.

    Args:
        state_dict: Tensors without wrapper or prefix.

    Returns:
        The same tensors under our names, as they are if they have them already.
    """
    renamed = {}
    for name, tensor in state_dict.items():
        is_joined = name.endswith((".A_logs", ".Ds")) and not tensor.shape[0] % NUM_SCANS
        renamed[rename_vm_unet(name)] = (
            tensor.unflatten(0, (NUM_SCANS, -1)) if is_joined else tensor
        )
    return renamed
