from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from mlla.data.images import UnreadableImageError, inspect_image
from mlla.data.shapes import turn_edges


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_size_and_digest_of_usual_images(tmp_path, suffix, mode):
    if mode == "RGBA" and suffix == "jpg":
        pytest.skip("JPEG has no alpha")
    path = tmp_path / f"x.{suffix}"
    Image.new(mode, (30, 20)).save(path)
    facts = inspect_image(path)
    assert facts.size == (30, 20)
    assert facts.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts.has_end


def _noise_jpeg(path):
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path.read_bytes()


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_truncated_jpegs_are_found(tmp_path, kept):
    path = tmp_path / "x.jpg"
    content = _noise_jpeg(path)
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(UnreadableImageError, match="cannot be decoded"):
        inspect_image(path)


def test_truncated_pngs_are_found(tmp_path):
    path = tmp_path / "x.png"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(UnreadableImageError, match="cannot be decoded"):
        inspect_image(path)


def test_bytes_behind_the_end_of_a_jpeg_are_noticed(tmp_path):
    path = tmp_path / "x.jpg"
    path.write_bytes(_noise_jpeg(path) + b"appended")
    assert not inspect_image(path).has_end


def test_unusable_files_say_why(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("no image")
    Image.new("L", (9, 40)).save(tmp_path / "small.png")
    Image.new("L", (40, 40)).save(tmp_path / "moving.gif")
    Image.new("L", (40, 40)).save(tmp_path / "disguised.png", format="GIF")
    for name, reason in {
        "empty.jpg": "0 bytes",
        "text.png": "cannot be decoded",
        "small.png": "9x40 pixels",
        "moving.gif": "not loaded by Ultralytics",
        "disguised.png": "GIF is not loaded",
        "absent.png": "cannot be read",
    }.items():
        with pytest.raises(UnreadableImageError, match=reason):
            inspect_image(tmp_path / name)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_counts_as_pillow_displays_it(tmp_path, orientation):
    path = tmp_path / "x.jpg"
    exif = Image.Exif()
    exif[274] = orientation
    Image.new("L", (40, 20)).save(path, exif=exif)
    with Image.open(path) as image:
        displayed = ImageOps.exif_transpose(image).size
    assert inspect_image(path).size == displayed


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_turned_box_covers_the_same_pixels(tmp_path, orientation):
    pixels = np.zeros((20, 40), dtype=np.uint8)
    pixels[3:9, 5:25] = 255
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=exif)
    with Image.open(tmp_path / "x.png") as image:
        displayed = np.asarray(ImageOps.exif_transpose(image))
    rows, columns = np.nonzero(displayed)
    expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert turn_edges((5, 3, 25, 9), orientation, 40, 20) == expected
