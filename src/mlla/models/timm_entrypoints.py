"""The names under which `timm.create_model` knows MLLA; importing this registers them."""

from typing import Any

from timm.models import (
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
    resolve_pretrained_cfg,
)
from torch import Tensor, nn

from mlla.models.mlla import MLLA
from mlla.models.mlla_names import rename_published_state
from mlla.models.published_weights import check_names_and_shapes


def checkpoint_filter_fn(state_dict: dict[str, Tensor], model: MLLA) -> dict[str, Tensor]:
    """Prepare a pretrained file, the authors' or our own, for timm's loader.

    Args:
        state_dict: The content of the file.
        model: The model before a `features_only` wrapper.

    Returns:
        Tensors under our names, without parts the model was built without.

    Raises:
        ValueError: If names or shapes do not fit, except for the first convolution and the
            classifier, which timm adapts to `in_chans` and `num_classes`.
    """
    renamed = rename_published_state(state_dict)
    check_names_and_shapes(model, renamed, keep=("head", "stem.reduce_to_half.conv"))
    return {name: renamed[name] for name in model.state_dict() if name in renamed}


#: Structure of the published sizes.
PUBLISHED_SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"dim": 64, "depths": (2, 4, 8, 4), "num_heads": (2, 4, 8, 16)},
    "small": {"dim": 64, "depths": (3, 6, 21, 6), "num_heads": (2, 4, 8, 16)},
    "base": {"dim": 96, "depths": (3, 6, 21, 6), "num_heads": (3, 6, 12, 24)},
}

#: No source of weights: the authors host theirs, `load_published` reads them.
default_cfgs = generate_default_cfgs(
    {
        f"{family}_{size}": {
            "num_classes": 1000,
            "input_size": (3, 224, 224),
            "pool_size": (7, 7),
            "crop_pct": 0.875,
            "interpolation": "bicubic",
            "first_conv": "stem.reduce_to_half.conv",
            "classifier": "head.fc",
            "license": "apache-2.0",
            "paper_ids": "arXiv:2405.16605",
            "paper_name": "Demystify Mamba in Vision: A Linear Attention Perspective",
            "origin_url": "https://github.com/LeapLabTHU/MLLA",
        }
        for family in ("mlla", "mila")
        for size in PUBLISHED_SIZES
    }
)


def _create(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    weights = resolve_pretrained_cfg(
        variant, kwargs.get("pretrained_cfg"), kwargs.get("pretrained_cfg_overlay")
    )
    if pretrained and not (weights.has_weights or weights.state_dict):
        raise RuntimeError(
            f"pretrained=True: no weights are hosted for {variant}. Download the authors' file, "
            "create the model with pretrained=False and call mlla.load_published(model, "
            "torch.load(path)), or pass pretrained_cfg_overlay={'file': path}"
        )
    if kwargs.get("stage_norm") and kwargs.get("features_only"):
        if "feature_cls" in kwargs:
            raise ValueError(
                f"feature_cls={kwargs['feature_cls']!r} would bypass the norms of "
                "stage_norm=True; leave feature_cls out"
            )
        kwargs["num_classes"] = 0
    options = {**PUBLISHED_SIZES[variant.partition("_")[2]], **kwargs}
    all_stages = tuple(range(len(options["depths"])))
    return build_model_with_cfg(
        MLLA,
        variant,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": all_stages, "feature_cls": "getter"},
        **options,
    )


def mlla_tiny(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MLLA-T: 24 million parameters."""
    return _create("mlla_tiny", pretrained, **kwargs)


def mlla_small(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MLLA-S: 43 million parameters."""
    return _create("mlla_small", pretrained, **kwargs)


def mlla_base(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MLLA-B: 96 million parameters."""
    return _create("mlla_base", pretrained, **kwargs)


def mila_tiny(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MLLA-T under the name of the final paper."""
    return _create("mila_tiny", pretrained, **kwargs)


def mila_small(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MLLA-S under the name of the final paper."""
    return _create("mila_small", pretrained, **kwargs)


def mila_base(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MLLA-B under the name of the final paper."""
    return _create("mila_base", pretrained, **kwargs)


for _entrypoint in (mlla_tiny, mlla_small, mlla_base, mila_tiny, mila_small, mila_base):
    register_model(_entrypoint)
