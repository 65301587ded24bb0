"""Files of the authors into folders: what is read, what is counted, what is refused."""

import hashlib
import json
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from test_published_weights import published_file

from golden import GOLDEN, filled, golden_case, golden_error, golden_shapes
from mlla.models import VMUNet, from_pretrained, load_published
from mlla.models.check_weights import check_weights
from mlla.models.convert_published import convert_published
from mlla.models.published_file import read_published_file
from mlla.models.published_sources import PARITIES
from mlla.models.timm_entrypoints import mlla_tiny


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """MLLA-T as the authors' code would save it."""
    state = published_file(mlla_tiny(), rotations=False)
    pairs = torch.tensor([1.0, 0.0]).repeat(32).expand(1, 7, 7, -1)
    from mlla.ops import rotate_by_position

    state["layers.0.blocks.0.attn.rope.rotations"] = rotate_by_position(pairs)[0].unflatten(
        -1, (-1, 2)
    )
    path = tmp_path_factory.mktemp("published") / "MLLA-T.pth"
    torch.save({"model": state, "epoch": 300}, path)
    return path


@pytest.fixture(scope="module")
def folder(file, tmp_path_factory):
    path = tmp_path_factory.mktemp("converted") / "mlla-t"
    convert_published(file, path)
    return path


@torch.no_grad()
def test_a_converted_file_computes_what_the_file_does(file, folder):
    model = mlla_tiny().eval()
    load_published(model, torch.load(file))
    image = torch.rand(1, 3, 40, 56)
    assert torch.equal(from_pretrained(folder).eval()(image), model(image))


