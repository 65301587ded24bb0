"""Write a COCO data set with masks: copied images and one JSON file for each split."""

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlla.data import DataError
from mlla.data.images import inspect_image
from mlla.data.layout import whole_folder
from mlla.data.placing import split_at_random


@dataclass
class ImageToWrite:
    """An image on its way into a COCO data set.

    Args:
        path: Where it is; its name is kept.
        width: In pixels.
        height: In pixels.
        objects: category_id, bbox, area and segmentation of each object, as COCO wants them.
        split: "train", "val" or "test"; None where the source does not say.
    """

    path: Path
    width: int
    height: int
    objects: list[dict[str, Any]] = field(default_factory=list)
    split: str | None = None


@dataclass(frozen=True)
class Converted:
    """What a converter wrote.

    Args:
        folder: The data set.
        images: Number of images of each split.
        objects: Number of objects of each split.
        problems: What could not be used, one sentence each.
    """

    folder: Path
    images: Mapping[str, int]
    objects: Mapping[str, int]
    problems: tuple[str, ...]

    def summary(self) -> str:
        """Return the counts, and the first of the problems."""
        lines = [
            f"{split}: {self.images[split]} images, {self.objects[split]} objects"
            for split in self.images
        ]
        shown = list(self.problems[:5])
        if len(self.problems) > len(shown):
            shown.append(f"and {len(self.problems) - len(shown)} more, see problems.txt")
        return "\n".join([*lines, *shown, f"wrote {self.folder}"])


def write_coco(
    destination: str | Path,
    images: Sequence[ImageToWrite],
    classes: Mapping[int, str],
    problems: Sequence[str],
    *,
    split: float,
    seed: int,
) -> Converted:
    """Write images/SPLIT/, annotations/instances_SPLIT.json and problems.txt, or nothing.

    Args:
        destination: Folder to create.
        images: The images. If some are of train and some of val, those without a split are left
            out; otherwise all are split at random, identical images staying together.
        classes: Names by id.
        problems: What the reader of the source could not use.
        split: Share of the images to train on where the source has no split.
        seed: Another seed gives another random split.

    Returns:
        What was written.

    Raises:
        DataError: If there are too few images, two of a split have one name, `split` is not
            between 0 and 1, or `destination` is not empty.
    """
    if not 0 < split < 1:
        raise DataError(f"split={split} must lie between 0 and 1, such as 0.8")
    if not {"train", "val"} <= {image.split for image in images}:
        _split_at_random(images, split, seed)
    by_split = {
        name: [image for image in images if image.split == name]
        for name in ("train", "val", "test")
        if any(image.split == name for image in images)
    }
    with whole_folder(destination) as folder:
        (folder / "annotations").mkdir()
        for name, members in by_split.items():
            _refuse_same_names(name, members)
            (folder / "images" / name).mkdir(parents=True)
            for image in members:
                shutil.copyfile(image.path, folder / "images" / name / image.path.name)
            content = json.dumps(_content(members, classes), allow_nan=False)
            (folder / "annotations" / f"instances_{name}.json").write_text(content, "utf-8")
        (folder / "problems.txt").write_text("".join(f"{text}\n" for text in problems), "utf-8")
    return Converted(
        Path(destination),
        {name: len(members) for name, members in by_split.items()},
        {name: sum(len(image.objects) for image in members) for name, members in by_split.items()},
        tuple(problems),
    )


def _split_at_random(images: Sequence[ImageToWrite], share: float, seed: int) -> None:
    digests = [inspect_image(image.path).digest for image in images]
    splits = split_at_random(Counter(digests), {"train": share, "val": 1 - share}, seed)
    for image, digest in zip(images, digests, strict=True):
        image.split = splits[digest]


def _refuse_same_names(split: str, images: Sequence[ImageToWrite]) -> None:
    counts = Counter(image.path.name for image in images)
    for image in images:
        if counts[image.path.name] > 1:
            raise DataError(
                f"{counts[image.path.name]} images of {split} are called {image.path.name}, one of "
                f"them {image.path}; rename them"
            )


def _content(images: Sequence[ImageToWrite], classes: Mapping[int, str]) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(images, start=1):
        for entry in image.objects:
            # from 1 on: evaluators take an id of 0 for no match
            place = {"id": len(annotations) + 1, "image_id": number, "iscrowd": 0}
            annotations.append({**place, **entry})
    return {
        "images": [
            {
                "id": number,
                "file_name": image.path.name,
                "width": image.width,
                "height": image.height,
            }
            for number, image in enumerate(images, start=1)
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in sorted(classes.items())],
    }
