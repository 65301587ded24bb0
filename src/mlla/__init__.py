"""Mamba-like linear attention (MLLA) for vision backbones and detectors.

`import mlla` is light: what is named here loads on first use. Our models are known to
`timm.create_model` from then on, whichever of the two packages is imported first.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from mlla._timm_registration import register_with_timm

if TYPE_CHECKING:
    from mlla.blocks import MLLABlock, VMUNetVSSBlock
    from mlla.inference import optimize
    from mlla.models import MLLA, VMUNet, load_published
    from mlla.ops import linear_attention

    __version__: str

__all__ = [
    "MLLA",
    "MLLABlock",
    "VMUNet",
    "VMUNetVSSBlock",
    "__version__",
    "linear_attention",
    "load_published",
    "optimize",
]

_HOMES = {
    "MLLA": "mlla.models",
    "MLLABlock": "mlla.blocks",
    "VMUNet": "mlla.models",
    "VMUNetVSSBlock": "mlla.blocks",
    "linear_attention": "mlla.ops",
    "load_published": "mlla.models",
    "optimize": "mlla.inference",
}
_PACKAGES = ("blocks", "inference", "layers", "losses", "models", "ops")


def __getattr__(name: str) -> object:
    if name == "__version__":
        return import_module("importlib.metadata").version("mlla")
    if name in _PACKAGES:
        return import_module(f"mlla.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'mlla' has no attribute {name!r}; it has {__all__}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register_with_timm()
