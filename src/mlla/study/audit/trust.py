"""Whether opening a checkpoint would run code that came with it."""

from __future__ import annotations

from mlla.study.audit.checkpoint import Checkpoint

# what rebuilds tensors, numbers, paths and settings, and does nothing else
_KNOWN_CALLS = frozenset(
    {
        "_codecs.encode",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.dtype",
        "pathlib.PosixPath",
        "pathlib.PurePosixPath",
        "pathlib.PureWindowsPath",
        "pathlib.WindowsPath",
        "pathlib._local.PosixPath",
        "pathlib._local.WindowsPath",
        "torch.Size",
        "torch.device",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_tensor_v2",
        "ultralytics.utils.IterableSimpleNamespace",
    }
)
# an object of these is made empty and then given its state, which runs nothing of the file
_KNOWN_LAYERS = (
    "mlla.",
    "torch.nn.modules.",
    "torchvision.ops.",
    "ultralytics.nn.",
    "ultralytics.utils.loss.",
    "ultralytics.utils.tal.",
)


def foreign_names(checkpoint: Checkpoint) -> list[str]:
    """List what loading a checkpoint would use beyond layers of torch, Ultralytics and mlla.

    Args:
        checkpoint: A checkpoint, read without loading it.

    Returns:
        Dotted names, in order; with none, nothing but known layers is made, and loading runs no
        code of the file.
    """
    called = {name for name in checkpoint.names.called if name not in _KNOWN_CALLS}
    built = {
        name
        for name in checkpoint.names.built
        if not name.startswith(_KNOWN_LAYERS)
        and name not in _KNOWN_CALLS
        and not (name.startswith("torch.") and name.endswith("Storage"))
    }
    return sorted(called | built)


def refuse_foreign(checkpoint: Checkpoint, *, trust: bool) -> None:
    """Raise if loading would run unknown code and nobody has agreed to that.

    Args:
        checkpoint: The checkpoint that is to be loaded.
        trust: Whether the user has agreed.

    Raises:
        ValueError: If it names anything unknown.
    """
    foreign = foreign_names(checkpoint)
    if foreign and not trust:
        raise ValueError(
            f"loading {checkpoint.file} would run the code of {', '.join(foreign[:5])}, which is "
            "no layer of torch, Ultralytics or mlla; if you trust the file, add trust=True"
        )
