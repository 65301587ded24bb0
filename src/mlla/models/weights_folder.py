"""A folder with the weights of a model, their digest, and what it takes to build the model."""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"


def write_weights(
    folder: str | Path,
    state_dict: Mapping[str, Tensor],
    config: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> Path:
    """Write model.safetensors and, with its SHA-256, config.json.

    Both are written in full beside their places before either takes its place. Whoever is stopped
    between the two leaves a pair that `read_weights` refuses.

    Args:
        folder: Where to; made if it does not exist, other files in it are left alone.
        state_dict: Tensors by name, on any device.
        config: What JSON can hold; "sha256" is added.
        overwrite: Replace weights that are there already.

    Returns:
        The folder.

    Raises:
        FileExistsError: If the folder has weights and `overwrite` is False.
        ValueError: If `config` holds what JSON cannot.
        OSError: If a file cannot be written; what was there is then still there.
    """
    folder = Path(folder)
    present = [name for name in (CONFIG_NAME, WEIGHTS_NAME) if (folder / name).exists()]
    if present and not overwrite:
        raise FileExistsError(
            f"{folder} has {' and '.join(present)} already; give another folder, or overwrite=True"
        )
    # safetensors refuses tensors that share memory, as tied weights do
    tensors = {
        name: tensor.detach().cpu().contiguous().clone() for name, tensor in state_dict.items()
    }
    weights = safetensors.torch.save(tensors, metadata={"format": "pt"})
    content = {**config, "sha256": hashlib.sha256(weights).hexdigest()}
    write_files(folder, {WEIGHTS_NAME: weights, CONFIG_NAME: json_bytes(content)})
    return folder


def read_weights(
    folder: str | Path, *, check_hash: bool = True
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read what `write_weights`, or timm, wrote.

    Args:
        folder: The folder.
        check_hash: Compare the weights with "sha256" of config.json. Folders that timm wrote have
            none.

    Returns:
        The content of config.json, and the tensors, on the CPU.

    Raises:
        FileNotFoundError: If the folder or one of the two files does not exist.
        ValueError: If a file is damaged, the digests differ, or there is none to compare with.
    """
    config = read_config(folder)
    path = Path(folder) / WEIGHTS_NAME
    weights = _read(path)
    if check_hash:
        expected, found = config.get("sha256"), hashlib.sha256(weights).hexdigest()
        if expected is None:
            raise ValueError(
                f"{path.with_name(CONFIG_NAME)} has no sha256 to check {WEIGHTS_NAME} against, as "
                "in folders that timm wrote; pass check_hash=False to load it unchecked"
            )
        if found != expected:
            raise ValueError(
                f"{path} has the SHA-256 {found}, but config.json says {expected}: it is damaged, "
                "was exchanged, or its writer was stopped; write or copy the folder again"
            )
    try:
        return config, safetensors.torch.load(weights)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from error


def read_config(folder: str | Path) -> dict[str, Any]:
    """Read config.json alone.

    Raises:
        FileNotFoundError: If the folder or the file does not exist.
        ValueError: If it is no JSON object.
    """
    path = Path(folder) / CONFIG_NAME
    try:
        config = json.loads(_read(path))
    except ValueError as error:
        raise ValueError(f"{path} is not the file that was written: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold a JSON object, not {type(config).__name__}")
    return config


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """Return the bytes of a JSON file, readable by people.

    Raises:
        ValueError: If `content` holds what JSON cannot.
    """
    try:
        return f"{json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)}\n".encode()
    except TypeError as error:
        raise ValueError(f"config must hold only what JSON can: {error}") from error


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files so that each is there in full or as before.

    Args:
        folder: Where to; made if it does not exist.
        contents: Bytes by file name; the files take their places in this order.

    Raises:
        OSError: If one cannot be written; then none has taken its place.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # names of their own, so that two writers cannot mix their bytes
    drafts = {name: folder / f".{name}.{secrets.token_hex(4)}.writing" for name in contents}
    try:
        for name, draft in drafts.items():
            with draft.open("xb") as file:
                file.write(contents[name])
                file.flush()
                os.fsync(file.fileno())
        for name, draft in drafts.items():
            draft.replace(folder / name)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def _read(path: Path) -> bytes:
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is not a folder")
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.parent} has no {path.name}; a folder of weights has {CONFIG_NAME} and "
            f"{WEIGHTS_NAME}"
        )
    return path.read_bytes()
