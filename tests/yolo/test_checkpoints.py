"""Files that our models leave behind: stock Ultralytics opens them, now and in years."""

import json
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import ultralytics

from mlla.yolo import YOLO

DATA = Path(__file__).parent / "data"
# every class of ours that a checkpoint may name: the file format, which only ever grows
FORMAT = {
    "mlla.blocks.mlla_block.MLLABlock",
    "mlla.blocks.odss_block.ODSSBlock",
    "mlla.blocks.vm_unet_vss_block.VMUNetVSSBlock",
    "mlla.blocks.xss_block.XSSBlock",
    "mlla.layers.conv_norm.ConvNorm",
    "mlla.layers.conv_norm.FixedBatchNorm2d",
    "mlla.layers.downsample.Downsample",
    "mlla.layers.four_way_scan.FourWayScan",
    "mlla.layers.gated_linear_attention.GatedLinearAttention",
    "mlla.layers.linear_attention.LinearAttention",
    "mlla.layers.local_spatial.LocalSpatial",
    "mlla.layers.mamba_yolo_downsample.MambaYOLODownsample",
    "mlla.layers.mamba_yolo_ss2d.MambaYOLOSS2D",
    "mlla.layers.mamba_yolo_stem.MambaYOLOStem",
    "mlla.layers.mlp.MLP",
    "mlla.layers.multiscale_attention.EfficientMultiscaleAttention",
    "mlla.layers.pointwise_conv_norm.PointwiseConvNorm",
    "mlla.layers.residual_gated_mlp.ResidualGatedMLP",
    "mlla.layers.stem.Stem",
    "mlla.layers.vm_unet_ss2d.VMUNetSS2D",
    "mlla.models.mlla.MLLA",
    "mlla.models.mlla.Stage",
    "mlla.models.mlla._accept_published_names",
    "mlla.yolo.control_rows.PlainConvolutions",
    "mlla.yolo.mamba_yolo_rows.ODSSBlocks",
    "mlla.yolo.mamba_yolo_rows.SimpleStem",
    "mlla.yolo.mamba_yolo_rows.VisionClueMerge",
    "mlla.yolo.mamba_yolo_rows.XSSStage",
    "mlla.yolo.multiscale_attention_rows.MultiscaleAttention",
    "mlla.yolo.rows.C2fMLLA",
    "mlla.yolo.rows.Inserted",
    "mlla.yolo.rows.MLLABlocks",
    "mlla.yolo.rows.MLLADownsample",
    "mlla.yolo.rows.MLLAFeatures",
    "mlla.yolo.rows.MLLAStem",
    "mlla.yolo.rtdetr_rows.ResNetBlockMLLA",
    "mlla.yolo.rtdetr_rows.ResNetLayerMLLA",
    "mlla.yolo.vss_rows.C2PSAVSS",
    "mlla.yolo.vss_rows.C3k2VSS",
    "mlla.yolo.vss_rows.PSABlockVSS",
    "mlla.yolo.yolo11_rows.C2PSAMLLA",
    "mlla.yolo.yolo11_rows.C3k2MLLA",
    "mlla.yolo.yolo11_rows.PSABlockMLLA",
}
# written once by data/make_checkpoint.py
STORED = ("stored", "families", "controls")
VERSION = tuple(int(part) for part in ultralytics.__version__.split(".")[:3])
has_safe_load = pytest.mark.skipif(
    VERSION < (8, 4, 120), reason="this Ultralytics has no restricted loading"
)


def names_in(checkpoint: Path) -> set[str]:
    """Return the dotted name of everything that loading the file would import."""
    with zipfile.ZipFile(checkpoint) as archive:
        member = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        operations = list(pickletools.genops(archive.read(member)))
    assert not any(operation.name == "STACK_GLOBAL" for operation, _, _ in operations)
    return {arg.replace(" ", ".") for op, arg, _ in operations if op.name == "GLOBAL"}


