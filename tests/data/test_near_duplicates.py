"""Copies are found whatever was done to them, other images are not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from mlla.data.near_duplicates import find_near_duplicates


def scene(seed: int, width: int = 400, height: int = 300) -> Image.Image:
    """Draw noise of several scales with a few dark scratches, as on steel."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((height, width))
    for scale in (2, 5, 20):
        coarse = random.normal(size=(-(-height // scale), -(-width // scale)))
        pixels += np.kron(coarse, np.ones((scale, scale)))[:height, :width]
    for _ in range(3):
        column = random.integers(0, width - 8)
        pixels[:, column : column + 6] -= 3
    levels = np.clip(128 + 30 * pixels, 0, 255).astype(np.uint8)
    return Image.fromarray(levels).filter(ImageFilter.GaussianBlur(1))


def recompressed(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=30)
    return Image.open(buffer)


def shifted(image: Image.Image) -> Image.Image:
    """Cut out what lies 60 pixels to the right and 30 below; the rest is another scene."""
    moved = scene(99, *image.size)
    moved.paste(image.crop((60, 30, *image.size)), (0, 0))
    return moved


CHANGES = {
    "recompressed": recompressed,
    "brightened": lambda image: ImageEnhance.Brightness(image).enhance(1.4),
    "flattened": lambda image: ImageEnhance.Contrast(image).enhance(0.3),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1.5)),
    "shifted": shifted,
    "in colour": lambda image: ImageOps.colorize(image, "black", "orange"),
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "upside down": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "mirrored": ImageOps.mirror,
    "transposed": lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    "shaded": lambda image: Image.composite(
        image, Image.new("L", image.size), Image.linear_gradient("L").resize(image.size)
    ),
}


@pytest.fixture
def save(tmp_path):
    paths: dict[str, Path] = {}

    def write(name: str, image: Image.Image, **options) -> dict[str, Path]:
        paths[name] = tmp_path / f"{name}.{options.pop('suffix', 'png')}"
        image.save(paths[name], **options)
        return paths

    return write


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_among_other_images(save, change):
    for seed in range(4):
        paths = save(f"scene{seed}", scene(seed))
    paths = save("copy", CHANGES[change](scene(2)))
    found = find_near_duplicates(paths, quiet=True)
    assert [(pair.first, pair.second) for pair in found] == [("copy", "scene2")]


@pytest.mark.parametrize(
    ("transpose", "quarter_turns", "mirrored"),
    [
        (None, 0, False),
        (Image.Transpose.ROTATE_270, 1, False),
        (Image.Transpose.ROTATE_180, 2, False),
        (Image.Transpose.ROTATE_90, 3, False),
        (Image.Transpose.FLIP_LEFT_RIGHT, 0, True),
    ],
)
def test_the_fit_says_how_to_turn_the_first_image(save, transpose, quarter_turns, mirrored):
    image = scene(0, 200, 200)
    save("a", image if transpose is None else image.transpose(transpose))
    (pair,) = find_near_duplicates(save("b", image), quiet=True)
    assert (pair.quarter_turns, pair.mirrored) == (quarter_turns, mirrored)
    assert pair.similarity > 0.95


@settings(max_examples=15, deadline=None)
@given(
    left=st.integers(0, 100), top=st.integers(0, 100), gain=st.floats(0.4, 1), seed=st.integers(0)
)
def test_pieces_of_one_image_that_overlap_by_half_are_found(
    tmp_path_factory, left, top, gain, seed
):
    # a piece of 200x200 that is moved by up to 100 in one direction and 0 in the other
    strip = scene(seed, 300, 300)
    folder = tmp_path_factory.mktemp("pieces")
    offset = (left, 0) if left > top else (0, top)
    boxes = {"one": (0, 0, 200, 200), "two": (*offset, offset[0] + 200, offset[1] + 200)}
    paths = {name: folder / f"{name}.png" for name in boxes}
    for name, box in boxes.items():
        piece = strip.crop(box)
        (ImageEnhance.Brightness(piece).enhance(gain) if name == "two" else piece).save(paths[name])
    assert len(find_near_duplicates(paths, quiet=True)) == 1


def test_images_of_one_kind_are_not_near_duplicates(save):
    for seed in range(40):
        paths = save(f"{seed:02d}", scene(seed, 160, 120))
    assert find_near_duplicates(paths, quiet=True) == []


def test_plain_images_are_like_nothing(save):
    save("black", Image.new("L", (50, 50)))
    save("white", Image.new("RGB", (50, 50), "white"))
    assert find_near_duplicates(save("scene", scene(0)), quiet=True) == []


def test_the_order_of_the_images_does_not_matter(save):
    for seed in range(6):
        image = scene(seed // 2)
        paths = save(f"{seed}", CHANGES["turned"](image) if seed % 2 else image)
    forward = find_near_duplicates(paths, quiet=True)
    backward = find_near_duplicates(dict(reversed(paths.items())), quiet=True)
    assert forward == backward
    assert [(pair.first, pair.second) for pair in forward] == [("0", "1"), ("2", "3"), ("4", "5")]


def test_the_threshold_decides(save):
    save("a", scene(0))
    (pair,) = find_near_duplicates(paths := save("b", shifted(scene(0))), quiet=True)
    above = find_near_duplicates(paths, quiet=True, threshold=pair.similarity + 0.01)
    assert above == []


def test_depth_and_orientation_of_the_file_do_not_matter(save):
    image = scene(0)
    deep = Image.fromarray(np.asarray(image, np.uint16) * 200)
    turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[274] = 6
    save("deep", deep)
    save("lying", turned, suffix="jpg", exif=exif, quality=95)
    found = find_near_duplicates(save("plain", image), quiet=True)
    assert {(p.first, p.second): (p.quarter_turns, p.mirrored) for p in found} == {
        ("deep", "lying"): (0, False),
        ("deep", "plain"): (0, False),
        ("lying", "plain"): (0, False),
    }
