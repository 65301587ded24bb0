"""Crops keep every pixel with its class, and leave padding out."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlla.semantic_segmentation.augmentation import augmented, resized

SIZES = st.tuples(st.integers(5, 90), st.integers(5, 90))


def board(height, width):
    """An image whose green says which class a pixel has."""
    classes = (np.add.outer(np.arange(height) // 8, np.arange(width) // 8) % 2).astype(np.uint8)
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 1] = 255 * classes
    return image, classes


@given(SIZES, st.integers(0, 1000))
def test_a_crop_has_its_size_and_padding_does_not_count(size, seed):
    random.seed(seed)
    image, target = augmented(*board(*size), size_px=32, crop_px=48)
    assert image.shape == (3, 48, 48)
    assert target.shape == (48, 48)
    assert set(target.unique().tolist()) <= {0, 1, 255}
    padded = image[:, target == 255]
    expected = torch.tensor([0.485, 0.456, 0.406])[:, None].expand_as(padded)
    assert torch.equal(padded, expected)
    assert 0 <= image.min() <= image.max() <= 1


@given(st.integers(0, 1000))
def test_a_pixel_keeps_its_class(seed):
    random.seed(seed)
    image, target = augmented(*board(64, 64), size_px=64, crop_px=64)
    known = target < 2
    if (target[known] == 1).any() and (target[known] == 0).any():
        bright = image.amax(dim=0)
        assert bright[known & (target == 1)].mean() > bright[known & (target == 0)].mean()


def test_the_same_numbers_draw_the_same_crop():
    crops = []
    for _ in range(2):
        random.seed(3)
        crops.append(augmented(*board(50, 70), size_px=40, crop_px=32))
    assert all(torch.equal(*pair) for pair in zip(*crops, strict=True))


def test_one_class_seldom_fills_a_crop():
    image = np.zeros((64, 256, 3), np.uint8)
    classes = np.zeros((64, 256), np.uint8)
    classes[:, 120:136] = 1
    full = 0
    for seed in range(40):
        random.seed(seed)
        _, target = augmented(image, classes, size_px=64, crop_px=32)
        full += (target == 0).float().mean().item() > 0.99
    # a crop anywhere misses the second class three times in four
    assert full < 20


@pytest.mark.parametrize(
    ("size", "short", "expected"),
    [((100, 200), 50, (50, 100)), ((200, 100), 50, (100, 50)), ((10, 100), 50, (20, 200))],
)
def test_the_shorter_side_is_resized_and_the_longer_limited(size, short, expected):
    image, classes = resized(*board(*size), short)
    assert image.shape[:2] == classes.shape == expected
    assert set(np.unique(classes)) <= {0, 1}
