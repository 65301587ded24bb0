"""The names under which `timm.create_model` knows the rows of Tables 1 and 2."""

from collections.abc import Callable
from itertools import product
from typing import Any

from timm.models import (
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
    resolve_pretrained_cfg,
)
from torch import nn

from mlla.models.linear_swin import LinearSwin
from mlla.models.six_designs import ROWS, SIZES, model_name, row_options

#: No source of weights: none were ever published.
default_cfgs = generate_default_cfgs(
    {
        model_name(size, row): {
            "num_classes": 1000,
            "input_size": (3, SIZES[size]["img_size"], SIZES[size]["img_size"]),
            "pool_size": (SIZES[size]["img_size"] // 32, SIZES[size]["img_size"] // 32),
            "crop_pct": 0.875,
            "interpolation": "bicubic",
            "first_conv": "stem.project",
            "classifier": "head.fc",
            "license": "apache-2.0",
            "paper_ids": "arXiv:2405.16605",
            "paper_name": "Demystify Mamba in Vision: A Linear Attention Perspective",
        }
        for size, row in product(SIZES, ROWS)
    }
)


def _create(size: str, row: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    variant = model_name(size, row)
    weights = resolve_pretrained_cfg(
        variant, kwargs.get("pretrained_cfg"), kwargs.get("pretrained_cfg_overlay")
    )
    if pretrained and not (weights.has_weights or weights.state_dict):
        raise RuntimeError(
            f"pretrained=True: no weights of {variant} were ever published. Train it with "
            "pretrained=False, or pass pretrained_cfg_overlay={'file': path}"
        )
    options = {**row_options(size, row), **kwargs}
    return build_model_with_cfg(
        LinearSwin,
        variant,
        pretrained,
        feature_cfg={"out_indices": tuple(range(len(options["depths"]))), "feature_cls": "getter"},
        **options,
    )


def _entrypoint(size: str, row: str) -> Callable[..., nn.Module]:
    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return _create(size, row, pretrained, **kwargs)

    # the name that timm registers
    create.__name__ = create.__qualname__ = model_name(size, row)
    create.__doc__ = f"Swin with linear attention, {ROWS[row].label}, size {size}."
    return create


for _size, _row in product(SIZES, ROWS):
    register_model(_entrypoint(_size, _row))
