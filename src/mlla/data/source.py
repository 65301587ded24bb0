"""What every reader returns: images with their shapes, class names and what went wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from mlla.data.files import ImageIndex, split_of
from mlla.data.report import Kind, Problem
from mlla.data.shapes import Shape


@dataclass
class Sample:
    """One image and what is annotated on it.

    Attributes:
        image: Name of the image, relative to the folder of images.
        path: Where the image is.
        annotation: Name of the file with its annotations; empty if there is none.
        shapes: The annotated objects.
        split: `train`, `val`, `test`, or None if the source does not say.
        stated_size: Width and height according to the annotation, if it says.
    """

    image: str
    path: Path
    annotation: str = ""
    shapes: list[Shape] = field(default_factory=list)
    split: str | None = None
    stated_size: tuple[int, int] | None = None


@dataclass
class Source:
    """A data set as read.

    Attributes:
        samples: All usable images, in a stable order.
        names: Class names in the order of their ids.
        problems: What could not be read.
        in_pixels: Whether the numbers of shapes are pixels; otherwise they are normalised.
    """

    samples: list[Sample]
    names: list[str]
    problems: list[Problem]
    in_pixels: bool


def best_image(
    index: ImageIndex, reference: str, annotation: str, where: str, problems: list[Problem]
) -> str | None:
    """Find the image of an annotation; report if there is none or more than one.

    Args:
        index: All images.
        reference: What the annotation calls the image.
        annotation: Name of the annotation file.
        where: Place inside that file.
        problems: Receives what is wrong.

    Returns:
        The name of the image, None if there is none.
    """
    found = index.find(reference, annotation)
    if not found:
        detail = f"no image {reference!r}"
        problems.append(
            Problem(Kind.ANNOTATION_WITHOUT_IMAGE, annotation, where, detail, "annotation dropped")
        )
        return None
    if len(found) > 1:
        detail = f"{reference!r} fits {', '.join(found)}"
        action = f"{found[0]} taken"
        problems.append(Problem(Kind.SEVERAL_IMAGES, annotation, where, detail, action))
    return found[0]


def new_sample(
    samples: dict[str, Sample],
    images: Mapping[str, Path],
    image: str,
    annotation: str,
    problems: list[Problem],
) -> Sample | None:
    """Add a sample for an image that has none yet.

    Args:
        samples: Samples by image so far; receives the new one.
        images: Paths of all images by name.
        image: The image.
        annotation: Its annotation file.
        problems: Receives a second annotation of one image.

    Returns:
        The sample, None if the image has one already.
    """
    if image in samples:
        detail = f"{image} is already annotated by {samples[image].annotation}"
        action = "annotation dropped, the first one counts"
        problems.append(Problem(Kind.SEVERAL_ANNOTATIONS, annotation, "", detail, action))
        return None
    samples[image] = Sample(image, images[image], annotation)
    return samples[image]


def with_backgrounds(
    samples: Mapping[str, Sample],
    images: Mapping[str, Path],
    excluded: Collection[str],
    problems: list[Problem],
) -> list[Sample]:
    """Return all samples by name, with one for every image that no annotation speaks of.

    An image that has its stem in common with an annotated one is left out: which of the two the
    annotation means is not certain, and a background image must really be one.

    Args:
        samples: Annotated samples by image.
        images: Paths of all images by name.
        excluded: Images whose annotation cannot be read; what is on them is not known.
        problems: Receives the images without an annotation.
    """
    complete = dict(samples)
    annotated = {PurePosixPath(image).stem: image for image in samples}
    for image, path in images.items():
        if image in samples or image in excluded:
            continue
        namesake = annotated.get(PurePosixPath(image).stem)
        if namesake:
            kind, detail = Kind.SEVERAL_IMAGES, f"{namesake} has the annotation of this name"
            problems.append(Problem(kind, image, "", detail, "image left out"))
            continue
        complete[image] = Sample(image, path)
        kind, detail = Kind.IMAGE_WITHOUT_ANNOTATION, "no annotation speaks of it"
        problems.append(Problem(kind, image, "", detail, "kept as background, without boxes"))
    return [complete[image] for image in sorted(complete)]


def set_splits_by_folder(samples: list[Sample]) -> None:
    """Set the split of every sample by its folders, if they make up train and val."""
    splits = {sample.image: split_of(sample.image) for sample in samples}
    if {"train", "val"} <= set(splits.values()):
        for sample in samples:
            sample.split = splits[sample.image]
