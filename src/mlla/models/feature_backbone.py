"""Any timm model as the backbone of a dense predictor, and the weights of a classifier in it."""

from pathlib import Path
from typing import Any

import timm
from timm.models import load_state_dict

from mlla.models.mlla import MLLA
from mlla.models.mlla_names import rename_published_state
from mlla.models.published_file import read_published_file
from mlla.models.published_weights import load_published, unwrap_checkpoint
from mlla.models.weights_folder import read_weights

_STRIDES = (4, 8, 16, 32)


def create_feature_backbone(name: str, **options: Any) -> Any:
    """Build a backbone that returns four maps (B, C, H, W) at strides 4, 8, 16 and 32.

    MLLA is built as its authors' detection backbone, with a layer norm on every output.

    Args:
        name: A name that `timm.create_model` knows.
        options: Further arguments of that model, such as `drop_path_rate=0.1`.

    Returns:
        timm's wrapper; the widths of the maps are `feature_info.channels()`, the model itself is
        `model`.

    Raises:
        ValueError: If timm does not know the name, the model does not take an option, or it has
            no map at one of the strides.
    """
    if not timm.is_model(name):
        raise ValueError(
            f"model={name!r} is no name that timm knows; try mlla_tiny, mlla_small, mlla_base or "
            "another of timm.list_models()"
        )
    is_mlla = name.startswith(("mlla_", "mila_"))
    # both give (B, C, H, W), whatever the order inside
    options |= {"stage_norm": True} if is_mlla else {"feature_cls": "getter"}
    try:
        backbone = timm.create_model(name, pretrained=False, features_only=True, **options)
        strides = backbone.feature_info.reduction()
        if strides != list(_STRIDES) and set(_STRIDES) <= set(strides):
            indices = [strides.index(stride) for stride in _STRIDES]
            backbone = timm.create_model(
                name, pretrained=False, features_only=True, out_indices=indices, **options
            )
    except TypeError as error:
        raise ValueError(
            f"model={name!r} cannot be built with {options}: {error}; leave out what it does not "
            "take"
        ) from error
    if backbone.feature_info.reduction() != list(_STRIDES):
        raise ValueError(
            f"model={name!r} has maps at strides {strides}; strides {list(_STRIDES)} are needed"
        )
    return backbone


def load_backbone_weights(backbone: Any, source: str | Path) -> None:
    """Load the weights of a classifier, or of a detection backbone, completely or not at all.

    Args:
        backbone: What `create_feature_backbone` made.
        source: A file of the authors, or of timm, or a folder that `save_pretrained` wrote. The
            norms of the stages, which classifiers do not have, keep the values they have.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If a weight of the backbone is missing or of another shape.
    """
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"weights={str(source)!r} does not exist")
    network = backbone.model
    if isinstance(network, MLLA):
        content = read_weights(path)[1] if path.is_dir() else read_published_file(path)
        tensors = rename_published_state(unwrap_checkpoint(content).tensors)
        has_norms = any(name.startswith("stage_norms.") for name in tensors)
        load_published(network, content, keep=() if has_norms else ("stage_norms",))
        return
    tensors = read_weights(path)[1] if path.is_dir() else load_state_dict(str(path))
    own = network.state_dict()
    faults = [name for name in own if name not in tensors or tensors[name].shape != own[name].shape]
    if faults:
        raise ValueError(
            f"weights={str(source)!r} does not fit: {', '.join(faults[:5])}"
            f"{', ...' if len(faults) > 5 else ''} of the model missing or of another shape there"
        )
    network.load_state_dict({name: tensors[name] for name in own})
