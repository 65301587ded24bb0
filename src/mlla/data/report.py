"""What a conversion or a check found: counts, and every problem by name."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path

from mlla.data.leaks import NearDuplicateCounts


class Kind(str, Enum):
    """The kinds of problems; the value is what a reader of the report sees."""

    UNREADABLE_IMAGE = "unreadable image"
    UNREADABLE_ANNOTATION = "unreadable annotation"
    ANNOTATION_WITHOUT_IMAGE = "annotation without image"
    IMAGE_WITHOUT_ANNOTATION = "image without annotation"
    SEVERAL_ANNOTATIONS = "several annotations of one image"
    SEVERAL_IMAGES = "several images of one name"
    BAD_OBJECT = "bad object or line"
    NOT_FINITE = "non-finite number"
    ZERO_AREA = "zero-area box"
    PARTLY_OUTSIDE = "box partly outside the image"
    FULLY_OUTSIDE = "box fully outside the image"
    UNKNOWN_CLASS = "unknown class"
    CROWD = "crowd region"
    DUPLICATE_BOX = "duplicate box"
    DUPLICATE_IMAGE = "duplicate image"
    SIZE_MISMATCH = "stated size differs from the image"
    TURNED = "boxes turned with the image"
    MIXED_SHAPES = "boxes and polygons in one file"
    IN_NO_SPLIT = "image in no split"
    IN_TWO_SPLITS = "same image in two splits"
    NEAR_DUPLICATES_APART = "near-duplicates in two splits"
    LISTED_MISSING = "listed image is missing"
    CLASS_WITHOUT_BOXES = "class without boxes"
    RENAMED = "image renamed"
    JPEG_END = "JPEG without an end mark"
    EXTREME_SIZE = "extreme image size"
    FILE_IGNORED = "file ignored"
    PATH_DEPENDS = "path depends on the working folder"


# the action of problems that cost a training the whole image
DROPS_IMAGE = "Ultralytics drops the whole image"


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be.

    Attributes:
        kind: What kind of problem.
        file: The file, relative to the folder that was read.
        where: The line, object or annotation inside the file; empty for the whole file.
        detail: The values that are wrong.
        action: What was done, or what follows from it.
    """

    kind: Kind
    file: str
    where: str
    detail: str
    action: str

    def __str__(self) -> str:
        place = f"{self.file}, {self.where}" if self.where else self.file
        return f"{place}: {self.detail} -> {self.action}"


@dataclass
class SplitCounts:
    """How much one split holds.

    Attributes:
        images: All images, backgrounds included.
        backgrounds: Images without any box.
        boxes: Boxes of each class id.
    """

    images: int = 0
    backgrounds: int = 0
    boxes: Counter[int] = field(default_factory=Counter)

    def add_image(self, class_ids: Sequence[int]) -> None:
        """Count one image with the class ids of its boxes."""
        self.images += 1
        self.backgrounds += not class_ids
        self.boxes.update(class_ids)


@dataclass(frozen=True)
class Report:
    """The outcome of a conversion or a check.

    Attributes:
        title: What was done, without machine-dependent paths.
        data_yaml: The data set, ready for Ultralytics.
        names: Class names in the order of their ids.
        splits: Counts of each split that exists.
        problems: Every problem, in a stable order.
        near_duplicates: What the search for near-duplicates found, if there was one.
    """

    title: str
    data_yaml: Path
    names: tuple[str, ...]
    splits: dict[str, SplitCounts]
    problems: tuple[Problem, ...]
    near_duplicates: NearDuplicateCounts | None = None

    @property
    def dropped(self) -> tuple[Problem, ...]:
        """The problems for which Ultralytics silently leaves the whole image out."""
        return tuple(problem for problem in self.problems if problem.action == DROPS_IMAGE)

    def count(self, kind: Kind) -> int:
        """Return how many problems of one kind there are."""
        return sum(problem.kind is kind for problem in self.problems)

    def summary(self, num_examples: int = 3) -> str:
        """Return counts per split, class and kind of problem, with a few examples of each.

        Args:
            num_examples: Examples per kind of problem.

        Returns:
            Several lines of text for a terminal.
        """
        lines = [self.title, "", *self._table(), ""]
        if self.near_duplicates:
            lines += [*self.near_duplicates.lines(), ""]
        if not self.problems:
            return "\n".join([*lines, "No problems found."])
        kinds = Counter(problem.kind for problem in self.problems)
        lines.append(f"Problems: {len(self.problems)}")
        for kind in Kind:
            if kind in kinds:
                lines.append(f"  {kind.value}: {kinds[kind]}")
                examples = [problem for problem in self.problems if problem.kind is kind]
                lines += [f"    {problem}" for problem in examples[:num_examples]]
                if len(examples) > num_examples > 0:
                    lines.append(f"    ... and {len(examples) - num_examples} more")
        return "\n".join(lines)

    def text(self) -> str:
        """Return the summary with every problem spelled out."""
        return self.summary(num_examples=len(self.problems)) + "\n"

    def to_json(self) -> str:
        """Return everything except the place of the data set as JSON."""
        content = {
            "title": self.title,
            "names": list(self.names),
            "splits": {
                split: {
                    "images": counts.images,
                    "backgrounds": counts.backgrounds,
                    "boxes": {name: counts.boxes[index] for index, name in enumerate(self.names)},
                }
                for split, counts in self.splits.items()
            },
            **({"near_duplicates": asdict(self.near_duplicates)} if self.near_duplicates else {}),
            "problem_counts": {kind.value: self.count(kind) for kind in Kind if self.count(kind)},
            "problems": [asdict(problem) for problem in self.problems],
        }
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"

    def _table(self) -> list[str]:
        """Return the rows of the table of counts, one column per split."""
        rows: list[tuple[str, list[int]]] = [
            ("images", [counts.images for counts in self.splits.values()]),
            ("  of them background", [counts.backgrounds for counts in self.splits.values()]),
            ("boxes", [counts.boxes.total() for counts in self.splits.values()]),
        ]
        for index, name in enumerate(self.names):
            rows.append((f"  {name}", [counts.boxes[index] for counts in self.splits.values()]))
        width = max(len(label) for label, _ in rows)
        header = " " * width + "".join(f"{split:>9}" for split in self.splits)
        return [header] + [
            f"{label:<{width}}" + "".join(f"{number:>9}" for number in numbers)
            for label, numbers in rows
        ]
