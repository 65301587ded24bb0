"""What docs/models.md says about the models is true, and its code runs."""

import re
from pathlib import Path

import pytest
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

import mlla.models  # noqa: F401  registers with timm

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| `mlla_")
]


def test_every_model_is_documented():
    names = {name for row in ROWS for name in re.findall(r"`(\w+)`", row[0])}
    assert names == set(timm.list_models(["mlla_*", "mila_*"]))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
@torch.no_grad()
def test_numbers_are_those_of_the_model(row):
    names, width, depths, heads, _, parameters, macs, _ = row
    for name in re.findall(r"`(\w+)`", names):
        with torch.device("meta"):
            model = timm.create_model(name).eval()
        assert model.feature_info[0]["num_chs"] == int(width)
        assert [len(stage.blocks) for stage in model.stages] == [int(n) for n in depths.split(",")]
        assert [stage.blocks[0].gated_attention.attention.num_heads for stage in model.stages] == [
            int(n) for n in heads.split(",")
        ]
        assert sum(p.numel() for p in model.parameters()) == int(parameters.replace(",", ""))
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 224, 224, device="meta"))
        assert counter.get_total_flops() / 2e9 == pytest.approx(float(macs.split()[0]), abs=0.005)


def test_code_on_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": timm.create_model("mlla_tiny").state_dict()}, "MLLA-T.pth")
    names = {"path": "MLLA-T.pth"}
    # the export of a whole network takes a minute; test_model_export.py exports a small one
    blocks = [b for b in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "export(" not in b]
    for block in blocks:
        exec(block, names)
    assert names["logits"].shape == (2, 10)
    assert [f.shape[2:] for f in names["features"]] == [(25, 40), (13, 20), (7, 10)]
