"""How the names in the authors' MLLA files map to ours."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mlla.models.rename_table import RenameTable
from mlla.ops.rotary import rotate_by_position

_BLOCK = "layers.{stage}.blocks.{block}."
_OUR_BLOCK = "stages.{stage}.blocks.{block}."
_OUR_ATTENTION = _OUR_BLOCK + "gated_attention."

#: Modules of LeapLabTHU/MLLA @66b6d29, classifier and detection backbone, and what we call them.
#: The authors end a stage with its downsampling; here the next stage begins with it.
PUBLISHED_MODULES = {
    "patch_embed.conv1": "stem.reduce_to_half",
    "patch_embed.conv2": "stem.refine",
    "patch_embed.conv3.0": "stem.reduce_to_quarter",
    "patch_embed.conv3.1": "stem.project",
    _BLOCK + "cpe1": _OUR_BLOCK + "position_before_attention",
    _BLOCK + "norm1": _OUR_BLOCK + "attention_norm",
    _BLOCK + "in_proj": _OUR_ATTENTION + "input_projection",
    _BLOCK + "act_proj": _OUR_ATTENTION + "gate_projection",
    _BLOCK + "dwc": _OUR_ATTENTION + "local_mixing",
    _BLOCK + "attn.qk": _OUR_ATTENTION + "attention.query_key",
    _BLOCK + "attn.lepe": _OUR_ATTENTION + "attention.local_position",
    _BLOCK + "out_proj": _OUR_ATTENTION + "output_projection",
    _BLOCK + "cpe2": _OUR_BLOCK + "position_before_mlp",
    _BLOCK + "norm2": _OUR_BLOCK + "mlp_norm",
    _BLOCK + "mlp.fc1": _OUR_BLOCK + "mlp.expand",
    _BLOCK + "mlp.fc2": _OUR_BLOCK + "mlp.contract",
    "layers.{stage}.downsample.conv.0.conv": "stages.{next_stage}.downsample.expand",
    "layers.{stage}.downsample.conv.1.conv": "stages.{next_stage}.downsample.reduce",
    "layers.{stage}.downsample.conv.2": "stages.{next_stage}.downsample.project",
    "norm{stage}": "stage_norms.{stage}",
    "head": "head.fc",
}


_TABLE = RenameTable(PUBLISHED_MODULES)


def rename_published(name: str) -> str:
    """Return our name for one of the authors' parameters; unknown names come back as they are."""
    return _TABLE.rename(name)


def rename_published_state(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring a state dict of the authors under our names.

    Their `rotations` buffers, rotary angles for the one resolution a file was trained at, are
    dropped after a check: ours are computed for the resolution at hand.

    Args:
        state_dict: Tensors without wrapper or prefix.

    Returns:
        The same tensors under our names, as they are if they have them already.

    Raises:
        ValueError: If a `rotations` buffer holds other angles than ours.
    """
    # modules that only the authors call so
    if not any(name.startswith(("patch_embed.", "layers.")) for name in state_dict):
        return dict(state_dict)
    renamed = {}
    for name, tensor in state_dict.items():
        if name.endswith(".rotations"):
            _check_rotations(name, tensor)
        else:
            renamed[rename_published(name)] = tensor
    return renamed


def _check_rotations(name: str, table: Tensor) -> None:
    if table.dim() != 4 or table.shape[-1] != 2:
        raise ValueError(
            f"{name} has shape {tuple(table.shape)}; the authors store the cosine and sine of "
            "rotary angles as (H, W, C / 2, 2)"
        )
    height, width, pairs = table.shape[:3]
    unit_vectors = torch.tensor([1.0, 0.0]).repeat(pairs).expand(1, height, width, -1)
    ours = rotate_by_position(unit_vectors).reshape(table.shape)
    error = (table.detach().cpu().float() - ours).abs().max().item()
    # half-precision files are off by 5e-4, another base frequency by 1
    if error > 1e-2:
        raise ValueError(
            f"{name} is off by up to {error:.3g} from the rotary angles of the paper (2-D over "
            "the full width, base 10000): these weights belong to another position encoding"
        )
