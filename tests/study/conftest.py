"""Private settings of Ultralytics, as its own processes write them."""

import os
import shutil
import tempfile

# before anything imports ultralytics: its settings file must not be the user's
os.environ["YOLO_CONFIG_DIR"] = tempfile.mkdtemp(prefix="mlla-study-settings-")
os.environ["YOLO_OFFLINE"] = "true"
os.environ["YOLO_AUTOINSTALL"] = "false"
os.environ["YOLO_VERBOSE"] = "false"

_FOLDER = os.environ["YOLO_CONFIG_DIR"]


def pytest_sessionfinish() -> None:
    shutil.rmtree(_FOLDER, ignore_errors=True)
