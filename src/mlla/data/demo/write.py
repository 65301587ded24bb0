"""Write the demo set: generated steel surfaces in the Ultralytics layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from mlla.data.demo.scene import KINDS, draw_scene
from mlla.data.errors import DataError
from mlla.data.layout import (
    SPLITS,
    label_line,
    make_split_folders,
    whole_folder,
    write_data_yaml,
    write_labels,
    write_text,
)

_README = """\
These images are GENERATED. No camera and no steel was involved.

They imitate hot-rolled steel with the six kinds of surface defects of the NEU-DET data set, so
that training, validation, prediction and export can be tried within minutes on any computer. A
score on this set says that the machinery works; it says nothing about real steel.

images: {num_images} grey PNG of {size}x{size} pixels, seed {seed}
split:  {counts}
labels: boxes in Ultralytics format, class names in data.yaml

Made by mlla.data.write_demo (Apache-2.0). The images may be used freely (CC0).
"""


def write_demo(
    destination: str | Path,
    *,
    num_images: int = 560,
    image_size_px: int = 160,
    seed: int = 0,
    quiet: bool = False,
) -> Path:
    """Write the generated demo set, six kinds of defects on steel, ready to train on.

    About 1 in 7 images validates and 1 in 28 is kept apart as `test`. The same arguments give
    the same bytes with the same versions of NumPy and Pillow.

    Args:
        destination: The folder to create.
        num_images: Images in all splits together, 12 or more.
        image_size_px: Height and width, 96 to 640.
        seed: Non-negative; another seed gives other images.
        quiet: Show no progress bar.

    Returns:
        The absolute path of data.yaml.

    Raises:
        DataError: If an argument is out of range or the destination is not empty.
    """
    _check_range("num_images", num_images, 12, 1_000_000)
    _check_range("image_size_px", image_size_px, 96, 640)
    _check_range("seed", seed, 0, 2**63)
    splits = _splits(num_images)
    with whole_folder(destination) as root:
        make_split_folders(root, SPLITS)
        for index in tqdm(range(num_images), desc="drawing", disable=True if quiet else None):
            _write_image(root, splits[index], index, image_size_px, seed)
        write_data_yaml(root, KINDS, SPLITS)
        counts = ", ".join(f"{splits.count(split)} {split}" for split in SPLITS)
        readme = _README.format(num_images=num_images, size=image_size_px, seed=seed, counts=counts)
        write_text(root / "README.txt", readme)
    return Path(destination).absolute() / "data.yaml"


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise DataError(f"{name} is {value}; it must be from {low} to {high}")


def _splits(num_images: int) -> list[str]:
    """Name the split of every image: first all of train, then val, then test."""
    num_test = max(1, num_images // 28)
    num_val = max(2, num_images // 7)
    num_train = num_images - num_val - num_test
    return ["train"] * num_train + ["val"] * num_val + ["test"] * num_test


def _write_image(root: Path, split: str, index: int, size_px: int, seed: int) -> None:
    """Draw image number `index` from a generator of its own and write it with its labels."""
    rng = np.random.default_rng([seed, index])
    pixels, defects = draw_scene(rng, size_px, first_kind=index % len(KINDS))
    name = f"steel_{index + 1:04d}"
    Image.fromarray(pixels).save(root / "images" / split / f"{name}.png")
    lines = []
    for defect in defects:
        left, top, right, bottom = (edge / size_px for edge in defect.box)
        box = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
        lines.append(label_line(defect.kind, box))
    write_labels(root / "labels" / split / f"{name}.txt", lines)
