"""What cannot be loaded or built says why; what can is found with few words."""

import sys
import textwrap

import pytest
from probing import specimen, specimen_module

from mlla.check.arguments import guess_arguments
from mlla.check.load import LoadError, load_class
from mlla.check.subject import find_subject

PLAIN = """
import torch
from torch import nn

class Plain(nn.Module):
    def forward(self, x):
        return x
"""


def code(text):
    return PLAIN + textwrap.dedent(text)


@pytest.fixture(autouse=True)
def _own_import_path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def find(file, name, width=32, **given):
    return find_subject(load_class(file, name), width=width, given=given, seed=0)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("import einops_of_tomorrow", "Plain", "pip install einops_of_tomorrow"),
        ("import cv2.nothing_like_it", "Plain", "pip install opencv-python|No module named"),
        ("import sys; sys.exit(3)", "Plain", "cannot be imported: SystemExit: 3"),
        ("from torch import Tensr", "Plain", "cannot be imported: ImportError: cannot import"),
        ("def broken(:", "Plain", "cannot be imported: SyntaxError"),
        ("", "Plane", "has no class Plane; its modules are Plain; did you mean Plain"),
        ("Number = int", "Number", "Number in .* is not a class derived from torch.nn.Module"),
        (
            "class Odd(Plain):\n    def __init__(self, threshold): super().__init__()",
            "Odd",
            r"needs 'threshold', whose value cannot be guessed; add args=\"threshold=...\"",
        ),
        (
            "class Two(nn.Module):\n    def forward(self, x, y): return x @ y",
            "Two",
            "runs on no input that was tried",
        ),
        (
            "class OnGpu(nn.Module):\n    def forward(self, x): return x + torch.ones(1).cuda()",
            "OnGpu",
            "it needs a GPU, and checks run on the CPU",
        ),
    ],
)
def test_what_cannot_be_checked_says_why(write, monkeypatch, text, name, message):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(LoadError, match=message):
        find(write(code(text)), name)


def test_an_unknown_argument_is_named():
    with pytest.raises(LoadError, match="has no argument 'heads'; it has dim, num_heads=2"):
        specimen("correct", "MLLABlockOnMaps", heads=3)


def test_the_main_part_is_not_run(write):
    text = 'if __name__ == "__main__":\n    raise SystemExit("the main part ran")'
    assert load_class(write(code(text)), "Plain").__name__ == "Plain"


def test_a_file_of_a_package_keeps_its_relative_imports(write):
    write("", "edited_package/__init__.py")
    write("", "edited_package/nn/__init__.py")
    write("SHIFT = 1.0\n", "edited_package/nn/constants.py")
    text = """
    from .constants import SHIFT

    class Shifted(Plain):
        def __init__(self, dim, scale=2):
            super().__init__()

        def forward(self, x):
            return x + SHIFT
    """
    file = write(code(text), "edited_package/nn/attention.py")
    subject = find(file, "Shifted", scale=3)
    assert subject.call_text == "Shifted(scale=3, dim=32)"
    assert not list(file.parents[1].glob("**/__pycache__"))


def test_a_neighbour_shadows_nothing_installed(write):
    write("raise RuntimeError('the wrong one')", "statistics.py")
    sys.modules.pop("statistics", None)
    file = write(code("import statistics, neighbour"))
    write("", "neighbour.py")
    assert load_class(file, "Plain").__name__ == "Plain"


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("SoftmaxAttention", "a map (B, C, H, W)"),
        ("GridMLP", "a grid (B, H, W, C)"),
        ("TokensAttention", "tokens (B, N, C) and H, W"),
    ],
)
@pytest.mark.parametrize("width", [16, 64])
def test_the_layout_is_found(name, layout, width):
    assert specimen("correct", name, width=width).layout.name == layout


def test_a_width_that_cannot_be_chosen_is_found(write):
    text = """
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Conv2d(48, 48, 1)

        def forward(self, x):
            return self.mix(x)
    """
    assert find(write(code(text)), "Fixed").width == 48


def test_sizes_are_offered_after_the_defaults():
    target = specimen_module("broken").TutorialMLLAttention
    first, *others = guess_arguments(target, 32, 16, {"num_heads": 2})
    assert first == {"dim": 32, "num_heads": 2}
    assert [call["input_resolution"] for call in others] == [(16, 16), 16]
