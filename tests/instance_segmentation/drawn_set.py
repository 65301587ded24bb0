"""A COCO data set of drawn shapes, whose boxes and masks are known from the drawing."""

import json

import numpy as np
from PIL import Image

SMALL = {
    "backbone_options": {"dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1)},
    "detector_options": {
        "rpn_post_nms_top_n_train": 30,
        "rpn_post_nms_top_n_test": 20,
        "rpn_batch_size_per_image": 32,
        "box_batch_size_per_image": 8,
        "box_detections_per_img": 3,
    },
}


def write_drawn_set(folder, *, sizes=((48, 64), (64, 40)), with_empty=False):
    """Write the splits train and val: on each image a bright bar, polygon, and a disc, RLE."""
    for split in ("train", "val"):
        images, annotations = [], []
        (folder / "images" / split).mkdir(parents=True)
        for number, (height, width) in enumerate(sizes, start=1):
            name = f"{split}_{number}.png"
            pixels, found = draw(height, width)
            Image.fromarray(pixels).save(folder / "images" / split / name)
            images.append({"id": number, "file_name": name, "height": height, "width": width})
            for entry in found:
                place = {"id": len(annotations) + 1, "image_id": number, "iscrowd": 0}
                annotations.append({**place, **entry})
        if with_empty:
            name = f"{split}_empty.png"
            Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(folder / "images" / split / name)
            images.append({"id": 99, "file_name": name, "height": 32, "width": 32})
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 7, "name": "disc"}, {"id": 3, "name": "bar"}],
        }
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return folder


def draw(height, width):
    """Return an image and its two objects as COCO has them."""
    pixels = np.full((height, width, 3), 40, np.uint8)
    left, top, right, bottom = 4, 6, width // 2, height - 8
    pixels[top:bottom, left:right] = (220, 60, 60)
    polygon = [left, top, right, top, right, bottom, left, bottom]
    bar = {
        "category_id": 3,
        "bbox": [left, top, right - left, bottom - top],
        "area": (right - left) * (bottom - top),
        "segmentation": [polygon],
    }
    rows, columns = np.mgrid[:height, :width] + 0.5
    radius = width // 5
    centre = (height // 2, width - radius - 2)
    inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2
    pixels[inside] = (60, 90, 230)
    ys, xs = np.nonzero(inside)
    disc = {
        "category_id": 7,
        "bbox": [
            int(xs.min()),
            int(ys.min()),
            int(xs.max() - xs.min() + 1),
            int(ys.max() - ys.min() + 1),
        ],
        "area": int(inside.sum()),
        "segmentation": {"size": [height, width], "counts": run_lengths(inside)},
    }
    return pixels, [bar, disc]


def run_lengths(inside):
    """Return run lengths down the columns, the first of zeros, written from the definition."""
    runs, value, length = [], False, 0
    for pixel in inside.T.ravel():
        if pixel == value:
            length += 1
        else:
            runs.append(length)
            value, length = pixel, 1
    return [*runs, length]
