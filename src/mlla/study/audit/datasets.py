"""The images that runs were trained and scored on, as far as they are still here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlla.data import DataError
from mlla.data.data_yaml import list_split_images, read_data_yaml
from mlla.study.files import file_digest


@dataclass(frozen=True)
class Dataset:
    """One data.yaml.

    Attributes:
        given: What the runs, or the user, call it.
        problem: Why it cannot be used, or None if it can.
        num_images: Number of images of each split.
        num_shared: Images of val that are images of train, too.
        num_classes: Number of classes.
    """

    given: str
    problem: str | None
    num_images: dict[str, int]
    num_shared: int = 0
    num_classes: int = 0

    @property
    def scored(self) -> str:
        """The split to score on: one that chose no checkpoint, where there is one."""
        return "test" if self.num_images.get("test") else "val"


def read_dataset(given: str) -> Dataset:
    """Look at the splits of a dataset.

    Args:
        given: Path of a data.yaml.

    Returns:
        What it holds.
    """
    if given == "None":
        return Dataset(given, "the runs do not say which it was", {})
    try:
        content = read_data_yaml(Path(given), [])
        images = {split: list_split_images(place) for split, place in content.places.items()}
    except (DataError, OSError, UnicodeDecodeError) as error:
        return Dataset(given, str(error), {})
    shared = set(images.get("train", ())) & set(images.get("val", ()))
    return Dataset(
        given,
        None,
        {split: len(found) for split, found in images.items()},
        len(shared),
        len(content.names),
    )


def num_learned(trained: str, scored: str, images: Sequence[Path]) -> int:
    """Count the images that a run was trained on among those that it is to be scored on.

    Args:
        trained: The data.yaml that the run names.
        scored: The data.yaml of the images; if it is the same, its splits are what they are.
        images: The images.

    Returns:
        How many are the same, byte by byte; 0 where those of the training are not here.
    """
    if Path(trained).resolve() == Path(scored).resolve():
        return 0
    try:
        learned = list_split_images(read_data_yaml(Path(trained), []).places["train"])
        digests = {file_digest(image) for image in learned}
    except (DataError, OSError, UnicodeDecodeError):
        return 0
    return sum(file_digest(image) in digests for image in images)
