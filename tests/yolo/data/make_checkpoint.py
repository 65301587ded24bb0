"""Write a stored checkpoint and what it computes; run with the oldest Ultralytics.

    python make_checkpoint.py stored|families|controls

Only run it again if the format must change; then files that users have no longer load.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import yaml

from mlla.yolo import YOLO

FOLDER = Path(__file__).parent
# every row of this package that is not megabytes large; narrow, to keep the file small
CONFIGS = {}
CONFIGS["stored"] = {
    "nc": 2,
    "backbone": [
        [-1, 1, "MLLAStem", [8]],
        [-1, 1, "MLLABlocks", [8, 4]],
        [-1, 1, "MLLADownsample", [16]],
        [-1, 1, "C2fMLLA", [16, 0.5, 4]],
    ],
    "head": [
        [-1, 1, "Conv", [32, 3, 2]],
        [-1, 1, "Inserted", [32, 32, "mlla", "zero"]],
        [-1, 1, "Conv", [8, 1, 1]],
        [-1, 1, "Classify", ["nc"]],
    ],
}
CONFIGS["families"] = {
    "nc": 2,
    "backbone": [
        [-1, 1, "SimpleStem", [8]],
        [-1, 1, "ODSSBlocks", [8]],
        [-1, 1, "VisionClueMerge", [16]],
        [-1, 1, "XSSStage", [16]],
        [-1, 1, "C3k2VSS", [16]],
        [-1, 1, "C2PSAVSS", [16]],
        [-1, 1, "C3k2MLLA", [16, 0.5, 4]],
        [-1, 1, "C2PSAMLLA", [16, 0.5, 4]],
        [-1, 1, "MultiscaleAttention", [16, 4]],
        [-1, 1, "ResNetLayerMLLA", [32, 16, 8, 2, 1, 4]],
    ],
    "head": [[-1, 1, "Conv", [8, 1, 1]], [-1, 1, "Classify", ["nc"]]],
}
CONFIGS["controls"] = {
    "nc": 2,
    "backbone": [
        [-1, 1, "Conv", [32, 3, 4]],
        [-1, 1, "Inserted", [32, 32, "conv_like_mlla", "zero", 5, 3, 1]],
        [-1, 1, "Inserted", [32, 32, "conv_like_multiscale_attention", "none", 2, 1, 3, 9]],
        [-1, 1, "Inserted", [32, 32, "identity", "none"]],
    ],
    "head": [[-1, 1, "Conv", [8, 1, 1]], [-1, 1, "Classify", ["nc"]]],
}


def main(name: str) -> None:
    torch.manual_seed(0)
    file = FOLDER / "config.yaml"
    file.write_text(yaml.safe_dump(CONFIGS[name]))
    model = YOLO(file)
    file.unlink()
    network = model.model
    network.yaml["yaml_file"] = f"{name}.yaml"
    model.overrides["model"] = network.args["model"] = f"{name}.yaml"
    with torch.no_grad():
        # as after training: statistics and gates have moved
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand_like(tensor))
    model.save(FOLDER / f"{name}.pt")
    x = np.random.default_rng(0).random((1, 3, 64, 96), dtype=np.float32)
    with torch.no_grad():
        # files hold fp16, and are used in float32; every row but the head reads the one before
        features = network.half().float().eval().model[:-1](torch.from_numpy(x))
    np.savez(FOLDER / f"{name}.npz", features=features.numpy())


if __name__ == "__main__":
    main(sys.argv[1])
