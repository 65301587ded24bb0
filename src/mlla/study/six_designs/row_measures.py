"""What the paper's figures 4b and 5 show, of one trained row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mlla.classification import load_classifier, open_split
from mlla.classification.transforms import input_size_of, scoring_transform
from mlla.models.six_designs_measures import forget_gate_averages, token_length_deviations

NUM_IMAGES = 64


def measure_row(model: Path, data: str, split: str, *, device: str) -> dict[str, Any]:
    """Measure a trained row on images spread evenly over a split.

    Args:
        model: Folder of the model.
        data: The image folder.
        split: Its split.
        device: "auto", or "cpu" even where there is a GPU.

    Returns:
        "images", their number; "token_length_deviations", of each block; and
        "forget_gate_averages", the same, or None for a row without a forget gate.
    """
    network: Any = load_classifier(model).network
    use_gpu = device != "cpu" and torch.cuda.is_available()
    network = network.to("cuda" if use_gpu else "cpu").eval()
    transform = scoring_transform(network, input_size_of(network, None))
    images = open_split(data, split)
    number = min(NUM_IMAGES, len(images))
    chosen = [transform(images[index * len(images) // number][0]) for index in range(number)]
    pixels = torch.stack(chosen).to(next(network.parameters()).device)
    has_gate = any(name.endswith("A_log") for name, _ in network.named_parameters())
    return {
        "images": number,
        "token_length_deviations": token_length_deviations(network, pixels),
        "forget_gate_averages": forget_gate_averages(network, pixels) if has_gate else None,
    }
