"""Files of the authors: every wrapper they come in, and every way in which they cannot fit."""

import pytest
import timm
import torch

from mlla.models import MLLA, load_published
from mlla.models.mlla_names import PUBLISHED_MODULES, rename_published
from mlla.ops import rotate_by_position

SIZE = {"dim": 8, "depths": (1, 2), "num_heads": (1, 2)}
# of the largest model; names that a model lacks do no harm
STAGES, BLOCKS = range(4), range(21)


def create(**options):
    return timm.create_model("mlla_tiny", **{**SIZE, "num_classes": 6, **options})


def published_names():
    """Return our name of every module -> the authors', through the table written out."""
    names = {}
    for theirs, ours in PUBLISHED_MODULES.items():
        for stage in STAGES:
            for block in BLOCKS:
                numbers = {"stage": stage, "block": block}
                names[ours.format(**numbers, next_stage=stage + 1)] = theirs.format(**numbers)
    return names


def published_file(model, rotations=True):
    """Return what the authors' code would have saved for the weights of one of our models."""
    names = published_names()
    state = {}
    for name, tensor in model.state_dict().items():
        ours = max((n for n in names if name.startswith(n + ".")), key=len, default="")
        state[names.get(ours, ours) + name[len(ours) :]] = tensor.clone()
    if rotations:
        for stage, width in enumerate((8, 16)):
            pairs = torch.tensor([1.0, 0.0]).repeat(width // 2).expand(1, 14, 14, -1)
            table = rotate_by_position(pairs)[0].unflatten(-1, (-1, 2))
            state[f"layers.{stage}.blocks.0.attn.rope.rotations"] = table
    return state


@pytest.fixture
def source():
    """A classifier with distinct numbers everywhere."""
    return randomised(create())


def randomised(model):
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.5)
    return model.eval()


def same(one, two, without=()):
    two = two.state_dict()
    return all(
        torch.equal(tensor, two[name])
        for name, tensor in one.state_dict().items()
        if not name.startswith(without)
    )


def test_names_of_the_authors_become_ours():
    # written down from the authors' files, not from the table
    assert {
        theirs: rename_published(theirs)
        for theirs in (
            "patch_embed.conv2.1.norm.running_var",
            "layers.0.downsample.conv.2.norm.bias",
            "layers.2.blocks.10.attn.lepe.weight",
            "norm2.weight",
            "norm.bias",
            "head.weight",
        )
    } == {
        "patch_embed.conv2.1.norm.running_var": "stem.refine.1.norm.running_var",
        "layers.0.downsample.conv.2.norm.bias": "stages.1.downsample.project.norm.bias",
        "layers.2.blocks.10.attn.lepe.weight": (
            "stages.2.blocks.10.gated_attention.attention.local_position.weight"
        ),
        "norm2.weight": "stage_norms.2.weight",
        "norm.bias": "norm.bias",
        "head.weight": "head.fc.weight",
    }


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "epoch": 3},
        lambda state: {"state_dict": state, "meta": {}},
        # the authors score the moving average
        lambda state: {
            "model": {n: t + 1 for n, t in state.items()},
            "state_dict_ema": {"module." + n: t for n, t in state.items()},
            "epoch": 3,
        },
        lambda state: {"module." + n: t for n, t in state.items()},
        lambda state: {
            "state_dict": {
                **{"backbone." + n: t for n, t in state.items()},
                "roi_head.bbox_head.fc_cls.weight": torch.ones(3),
            }
        },
    ],
    ids=["plain", "model", "state_dict", "average", "distributed", "detector"],
)
def test_every_wrapper_is_understood(source, wrap):
    model = create()
    assert load_published(model, wrap(published_file(source))) is None
    assert same(source, model)


def test_file_without_counters_of_batch_norm_is_accepted(source):
    state = {n: t for n, t in published_file(source).items() if "num_batches" not in n}
    model = create()
    load_published(model, state)
    assert same(source, model, without=())


def test_detection_file_fits_the_detection_backbone():
    source = randomised(create(stage_norm=True, num_classes=0))
    backbone = create(features_only=True, stage_norm=True)
    load_published(backbone, published_file(source))
    assert same(source, backbone.model)
    last = create(features_only=True, stage_norm=True, out_indices=(1,))
    load_published(last, published_file(source))
    assert same(last.model, source)


def test_parts_the_model_was_built_without_may_be_in_the_file(source):
    state = published_file(source)
    for model in (create(num_classes=0), create(features_only=True)):
        load_published(model, state)
        assert same(getattr(model, "model", model), source)
    first_stage = create(features_only=True, out_indices=(0,))
    load_published(first_stage, state)
    assert same(first_stage.model, source)


