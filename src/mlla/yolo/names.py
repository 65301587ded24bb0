# SPDX-License-Identifier: AGPL-3.0-only
"""The names of the packaged models: from which file each is built, at which scale, for which task.

A file serves several scales, and its scale letters say where a name carries its own: the letters
of Ultralytics stand behind the number of the family (`yolov8-mlla.yaml` is asked for as
`yolov8n-mlla`), others at the end (`mamba-yolo.yaml` as `mamba-yolo-t`). A file with one scale is
asked for by its own name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import ultralytics
import yaml
from ultralytics.utils import ROOT

from mlla.yolo import rows as rows  # the configurations name what it registers
from mlla.yolo.expand import SUFFIX_OF_TASK, Config
from mlla.yolo.register import registered_rows

FOLDER = Path(__file__).parent / "models"
# the letters that Ultralytics reads behind the number of a family
_HOST_LETTERS = "nsmlx"
_FAMILY = re.compile(r"yolov?\d+")
# as Ultralytics reads names, but nowhere else than in the stem: yolov8s, my-yolov8s_steel
_LETTER_BEHIND_NUMBER = re.compile(rf"(.*yolov?\d+)([{_HOST_LETTERS}])((?:[^a-z].*)?)")
_LETTER_AT_END = re.compile(r"(.+)-([a-z])")
_OLDEST_RELEASE = {"yolo12": (8, 3, 78), "yolo26": (8, 4, 0)}


@dataclass(frozen=True)
class Packaged:
    """What a packaged name asks for.

    Args:
        file: Model configuration of the detector.
        scale: Key under `scales`, or "" if the name leaves it open.
        suffix: "" for the detector, else "seg", "pose", "obb" or "cls".
        offered: Whether the architecture has this task.
    """

    file: Path
    scale: str
    suffix: str
    offered: bool

    @property
    def missing_release(self) -> str:
        """The release of Ultralytics that brought the family, if the installed one is older."""
        oldest = _OLDEST_RELEASE.get(family_of(self.file.stem), (0,))
        installed = tuple(int(part) for part in ultralytics.__version__.split(".")[:3])
        return "" if installed >= oldest else ".".join(map(str, oldest))


def model_names() -> Iterator[str]:
    """Yield the name of every model that the installed Ultralytics can build, task by task."""
    for name, asked in _packaged_names().items():
        if asked.scale and asked.offered and not asked.missing_release:
            yield name


def packaged(stem: str) -> Packaged | None:
    """Return what a packaged name, without .yaml, asks for; None if there is no such name."""
    return _packaged_names().get(stem)


def family_of(stem: str) -> str:
    """Return the family whose heads a configuration has: "yolo11" of "yolo11-mlla"."""
    match = _FAMILY.match(stem)
    return match[0] if match else "yolov8"


def stock_config(family: str, suffix: str) -> Config:
    """Return Ultralytics' own configuration of a family for a task, at no scale yet."""
    number = family.removeprefix("yolo")
    file = ROOT / "cfg" / "models" / number / f"{family}{suffix and '-'}{suffix}.yaml"
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def unscaled(stem: str) -> list[str]:
    """Return the names of the files that may serve a name: itself, and it without a letter."""
    stems = [stem]
    if match := _LETTER_BEHIND_NUMBER.fullmatch(stem):
        stems.append(match[1] + match[3])
    if match := _LETTER_AT_END.fullmatch(stem):
        stems.append(match[1])
    return stems


def letter_in(stem: str, scales: Collection[str]) -> str:
    """Return the scale letter in a name, where a file with these scales has it; "" without."""
    if match := _LETTER_BEHIND_NUMBER.fullmatch(stem):
        return match[2]
    match = _LETTER_AT_END.fullmatch(stem)
    return match[2] if match and match[2] in scales and _has_letter_at_end(scales) else ""


def scale_in(stem: str, scales: Collection[str]) -> str:
    """Return the scale that a name asks for, from a file with these scales; "" if it is open."""
    return letter_in(stem, scales) or (next(iter(scales)) if len(scales) == 1 else "")


def _has_letter_at_end(scales: Collection[str]) -> bool:
    return len(scales) > 1 and not set(scales) <= set(_HOST_LETTERS)


def _scaled(stem: str, letter: str, scales: Collection[str]) -> str:
    if _has_letter_at_end(scales):
        return f"{stem}-{letter}"
    if len(scales) == 1:
        return stem
    return _FAMILY.sub(lambda family: family[0] + letter, stem, count=1)


@cache
def _packaged_names() -> dict[str, Packaged]:
    names: dict[str, Packaged] = {}
    for file in sorted(FOLDER.glob("*.yaml")):
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        scales = config["scales"]
        forms = {_scaled(file.stem, letter, scales): letter for letter in scales}
        # without a letter, Ultralytics takes the first scale and says so
        for name, scale in {file.stem: "", **forms}.items():
            for suffix in SUFFIX_OF_TASK.values():
                asked = Packaged(file, scale, suffix, _offers(config, suffix))
                names[f"{name}{suffix and '-'}{suffix}"] = asked
    return names


def _offers(config: Config, suffix: str) -> bool:
    if not suffix or config["head"][-1][2] == "RTDETRDecoder":
        return not suffix
    # a classifier is a backbone
    return suffix != "cls" or any(row[2] in registered_rows() for row in config["backbone"])
