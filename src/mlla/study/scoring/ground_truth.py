"""The labelled images that a study scores on, in the format of COCO."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlla.data import DataError
from mlla.data.data_yaml import label_path, list_split_images, read_data_yaml
from mlla.data.images import inspect_image
from mlla.data.yolo_labels import parse_label_line, read_label_lines


@dataclass(frozen=True)
class GroundTruth:
    """One split of a dataset.

    Attributes:
        images: Its images; the id of an image is its place in this list.
        coco: Images, categories and annotations in the format of COCO, boxes in pixels.
        digest: SHA-256 over the bytes of the images and the text of their labels: two studies that
            scored on the same things share it.
    """

    images: tuple[Path, ...]
    coco: dict[str, Any]
    digest: str


def read_ground_truth(data_yaml: str | Path, split: str = "test") -> GroundTruth:
    """Read the labels of one split.

    Args:
        data_yaml: The data.yaml of a dataset that `mlla data check` accepts.
        split: "train", "val" or "test".

    Returns:
        Images and labels.

    Raises:
        DataError: If the dataset has no such split, no image in it or no object in its labels.
        UnreadableImageError: If an image cannot be read.
        BadShapeError: If a line of a label file is no box or outline.
    """
    dataset = read_data_yaml(Path(data_yaml), [])
    if split not in dataset.places:
        raise DataError(
            f"{data_yaml} has no split {split!r}, only {', '.join(sorted(dataset.places))}; add "
            f"the key `{split}:` with the folder of its images"
        )
    images = list_split_images(dataset.places[split])
    digest = hashlib.sha256()
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for identifier, image in enumerate(images):
        facts = inspect_image(image)
        width, height = facts.size
        entries.append(
            {"id": identifier, "width": width, "height": height, "file_name": image.name}
        )
        labels = label_path(image)
        lines = read_label_lines(labels) if labels.is_file() else []
        digest.update("\n".join([facts.digest, *(text for _, text in lines), ""]).encode())
        for _, line in lines:
            category, numbers = parse_label_line(line)
            box = _box(numbers, width, height)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": identifier,
                    "category_id": category,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    if not annotations:
        raise DataError(
            f"the split {split!r} of {data_yaml} has images but no labelled object, "
            "so nothing can be scored on it; label it, or choose another split"
        )
    categories = [{"id": index, "name": name} for index, name in enumerate(dataset.names)]
    coco = {"images": entries, "categories": categories, "annotations": annotations}
    return GroundTruth(tuple(images), coco, digest.hexdigest())


def _box(numbers: tuple[float, ...], width: int, height: int) -> list[float]:
    """Return x, y, width and height in pixels of a box or of the box around an outline."""
    if len(numbers) == 4:
        x, y, w, h = numbers
        return [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
    across, down = numbers[0::2], numbers[1::2]
    left, top = min(across), min(down)
    return [
        left * width,
        top * height,
        (max(across) - left) * width,
        (max(down) - top) * height,
    ]
