"""What a detector finds on the images of a study, to be scored outside of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

# as Ultralytics validates: nearly everything, so that the whole curve can be drawn
CONFIDENCE, OVERLAP, MAX_DETECTIONS = 0.001, 0.7, 300


def predict(
    model: Any, images: Sequence[Path], *, imgsz: int, batch: int = 16, device: str | None = None
) -> list[dict[str, Any]]:
    """Run a detector over images.

    Args:
        model: A detector, `mlla.yolo.YOLO` or `RTDETR`.
        images: Files; the place of a file in the list is the id of its image.
        imgsz: Size in pixels that the longer side is scaled to.
        batch: Images at a time; it does not change the result.
        device: Where to run, such as "cpu" or "0".

    Returns:
        image_id, category_id, bbox (x, y, width and height in pixels of the file as displayed) and
        score of each detection.

    Raises:
        ValueError: If an image gave no result because it could not be read.
    """
    found: list[dict[str, Any]] = []
    num_results = 0
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        results = model.predict(
            [str(image) for image in part],
            imgsz=imgsz,
            conf=CONFIDENCE,
            iou=OVERLAP,
            max_det=MAX_DETECTIONS,
            # padded to a square: otherwise an image would depend on its neighbours in the batch
            rect=False,
            device=device,
            save=False,
            verbose=False,
        )
        if len(results) != len(part):
            raise ValueError(
                f"only {len(results)} of the images {part[0]} to {part[-1]} could be read; "
                "`mlla data check` tells which"
            )
        for result in results:
            boxes = result.boxes.cpu()
            corners = boxes.xyxy.double().numpy()
            for (x1, y1, x2, y2), score, category in zip(
                corners.tolist(), boxes.conf.tolist(), boxes.cls.tolist(), strict=True
            ):
                found.append(
                    {
                        "image_id": num_results,
                        "category_id": int(category),
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "score": score,
                    }
                )
            num_results += 1
    return found
