# SPDX-License-Identifier: AGPL-3.0-only
"""MLLA in Ultralytics: the packaged models by name, and `plug` for models you already have.

This package builds on Ultralytics and is licensed, like it, under AGPL-3.0; the rest of mlla is
Apache-2.0.
"""

import os
import sys

# nothing goes to the network, and nothing is installed, unless the user asks for it
if "ultralytics" not in sys.modules:
    os.environ.setdefault("YOLO_OFFLINE", "true")
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")

from mlla.yolo.config import model_config, model_names
from mlla.yolo.counted_operators import count_our_operators
from mlla.yolo.model import YOLO
from mlla.yolo.plug import plug
from mlla.yolo.rtdetr import RTDETR

count_our_operators()

__all__ = ["RTDETR", "YOLO", "model_config", "model_names", "plug"]
