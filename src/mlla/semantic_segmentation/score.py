"""Score a segmenter on a split, by all processes of a launch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

from mlla.semantic_segmentation.confusion import SegmentationScores, confusion_matrix, scores_of
from mlla.semantic_segmentation.inference import Inference, segment
from mlla.semantic_segmentation.mask_split import MaskSplit
from mlla.training import Launch, evaluation_batches

SCORES_NAME, MASKS_NAME = "scores.json", "masks"


class _Pixels:
    """Samples of a split as bytes, for a loader."""

    def __init__(self, split: MaskSplit) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.split.read(index)


def score_split(
    model: nn.Module,
    split: MaskSplit,
    inference: Inference,
    launch: Launch,
    *,
    workers: int,
    masks_folder: Path | None = None,
) -> SegmentationScores:
    """Count every pixel of a split, at the size of its mask.

    Args:
        model: A segmenter in evaluation mode, on the device.
        split: Images and masks.
        inference: How to look at images.
        launch: The processes; each takes its share of the images, and all return the same.
        workers: Processes that read, for each process of the launch.
        masks_folder: Where to write predicted masks, with the numbers of the dataset; an existing
            folder.
    """
    num_classes = len(split.labels.names)
    matrix = np.zeros((num_classes, num_classes), dtype=np.int64)
    batches = evaluation_batches(_Pixels(split), launch, batch=1, workers=workers, collate=list)
    for indices, samples in batches:
        for index, (image, classes) in zip(indices, samples, strict=True):
            with launch.autocast():
                predicted = segment(model, image, inference).argmax(dim=0).cpu().numpy()
            matrix += confusion_matrix(classes, predicted, num_classes)
            if masks_folder is not None:
                numbers = split.labels.numbers_of(predicted)
                name = f"{split.pairs[index][0].stem}.png"
                Image.fromarray(numbers).save(masks_folder / name)
    total = sum(launch.gather([matrix]), start=np.zeros_like(matrix))
    return scores_of(total, split.labels.names)


def write_scores(scores: SegmentationScores, file: Path) -> None:
    """Write all scores as JSON; what no class has is null."""
    classes = {
        name: {
            "IoU": None if iou != iou else iou,
            "recall": None if accuracy != accuracy else accuracy,
            "pixels": pixels,
        }
        for name, iou, accuracy, pixels in zip(
            scores.class_names, scores.iou, scores.accuracy, scores.pixels, strict=True
        )
    }
    content = {**scores.figures(), "classes": classes}
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
