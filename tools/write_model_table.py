"""Measure every model and write the table that `mlla models` prints. Takes some minutes."""

import json
from pathlib import Path

import timm
import ultralytics

import mlla
from mlla.yolo import model_names
from mlla.yolo.facts import CLASSIFIER_SIZE_PX, count_gflops, model_facts

TABLE = Path(mlla.__file__).parent / "cli" / "models.json"
NOTE = (
    "YOLO models: mlla train model=NAME; 80 classes (pose: 1). timm: "
    "timm.create_model(NAME) after `import mlla`, also as mila_*. GFLOPs count 2 per "
    "multiply-accumulate, for one image of the size given."
)


def main() -> None:
    """Write the table beside the command that prints it."""
    rows = [model_facts(name) for name in model_names()]
    for name in ("mlla_tiny", "mlla_small", "mlla_base"):
        model = timm.create_model(name)
        rows.append(
            {
                "name": name,
                "task": "timm",
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
                "gflops": round(count_gflops(model, CLASSIFIER_SIZE_PX), 2),
                "size_px": CLASSIFIER_SIZE_PX,
            }
        )
    table = {"ultralytics": ultralytics.__version__, "note": NOTE, "models": rows}
    text = json.dumps(table, indent=1).replace("\n   ", " ").replace("\n  }", " }")
    draft = TABLE.with_suffix(".writing")
    draft.write_text(text + "\n", encoding="utf-8")
    draft.replace(TABLE)


if __name__ == "__main__":
    main()
