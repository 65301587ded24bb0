"""Models in folders: what is saved is what comes back, and nothing else is accepted."""

import json
import pickle

import pytest
import timm
import torch
from test_published_weights import create, randomised, same

from mlla.models import MLLA, VMUNet, from_pretrained, save_pretrained
from mlla.models.weights_folder import read_weights, write_weights


@pytest.fixture
def source():
    return randomised(create())


@pytest.fixture
def folder(source, tmp_path):
    return save_pretrained(source, tmp_path / "model", label_names=list("abcdef"))


@torch.no_grad()
def test_a_model_comes_back_as_it_was(source, folder):
    model = from_pretrained(folder)
    assert same(source, model)
    image = torch.rand(1, 3, 32, 48)
    assert torch.equal(model.eval()(image), source(image))


@torch.no_grad()
def test_timm_reads_the_folder(source, folder):
    image = torch.rand(1, 3, 32, 32)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert torch.equal(model(image), source(image))
    assert model.pretrained_cfg["label_names"] == list("abcdef")
    backbone = timm.create_model(f"local-dir:{folder}", pretrained=True, features_only=True)
    assert same(backbone.model, source)


def test_it_can_be_adapted_as_timm_adapts(source, folder):
    classifier = from_pretrained(folder, num_classes=9)
    assert classifier.head.fc.weight.shape == (9, 16)
    assert same(source, classifier, without=("head.",))
    grey = from_pretrained(folder, in_chans=1)
    expected = source.stem.reduce_to_half.conv.weight.sum(dim=1, keepdim=True)
    torch.testing.assert_close(grey.stem.reduce_to_half.conv.weight, expected)
    assert same(from_pretrained(folder, features_only=True).model, source)


def test_a_classifier_starts_a_detection_backbone(source, folder):
    with pytest.raises(ValueError, match="missing: stage_norms"):
        from_pretrained(folder, features_only=True, stage_norm=True)
    backbone = from_pretrained(
        folder, features_only=True, stage_norm=True, keep=("stage_norms",)
    ).model
    assert torch.equal(backbone.stem.project.conv.weight, source.stem.project.conv.weight)
    assert torch.equal(backbone.stage_norms[0].weight, torch.ones(8))


@pytest.mark.parametrize(
    "options",
    [{"num_heads": (2, 4)}, {"in_chans": 1}, {"num_classes": 0, "stage_norm": True}],
    ids=str,
)
@torch.no_grad()
def test_every_option_of_the_structure_is_kept(options, tmp_path):
    source = randomised(create(**options))
    model = from_pretrained(save_pretrained(source, tmp_path)).eval()
    image = torch.rand(1, options.get("in_chans", 3), 32, 32)
    assert torch.equal(model(image), source(image))


@torch.no_grad()
def test_a_model_built_without_timm_comes_back(tmp_path):
    source = randomised(MLLA(8, (1, 1), (1, 2), num_classes=3, mlp_ratio=2.0, global_pool="max"))
    model = from_pretrained(save_pretrained(source, tmp_path)).eval()
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(model(image), source(image))


def test_a_changed_classifier_is_saved_as_it_is(source, tmp_path):
    source.reset_classifier(4)
    assert from_pretrained(save_pretrained(source, tmp_path)).head.fc.weight.shape == (4, 16)


@torch.no_grad()
def test_vm_unet_comes_back(tmp_path):
    source = VMUNet(dim=8, depths=(1, 1), depths_decoder=(1, 1), num_classes=2).eval()
    model = from_pretrained(save_pretrained(source, tmp_path)).eval()
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(model(image), source(image))
    other = from_pretrained(tmp_path, num_classes=5)
    assert other.head.weight.shape[0] == 5
    assert torch.equal(other.patch_projection.weight, source.patch_projection.weight)


def test_a_model_of_timm_comes_back(tmp_path):
    source = randomised(timm.create_model("resnet10t", num_classes=3, in_chans=1))
    model = from_pretrained(save_pretrained(source, tmp_path, model_args={"in_chans": 1}))
    assert same(source, model)
    assert model.pretrained_cfg["input_size"][0] == 1


