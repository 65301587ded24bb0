"""Count every model and write the table that `mlla models` prints. Takes some minutes."""

import json
from pathlib import Path
from typing import Any

import timm
import ultralytics
from torch import nn

import mlla
from mlla.yolo import model_names
from mlla.yolo.facts import CLASSIFIER_SIZE_PX, count_gflops, model_facts
from mlla.yolo.names import packaged
from mlla.yolo.register import TESTED_VERSIONS

TABLE = Path(mlla.__file__).parent / "cli" / "models.json"
NOTE = (
    "YOLO and RT-DETR models: mlla train model=NAME; 80 classes (pose: 1). timm: "
    "timm.create_model(NAME) after `import mlla`, also as mila_*. vm_unet: mlla.VMUNet(). GFLOPs "
    "count 2 per multiply-accumulate, for one image of the size given."
)
# images of the skin lesion sets that VM-UNet was published with
SEGMENTER_SIZE_PX = 256


def main() -> None:
    """Write the table beside the command that prints it."""
    if ultralytics.__version__ != TESTED_VERSIONS[-1]:
        raise SystemExit(
            f"ultralytics {ultralytics.__version__} is installed; count with "
            f"{TESTED_VERSIONS[-1]}, which builds every family"
        )
    rows = []
    for name in model_names():
        asked = packaged(name)
        place = {"architecture": asked.file.stem, "size": asked.scale}
        rows.append({**model_facts(name), **place})
    for name in ("mlla_tiny", "mlla_small", "mlla_base"):
        rows.append(row_of(name, "timm", timm.create_model(name), CLASSIFIER_SIZE_PX))
    rows.append(row_of("vm_unet", "semantic", mlla.VMUNet(), SEGMENTER_SIZE_PX))
    table = {"ultralytics": ultralytics.__version__, "note": NOTE, "models": rows}
    text = json.dumps(table, indent=1).replace("\n   ", " ").replace("\n  }", " }")
    draft = TABLE.with_suffix(".writing")
    draft.write_text(text + "\n", encoding="utf-8")
    draft.replace(TABLE)


def row_of(name: str, task: str, model: nn.Module, size_px: int) -> dict[str, Any]:
    return {
        "name": name,
        "architecture": name,
        "size": "",
        "task": task,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "gflops": round(count_gflops(model, size_px), 2),
        "size_px": size_px,
    }


if __name__ == "__main__":
    main()
