"""From nothing to boxes: generate data, train, validate, predict, and draw what was found.

    python examples/demo.py [FOLDER]

The same in five commands stands in the README; here it is in Python.
"""

import argparse
import os
import time
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from mlla.data import write_demo
from mlla.yolo import YOLO

MODEL = "yolov8n-mlla"
# found by trial on this set: a step every batch (nbs), no mosaic, so that minutes are enough
SETTINGS = {
    "epochs": 24,
    "imgsz": 160,
    "batch": 16,
    "nbs": 16,
    "optimizer": "AdamW",
    "lr0": 0.002,
    "warmup_epochs": 1,
    "warmup_bias_lr": 0.0,
    "mosaic": 0.0,
    "amp": False,
    "cache": "ram",
    "workers": 0,
    "pretrained": False,
    "seed": 0,
}
ZOOM = 2
COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080")


def main() -> None:
    """Run every step and end with the scores and the path of the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("demo"))
    folder = parser.parse_args().folder.resolve()
    started = time.perf_counter()
    data = folder / "data" / "data.yaml"
    if not data.exists():
        data = write_demo(folder / "data")

    places = {"project": str(folder), "exist_ok": True}
    model = YOLO(MODEL)
    # Ultralytics leaves one core to the loader, which here only reads from memory
    model.add_callback("on_train_start", lambda _: torch.set_num_threads(os.cpu_count() or 1))
    model.train(data=str(data), name="train", **places, **SETTINGS)
    trained = time.perf_counter()

    best = YOLO(folder / "train" / "weights" / "best.pt")
    scores = best.val(data=str(data), imgsz=SETTINGS["imgsz"], name="val", **places)
    unseen = sorted((data.parent / "images" / "test").iterdir())
    results = [best.predict(image, imgsz=SETTINGS["imgsz"], verbose=False)[0] for image in unseen]
    picture = folder / "found.png"
    draw_sheet(results[:8], best.names, picture)

    minutes = (time.perf_counter() - started) / 60
    print(f"\nmAP50 {scores.box.map50:.3f}, mAP50-95 {scores.box.map:.3f} on the validation images")
    for index, name in best.names.items():
        print(f"  {name:<16} AP50 {scores.box.class_result(index)[2]:.3f}")
    print(f"{minutes:.1f} minutes, {(trained - started) / 60:.1f} of them training")
    print(f"look at {picture}")


def draw_sheet(results: list, names: dict[int, str], path: Path) -> None:
    """Draw each image twice, with its labels and with what the model found."""
    tiles = []
    for result in results:
        image = Image.open(result.path).convert("RGB")
        labels = Path(result.path.replace("images", "labels")).with_suffix(".txt")
        lines = labels.read_text().splitlines() if labels.exists() else []
        truth = []
        for line in lines:
            number, x, y, w, h = (float(part) for part in line.split())
            corners = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
            sides = (image.width, image.height) * 2
            truth.append((int(number), "", [c * s for c, s in zip(corners, sides, strict=True)]))
        found = [
            (int(box.cls), f" {float(box.conf):.2f}", box.xyxy[0].tolist()) for box in result.boxes
        ]
        tiles.append((draw_boxes(image, truth, names), draw_boxes(image, found, names)))
    width, height = tiles[0][0].size
    header = 24
    columns = 2
    rows = -(-len(tiles) // columns)
    gap = 16
    sheet = Image.new(
        "RGB",
        (columns * (2 * width + gap) - gap, rows * (height + 8) + header),
        "white",
    )
    pen = ImageDraw.Draw(sheet)
    for column in range(columns):
        left = column * (2 * width + gap)
        for offset, title in ((0, "labelled"), (width, f"found by {MODEL}")):
            pen.text((left + offset + 6, 4), title, "black", font=ImageFont.load_default(14))
    for index, (truth_tile, found_tile) in enumerate(tiles):
        left = (index % columns) * (2 * width + gap)
        top = header + (index // columns) * (height + 8)
        sheet.paste(truth_tile, (left, top))
        sheet.paste(found_tile, (left + width + 2, top))
    sheet.save(path)


def draw_boxes(image: Image.Image, boxes: list, names: dict[int, str]) -> Image.Image:
    """Draw named boxes on an enlarged copy."""
    copy = image.resize((image.width * ZOOM, image.height * ZOOM), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(copy)
    font = ImageFont.load_default(12)
    for number, note, corners in boxes:
        colour = COLOURS[number % len(COLOURS)]
        left, top, right, bottom = (value * ZOOM for value in corners)
        pen.rectangle((left, top, right, bottom), outline=colour, width=2)
        text = f"{names[number]}{note}"
        box = pen.textbbox((left, max(0, top - 15)), text, font=font)
        pen.rectangle(box, fill=colour)
        pen.text((left, max(0, top - 15)), text, "white", font=font)
    return copy


if __name__ == "__main__":
    main()
