"""Image folders of the experiment: scikit-learn's digits, and every labelled cell of BCCD.

python experiments/six_designs/images.py digits OUT
python experiments/six_designs/images.py bccd BCCD_Dataset OUT
"""

import sys
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

# bytes of 0 to 16, as the digits have them, to the full range of grey
DIGITS_SCALE = 255 / 16
SPLITS = ("train", "val", "test")


def write_digits(out: Path) -> int:
    """Write CLASS/NUMBER.png, 8 x 8 pixels each, and return how many."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (image, target) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = out / str(target) / f"{number:04d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * DIGITS_SCALE).round().astype("uint8")).save(place)
    return len(digits.images)


def write_bccd(source: Path, out: Path) -> int:
    """Write SPLIT/CLASS/PHOTOGRAPH_NUMBER.png for every box, and return how many.

    The photographs keep their published split, so no cell stands beside a neighbour of another one.
    """
    root = source / "BCCD" if (source / "BCCD").is_dir() else source
    count = 0
    for split in SPLITS:
        for name in (root / "ImageSets" / "Main" / f"{split}.txt").read_text().split():
            annotation = ElementTree.parse(root / "Annotations" / f"{name}.xml")
            with Image.open(root / "JPEGImages" / f"{name}.jpg") as opened:
                photograph = opened.convert("RGB")
            for number, found in enumerate(annotation.iter("object")):
                left, top, right, bottom = (
                    int(found.findtext(f"bndbox/{side}", "0"))
                    for side in ("xmin", "ymin", "xmax", "ymax")
                )
                # two boxes of the set have no area
                if right <= left or bottom <= top:
                    continue
                place = out / split / found.findtext("name", "") / f"{name}_{number:02d}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                photograph.crop((left, top, right, bottom)).save(place)
                count += 1
    return count


if __name__ == "__main__":
    kind, *places = sys.argv[1:]
    writers = {"digits": write_digits, "bccd": write_bccd}
    print(writers[kind](*map(Path, places)), "images in", places[-1])
