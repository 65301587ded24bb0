"""VM-UNet learns: discs drawn here, and real nuclei where the data set is beside this checkout."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.optim import create_optimizer_v2
from torch.nn import functional

from mlla.models import VMUNet

NUCLEI = Path(__file__).resolve().parents[3] / "shared" / "data" / "dsb2018_256.tar.xz"


def overlap(probabilities, masks):
    """Return the Dice coefficient of a batch."""
    return 2 * (probabilities * masks).sum() / (probabilities.sum() + masks.sum()).clamp(min=1)


def train(model, images, masks, *, steps, batch):
    """Train with the authors' loss, cross-entropy and Dice, and return the loss of every step."""
    optimizer = create_optimizer_v2(model, "adamw", lr=3e-3, weight_decay=0.01)
    losses = []
    for _ in range(steps):
        chosen = torch.randint(len(images), (batch,))
        logits = model.train()(images[chosen])
        loss = functional.binary_cross_entropy_with_logits(logits, masks[chosen])
        loss = loss + 1 - overlap(logits.sigmoid(), masks[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def dice(model, images, masks):
    return overlap((model.eval()(images) > 0).float(), masks).item()


def discs(count, size=24):
    """Draw bright discs on noise, and the masks of the discs."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    images, masks = 0.3 * torch.rand(count, 1, size, size), torch.zeros(count, 1, size, size)
    for image, mask in zip(images, masks, strict=True):
        radius = torch.randint(3, 6, ()).item()
        row, column = torch.randint(radius, size - radius, (2,)).tolist()
        mask[0] = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
        image += 0.7 * mask
    return images, masks


def test_it_learns_to_find_discs():
    model = VMUNet(in_chans=1, dim=16, depths=(1, 1), depths_decoder=(1, 1))
    images, masks = discs(32)
    unseen = discs(12)
    losses = train(model, images, masks, steps=80, batch=8)
    assert np.mean(losses[-4:]) < 0.5 * losses[0]
    assert dice(model, *unseen) > 0.75


def nuclei(archive, size_px, count):
    """Read the first images of the archive, standardised, and their joined masks."""
    with tarfile.open(archive) as files:
        members = {member.name: member for member in files if member.name.endswith(".png")}
        folders = sorted({name.split("/masks/")[0] for name in members if "/masks/" in name})

        def read(name, mode):
            with Image.open(files.extractfile(members[name])) as image:
                return np.asarray(image.convert(mode).resize((size_px, size_px), Image.BILINEAR))

        images, masks = [], []
        for folder in folders[:count]:
            names = [name for name in members if name.startswith(f"{folder}/")]
            images.append(read(next(n for n in names if "/images/" in n), "RGB"))
            parts = [read(name, "L") for name in names if "/masks/" in name]
            masks.append(np.max(parts, axis=0) > 127)
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    # most are so dark that from raw pixels the first answer would stay the same for all
    pixels = pixels - pixels.mean((1, 2, 3), keepdim=True)
    pixels = pixels / pixels.std((1, 2, 3), keepdim=True)
    return pixels, torch.from_numpy(np.stack(masks))[:, None].float()


@pytest.mark.slow
def test_it_learns_to_find_nuclei():
    if not NUCLEI.exists():
        pytest.skip(f"{NUCLEI.name} is not beside this checkout")
    images, masks = nuclei(NUCLEI, 64, 80)
    unseen = images[60:], masks[60:]
    model = VMUNet(dim=32, depths=(1, 1, 1, 1), depths_decoder=(1, 1, 1, 1), drop_path_rate=0.1)
    losses = train(model, images[:60], masks[:60], steps=100, batch=8)
    assert np.mean(losses[-4:]) < 0.5 * losses[0]
    # a tenth of the pixels are nuclei: calling all of them nuclei gives 0.16
    assert overlap(torch.ones_like(unseen[1]), unseen[1]) < 0.2
    assert dice(model, *unseen) > 0.7
