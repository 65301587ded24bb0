"""Scores against the reference implementation of COCO's protocol."""

import json
import math

import numpy as np
import pytest
import torch
from drawn_set import write_drawn_set
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mlla.instance_segmentation.coco_split import read_split
from mlla.instance_segmentation.dataset import load_instances
from mlla.instance_segmentation.scores import coco_detections, coco_scores

SIZES = ((48, 64), (64, 40), (130, 120))


@pytest.fixture
def split(tmp_path):
    return read_split(write_drawn_set(tmp_path / "set", sizes=SIZES), "val")


def found_on(split, index, *, shift=0.0, seed=0):
    """Return the true objects, moved, in the form in which a detector returns them."""
    sample = load_instances(split, index)
    generator = np.random.default_rng(seed)
    masks = torch.roll(sample.masks, round(shift), dims=-1).float()
    return {
        "boxes": sample.boxes + shift,
        "labels": sample.labels,
        "scores": torch.from_numpy(generator.random(len(sample.labels))),
        "masks": masks[:, None],
    }


def entries_of(split, **options):
    return [
        entry
        for index, image in enumerate(split.images)
        for entry in coco_detections(
            found_on(split, index, seed=index, **options), image.number, list(split.classes)
        )
    ]


def test_the_truth_scores_one(split):
    figures, per_class = coco_scores(split.file, entries_of(split))
    assert figures["mask_AP"] == pytest.approx(1)
    assert figures["box_AP"] == pytest.approx(1)
    assert per_class["mask"] == {"bar": pytest.approx(1), "disc": pytest.approx(1)}


def test_nothing_found_scores_zero(split):
    figures, _ = coco_scores(split.file, [])
    assert figures["mask_AP"] == figures["box_AP"] == 0


@pytest.mark.parametrize(("kind", "name"), [("mask", "segm"), ("box", "bbox")])
def test_scores_are_those_of_pycocotools(split, kind, name, capsys):
    entries = entries_of(split, shift=3.0)
    figures, _ = coco_scores(split.file, entries)
    key = "segmentation" if kind == "mask" else "bbox"
    kept = [
        {name: entry[name] for name in ("image_id", "category_id", "score", key)}
        for entry in entries
    ]
    truth = COCO(str(split.file))
    reference = COCOeval(truth, truth.loadRes(json.loads(json.dumps(kept))), name)
    reference.evaluate()
    reference.accumulate()
    reference.summarize()
    expected = dict(zip(("AP", "AP50", "AP75", "APs", "APm", "APl"), reference.stats, strict=False))
    assert 0.1 < expected["AP"] < 0.95
    for figure, value in expected.items():
        ours = figures[f"{kind}_{figure}"]
        assert math.isnan(ours) if value < 0 else ours == pytest.approx(value, abs=1e-9)
