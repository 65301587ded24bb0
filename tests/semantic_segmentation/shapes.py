"""A small dataset of bright and dark shapes, written to a folder."""

from pathlib import Path

import numpy as np
from PIL import Image

TINY = {"dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1)}
SMALL_DECODER = {"decoder_channels": 8}


def write_shapes(folder: Path, *, counts=(("train", 6), ("val", 3)), offset=0, masks="annotations"):
    """Write images with a red block, a blue block and black around; class numbers from `offset`."""
    for split, count in counts:
        rng = np.random.default_rng(len(split))
        for kind in ("images", masks):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            height, width = 40 + number, 56
            image = rng.integers(0, 40, (height, width, 3), dtype=np.uint8)
            mask = np.full((height, width), offset, dtype=np.uint8)
            for channel, left in ((0, 4), (2, 30)):
                top = int(rng.integers(2, 12))
                image[top : top + 24, left : left + 22, channel] += 200
                mask[top : top + 24, left : left + 22] = offset + 1 + channel // 2
            Image.fromarray(image).save(folder / "images" / split / f"{number}.png")
            Image.fromarray(mask).save(folder / masks / split / f"{number}.png")
    return folder