def test_another_number_of_classes_is_refused_unless_the_head_is_kept(source):
    state, model = published_file(source), create(num_classes=9)
    with pytest.raises(ValueError, match=r"wrong shape: head.fc.weight is .6, 16. .* .9, 16.") as e:
        load_published(model, state)
    assert "head.fc.bias" in str(e.value)
    assert "keep=('head',)" in str(e.value)
    head = model.head.fc.weight.clone()
    load_published(model, state, keep=("head",))
    assert torch.equal(model.head.fc.weight, head)
    assert same(source, model, without=("head.",))


def test_classifier_starts_a_detection_backbone_that_keeps_its_norms(source):
    backbone = create(features_only=True, stage_norm=True)
    with pytest.raises(ValueError, match=r"missing: stage_norms.0.weight\n.*missing: stage_norms"):
        load_published(backbone, published_file(source))
    load_published(backbone, published_file(source), keep=("stage_norms",))
    assert torch.equal(backbone.model.stem.project.conv.weight, source.stem.project.conv.weight)
    assert torch.equal(backbone.model.stage_norms[0].weight, torch.ones(8))


def test_other_inputs_can_keep_the_first_convolution(source):
    model = create(in_chans=1)
    with pytest.raises(ValueError, match=r"stem.reduce_to_half.conv.weight is \(4, 3, 3, 3\)"):
        load_published(model, published_file(source))
    load_published(model, published_file(source), keep=("stem.reduce_to_half.conv",))
    assert same(source, model, without=("stem.reduce_to_half.conv",))


def test_all_faults_are_listed_and_nothing_is_loaded(source):
    state = published_file(source)
    del state["layers.0.blocks.0.cpe1.weight"], state["norm.bias"]
    state["layers.0.blocks.7.cpe1.weight"] = torch.ones(1)
    state["something.else"] = torch.ones(1)
    state["patch_embed.conv1.conv.weight"] = torch.ones(1, 3, 3, 3)
    model = create()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    with pytest.raises(ValueError, match="nothing was loaded") as error:
        load_published(model, state)
    for line in (
        "missing: stages.0.blocks.0.position_before_attention.weight",
        "missing: norm.bias",
        "unexpected: stages.0.blocks.7.position_before_attention.weight",
        "unexpected: something.else",
        "wrong shape: stem.reduce_to_half.conv.weight is (1, 3, 3, 3) in the file and (4, 3, 3, 3)",
    ):
        assert line in str(error.value)
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())


def test_detection_file_is_refused_by_a_classifier():
    source = randomised(create(stage_norm=True, num_classes=0))
    with pytest.raises(
        ValueError, match=r"(?s)missing: norm.weight.*unexpected: stage_norms.0"
    ) as e:
        load_published(create(), published_file(source))
    assert "missing: head.fc.weight" in str(e.value)


def test_other_rotations_are_refused(source):
    state = published_file(source)
    name = "layers.1.blocks.0.attn.rope.rotations"
    state[name] = state[name].flip(0)
    with pytest.raises(ValueError, match=f"{name} is off by up to .* another position encoding"):
        load_published(create(), state)
    state[name] = torch.ones(14, 14, 16)
    with pytest.raises(ValueError, match=rf"{name} has shape \(14, 14, 16\)"):
        load_published(create(), state)


def test_rotations_of_a_half_precision_file_are_accepted(source):
    state = {n: t.half() if t.is_floating_point() else t for n, t in published_file(source).items()}
    model = create()
    load_published(model, state)
    assert model.norm.weight.dtype == torch.float32
    torch.testing.assert_close(model.norm.weight, source.norm.weight, rtol=1e-3, atol=1e-3)


def test_part_to_keep_must_exist(source):
    with pytest.raises(ValueError, match="no weights in 'heads'; it has stem, stages, norm, head"):
        load_published(create(), published_file(source), keep=("heads",))


def test_model_must_be_an_mlla(source):
    with pytest.raises(TypeError, match="model is a Linear; the authors' files fit an MLLA"):
        load_published(torch.nn.Linear(1, 1), published_file(source))


def test_load_state_dict_reads_the_authors_names_too(source):
    model = create()
    model.load_state_dict(published_file(source))
    assert same(source, model)
    # as a part of something larger, and our own names as ever
    detector = torch.nn.ModuleDict({"backbone": create()})
    detector.load_state_dict({"backbone." + n: t for n, t in published_file(source).items()})
    assert same(source, detector["backbone"])
    detector.load_state_dict({"backbone." + n: t for n, t in source.state_dict().items()})
    with pytest.raises(RuntimeError, match=r"Missing key.*norm.bias"):
        model.load_state_dict({n: t for n, t in published_file(source).items() if n != "norm.bias"})


def test_model_with_the_hook_can_be_copied_and_pickled(source, tmp_path):
    torch.save(source, tmp_path / "model.pt")
    loaded = torch.load(tmp_path / "model.pt", weights_only=False)
    loaded.load_state_dict(published_file(randomised(create())))
    assert isinstance(loaded, MLLA)
