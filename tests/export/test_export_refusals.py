"""What cannot be exported, and what the user is told."""

from pathlib import Path

import pytest
import torch

import mlla.export.formats
from mlla.cli import main
from mlla.export import check_export, export
from mlla.models import MLLA, save_pretrained


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "onxx"}, "did you mean onnx"),
        ({"format": "engine"}, "can be exported to onnx, openvino, torchscript, torch_export"),
        ({"half": True}, "half=True goes with detectors only"),
        ({"int8": True}, "int8=True needs images to calibrate with"),
        ({"int8": True, "half": True}, "one of the two"),
        ({"batch": 0}, "batch=0"),
        ({"imgsz": 0}, "imgsz=0"),
        ({"format": "torch_export", "imgsz": 32}, "at least 33 pixels"),
        ({"nms": True}, "nms goes with detectors only"),
        ({"out": "model.onnx"}, "must be a folder"),
    ],
)
def test_arguments_that_do_not_go_together(
    arguments: dict[str, object], message: str, classifier: MLLA, folder: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        export(classifier, stem="tiny", **arguments)
    assert not list(folder.iterdir())


def test_a_network_alone_needs_a_name(classifier: MLLA) -> None:
    with pytest.raises(ValueError, match="stem='my-model'"):
        export(classifier)


def test_what_is_no_model() -> None:
    with pytest.raises(ValueError, match="model is a int"):
        export(3)


def test_data_needs_something_that_can_be_scored(classifier: MLLA, folder: Path) -> None:
    with pytest.raises(ValueError, match="data= cannot be used"):
        export(classifier, stem="tiny", data=folder)


def test_data_that_does_not_exist(classifier: MLLA, folder: Path) -> None:
    save_pretrained(classifier, folder / "tiny")
    with pytest.raises(FileNotFoundError, match="data='nowhere' does not exist"):
        export(folder / "tiny", data="nowhere", imgsz=32)


def test_data_of_other_classes(classifier: MLLA, folder: Path, classified_set: Path) -> None:
    save_pretrained(classifier, folder / "tiny", label_names=list("xyz"))
    with pytest.raises(ValueError, match="classes that the model does not know"):
        export(folder / "tiny", data=classified_set, imgsz=32)


def test_a_missing_package_is_named_with_its_extra(
    classifier: MLLA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlla.export.formats, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"onnx and onnxruntime.*mlla\[export\]"):
        export(classifier, stem="tiny")
    with pytest.raises(ModuleNotFoundError, match=r"openvino, not installed.*mlla\[openvino\]"):
        export(classifier, "openvino", stem="tiny")


def test_a_file_that_is_run_nowhere(classifier: MLLA, folder: Path) -> None:
    (folder / "model.engine").write_text("")
    with pytest.raises(ValueError, match=r"none of the formats that are run here: \.onnx"):
        check_export(classifier, "model.engine")
    with pytest.raises(FileNotFoundError, match=r"file='gone\.onnx'"):
        check_export(classifier, "gone.onnx")


def test_a_mask_rcnn_is_refused(folder: Path) -> None:
    (folder / "detector").mkdir()
    (folder / "detector" / "config.json").write_text('{"architecture": "mask_rcnn"}')
    with pytest.raises(ValueError, match="Mask R-CNN"):
        export(folder / "detector")


# -- the command -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], ""),
        (["format=onnx"], "needs model="),
        (["best.pt"], "'best.pt' is not key=value"),
        (["model=mlla_tiny", "fromat=onnx"], "did you mean format"),
        (["model=mlla_tinny"], "no file or folder here"),
        (["model=gone.pt"], "gone.pt"),
        (["model=mlla_tiny", "dynamic=perhaps"], "True or False"),
        (["model=mlla_tiny", "quantize=4"], "quantize=4"),
        (["model=mlla_tiny", "out=/proc/nowhere", "imgsz=32"], "nothing can be written"),
    ],
)
def test_the_command_says_what_is_wrong(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_wrong_export_is_a_failure(
    classifier: MLLA,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def constant(_: object, image: torch.Tensor, file: Path) -> Path:
        class Constant(torch.nn.Module):
            def forward(self, images: torch.Tensor) -> torch.Tensor:
                return images.mean((1, 2, 3))[:, None] * torch.ones(3)

        torch.jit.trace(Constant(), image).save(file)
        return file

    save_pretrained(classifier, folder / "tiny")
    words = ["export", "model=tiny", "format=torchscript", "imgsz=32", "out=files"]
    assert main(words) == 0
    assert "at most 0.0001 relative" in capsys.readouterr().out
    (folder / "files" / "tiny.torchscript").unlink()
    monkeypatch.setattr("mlla.export.network_subject.write_torchscript", constant)
    assert main(words) == 1
    assert "wrong export" in capsys.readouterr().err
    assert not list((folder / "files").iterdir())
