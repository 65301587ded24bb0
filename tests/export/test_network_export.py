"""Classifiers and backbones in every format, and exports that are wrong on purpose."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import mlla.export.network_subject
from mlla.export import TOLERANCE, WrongExportError, check_export, export
from mlla.export.network_files import write_onnx, write_torchscript
from mlla.export.runners import open_file, open_network
from mlla.models import MLLA, save_pretrained

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

FILES = {"onnx": "tiny.onnx", "torchscript": "tiny.torchscript", "torch_export": "tiny.pt2"}


@pytest.mark.parametrize(
    "name", ["onnx", "torchscript", pytest.param("torch_export", marks=pytest.mark.slow)]
)
def test_a_file_computes_what_pytorch_does_at_every_size(
    name: str, classifier: MLLA, folder: Path
) -> None:
    report = export(classifier, name, stem="tiny", imgsz=64, out="files")
    assert report.error <= TOLERANCE
    assert len({difference.shape for difference in report.differences}) == 3
    assert report.file == Path("files") / FILES[name]
    assert [path.name for path in (folder / "files").iterdir()] == [FILES[name]]
    # sizes that no comparison of the export had
    images = np.random.default_rng(9).standard_normal((3, 3, 71, 40)).astype(np.float32)
    found = open_file(report.file, name)(images)[0]
    expected = open_network(classifier.eval())(images)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_fixed_file_takes_its_own_size_only(classifier: MLLA) -> None:
    report = export(classifier, stem="tiny", imgsz=[64, 32], dynamic=False)
    assert {difference.shape for difference in report.differences} == {(1, 3, 64, 32)}
    run = open_file(report.file, "onnx")
    with pytest.raises(Exception, match="dimension"):
        run(np.zeros((1, 3, 32, 32), np.float32))


def test_the_features_of_a_backbone_are_outputs(classifier: MLLA) -> None:
    class Features(nn.Module):
        def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
            return self.inner.forward_intermediates(images, intermediates_only=True)

    features = Features()
    features.inner = classifier
    report = export(features, stem="features", imgsz=64)
    assert report.error <= TOLERANCE
    outputs = open_file(report.file, "onnx")(np.zeros((1, 3, 64, 64), np.float32))
    assert [output.shape[2] for output in outputs] == [16, 8, 4, 2]


def test_a_folder_of_weights_is_exported_under_its_name(classifier: MLLA, folder: Path) -> None:
    save_pretrained(classifier, folder / "colours-model")
    report = export(folder / "colours-model", imgsz=32)
    assert report.file == Path("colours-model.onnx")
    assert check_export(folder / "colours-model", report.file, imgsz=32).error <= TOLERANCE


# -- wrong on purpose --------------------------------------------------------------------------


def without_a_bias(network: nn.Module) -> nn.Module:
    """Return a copy that lost one bias inside."""
    wrong = deepcopy(network).eval()
    nn.init.zeros_(wrong.stages[1].blocks[0].mlp.expand.bias)
    return wrong


def test_an_exporter_that_drops_a_bias_is_caught(
    classifier: MLLA, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drops_a_bias(_: nn.Module, *rest: object, **options: object) -> Path:
        return write_onnx(without_a_bias(classifier), *rest, **options)

    export(classifier, stem="tiny", imgsz=32)
    before = Path("tiny.onnx").read_bytes()
    monkeypatch.setattr(mlla.export.network_subject, "write_onnx", drops_a_bias)
    for stem in ("tiny", "another"):
        with pytest.raises(WrongExportError, match=r"differs from PyTorch by .* nothing was kept"):
            export(classifier, stem=stem, imgsz=32)
    # what was there before is still there, and nothing else is
    assert [path.name for path in folder.iterdir()] == ["tiny.onnx"]
    assert Path("tiny.onnx").read_bytes() == before


def test_an_exporter_that_freezes_the_size_is_caught(
    classifier: MLLA, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def freezes(network: nn.Module, image: torch.Tensor, file: Path, _: bool) -> Path:
        return write_onnx(network, image, file, False)

    monkeypatch.setattr(mlla.export.network_subject, "write_onnx", freezes)
    with pytest.raises(WrongExportError, match="does not run on images of 2 x 32 x 16"):
        export(classifier, stem="tiny", imgsz=32)
    assert not list(folder.iterdir())


def test_a_network_that_rounding_decides_is_told_apart(folder: Path) -> None:
    class Chaotic(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.sin(1e9 * image.square().mean((1, 2, 3)))

    with pytest.raises(WrongExportError, match=r"PyTorch differs from itself by .* Train it first"):
        export(Chaotic(), stem="chaos", imgsz=64)
    assert not list(folder.iterdir())


def test_a_file_of_another_model_is_no_export_of_this_one(classifier: MLLA) -> None:
    file = write_torchscript(
        without_a_bias(classifier), torch.zeros(1, 3, 32, 32), Path("other.torchscript")
    )
    with pytest.raises(WrongExportError, match=r"wrong export: TorchScript differs .* kept$"):
        check_export(classifier, file, imgsz=32)
    assert file.exists()


# -- eight bits --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_eight_bits_are_calibrated_and_scored(
    name: str, classifier: MLLA, classified_set: Path, folder: Path
) -> None:
    if name == "openvino":
        pytest.importorskip("nncf")
    save_pretrained(classifier, folder / "tiny", label_names=list("rgb"))
    report = export(folder / "tiny", name, imgsz=32, int8=True, data=classified_set)
    assert report.error <= TOLERANCE
    assert TOLERANCE < report.variant_error < 1
    assert report.scores.measure == "top-1"
    assert 0 <= report.scores.exported <= 1
    assert report.file.name.startswith("tiny_int8")
    if name == "onnx":
        kinds = {node.op_type for node in onnx.load(str(report.file)).graph.node}
        assert "QuantizeLinear" in kinds


@pytest.mark.slow
def test_openvino_computes_what_pytorch_does_at_every_size(classifier: MLLA) -> None:
    pytest.importorskip("openvino")
    report = export(classifier, "openvino", stem="tiny", imgsz=64)
    assert report.error <= TOLERANCE
    assert sorted(path.name for path in report.file.iterdir()) == ["tiny.bin", "tiny.xml"]