# -- the format --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("yolov8n-mlla", "yolov8n-c2f-mlla", "yolov8n-mlla-backbone", "yolov8n-mlla-tiny"),
        *("yolo11n-c3k2-mlla", "yolo11n-c2psa-vss", "yolo11n-multiscale-attention"),
        "mamba-yolo-t",
    ],
)
def test_checkpoints_name_only_classes_of_the_format(private_folder: Path, name: str) -> None:
    YOLO(name).save(private_folder / "saved.pt")
    names = {n for n in names_in(private_folder / "saved.pt") if n.startswith("mlla")}
    # neither adapters nor anything else of the registration
    assert names <= FORMAT
    assert any(name.startswith("mlla.yolo.") for name in names)


def test_the_best_of_a_training_names_only_classes_of_the_format(trained: Path) -> None:
    names = {n for n in names_in(trained / "weights" / "best.pt") if n.startswith("mlla")}
    assert names <= FORMAT
    assert "mlla.yolo.rows.MLLABlocks" in names


def test_the_stored_checkpoints_cover_the_format() -> None:
    files = [DATA / f"{name}.pt" for name in STORED]
    assert all(file.stat().st_size < 250_000 for file in files)
    # MLLA-T alone has 24 million weights
    large = {n for n in FORMAT if n.startswith("mlla.models.") or n.endswith("MLLAFeatures")}
    stored = set().union(*map(names_in, files))
    assert {n for n in stored if n.startswith("mlla")} == FORMAT - large


@pytest.mark.parametrize("name", STORED)
def test_stock_ultralytics_opens_the_stored_checkpoints(
    fresh_python: Callable[..., str], name: str
) -> None:
    output = fresh_python(
        "import sys\n"
        "import numpy, torch\n"
        "from ultralytics import YOLO\n"
        "assert 'mlla' not in sys.modules\n"
        "model = YOLO(sys.argv[1])\n"
        "assert type(model) is YOLO\n"
        "x = numpy.random.default_rng(0).random((1, 3, 64, 96), dtype=numpy.float32)\n"
        "image = (255 * x[0]).astype('uint8').transpose(1, 2, 0)\n"
        "print('classes', len(model.predict(image, imgsz=64, verbose=False)[0].probs.data))\n"
        "model = YOLO(sys.argv[1]).model.float().eval()\n"
        "with torch.no_grad():\n"
        "    features = model.model[:-1](torch.from_numpy(x))\n"
        "numpy.savez('features.npz', features=features.numpy())\n",
        DATA / f"{name}.pt",
    )
    assert "classes 2" in output
    with np.load(DATA / f"{name}.npz") as stored, np.load("features.npz") as computed:
        atol = 1e-5 * np.abs(stored["features"]).max()
        np.testing.assert_allclose(computed["features"], stored["features"], 1e-4, atol)


def test_a_file_holds_exactly_the_rounded_model(private_folder: Path) -> None:
    # nothing but weights and statistics decides the output, and those are stored in fp16
    torch.manual_seed(0)
    model, x = YOLO("yolov8n-mlla-backbone"), torch.rand(1, 3, 64, 96)
    model.save(private_folder / "saved.pt")
    loaded = ultralytics.YOLO(private_folder / "saved.pt").model.float().eval()
    rounded = model.model.half().float().eval()
    with torch.no_grad():
        assert torch.equal(loaded(x)[0], rounded(x)[0])


@pytest.mark.parametrize("name", ["yolov8n-mlla-seg", "yolov8n-c2f-mlla-cls", "yolov8n-mlla-obb"])
def test_an_untrained_model_keeps_its_task(private_folder: Path, name: str) -> None:
    model = YOLO(name)
    model.save(private_folder / "saved.pt")
    assert ultralytics.YOLO(private_folder / "saved.pt").task == model.task
    # and saving leaves the model as untrained as it was
    assert not model.ckpt


# -- stock Ultralytics in a fresh process ------------------------------------------------------


def test_yolo_predict_opens_our_best(
    stock_yolo: Callable[..., str], trained: Path, image: Path, private_folder: Path
) -> None:
    stock_yolo(
        "predict",
        f"model={trained / 'weights' / 'best.pt'}",
        f"source={image}",
        "imgsz=64",
        "conf=0.001",
        f"project={private_folder}",
        "name=drawn",
    )
    assert [file.stem for file in (private_folder / "drawn").iterdir()] == ["unseen"]