def test_the_certificate_says_where_weights_come_from(file, folder):
    certificate = json.loads((folder / "certificate.json").read_text())
    data = file.read_bytes()
    assert certificate["file"] == {
        "name": "MLLA-T.pth",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    assert certificate["place_in_file"] == "model"
    assert certificate["source"]["repository"] == "https://github.com/LeapLabTHU/MLLA"
    assert certificate["tensors"]["dropped"] == 1
    assert certificate["tensors"]["read"] == certificate["tensors"]["in_file"] - 1
    # only the norm before the classifier has the same name
    assert certificate["tensors"]["renamed"] == certificate["tensors"]["read"] - 2
    assert certificate["tensors"]["parameters"] == 24_392_200
    assert certificate["reloaded"]["largest_difference"] == 0
    weights = (folder / "model.safetensors").read_bytes()
    assert certificate["written"]["model.safetensors"] == hashlib.sha256(weights).hexdigest()


def test_a_good_folder_has_no_faults(folder):
    report = check_weights(folder)
    assert report.faults == []
    assert (report.architecture, report.parameters) == ("mlla_tiny", 24_392_200)


def test_every_kind_of_damage_is_a_fault(folder, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    config = json.loads((copy / "config.json").read_text())
    heads = {**config, "model_args": {**config["model_args"], "num_heads": [1, 2, 4, 8]}}
    (copy / "config.json").write_text(json.dumps(heads))
    assert "config.json is not the file that certificate.json" in check_weights(copy).faults[0]
    (copy / "config.json").write_text(json.dumps({**config, "sha256": "0" * 64}))
    assert "has the SHA-256" in check_weights(copy).faults[0]
    (copy / "certificate.json").write_text("{")
    assert "certificate.json is not the file" in check_weights(copy).faults[0]
    assert "has no config.json" in check_weights(tmp_path).faults[0]


def test_vm_unet_is_recognised(tmp_path):
    source = VMUNet(dim=8, depths=(1, 1), depths_decoder=(1, 1), num_classes=2)
    torch.save({"vmunet." + n: t for n, t in source.state_dict().items()}, tmp_path / "best.pth")
    certificate = convert_published(tmp_path / "best.pth", tmp_path / "vm-unet")
    assert certificate["place_in_file"] == "vmunet"
    assert certificate["source"]["repository"] == "https://github.com/JCruan519/VM-UNet"
    assert check_weights(tmp_path / "vm-unet").faults == []


@pytest.mark.slow
def test_published_vm_unet_is_recognised(tmp_path):
    case = golden_case("vss_ema", "vmunet-64")
    state = filled(golden_shapes("vss_ema", "vmunet-64"))
    torch.save({"vmunet." + name: t for name, t in state.items()}, tmp_path / "best.pth")
    certificate = convert_published(tmp_path / "best.pth", tmp_path / "vm-unet")
    model = from_pretrained(tmp_path / "vm-unet")
    assert isinstance(model, VMUNet)
    assert certificate["tensors"]["parameters"] == case["parameters"]
    assert check_weights(tmp_path / "vm-unet").faults == []


def test_what_the_authors_store_beside_weights_is_read_as_data(tmp_path, monkeypatch):
    class CfgNode(dict):
        def __init__(self, values):
            super().__init__(values)
            self.__dict__["__immutable__"] = True

    CfgNode.__module__, CfgNode.__qualname__ = "yacs.config", "CfgNode"
    yacs = ModuleType("yacs.config")
    yacs.CfgNode = CfgNode
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "yacs", ModuleType("yacs"))
        patch.setitem(sys.modules, "yacs.config", yacs)
        torch.save(
            {
                "model": {"w": torch.ones(2)},
                "config": CfgNode({"MODEL": CfgNode({"NAME": "mlla_t"})}),
                "max_accuracy": np.float64(83.5),
                "min_loss": np.mean(np.float32([1, 2])),
            },
            tmp_path / "checkpoint.pth",
        )
    content = read_published_file(tmp_path / "checkpoint.pth")
    assert content["config"]["MODEL"]["NAME"] == "mlla_t"
    assert content["max_accuracy"] == 83.5
    assert torch.equal(content["model"]["w"], torch.ones(2))


class Payload:
    def __reduce__(self):
        return print, ("this must not run",)


def test_nothing_in_a_file_is_run(tmp_path, capsys):
    torch.save({"model": {"w": torch.ones(1)}, "extra": Payload()}, tmp_path / "file.pth")
    with pytest.raises(ValueError, match=r"cannot be read as weights: Unsupported .*print"):
        read_published_file(tmp_path / "file.pth")
    assert capsys.readouterr().out == ""


def test_what_is_no_published_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is not a file; give the .pth file"):
        convert_published(tmp_path / "none.pth", tmp_path / "out")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        convert_published(tmp_path / "text.pth", tmp_path / "out")
    torch.save(torch.ones(3), tmp_path / "tensor.pth")
    with pytest.raises(ValueError, match="holds a Tensor, not tensors by name"):
        convert_published(tmp_path / "tensor.pth", tmp_path / "out")
    torch.save({"layer1.weight": torch.ones(3)}, tmp_path / "resnet.pth")
    with pytest.raises(ValueError, match=r"neither MLLA nor VM-UNet; it begins with layer1.weight"):
        convert_published(tmp_path / "resnet.pth", tmp_path / "out")
    small = published_file(mlla_tiny(dim=8, depths=(1, 1), num_heads=(1, 1)), rotations=False)
    torch.save(small, tmp_path / "small.pth")
    with pytest.raises(ValueError, match=r"width 8 and depths \[1, 1\], which is none of the"):
        convert_published(tmp_path / "small.pth", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_with_a_tensor_too_many_is_refused(file, tmp_path):
    state = torch.load(file)["model"] | {"layers.3.blocks.9.norm1.weight": torch.ones(512)}
    torch.save(state, tmp_path / "more.pth")
    with pytest.raises(ValueError, match=r"depths \[2, 4, 8, 5\]"):
        convert_published(tmp_path / "more.pth", tmp_path / "out")
    state = torch.load(file)["model"] | {"extra.weight": torch.ones(512)}
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"unexpected: extra.weight"):
        convert_published(tmp_path / "other.pth", tmp_path / "out")


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize(("architecture", "stage_norm"), PARITIES, ids=str)
def test_parity_of_the_certificate_is_what_is_measured(architecture, stage_norm):
    import timm

    from golden import drawn

    cases = json.loads((GOLDEN / "mlla.json").read_text())["cases"] if GOLDEN.exists() else []
    kind = "features" if stage_norm else "classifier"
    names = [c["case"] for c in cases if c.get("model") == architecture and c["kind"] == kind]
    if architecture == "vm_unet":
        file, name, weights, model = "vss_ema", "vmunet-64", "vmunet-64", VMUNet()
    else:
        file, name = "mlla", names[0] if names else pytest.skip("no golden outputs here")
        weights = f"{architecture}_features" if stage_norm else architecture
        model = timm.create_model(architecture, features_only=stage_norm, stage_norm=stage_norm)
    load_published(model, filled(golden_shapes(file, weights)))
    outputs = model.eval()(drawn(f"{name}/input", golden_case(file, name)["input"]))
    arrays = [f"stage{i}" for i in range(4)] if stage_norm else ["logits"]
    outputs = outputs if stage_norm else [outputs]
    errors = [golden_error(file, name, a, o) for a, o in zip(arrays, outputs, strict=True)]
    stated = PARITIES[architecture, stage_norm]
    # another machine may round a little differently
    assert max(errors) <= 4 * stated.largest_error <= stated.tolerance
