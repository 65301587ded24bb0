"""Where published weights come from, and how exactly their networks are reproduced here."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Source:
    """Code of the authors that writes and reads a kind of file.

    Args:
        repository: Its address.
        commit: The state that this package was compared with.
        paper: What describes it.
    """

    repository: str
    commit: str
    paper: str


@dataclass(frozen=True)
class Parity:
    """How far the network here is from the authors' with the same weights.

    Args:
        case: Input and model of the comparison.
        outputs: What was compared.
        largest_error: max |ours - theirs| / max(1, max |theirs|), in float32 on a CPU.
        tolerance: What the tests of this package allow.
    """

    case: str
    outputs: str
    largest_error: float
    tolerance: float = 1e-4


MLLA_SOURCE = Source("https://github.com/LeapLabTHU/MLLA", "66b6d29", "arXiv 2405.16605")
VM_UNET_SOURCE = Source("https://github.com/JCruan519/VM-UNet", "43c495b", "arXiv 2402.02491")

#: By architecture, and whether it is the backbone with a norm on every stage. The errors are those
#: of weights drawn at random; a test measures them again.
PARITIES = {
    ("mlla_tiny", False): Parity("2 images of 224x224", "logits", 9.8e-7),
    ("mlla_small", False): Parity("1 image of 224x224", "logits", 7.9e-7),
    ("mlla_base", False): Parity("1 image of 224x224", "logits", 9.0e-7),
    ("mlla_tiny", True): Parity("1 image of 192x256", "features of four stages", 3.4e-6),
    ("mlla_base", True): Parity("1 image of 100x132", "features of four stages", 2.5e-6),
    ("vm_unet", False): Parity("1 image of 64x64, depths 2,2,2,2 and 2,2,2,1", "logits", 2.9e-6),
}


def source_of(architecture: str, *, stage_norm: bool) -> dict[str, Any]:
    """Return what a certificate says about the origin of an architecture.

    Args:
        architecture: A name that `convert_published` finds.
        stage_norm: Whether it is the backbone with a norm on every stage.

    Returns:
        The source and the parity as plain values; the parity is None where the package was not
        compared with the authors' code.
    """
    source = VM_UNET_SOURCE if architecture == "vm_unet" else MLLA_SOURCE
    parity = PARITIES.get((architecture, stage_norm))
    return {"source": asdict(source), "parity": None if parity is None else asdict(parity)}