def test_a_loaded_model_carries_no_second_copy(folder):
    model = from_pretrained(folder)
    weights = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    assert len(pickle.dumps(model)) < 1.5 * weights + 50_000


def test_saving_does_not_disturb_random_numbers(source, tmp_path):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    save_pretrained(source, tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_what_cannot_be_built_again_is_not_saved(tmp_path):
    with pytest.raises(TypeError, match="model is a FeatureGetterNet, which features_only=True"):
        save_pretrained(create(features_only=True), tmp_path)
    with pytest.raises(TypeError, match="model is a Linear"):
        save_pretrained(torch.nn.Linear(1, 1), tmp_path)
    changed = create()
    changed.stages[0].blocks[0].mlp.contract = torch.nn.Linear(3, 8)
    with pytest.raises(ValueError, match=r"other weights than this model: .*mlp.contract.weight"):
        save_pretrained(changed, tmp_path)
    with pytest.raises(ValueError, match="label_names has 2 names, but the model has 6 classes"):
        save_pretrained(create(), tmp_path, label_names=["a", "b"])
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_unasked(source, folder):
    with pytest.raises(FileExistsError, match=r"config.json and model.safetensors already"):
        save_pretrained(source, folder)
    (folder / "notes.txt").write_text("mine")
    save_pretrained(randomised(create()), folder, overwrite=True)
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "notes.txt",
    ]
    assert not same(from_pretrained(folder), source)


def test_damaged_weights_are_refused(folder):
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-3] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match=r"has the SHA-256 .* but config.json says"):
        from_pretrained(folder)
    from_pretrained(folder, check_hash=False)
    (folder / "model.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        from_pretrained(folder, check_hash=False)


def test_weights_without_a_digest_are_refused_unless_asked(source, folder):
    config = json.loads((folder / "config.json").read_text())
    del config["sha256"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"no sha256 .* check_hash=False"):
        from_pretrained(folder)
    assert same(source, from_pretrained(folder, check_hash=False))


def test_missing_files_are_named(tmp_path, folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no model.safetensors"):
        from_pretrained(folder)
    with pytest.raises(FileNotFoundError, match="neither a folder nor the id of a repository"):
        from_pretrained(tmp_path / "elsewhere")
    (folder / "config.json").write_text('{"architecture": "upernet"}')
    with pytest.raises(FileNotFoundError, match=r"has no model.safetensors"):
        from_pretrained(folder)
    write_weights(folder, {}, {"architecture": "upernet"}, overwrite=True)
    with pytest.raises(ValueError, match="architecture='upernet' is no backbone"):
        from_pretrained(folder)


def test_nothing_is_fetched_unasked(monkeypatch, tmp_path):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("network"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"not in the cache .* allow_download=True"):
        from_pretrained("nobody/nothing-of-this-name")


def test_a_repository_is_fetched_when_asked(monkeypatch, folder, source):
    asked = []

    def snapshot_download(name, **options):
        asked.append((name, options["revision"], options["local_files_only"]))
        return str(folder)

    monkeypatch.setattr("mlla.models.pretrained.snapshot_download", snapshot_download)
    assert same(source, from_pretrained("owner/name@v2", allow_download=True))
    from_pretrained("owner/name")
    assert asked == [("owner/name", "v2", False), ("owner/name", None, True)]


def test_weights_of_any_kind_are_read_back(tmp_path):
    shared = torch.rand(4, 6)
    state = {"a": shared, "b": shared.t(), "c": torch.tensor(3, dtype=torch.int64)}
    write_weights(tmp_path, state, {"task": "any"})
    config, tensors = read_weights(tmp_path)
    assert config["task"] == "any"
    assert all(torch.equal(tensors[name], state[name]) for name in state)


def test_a_full_disk_leaves_the_old_weights(source, folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def no_space(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        save_pretrained(randomised(create()), folder, overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
