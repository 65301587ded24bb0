"""Images with class names on disk, through the readers of timm."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from timm.data import create_dataset
from timm.data.readers import create_reader

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "eval", "evaluation"),
}
STREAMS = ("wds", "tfds", "hfids")


class ImageSplit:
    """Images of one split by index, with their names and classes.

    Args:
        load: Returns the image and the label at an index.
        names: A name of each image, the path where it has one.
        class_names: Names of the classes, by label.
        where: What to call the split in messages.
    """

    def __init__(
        self,
        load: Callable[[int], tuple[Any, int]],
        names: Sequence[str],
        class_names: Sequence[str],
        where: str,
    ) -> None:
        self._load = load
        self.names = list(names)
        self.class_names = list(class_names)
        self.where = where
        self._labels: list[int] = list(range(len(class_names)))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        try:
            image, label = self._load(index)
            return image.convert("RGB"), self._labels[label]
        # damaged bytes make the decoders of Pillow raise nearly anything
        except Exception as error:
            raise OSError(
                f"{self.names[index]} of {self.where} cannot be read as an image: {error}; repair "
                "or remove it"
            ) from error

    def use_labels_of(self, class_names: Sequence[str]) -> None:
        """Count classes as another split, or a model, does.

        Args:
            class_names: Names of the classes there, by label; some may have no image here.

        Raises:
            ValueError: If a class here is unknown there.
        """
        unknown = [name for name in self.class_names if name not in class_names]
        if unknown:
            raise ValueError(
                f"{self.where} has classes that the model does not know: {', '.join(unknown[:10])}"
                f"{', ...' if len(unknown) > 10 else ''}; it knows {', '.join(class_names[:10])}"
                f"{', ...' if len(class_names) > 10 else ''}"
            )
        self._labels = [list(class_names).index(name) for name in self.class_names]
        self.class_names = list(class_names)


class TransformedImages:
    """A split whose images went through a transform, as a data set of PyTorch.

    Args:
        split: The images.
        transform: From an image to a tensor.
    """

    def __init__(self, split: ImageSplit, transform: Callable[[Image.Image], Any]) -> None:
        self.split = split
        self.transform = transform

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, label = self.split[index]
        return self.transform(image), label


class _ReaderImages:
    """Image and label at an index of a reader of timm; it can be sent to other processes."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader

    def __call__(self, index: int) -> tuple[Image.Image, int]:
        file, label = self.reader[index]
        with file:
            image = Image.open(file)
            image.load()
        return image, label


def open_split(data: str | Path, split: str, *, root: str | Path | None = None) -> ImageSplit:
    """Open a split of a data set on disk; nothing is downloaded.

    Args:
        data: A folder with a folder for each split, which has a folder of images for each class;
            or a name of timm for data sets on disk: "torch/cifar10", "hfds/name".
        split: "train", "val", or what a split is called there.
        root: Where a data set given by name lies.

    Returns:
        The images.

    Raises:
        FileNotFoundError: If the folder or the split does not exist.
        ValueError: If images lie elsewhere than in folders of classes, a data set cannot be read
            by index, or `root` is missing.
        ImportError: If what reads the data set is not installed.
    """
    prefix = str(data).partition("/")[0].lower()
    if Path(data).is_dir():
        return _open_folder(Path(data), split)
    if prefix in STREAMS:
        raise ValueError(
            f"data={data} is a stream, which cannot be read by index as exact repetition needs; "
            "unpack it to folders of images, or use hfds/ or torch/"
        )
    if prefix not in ("torch", "hfds"):
        raise FileNotFoundError(
            f"data={data} is not a folder here, nor a name that begins with torch/ or hfds/"
        )
    if root is None:
        raise ValueError(f"data={data} is a name; root=FOLDER must say where it lies on disk")
    return (_open_torch if prefix == "torch" else _open_hugging_face)(str(data), split, Path(root))


def _open_folder(data: Path, split: str) -> ImageSplit:
    synonyms = SPLIT_NAMES.get(split, (split,))
    found = [data / name for name in synonyms if (data / name).is_dir()]
    if not found:
        present = sorted(path.name for path in data.iterdir() if path.is_dir())
        raise FileNotFoundError(
            f"data={data} has no split {split!r}, which would be a folder "
            f"{' or '.join(synonyms)}; it has {', '.join(present[:10]) or 'no folder'}"
        )
    if len(found) > 1:
        raise ValueError(
            f"data={data} has {found[0].name} and {found[1].name}; which of them is {split!r}? "
            "Rename one"
        )
    reader = create_reader("", root=str(found[0]))
    names = [Path(path).relative_to(data).as_posix() for path, _ in reader.samples]
    # timm takes the innermost folder for the class, whatever is above it
    stray = next((name for name in names if name.count("/") != 2), None)
    if stray is not None:
        raise ValueError(
            f"{data / stray} does not lie in a folder of its class: {found[0].name}/CLASS/IMAGE"
        )

    return ImageSplit(_ReaderImages(reader), names, _by_label(reader.class_to_idx), str(found[0]))


def _open_torch(data: str, split: str, root: Path) -> ImageSplit:
    if not root.is_dir():
        raise FileNotFoundError(f"root={root} is not a folder")
    dataset = create_dataset(data, root=str(root), split=split, download=False)
    classes = getattr(dataset, "classes", None)
    if classes is None:
        raise ValueError(f"data={data}: torchvision does not name the classes of this data set")
    # torchvision's ImageNet has several names for a class
    class_names = [name if isinstance(name, str) else name[0] for name in classes]
    names = [f"{data}/{split}/{index}" for index in range(len(dataset))]
    return ImageSplit(dataset.__getitem__, names, class_names, f"{data} {split}")


def _open_hugging_face(data: str, split: str, root: Path) -> ImageSplit:
    # read when the package is imported, at the latest by the next line
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        reader = create_reader(data, root=str(root), split=split)
    except ImportError as error:
        raise ImportError(f"data={data} needs pip install datasets ({error})") from error
    if not reader.class_to_idx:
        raise ValueError(
            f"data={data} has no column `label` of the kind ClassLabel, which names the classes"
        )
    names = [f"{data}/{split}/{index}" for index in range(len(reader))]
    return ImageSplit(
        _ReaderImages(reader), names, _by_label(reader.class_to_idx), f"{data} {split}"
    )


def _by_label(class_to_label: dict[str, int]) -> list[str]:
    names = sorted(class_to_label, key=class_to_label.__getitem__)
    if [class_to_label[name] for name in names] != list(range(len(names))):
        raise ValueError(f"labels of classes must count from 0 on, got {class_to_label}")
    return names
