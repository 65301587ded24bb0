"""Score a trained segmenter."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from mlla.semantic_segmentation.confusion import SegmentationScores
from mlla.semantic_segmentation.inference import Inference
from mlla.semantic_segmentation.open_data import open_split
from mlla.semantic_segmentation.score import MASKS_NAME, SCORES_NAME, score_split, write_scores
from mlla.semantic_segmentation.segmenter_folder import load_segmenter
from mlla.training import Launch


def validate(
    model: str | Path,
    data: str | Path,
    *,
    split: str = "val",
    out: str | Path | None = None,
    inference: Inference | None = None,
    classes: Sequence[str] | int | None = None,
    ignore: Collection[int] = (),
    reduce_zero_label: bool = False,
    workers: int = 4,
    precision: str = "fp32",
    device: str = "auto",
) -> SegmentationScores:
    """Score a segmenter on a split, at the size of its masks.

    Args:
        model: A folder that `save_segmenter` wrote, such as `best` of a training.
        data: A folder of images and masks, or a YAML file; see `open_split`.
        split: The split to score on.
        out: A folder for scores.json and the predicted masks, with the numbers of the dataset.
        inference: How to look at images; by default as a whole, at the size of the training.
        classes: As in `open_split`, like the next two; by default those of the model.
        ignore: Numbers in masks that do not count.
        reduce_zero_label: The number 0 does not count, and 1 is the first class.
        workers: Processes that read.
        precision: "fp32", "bf16" or "fp16".
        device: "auto", or "cpu" even where there is a GPU.

    Returns:
        The scores.

    Raises:
        FileExistsError: If `out` has scores already.
        FileNotFoundError: If the model does not exist.
        ValueError: If the data is wrong, or has other classes than the model.
    """
    launch = Launch(precision, device)
    saved = load_segmenter(model)
    opened = open_split(
        data,
        split,
        classes=classes if classes is not None or reduce_zero_label else saved.labels.as_dict(),
        ignore=ignore or saved.labels.ignored,
        reduce_zero_label=reduce_zero_label,
    )
    if opened.labels.names != saved.labels.names:
        raise ValueError(
            f"data={data} has the classes {', '.join(opened.labels.names)}, but {model} tells "
            f"apart {', '.join(saved.labels.names)}"
        )
    inference = inference or Inference(size_px=saved.size_px)
    folder = None if out is None else Path(out)
    if folder is not None and launch.is_main:
        if (folder / SCORES_NAME).exists():
            raise FileExistsError(f"out={folder} has {SCORES_NAME} already; choose another")
        (folder / MASKS_NAME).mkdir(parents=True, exist_ok=True)
    launch.wait()
    scores = score_split(
        saved.model.to(launch.device),
        opened,
        inference,
        launch,
        workers=workers,
        masks_folder=None if folder is None else folder / MASKS_NAME,
    )
    if folder is not None and launch.is_main:
        write_scores(scores, folder / SCORES_NAME)
    return scores
