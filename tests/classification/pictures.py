"""Folders of small pictures whose classes are colours."""

import numpy as np
from PIL import Image

COLOURS = {"blue": (40, 60, 200), "green": (40, 200, 60), "red": (200, 40, 60)}


def write_pictures(root, splits=(("train", 8), ("val", 4)), colours=COLOURS, size=(24, 20)):
    """Write `splits` of so many pictures a class, with noise; return the root."""
    generator = np.random.default_rng(0)
    for split, number in splits:
        for name, colour in colours.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(number):
                noise = generator.integers(-40, 40, (*size, 3))
                pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return root
