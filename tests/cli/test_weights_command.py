"""`mlla weights`: words in, a folder or a verdict out."""

import pytest
import torch

from mlla.cli import main
from mlla.models import MLLA, VMUNet, from_pretrained, save_pretrained


def test_convert_then_check(tmp_path, capsys):
    source = VMUNet(dim=8, depths=(1, 1), depths_decoder=(1, 1))
    torch.save(source.state_dict(), tmp_path / "best.pth")
    folder = tmp_path / "vm-unet"
    assert main(["weights", "convert", f"file={tmp_path / 'best.pth'}", f"out={folder}"]) == 0
    text = capsys.readouterr().out
    assert "https://github.com/JCruan519/VM-UNet @43c495b" in text
    assert "sha256" in text
    assert main(["weights", "check", str(folder)]) == 0
    parameters = sum(parameter.numel() for parameter in source.parameters())
    assert f"vm_unet, {parameters:,} parameters" in capsys.readouterr().out
    assert main(["weights", "convert", f"file={tmp_path / 'best.pth'}", f"out={folder}"]) == 2
    assert "already; give another folder, or overwrite=True" in capsys.readouterr().err
    again = [f"file={tmp_path / 'best.pth'}", f"out={folder}", "overwrite"]
    assert main(["weights", "convert", *again]) == 0
    assert isinstance(from_pretrained(folder), VMUNet)


def test_check_finds_what_is_damaged(tmp_path, capsys):
    model = MLLA(8, (1,), (1,), num_classes=2)
    save_pretrained(model, tmp_path / "good")
    assert main(["weights", "check", str(tmp_path / "good")]) == 0
    assert "no certificate.json" in capsys.readouterr().out
    model.head.fc.bias.data[0] = float("nan")
    save_pretrained(model, tmp_path / "nan")
    assert main(["weights", "check", str(tmp_path / "nan")]) == 1
    assert "fault: head.fc.bias holds numbers that are not finite" in capsys.readouterr().out
    file = tmp_path / "good" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    assert main(["weights", "check", str(tmp_path / "good")]) == 1
    assert "has the SHA-256" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["weights", "covert"], "did you mean convert"),
        (["weights", "convert", "file=a.pth"], "needs file=PUBLISHED.pth and out=FOLDER"),
        (["weights", "convert", "file=a.pth", "out=b", "overwrite=2"], "must be True or False"),
        (["weights", "convert", "file=nothing.pth", "out=b"], "nothing.pth is not a file"),
        (["weights", "check"], "check needs one FOLDER"),
        (["weights", "check", "nowhere"], "nowhere is not a folder"),
    ],
)
def test_mistakes_are_answered_with_a_remedy(words, message, capsys):
    assert main(words) == 2
    assert message in capsys.readouterr().err
