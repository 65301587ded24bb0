"""Unpack NEU-DET and convert it once for every kind of split."""

import hashlib
import shutil
from pathlib import Path

import yaml

from mlla.data import DataError, convert

SPLITS = {"random": "identical", "grouped": "near-duplicates"}
SHARES = {"split": 0.7, "test": 0.2}


def prepare(archive: Path, work: Path, splits: list[str], fraction: float) -> dict[str, Path]:
    """Return the data.yaml of every split, made if it is not there yet."""
    source = unpack(archive, work / "source")
    found = {}
    for split in splits:
        folder = work / "data" / split
        if not folder.exists():
            print(f"\n{split} split")
            report = convert(source, folder, from_format="voc", group=SPLITS[split], **SHARES)
            print(report.summary())
        found[split] = with_fraction(folder, fraction)
    return found


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack an archive, whole or not at all; a folder is taken as it is."""
    if archive.is_dir():
        return archive
    if not archive.is_file():
        raise DataError(f"archive {archive} does not exist; give the downloaded file or its folder")
    if not folder.exists():
        partial = folder.with_name("source.partial")
        shutil.rmtree(partial, ignore_errors=True)
        # refuses what would be written outside the folder; zip needs no such filter
        safety = {} if archive.suffix == ".zip" else {"filter": "data"}
        try:
            shutil.unpack_archive(archive, partial, **safety)
        except (shutil.ReadError, OSError, EOFError) as error:
            raise DataError(f"archive {archive} cannot be unpacked: {error}") from error
        partial.rename(folder)
    return folder


def with_fraction(folder: Path, fraction: float) -> Path:
    """Return a data.yaml for a random share of the training images.

    Ultralytics' own `fraction` takes the first images by name, here those of one or two classes.
    """
    if fraction == 1:
        return folder / "data.yaml"
    images = sorted((folder / "images" / "train").iterdir())
    images.sort(key=lambda image: hashlib.sha256(image.name.encode()).digest())
    chosen = sorted(image.name for image in images[: max(1, round(fraction * len(images)))])
    listed = folder / f"train_{fraction}.txt"
    listed.write_text("".join(f"./images/train/{name}\n" for name in chosen))
    content = yaml.safe_load((folder / "data.yaml").read_text()) | {"train": listed.name}
    path = folder / f"data_{fraction}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path
