"""Inspect an Ultralytics detection data set for what would spoil or stop a training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from mlla.data.data_yaml import DataYaml, label_path, list_split_images, read_data_yaml
from mlla.data.errors import DataError
from mlla.data.files import list_files
from mlla.data.images import ImageFacts, UnreadableImageError, inspect_image
from mlla.data.report import DROPS_IMAGE, Kind, Problem, Report, SplitCounts
from mlla.data.shapes import BadShapeError, Shape, clip_shape, edges_from_centre_size
from mlla.data.yolo_labels import UnreadableLabelsError, parse_label_line, read_label_lines

_MAX_ASPECT = 20
_MAX_SIDE_PX = 10_000


def check_dataset(
    data_yaml: str | Path, *, datasets_folder: str | Path | None = None, quiet: bool = False
) -> Report:
    """Inspect every image and label file of a data set; nothing is changed.

    Args:
        data_yaml: The data.yaml of the data set.
        datasets_folder: Where a relative `path` in the file is looked up first, as Ultralytics
            does in the folder of its settings.
        quiet: Show no progress bar.

    Returns:
        Counts and every problem. An image that Ultralytics would drop is not counted.

    Raises:
        DataError: If a training would stop or be wrong: data.yaml is missing or wrong, a split
            has no usable image, or labels use class ids beyond the names.
    """
    path = Path(data_yaml)
    problems: list[Problem] = []
    folder = None if datasets_folder is None else Path(datasets_folder)
    data = read_data_yaml(path, problems, folder)
    splits: dict[str, SplitCounts] = {}
    beyond_names: list[str] = []
    first_by_digest: dict[str, tuple[str, str]] = {}
    for split, places in data.places.items():
        checker = _Checker(data, problems, beyond_names)
        images = list_split_images(places)
        for image in tqdm(images, desc=f"checking {split}", disable=True if quiet else None):
            facts = checker.check_image(image)
            if facts:
                first = first_by_digest.setdefault(facts.digest, (split, checker.name(image)))
                checker.compare(image, split, first)
        checker.find_stray_labels(images)
        if not checker.counts.images:
            reason = f"; the first problem is {problems[-1]}" if images and problems else ""
            raise DataError(f"{split} in {path} holds no image that can be used{reason}")
        splits[split] = checker.counts
    if beyond_names:
        raise DataError(
            f"{len(beyond_names)} label lines use classes beyond the {len(data.names)} names in "
            f"{path}: {'; '.join(beyond_names[:3])}; complete `names` or correct the labels"
        )
    return Report("Checked", path, data.names, splits, tuple(problems))


def check_images(images: Iterable[Path]) -> list[Problem]:
    """Decode images and return those that Ultralytics could not predict on.

    Args:
        images: Image files.

    Returns:
        A problem for every image that is missing, empty, damaged, cut short or tiny.
    """
    problems = []
    for image in images:
        try:
            inspect_image(image)
        except UnreadableImageError as error:
            problems.append(Problem(Kind.UNREADABLE_IMAGE, str(image), "", str(error), "no boxes"))
    return problems


class _Checker:
    """Checks the images of one split and collects what it finds."""

    def __init__(self, data: DataYaml, problems: list[Problem], beyond_names: list[str]) -> None:
        self.counts = SplitCounts()
        self._data = data
        self._problems = problems
        self._beyond_names = beyond_names

    def name(self, path: Path) -> str:
        """Name a file relative to the data set if it lies inside."""
        root = self._data.root.resolve()
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

    def report(self, kind: Kind, path: Path, where: str, detail: str, action: str) -> None:
        """Add a problem."""
        self._problems.append(Problem(kind, self.name(path), where, detail, action))

    def check_image(self, image: Path) -> ImageFacts | None:
        """Check one image and its labels; return None if Ultralytics would drop it."""
        try:
            facts = inspect_image(image)
        except UnreadableImageError as error:
            self.report(Kind.UNREADABLE_IMAGE, image, "", str(error), DROPS_IMAGE)
            return None
        width, height = facts.size
        if max(width, height) > min(_MAX_SIDE_PX, _MAX_ASPECT * min(width, height)):
            action = "scaled to the training size little is left of it; cut it into pieces"
            self.report(Kind.EXTREME_SIZE, image, "", f"{width}x{height} pixels", action)
        if not facts.has_end:
            detail = "bytes are missing or added at its end"
            self.report(Kind.JPEG_END, image, "", detail, "Ultralytics will rewrite the file")
        labels = label_path(image)
        if not labels.is_file():
            detail = f"no label file {self.name(labels)}"
            self.report(Kind.IMAGE_WITHOUT_ANNOTATION, image, "", detail, "trained as background")
            self.counts.add_image([])
            return facts
        class_ids = self._check_labels(labels)
        if class_ids is None:
            return None
        self.counts.add_image(class_ids)
        return facts

    def compare(self, image: Path, split: str, first: tuple[str, str]) -> None:
        """Report an image whose bytes have been met before under another name."""
        first_split, first_name = first
        if first_name == self.name(image):
            return
        detail = f"the same bytes as {first_name}"
        if split == first_split:
            self.report(Kind.DUPLICATE_IMAGE, image, "", detail, "counts twice")
        else:
            action = f"scores on {split} are too good; remove one of them"
            self.report(Kind.IN_TWO_SPLITS, image, "", detail, action)

    def find_stray_labels(self, images: Iterable[Path]) -> None:
        """Report label files that belong to none of the images."""
        expected = {label_path(image) for image in images}
        folders = {path.parent for path in expected if path.parent.name != "images"}
        for folder in sorted(folder for folder in folders if folder.is_dir()):
            for path in list_files(folder).values():
                is_label = path.suffix == ".txt" and path.name != "classes.txt"
                if is_label and path.parent == folder and path not in expected:
                    kind, detail = Kind.ANNOTATION_WITHOUT_IMAGE, "no image of the same name"
                    self.report(kind, path, "", detail, "never read")

    def _check_labels(self, path: Path) -> list[int] | None:
        """Return the class ids in a label file; None if Ultralytics would drop the image."""
        try:
            lines = read_label_lines(path)
        except UnreadableLabelsError as error:
            self.report(Kind.UNREADABLE_ANNOTATION, path, "", str(error), DROPS_IMAGE)
            return None
        is_dropped = False
        shapes: list[tuple[int, Shape]] = []
        for number, line in lines:
            where = f"line {number}"
            try:
                class_id, numbers = parse_label_line(line)
            except BadShapeError as error:
                self.report(error.kind, path, where, str(error), DROPS_IMAGE)
                is_dropped = True
                continue
            if class_id >= len(self._data.names):
                self._beyond_names.append(f"{self.name(path)}, {where}: class {class_id}")
            if not all(0 <= value <= 1 for value in numbers):
                detail = f"{min(numbers):g} to {max(numbers):g} is not within 0 to 1"
                self.report(Kind.PARTLY_OUTSIDE, path, where, detail, DROPS_IMAGE)
                is_dropped = True
                continue
            shapes.append((class_id, self._check_shape(path, where, numbers)))
        is_dropped |= self._check_together(path, shapes)
        return None if is_dropped else [class_id for class_id, _ in shapes]

    def _check_shape(self, path: Path, where: str, numbers: tuple[float, ...]) -> Shape:
        """Report a shape without area or beyond the image, both of which Ultralytics loads."""
        if len(numbers) == 4:
            numbers = edges_from_centre_size(*numbers)
        shape = Shape(where, "", numbers)
        try:
            _, was_cut = clip_shape(shape)
        except BadShapeError as error:
            self.report(error.kind, path, where, str(error), "loaded, but nothing to learn from")
            return shape
        if was_cut:
            detail = "edges " + ", ".join(f"{number:.4f}" for number in numbers)
            self.report(Kind.PARTLY_OUTSIDE, path, where, detail, "loaded as it is")
        return shape

    def _check_together(self, path: Path, shapes: Sequence[tuple[int, Shape]]) -> bool:
        """Report repeats and a mixture of boxes and polygons; tell whether the image is lost."""
        first_by_shape: dict[tuple[int, tuple[float, ...]], str] = {}
        for class_id, shape in shapes:
            first = first_by_shape.setdefault((class_id, shape.numbers), shape.where)
            if first != shape.where:
                action = "Ultralytics drops the repeat"
                self.report(Kind.DUPLICATE_BOX, path, shape.where, f"the same as {first}", action)
        is_mixed = len({shape.is_box for _, shape in shapes}) == 2
        if is_mixed:
            detail = "some lines have 5 columns, some more"
            self.report(Kind.MIXED_SHAPES, path, "", detail, DROPS_IMAGE)
        return is_mixed
