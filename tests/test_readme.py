"""The commands and the code that README and docs show."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mlla.cli import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("README*.md"), *ROOT.glob("docs/*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)

PAPER_TASKS = {"classify", "mask-rcnn", "semantic", "study", "weights"}

PASTED = """
from torch import nn

class MLLAttention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.mix = nn.Linear(dim, dim)

    def forward(self, x):
        b, c, h, w = x.shape
        return self.mix(x.reshape(b, h * w, c)).reshape(b, c, h, w)
"""


def blocks(page, language):
    return [text for kind, text in BLOCK.findall(page.read_text("utf-8")) if kind == language]


def mlla_lines(page):
    texts = [text.replace("\\\n", " ") for text in blocks(page, "sh")]
    lines = [line for text in texts for line in text.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("mlla ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_shown_command_exists(page):
    for words in mlla_lines(page):
        assert words[1] in COMMANDS or words[2] in COMMANDS, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_code_compiles(page):
    for code in blocks(page, "python"):
        compile(code, page.name, "exec")


def test_both_languages_show_the_same_commands_and_numbers():
    english, chinese = ROOT / "README.md", ROOT / "README.zh-CN.md"

    def commands(page):
        text = "\n".join(blocks(page, "sh"))
        return [line for line in (line.split("#")[0].strip() for line in text.splitlines()) if line]

    assert commands(english) == commands(chinese)

    def tables(page):
        rows = re.findall(r"^\|.*\d.*\|$", page.read_text("utf-8"), re.MULTILINE)
        return [sorted(re.findall(r"\d+(?:[.,]\d+)*", row)) for row in rows]

    assert tables(english) == tables(chinese)


@pytest.mark.slow
def test_the_readme_commands_run_one_after_the_other(tmp_path):
    import ultralytics

    from mlla.data import write_demo

    environment = {**os.environ, "YOLO_OFFLINE": "true", "YOLO_CONFIG_DIR": str(tmp_path)}
    ultralytics.YOLO("yolov8n.yaml").save(tmp_path / "yolov8n.pt")
    write_demo(tmp_path / "demo", num_images=14)
    _as_voc(tmp_path / "demo", tmp_path / "path" / "to" / "VOC")
    (tmp_path / "pasted.py").write_text(PASTED)
    smaller = {"epochs=100": "epochs=1", "imgsz=640": "imgsz=64", "seeds=5": "seeds=1"}
    for words in mlla_lines(ROOT / "README.md"):
        if words[1] in PAPER_TASKS:
            # sets that are not here; tests of their own train each of these on small ones
            continue
        words = [smaller.get(word, word) for word in words[1:]]
        if words[0] == "compare":
            words += ["imgsz=64", "batch=4", "device=cpu"]
        if words[0] == "train":
            words += [w for w in ("epochs=1", "imgsz=64") if w not in words]
            words += ["batch=4", "workers=0", "device=cpu", "amp=False"]
        command = [str(Path(sys.executable).with_name("mlla")), *words]
        result = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        # the pasted class has faults, and so have runs of one seed, which these are there to say
        expected = 1 if words[0] in ("check", "audit") else 0
        assert result.returncode == expected, (words, result.stderr[-2000:])
    assert (tmp_path / "my_data" / "data.yaml").exists()
    assert list((tmp_path / "runs" / "detect" / "predict").iterdir())


def _as_voc(demo, voc):
    """Write the demo set's training images with VOC annotations."""
    import yaml
    from PIL import Image

    names = yaml.safe_load((demo / "data.yaml").read_text())["names"]
    for folder in ("JPEGImages", "Annotations"):
        (voc / folder).mkdir(parents=True)
    for file in sorted((demo / "images" / "train").iterdir()):
        image = Image.open(file)
        image.save(voc / "JPEGImages" / file.name)
        objects = ""
        for line in (demo / "labels" / "train" / f"{file.stem}.txt").read_text().splitlines():
            kind, x, y, w, h = (float(part) for part in line.split())
            corners = [(x - w / 2), (y - h / 2), (x + w / 2), (y + h / 2)]
            x1, y1, x2, y2 = (round(c * image.width) + (i < 2) for i, c in enumerate(corners))
            box = f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
            objects += f"<object><name>{names[int(kind)]}</name><bndbox>{box}</bndbox></object>"
        text = f"<annotation><filename>{file.name}</filename>{objects}</annotation>"
        (voc / "Annotations" / f"{file.stem}.xml").write_text(text)
