"""Draw test images with their labels on the left and what a model found on the right."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

NUM_IMAGES = 6
SIDE_PX = 300
COLUMNS = 3
HEADER_PX, GAP_PX = 24, 10
COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080")


def draw_sheet(model, data: Path, path: Path, settings: dict) -> None:
    """Draw the first test image, by name, of each class, so that nobody chose them."""
    tiles = []
    for image_path in first_of_each_class(data):
        result = model.predict(image_path, verbose=False, save=False, **settings)[0]
        found = [
            (int(box.cls), f" {float(box.conf):.2f}", box.xyxyn[0].tolist()) for box in result.boxes
        ]
        truth = [(number, "", corners) for number, corners in read_labels(image_path)]
        image = Image.open(image_path).convert("RGB")
        tiles.append([draw_boxes(image, boxes, model.names) for boxes in (truth, found)])
    paste_all(tiles).save(path, quality=80)


def first_of_each_class(data: Path) -> list[Path]:
    chosen: dict[int, Path] = {}
    for image in sorted((data / "images" / "test").iterdir()):
        for number, _ in read_labels(image):
            if image not in chosen.values():
                chosen.setdefault(number, image)
    return [chosen[number] for number in sorted(chosen)][:NUM_IMAGES]


def read_labels(image: Path) -> list[tuple[int, list[float]]]:
    """Return class and normalised left, top, right, bottom of every box of a test image."""
    path = image.parents[2] / "labels" / "test" / f"{image.stem}.txt"
    boxes = []
    for line in path.read_text().splitlines():
        number, x, y, w, h = (float(part) for part in line.split())
        boxes.append((int(number), [x - w / 2, y - h / 2, x + w / 2, y + h / 2]))
    return boxes


def draw_boxes(image: Image.Image, boxes: list, names: dict[int, str]) -> Image.Image:
    copy = image.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
    pen, font = ImageDraw.Draw(copy), ImageFont.load_default(12)
    for number, note, corners in boxes:
        colour = COLOURS[number % len(COLOURS)]
        left, top, right, bottom = (value * SIDE_PX for value in corners)
        pen.rectangle((left, top, right, bottom), outline=colour, width=2)
        place, text = (left + 1, max(0, top - 15)), f"{names[number]}{note}"
        pen.rectangle(pen.textbbox(place, text, font=font), fill=colour)
        pen.text(place, text, "white", font=font)
    return copy


def paste_all(tiles: list[list[Image.Image]]) -> Image.Image:
    num_columns = min(COLUMNS, len(tiles))
    width = num_columns * (2 * SIDE_PX + GAP_PX) - GAP_PX
    num_rows = -(-len(tiles) // num_columns)
    sheet = Image.new("RGB", (width, HEADER_PX + num_rows * (SIDE_PX + GAP_PX) - GAP_PX), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for index, pair in enumerate(tiles):
        left = index % num_columns * (2 * SIDE_PX + GAP_PX)
        top = HEADER_PX + index // num_columns * (SIDE_PX + GAP_PX)
        for offset, title, tile in zip((0, SIDE_PX), ("labels", "predictions"), pair, strict=True):
            pen.text((left + offset + 6, 3), title, "black", font=font)
            sheet.paste(tile, (left + offset, top))
    return sheet
