"""The images of a study: checked, listed by split, fixed by digest, a third split made if asked."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mlla.data import DataError, Kind, Report, check_dataset
from mlla.data.data_yaml import label_path, list_split_images, read_data_yaml
from mlla.data.grouped_split import deal_groups, join_groups
from mlla.data.layout import SPLITS
from mlla.data.yolo_labels import parse_label_line, read_label_lines
from mlla.study.files import file_digest, write_whole
from mlla.study.planning.split_leaks import SplitLeaks, find_leaks, find_pairs

SPLIT_SEED = 0


@dataclass(frozen=True)
class StudyData:
    """The images that a study trains, chooses and scores on.

    Attributes:
        yaml: The data.yaml that was named.
        names: Class names in the order of their ids.
        lists: Images of each split, in the order in which a training reads them.
        digests: For each split, SHA-256 over the bytes of its images and labels in this order.
        made_split: How the test split was made, or None if the dataset has it, or has none.
        leaks: What the splits separate that belongs together.
    """

    yaml: Path
    names: tuple[str, ...]
    lists: dict[str, tuple[Path, ...]]
    digests: dict[str, str]
    made_split: dict[str, Any] | None
    leaks: SplitLeaks

    @property
    def scored(self) -> str:
        """The split that detectors are scored on."""
        return "test" if "test" in self.lists else "val"

    def to_dict(self, folder: Path) -> dict[str, Any]:
        """Return what the plan says about the data.

        Args:
            folder: Where `write` puts the lists.
        """
        return {
            "yaml": str(self.yaml),
            "study_yaml": str(folder / "data.yaml"),
            "names": list(self.names),
            "splits": {
                split: {"images": len(images), "sha256": self.digests[split]}
                for split, images in self.lists.items()
            },
            "scored": self.scored,
            "made_split": self.made_split,
            "leaks": self.leaks.to_dict(),
        }

    def write(self, folder: Path) -> None:
        """Write the lists, with absolute paths, and their data.yaml.

        Args:
            folder: Where to.
        """
        write_lists(folder, self.lists, self.names)


def read_study_data(
    data: str | Path,
    *,
    test: float | None = None,
    near_duplicates: bool = True,
    quiet: bool = False,
) -> StudyData:
    """Check a dataset and list its images; nothing is written.

    Args:
        data: The data.yaml of a detection dataset, or the name of one that Ultralytics knows.
        test: Share of the training images to make a test split of, where there is none.
        near_duplicates: Whether to search for images that show the same; it takes a time that grows
            with the square of their number. Without it only identical images are found.
        quiet: Show no progress.

    Returns:
        The images of the study.

    Raises:
        DataError: If the dataset would stop or falsify a training, has no labels to score on, or
            `test` is no share or there is a test split already.
    """
    # ultralytics takes seconds to import
    from mlla.yolo.training_arguments import find_dataset

    path, datasets_folder = find_dataset(data)
    if test is not None and not 0 < test < 1:
        raise DataError(f"test={test:g} must be a share of the training images, such as 0.2")
    report = check_dataset(path, datasets_folder=datasets_folder, quiet=quiet)
    _refuse_changing_images(report)
    dataset = read_data_yaml(path, [], datasets_folder)
    lists = {
        split: tuple(image.absolute() for image in list_split_images(dataset.places[split]))
        for split in SPLITS
        if split in dataset.places
    }
    if test is not None and "test" in lists:
        raise DataError(
            f"test={test:g}: {path} has a test split already; leave out test=, or "
            "remove the key `test:` from the file"
        )
    for split in lists:
        # val chooses the checkpoint even where test is scored
        if not report.splits[split].boxes.total():
            raise DataError(
                f"the split {split!r} of {path} has images but no labelled object, "
                "so nothing can be learnt from it or scored on it; label it, or remove it "
                "and make a test split with test=0.2"
            )
    digests = {image: file_digest(image) for images in lists.values() for image in images}
    pairs = find_pairs(digests, quiet=quiet) if near_duplicates else None
    made_split = None
    if test is not None:
        lists = _make_test_split(lists, test, digests, pairs or [])
        groups = "identical" if pairs is None else "near-duplicates"
        made_split = {"from": "train", "share": test, "groups": groups}
    scored = "test" if "test" in lists else "val"
    if len(lists[scored]) < 2:
        raise DataError(
            f"the split {scored!r} of {path} has a single image, and one image says nothing about "
            "others; score on more, or make a test split with test=0.2"
        )
    return StudyData(
        yaml=path,
        names=dataset.names,
        lists=lists,
        digests={split: _digest(images, digests) for split, images in lists.items()},
        made_split=made_split,
        leaks=find_leaks(lists, digests, pairs),
    )


def write_lists(
    folder: Path, lists: Mapping[str, tuple[Path, ...]], names: tuple[str, ...]
) -> None:
    """Write image lists with absolute paths, and a data.yaml that names them.

    Args:
        folder: Where to; it is made where it does not exist.
        lists: Images of each split.
        names: Class names in the order of their ids.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for split, images in lists.items():
        write_whole(folder / f"{split}.txt", "".join(f"{image}\n" for image in images))
    content: dict[str, Any] = {split: f"{split}.txt" for split in lists}
    content["names"] = dict(enumerate(names))
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    write_whole(folder / "data.yaml", text)


