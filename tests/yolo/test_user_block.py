"""A class of the user as a block: imported under its own name, checked, found again by files."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from small_rtdetr import outputs
from torch import nn
from ultralytics.utils import LOGGER

from mlla.yolo import YOLO, plug
from mlla.yolo.user_block import check_user_block, user_block

X = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
# as pasted from a tutorial: the first is right, the others are wrong in one way each
PASTED = """
import torch
from torch import nn


class ChannelGate(nn.Module):
    def __init__(self, width, reduction=4):
        super().__init__()
        self.down = nn.Conv2d(width, width // reduction, 1)
        self.up = nn.Conv2d(width // reduction, width, 1)

    def forward(self, x):
        return x * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class WithoutParameters(ChannelGate):
    def __init__(self, width):
        nn.Module.__init__(self)

    def forward(self, x):
        return x * x.sigmoid()


class TwoWidths(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()


class Halves(nn.Module):
    def __init__(self, width):
        super().__init__()

    def forward(self, x):
        return x[:, :, ::2, ::2]


class Tokens(nn.Linear):
    def __init__(self, width):
        super().__init__(width, width)


class SquareOnly(nn.Module):
    def __init__(self, width):
        super().__init__()

    def forward(self, x):
        batch, width, height, _ = x.shape
        return x.reshape(batch, width, height, height)


class Several(nn.Module):
    def __init__(self, width):
        super().__init__()

    def forward(self, x):
        return x, x


def make():
    class Local(ChannelGate):
        pass

    return Local


Local = make()
"""


@pytest.fixture
def pasted(private_folder: Path) -> Iterator[Path]:
    """A file of classes; what was imported from the folder is forgotten afterwards."""
    file = private_folder / "pasted_attention.py"
    file.write_text(PASTED)
    path, modules = list(sys.path), set(sys.modules)
    yield file
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(private_folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def forget(file: Path) -> None:
    """Remove a file and its import, as in a process elsewhere."""
    file.unlink()
    del sys.modules[file.stem]
    sys.path.remove(str(file.parent))


# -- use ---------------------------------------------------------------------------------------


def test_a_class_from_a_file_goes_in_and_changes_nothing_yet(pasted: Path) -> None:
    original = YOLO("yolov8n.yaml")
    plugged = plug(original, "pasted_attention.py:ChannelGate", at="p5")
    expected, found = outputs(original, X), outputs(plugged, X)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    block = plugged.model.model[10].block
    assert (type(block).__module__, type(block).__name__) == ("pasted_attention", "ChannelGate")
    assert plugged.model.yaml["plug"]["block"] == "pasted_attention:ChannelGate"
    assert plugged.cfg == "yolov8n-ChannelGate-p5.yaml"


def test_a_class_from_a_module_goes_in(pasted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(pasted.parent)
    plugged = plug("yolov8n.yaml", "pasted_attention:ChannelGate", at=4)
    assert type(plugged.model.model[5].block).__name__ == "ChannelGate"


def test_a_file_of_a_package_is_imported_as_part_of_it(pasted: Path) -> None:
    package = pasted.parent / "my_blocks"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "inner" / "__init__.py").touch()
    (package / "base.py").write_text(PASTED)
    (package / "inner" / "gate.py").write_text(
        "from ..base import ChannelGate as Base\nclass Gate(Base):\n    pass\n"
    )
    found = user_block(f"{package / 'inner' / 'gate.py'}:Gate")
    assert (found.name, found.folder) == ("my_blocks.inner.gate:Gate", str(pasted.parent))
    # where the class was written, whichever module shows it
    assert user_block("my_blocks.inner.gate:Base").name == "my_blocks.base:ChannelGate"


def test_checkpoints_open_wherever_the_file_is_found(
    pasted: Path, fresh_python: Callable[..., str]
) -> None:
    plugged = plug("yolov8n.yaml", f"{pasted}:ChannelGate", at="p5", gate="none")
    plugged.save("plugged.pt")
    np.save("plugged.npy", outputs(YOLO("plugged.pt"), X)[0].numpy())
    code = (
        "import numpy, torch\n"
        "from ultralytics import YOLO\n"
        "x = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))\n"
        "with torch.no_grad():\n"
        "    output = YOLO('plugged.pt').model.float().eval()(x)[0]\n"
        "assert torch.equal(output, torch.from_numpy(numpy.load('plugged.npy')))\n"
    )
    fresh_python(code, PYTHONPATH=str(pasted.parent))


def test_the_matched_control_does_not_need_the_file(pasted: Path) -> None:
    control = plug("yolov8n.yaml", f"conv_like:{pasted}:ChannelGate", at="p5")
    # two 1x1 convolutions between 256 and 64 channels, with biases
    wanted = 2 * 256 * 64 + 64 + 256
    found = sum(parameter.numel() for parameter in control.model.model[10].block.parameters())
    assert abs(found - wanted) <= 0.01 * wanted
    control.save("control.pt")
    forget(pasted)
    model = YOLO("control.pt").model
    type(model)(model.yaml, verbose=False).load_state_dict(model.state_dict())


def test_training_rebuilds_the_block(
    pasted: Path, dataset: Callable[[str], Path], train_arguments: Callable[..., dict[str, object]]
) -> None:
    plugged = plug("yolov8n.yaml", f"{pasted}:ChannelGate")
    plugged.train(data=str(dataset("detect")), **train_arguments())
    last = YOLO(Path("run", "weights", "last.pt"))
    assert [type(last.model.model[row].block).__name__ for row in (22, 23, 24)] == 3 * [
        "ChannelGate"
    ]
    assert (last.model.model[22].gate != 0).any()


def test_checking_a_block_draws_no_random_numbers_of_the_caller(pasted: Path) -> None:
    block = user_block(f"{pasted}:ChannelGate")
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    check_user_block(block, [64, 128])
    assert torch.equal(torch.rand(4), expected)


def test_a_block_for_square_maps_only_is_a_warning(
    pasted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(LOGGER, "warning", lambda text, *_: lines.append(text))
    plug("yolov8n.yaml", f"{pasted}:ChannelGate")
    assert not lines
    plug("yolov8n.yaml", f"{pasted}:SquareOnly")
    assert len(lines) == 1
    assert "on a map (2, 64, 8, 12) it raises RuntimeError" in lines[0]
    assert "`mlla check FILE.py:Class` says what is wrong" in lines[0]


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("{}:Gate", "has no class Gate derived from torch.nn.Module; it has ChannelGate, "),
        ("{}:ChanelGate", "; did you mean ChannelGate?"),
        ("{}:make", "has no class make derived from torch.nn.Module"),
        ("{}:TwoWidths", "TwoWidths(64) raises TypeError"),
        ("{}:Halves", "for a map (2, 64, 16, 16) it returns (2, 64, 8, 8); a block takes a map"),
        ("{}:Tokens", "on a map (2, 64, 16, 16) it raises RuntimeError"),
        ("{}:Several", "for a map (2, 64, 16, 16) it returns a tuple"),
        ("{}:Local", "would not find pasted_attention.make.<locals>.Local again"),
        ("conv_like:{}:WithoutParameters", "the control of a block without parameters is 'identi"),
        ("nowhere.py:Gate", "there is no file 'nowhere.py'"),
        ("no_such_module:Gate", "No module named 'no_such_module'; name its file instead"),
        ("broken.py:Gate", "SyntaxError"),
        ("2d-gate.py:Gate", "rename it to a plain name"),
        ("random.py:Gate", "since another module has this name ("),
        ("torch.py:Gate", "since another module has this name ("),
        ("yaml.py:Gate", "since another module has this name ("),
        ("sys.py:Gate", "since another module has this name (built-in); rename the file"),
    ],
)
def test_what_cannot_work_says_why(pasted: Path, block: str, message: str) -> None:
    for name in ("broken", "2d-gate", "random", "torch", "yaml", "sys"):
        pasted.with_name(f"{name}.py").write_text("class Gate(:" if name == "broken" else PASTED)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        plug("yolov8n.yaml", block.format(pasted.name))
    assert message in str(error.value)


def test_two_files_of_one_name_cannot_both_be_blocks(pasted: Path) -> None:
    other = pasted.parent / "other" / pasted.name
    other.parent.mkdir()
    other.write_text(PASTED)
    user_block(f"{pasted}:ChannelGate")
    with pytest.raises(ValueError, match=r"another module has this name .* rename the file"):
        user_block(f"{other}:ChannelGate")


def test_a_module_found_elsewhere_than_expected_is_refused(pasted: Path) -> None:
    user_block(f"{pasted}:ChannelGate")
    with pytest.raises(ValueError, match=r"was found in .* and not in /elsewhere"):
        user_block("pasted_attention:ChannelGate", ["/elsewhere"])


def test_a_class_of_the_running_script_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = type("Gate", (nn.Module,), {"__module__": "__main__"})
    monkeypatch.setattr(sys.modules["__main__"], "Gate", gate, raising=False)
    with pytest.raises(ValueError, match="put the class at the top level of a file of its own"):
        user_block("__main__:Gate")


def test_a_checkpoint_without_its_file_says_what_is_missing(pasted: Path) -> None:
    plug("yolov8n.yaml", f"{pasted}:ChannelGate", at="p5").save("plugged.pt")
    forget(pasted)
    message = r"plugged\.pt' needs the module 'pasted_attention', which is not found"
    with pytest.raises(ModuleNotFoundError, match=message):
        YOLO("plugged.pt")
