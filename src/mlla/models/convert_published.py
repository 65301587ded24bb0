"""A file of the authors turned into a folder that `from_pretrained` reads, with a certificate."""

import hashlib
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mlla.models.mlla_names import rename_published_state
from mlla.models.model_description import VM_UNET, build_model
from mlla.models.pretrained import CERTIFICATE_NAME, from_pretrained, save_pretrained
from mlla.models.published_file import read_published_file
from mlla.models.published_sources import source_of
from mlla.models.published_weights import load_published, unwrap_checkpoint
from mlla.models.timm_entrypoints import PUBLISHED_SIZES
from mlla.models.vm_unet_names import rename_vm_unet_state
from mlla.models.weights_folder import CONFIG_NAME, WEIGHTS_NAME, json_bytes, write_files

# of the image with which the model is compared before and after; a multiple of nothing
_TRIAL_SIZE = (72, 100)


def convert_published(
    file: str | Path, folder: str | Path, *, overwrite: bool = False
) -> dict[str, Any]:
    """Convert a file of the authors, once and for all.

    Which model it holds is read from the names and shapes of its tensors. All of them are loaded,
    or nothing is written. What was written is read back and compared, bit by bit.

    Args:
        file: A .pth file of MLLA or VM-UNet, as published or as the authors' training writes it.
        folder: Where to. It gets config.json, model.safetensors and certificate.json.
        overwrite: Replace weights that are in the folder already.

    Returns:
        The certificate: the file and its SHA-256, the code of the authors, counts of tensors, and
        how exactly the network is reproduced.

    Raises:
        FileExistsError: If the folder has weights and `overwrite` is False.
        FileNotFoundError: If the file does not exist.
        OSError: If a file cannot be written.
        ValueError: If it cannot be read as weights, or not all of them fit one model.
    """
    file = Path(file)
    checkpoint = read_published_file(file)
    place, tensors = unwrap_checkpoint(checkpoint)
    architecture, args = identify_published(tensors, file)
    model = build_model(architecture, args)
    load_published(model, checkpoint)
    expected = _trial_output(model)
    if not expected.isfinite().all():
        raise ValueError(f"{file} holds weights whose output is not finite; nothing was written")
    folder = save_pretrained(model, folder, overwrite=overwrite)
    reloaded = from_pretrained(folder)
    difference = (expected - _trial_output(reloaded)).abs().max().item()
    if difference or not _same_bits(model, reloaded):
        raise ValueError(
            f"{folder} computes something else than {file}, by up to {difference:.3g}; this is a "
            "fault of mlla or of the disk: nothing in the folder should be used"
        )
    certificate = {
        "file": {"name": file.name, "bytes": file.stat().st_size, "sha256": _digest(file)},
        "place_in_file": place,
        **source_of(architecture, stage_norm=bool(args.get("stage_norm"))),
        "tensors": _counts(tensors, model),
        "reloaded": {
            "largest_difference": difference,
            "image": f"{_TRIAL_SIZE[0]}x{_TRIAL_SIZE[1]}",
        },
        "written": {name: _digest(folder / name) for name in (CONFIG_NAME, WEIGHTS_NAME)},
        "versions": {"mlla": version("mlla"), "torch": torch.__version__},
    }
    write_files(folder, {CERTIFICATE_NAME: json_bytes(certificate)})
    return certificate


def identify_published(
    tensors: Mapping[str, Tensor], file: str | Path
) -> tuple[str, dict[str, Any]]:
    """Tell which model a file of the authors is of.

    Args:
        tensors: Without wrapper or prefix, under the authors' names.
        file: To be named in errors.

    Returns:
        A name and arguments for `build_model`.

    Raises:
        ValueError: If it is none that they published.
    """
    mlla = rename_published_state(tensors)
    if "stem.project.conv.weight" in mlla:
        return _identify_mlla(mlla, file)
    vm_unet = rename_vm_unet_state(tensors)
    if "patch_projection.weight" in vm_unet and "head.weight" in vm_unet:
        return VM_UNET, {
            "in_chans": vm_unet["patch_projection.weight"].shape[1],
            "num_classes": vm_unet["head.weight"].shape[0],
            "dim": vm_unet["patch_projection.weight"].shape[0],
            "depths": _depths(vm_unet, r"encoder\.(\d+)\.(\d+)\."),
            "depths_decoder": _depths(vm_unet, r"decoder\.(\d+)\.(\d+)\."),
        }
    raise ValueError(
        f"{file} has the tensors of neither MLLA nor VM-UNet; it begins with "
        f"{', '.join(list(tensors)[:3]) or 'nothing'}"
    )


def _identify_mlla(state: Mapping[str, Tensor], file: str | Path) -> tuple[str, dict[str, Any]]:
    width = state["stem.project.conv.weight"].shape[0]
    depths = _depths(state, r"stages\.(\d+)\.blocks\.(\d+)\.")
    sizes = [
        size
        for size, options in PUBLISHED_SIZES.items()
        if (options["dim"], list(options["depths"])) == (width, depths)
    ]
    if not sizes:
        raise ValueError(
            f"{file} is an MLLA of width {width} and depths {depths}, which is none of the "
            "published sizes; its number of heads is not in the file, so build the model with "
            "timm.create_model('mlla_tiny', dim=..., depths=..., num_heads=...), and call "
            "mlla.load_published and mlla.models.save_pretrained"
        )
    head = state.get("head.fc.weight")
    return f"mlla_{sizes[0]}", {
        "in_chans": state["stem.reduce_to_half.conv.weight"].shape[1],
        "num_classes": 0 if head is None else head.shape[0],
        "stage_norm": "stage_norms.0.weight" in state,
    }


def _depths(state: Mapping[str, Tensor], pattern: str) -> list[int]:
    blocks = {(int(m[1]), int(m[2])) for name in state if (m := re.match(pattern, name))}
    stages = sorted({stage for stage, _ in blocks})
    return [sum(stage == number for stage, _ in blocks) for number in stages]


def _counts(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Any]:
    own = model.state_dict().keys()
    dropped = [name for name in tensors if name.endswith(".rotations")]
    return {
        "in_file": len(tensors),
        "read": len(tensors) - len(dropped),
        "renamed": sum(name not in own for name in tensors) - len(dropped),
        "dropped": len(dropped),
        "why_dropped": "tables of rotary angles, checked and computed here" if dropped else None,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


@torch.no_grad()
def _trial_output(model: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, getattr(model, "in_chans", 3), *_TRIAL_SIZE, generator=generator)
    return model.eval()(image)


def _same_bits(model: nn.Module, reloaded: nn.Module) -> bool:
    tensors = reloaded.state_dict()
    return all(torch.equal(tensor, tensors[n]) for n, tensor in model.state_dict().items())


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
