"""The settings of Ultralytics, which say what logs a training, in a copy for one process.

It rewrites them on its own, and several processes would write one file. They are in the folder that
YOLO_CONFIG_DIR names, since 8.4 in a subfolder of it.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

# in the folder of a run
PRIVATE_SETTINGS = ".ultralytics"


def use_private_settings(private: Path) -> None:
    """Let this process read and write a copy of the user's settings and fonts.

    To be called before ultralytics is imported.

    Args:
        private: Folder for the copy.
    """
    given = os.environ.get("YOLO_CONFIG_DIR")
    root = Path(given).expanduser() if given else _default_settings_root()
    nested = root / "Ultralytics"
    for source, target in (
        (nested, private / "Ultralytics"),
        (root if given else nested, private),
    ):
        target.mkdir(parents=True, exist_ok=True)
        for file in [*source.glob("settings.json"), *source.glob("*.ttf")]:
            shutil.copyfile(file, target / file.name)
    os.environ["YOLO_CONFIG_DIR"] = str(private)


def _default_settings_root() -> Path:
    if sys.platform == "win32":
        return Path.home() / "AppData" / "Roaming"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
