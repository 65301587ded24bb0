"""Whether a folder of weights is what its writer left, and can be used."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mlla.models.model_description import is_known
from mlla.models.pretrained import CERTIFICATE_NAME, from_pretrained
from mlla.models.weights_folder import read_config, read_weights

_TRIAL_SIZE = (64, 96)


@dataclass
class WeightsReport:
    """What was found.

    Args:
        architecture: The name in config.json.
        faults: What is wrong, one sentence each.
        parameters: Their number, with buffers where the model was not built; 0 if it could not be
            loaded.
        digest: What the weights were compared with, in words.
        certificate: The content of certificate.json; None where there is none.
    """

    architecture: str = ""
    faults: list[str] = field(default_factory=list)
    parameters: int = 0
    digest: str = ""
    certificate: dict[str, Any] | None = None


def check_weights(folder: str | Path) -> WeightsReport:
    """Compare a folder with its digests, load the model, and run it on an image.

    Segmenters and detectors, which their own packages build, are not built: only their files and
    numbers are checked.

    Args:
        folder: The folder.

    Returns:
        What was found; nothing is raised for what is wrong with the folder.
    """
    folder, report = Path(folder), WeightsReport()
    try:
        config = read_config(folder)
        report.architecture = str(config.get("architecture"))
        report.certificate = _certificate(folder)
        has_digest = "sha256" in config
        report.digest = "SHA-256 as in config.json" if has_digest else "no digest to compare with"
        if not is_known(report.architecture):
            _, tensors = read_weights(folder, check_hash=has_digest)
            report.parameters = sum(tensor.numel() for tensor in tensors.values())
            report.faults += _faults_of_tensors(tensors)
            return report
        model = from_pretrained(folder, check_hash=has_digest)
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        report.faults.append(str(error))
        return report
    report.parameters = sum(parameter.numel() for parameter in model.parameters())
    report.faults += _faults_of_certificate(folder, report.certificate)
    report.faults += _faults_of_model(model)
    return report


def _certificate(folder: Path) -> dict[str, Any] | None:
    path = folder / CERTIFICATE_NAME
    if not path.exists():
        return None
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not the file that was written: {error}") from error


def _faults_of_certificate(folder: Path, certificate: dict[str, Any] | None) -> list[str]:
    return [
        f"{folder / name} is not the file that {CERTIFICATE_NAME} was written for"
        for name, digest in (certificate or {}).get("written", {}).items()
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest
    ]


@torch.no_grad()
def _faults_of_model(model: nn.Module) -> list[str]:
    faults = _faults_of_tensors(model.state_dict())
    image = torch.rand(1, getattr(model, "in_chans", 3), *_TRIAL_SIZE)
    if not faults and not model.eval()(image).isfinite().all():
        faults.append(f"the output for an image of {_TRIAL_SIZE[0]}x{_TRIAL_SIZE[1]} is not finite")
    return faults


def _faults_of_tensors(tensors: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{name} holds numbers that are not finite"
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not tensor.isfinite().all()
    ]
