"""Masks as COCO stores them: polygons, and run lengths down the columns of the image."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def decode_mask(segmentation: Any, height: int, width: int) -> NDArray[np.uint8]:
    """Draw an object.

    Args:
        segmentation: Polygons, each x, y, x, y, ... in pixels, or run lengths, plain or packed.
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Returns:
        1 inside and 0 outside, (height, width).

    Raises:
        ValueError: If run lengths are of an image of another size.
    """
    from hotcoco import mask as coco_mask

    if isinstance(segmentation, dict):
        if list(segmentation["size"]) != [height, width]:
            raise ValueError(
                f"segmentation is of an image of size {segmentation['size']}, but the image has "
                f"{[height, width]} (height, width)"
            )
        return np.ascontiguousarray(coco_mask.decode(segmentation))
    parts = coco_mask.frPyObjects(segmentation, height, width)
    return np.ascontiguousarray(coco_mask.decode(coco_mask.merge(parts)))


def encode_masks(masks: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Pack masks.

    Args:
        masks: (N, height, width).

    Returns:
        For each its packed run lengths, as JSON can hold them.
    """
    from hotcoco import mask as coco_mask

    packed = coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))
    return [{"size": list(run["size"]), "counts": run["counts"].decode()} for run in packed]


def outline_facts(points: NDArray[np.float64], height: int, width: int) -> dict[str, Any]:
    """Return box, area and segmentation of a polygon, as COCO stores them.

    Args:
        points: x and y of each corner, (N, 2), in pixels.
        height: Of the image, in pixels.
        width: Of the image, in pixels.
    """
    from hotcoco import mask as coco_mask

    polygon = points.round(2).ravel().tolist()
    low, high = points.min(axis=0).round(2), points.max(axis=0).round(2)
    area = int(coco_mask.area(coco_mask.frPyObjects([polygon], height, width)).sum())
    box = [*low.tolist(), *(high - low).round(2).tolist()]
    return {"bbox": box, "area": area, "segmentation": [polygon]}