def read_lists(study_yaml: str | Path) -> dict[str, tuple[Path, ...]]:
    """Read back what `write_lists` wrote.

    Args:
        study_yaml: The data.yaml of a study.

    Returns:
        Images of each split.

    Raises:
        DataError: If the file or a list is missing.
    """
    places = read_data_yaml(Path(study_yaml), []).places
    return {split: tuple(list_split_images(place)) for split, place in places.items()}


def refuse_changed_images(planned: Mapping[str, Any]) -> None:
    """Compare lists, images and labels with the digests in a plan.

    Args:
        planned: The entry "data" of the plan.

    Raises:
        DataError: If a list, an image or a label file was changed or is missing.
    """
    lists = read_lists(planned["study_yaml"])
    for split, stored in planned["splits"].items():
        remedy = (
            f"a study compares on the same {split} images throughout: restore them, or start "
            "another study with another out="
        )
        try:
            images = lists.get(split, ())
            digest = _digest(images, {image: file_digest(image) for image in images})
        except OSError as error:
            raise DataError(
                f"{error.filename} cannot be read ({error.strerror}); {remedy}"
            ) from error
        if digest != stored["sha256"]:
            raise DataError(
                f"the {stored['images']} {split} images of {planned['yaml']} or their labels are "
                f"not those that this study began with; {remedy}"
            )


def _refuse_changing_images(report: Report) -> None:
    """Raise if Ultralytics would leave images out of a training, or rewrite them during it."""
    if dropped := report.dropped:
        examples = "\n".join(f"  {problem}" for problem in dropped[:5])
        raise DataError(
            f"{report.data_yaml}: Ultralytics would leave {len(dropped)} images out:\n{examples}\n"
            "Correct or remove them, or write a clean copy: mlla data convert SRC DST --from yolo"
        )
    cut = [problem.file for problem in report.problems if problem.kind is Kind.JPEG_END]
    if cut:
        raise DataError(
            f"{report.data_yaml}: {len(cut)} JPEG files lack their end mark, such as {cut[0]}; "
            "Ultralytics would rewrite them in the middle of the study. Open and save them anew, "
            "or let it do so before: mlla val model=... data=..."
        )


def _make_test_split(
    lists: Mapping[str, tuple[Path, ...]],
    share: float,
    digests: Mapping[Path, str],
    pairs: list[tuple[str, str]],
) -> dict[str, tuple[Path, ...]]:
    """Move groups of training images that belong together into a test split, classes balanced."""
    groups = join_groups(set(digests.values()), pairs)
    # what shows the same as an image of val must not become a test image
    kept = {groups[digests[image]] for split in lists if split != "train" for image in lists[split]}
    classes: dict[str, list[set[int]]] = defaultdict(list)
    for image in lists["train"]:
        if (group := groups[digests[image]]) not in kept:
            classes[group].append(_classes_on(image))
    # the images that stay anyway count for the share of train
    num_movable = sum(map(len, classes.values()))
    moved = min(share * len(lists["train"]) / max(num_movable, 1), 0.9)
    split_of = deal_groups(classes, {"train": 1 - moved, "test": moved}, SPLIT_SEED)
    made: dict[str, list[Path]] = {"train": [], "test": []}
    for image in lists["train"]:
        made[split_of.get(groups[digests[image]], "train")].append(image)
    for split, images in made.items():
        if not any(_classes_on(image) for image in images):
            raise DataError(
                f"test={share:g} leaves the {split} split {len(images)} images without a labelled "
                "object; choose another share"
            )
    return {
        "train": tuple(made["train"]),
        **{split: images for split, images in lists.items() if split != "train"},
        "test": tuple(made["test"]),
    }


def _classes_on(image: Path) -> set[int]:
    labels = label_path(image)
    lines = read_label_lines(labels) if labels.is_file() else []
    return {parse_label_line(line)[0] for _, line in lines}


def _digest(images: tuple[Path, ...], digests: Mapping[Path, str]) -> str:
    """Return the SHA-256 over images and labels; where they lie does not matter."""
    total = hashlib.sha256()
    for image in images:
        labels = label_path(image)
        text = labels.read_bytes() if labels.is_file() else b""
        total.update(f"{digests[image]} {hashlib.sha256(text).hexdigest()}\n".encode())
    return total.hexdigest()