@pytest.mark.slow
def test_yolo_val_scores_our_best_as_we_do(
    stock_yolo: Callable[..., str],
    trained: Path,
    dataset: Callable[[str], Path],
    private_folder: Path,
) -> None:
    best, data = trained / "weights" / "best.pt", dataset("detect")
    arguments = {
        "data": str(data),
        "imgsz": 64,
        "plots": False,
        "workers": 0,
        "device": "cpu",
        "conf": 0.0001,
        "save_json": True,
        "project": str(private_folder),
    }
    YOLO(best).val(**arguments, name="ours")
    settings = [f"{key}={value}" for key, value in arguments.items()]
    stock_yolo("val", f"model={best}", *settings, "name=stock")
    ours, stock = (
        json.loads((private_folder / name / "predictions.json").read_text())
        for name in ("ours", "stock")
    )
    assert len(ours) > 0
    assert ours == stock


@pytest.mark.slow
def test_yolo_export_writes_onnx(
    stock_yolo: Callable[..., str], trained: Path, private_folder: Path
) -> None:
    if VERSION < (8, 4, 0):
        pytest.skip("this Ultralytics exports with PyTorch before 2.9 only, whatever the model")
    best = private_folder / "best.pt"
    best.write_bytes((trained / "weights" / "best.pt").read_bytes())
    stock_yolo("export", f"model={best}", "format=onnx", "imgsz=64", "device=cpu")
    x = np.random.default_rng(0).random((1, 3, 64, 64), dtype=np.float32)
    session = onnxruntime.InferenceSession(best.with_suffix(".onnx"))
    (output,) = session.run(None, {session.get_inputs()[0].name: x})
    with torch.no_grad():
        expected = YOLO(best).model.float().eval()(torch.from_numpy(x))[0].numpy()
    assert np.abs(output - expected).max() / np.abs(expected).max() < 1e-4


@pytest.mark.slow
def test_yolo_train_goes_on_from_our_best(
    stock_yolo: Callable[..., str],
    trained: Path,
    dataset: Callable[[str], Path],
    private_folder: Path,
    train_arguments: Callable[..., dict[str, object]],
) -> None:
    stock_yolo(
        "train",
        f"model={trained / 'weights' / 'best.pt'}",
        f"data={dataset('detect')}",
        *(f"{key}={value}" for key, value in train_arguments().items()),
    )
    network = YOLO(private_folder / "run" / "weights" / "last.pt").model
    assert network.model[22].type == "mlla.yolo.rows.MLLABlocks"
    assert network.nc == 2


# -- restricted loading ------------------------------------------------------------------------


@has_safe_load
@pytest.mark.parametrize("first", ["import mlla.yolo", "pass"])
def test_restricted_loading_knows_our_classes_once_mlla_is_imported(
    fresh_python: Callable[..., str], trained: Path, first: str
) -> None:
    output = fresh_python(
        f"import sys\n{first}\n"
        "from ultralytics import YOLO\n"
        "try:\n"
        "    for file in sys.argv[1:]: YOLO(file)\n"
        "except TypeError as error:\n"
        "    print('refused:', error)\n"
        "else:\n"
        "    print('opened')\n",
        *(DATA / f"{name}.pt" for name in STORED),
        trained / "weights" / "best.pt",
        ULTRALYTICS_SAFE_LOAD="1",
    )
    if first == "pass":
        # the file names code that nobody asked for: not even imported
        assert "references types outside the supported Ultralytics checkpoint format" in output
    else:
        assert output.splitlines()[-1] == "opened"


@has_safe_load
def test_restricted_loading_still_refuses_what_nobody_registered(private_folder: Path) -> None:
    from ultralytics.nn.tasks import torch_safe_load

    torch.save({"model": json.JSONDecoder}, private_folder / "foreign.pt")
    with pytest.raises(TypeError, match="references types outside"):
        torch_safe_load(private_folder / "foreign.pt", safe_only=True)
