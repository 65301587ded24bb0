"""Every row of the paper's Tables 1 and 2 has the size that was published, and works."""

import re
from functools import cache
from pathlib import Path

import pytest
import timm
import torch
from timm.models import group_parameters
from timm.optim import create_optimizer_v2

from mlla.models import LinearSwin
from mlla.models.count_flops import count_flops
from mlla.models.six_designs import ROWS, SIZES, model_name, row_options
from mlla.models.six_designs_measures import forget_gate_averages, token_length_deviations

PAGE = Path(__file__).resolve().parents[2] / "docs" / "six-designs.md"
# arXiv 2405.16605, Tables 1 and 2, copied from the page: parameters in millions and operations
# in billions, as printed
PRINTED = {
    "": ("28M", "4.5G"),
    "input_gate": ("29M", "4.5G"),
    "forget_gate": ("29M", "4.8G"),
    "shortcut": ("28M", "4.5G"),
    "no_norm": ("28M", "4.5G"),
    "single_head": ("24M", "3.9G"),
    "block_all": ("28M", "4.7G"),
    "block_sub": ("31M", "4.8G"),
    "ape": ("30M", "4.5G"),
    "lepe": ("28M", "4.5G"),
    "cpe": ("28M", "4.5G"),
    "rope": ("28M", "4.5G"),
}
SMALL = {"dim": 16, "depths": (1, 2, 1, 1), "head_dim": 8, "num_classes": 5, "img_size": 64}
TINY = {**SMALL, "depths": (1, 1)}

every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row or "baseline")


def create(row, **options):
    """Build a row of the tables, narrow and short."""
    if ROWS[row].wider_heads != 1:
        options["head_dim"] = 12
    depths = options.get("depths", SMALL["depths"])
    heads = 1 if ROWS[row].single_head else 2
    return timm.create_model(
        model_name("tiny", row), **{**SMALL, "num_heads": (heads,) * len(depths), **options}
    ).eval()


def on_meta(name, **options):
    with torch.device("meta"):
        return timm.create_model(name, **options)


def num_parameters(model):
    return sum(p.numel() for p in model.parameters())


@cache
def counts(name):
    model = on_meta(name)
    return num_parameters(model), count_flops(model, 224)


def test_rows_of_both_sizes_are_registered():
    assert set(ROWS) == set(PRINTED)
    names = {model_name(size, row) for size in ("tiny", "mini") for row in PRINTED}
    assert names == set(timm.list_models("linear_swin_*"))
    assert "linear_swin_tiny_forget_gate" in names


@every_row
def test_parameters_and_operations_are_those_printed(row):
    parameters, flops = counts(model_name("tiny", row))
    assert (f"{parameters / 1e6:.0f}M", f"{flops / 1e9:.1f}G") == PRINTED[row]
    # the table that the package prints beside its own results
    assert (f"{ROWS[row].parameters_m}M", f"{ROWS[row].flops_g}G") == PRINTED[row]


def closed_form(row):
    """Weights of a block and operations per token beyond the baseline's, from the equations."""
    blocks = [(96, 3136)] * 2 + [(192, 784)] * 2 + [(384, 196)] * 6 + [(768, 49)] * 2
    extra_weights = extra_flops = 0
    for c, n in blocks:
        rank = c // 16
        steps = 2 * c * rank
        weights, flops = {
            "": (0, 0),
            "input_gate": (steps + c, steps),
            # a scan of 9 operations instead of two products, each per channel and state; the
            # normaliser of a causal form is no matrix product
            "forget_gate": (steps + c + 32 * c, steps + (9 - 2) * 32 * c - c),
            "shortcut": (c, 0),
            "no_norm": (0, -c),
            # queries and keys of 32 channels instead of C
            "single_head": (-2 * (c + 1) * (c - 32), -2 * c * (c - 32) - c + 32),
            # projections of C to 2C, C to 2C, 2C to 1.5C, 2C to 1.5C and 2C to C, a convolution of
            # 5 x 5, and neither MLP nor its norm; per head 64 values for each of 48 states
            "block_all": (
                12 * c * c + 8 * c + 26 * 2 * c + 2 * c - (12 * c * c + 9 * c + 4 * c),
                2 * 3 * c // 2 * 64 + 25 * 2 * c + 3 * c // 2 - (2 * 32 * c + c + 5 * c),
            ),
            # projections to x, gate, queries, keys and out instead of four
            "block_sub": (c * c + c + 26 * c, c * c + 25 * c),
            "ape": (n * c, 0),
            "lepe": (10 * c, 9 * c),
            "cpe": (10 * c, 9 * c),
            "rope": (0, 0),
        }[row]
        extra_weights += weights
        extra_flops += flops * n
    return extra_weights, extra_flops


@every_row
def test_differences_from_the_baseline_are_those_of_the_equations(row):
    baseline, ours = counts("linear_swin_tiny"), counts(model_name("tiny", row))
    assert tuple(b - a for a, b in zip(baseline, ours, strict=True)) == closed_form(row)


def test_numbers_on_the_page_are_those_of_the_models():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [re.findall(r"[^|]+", line) for line in lines if line.startswith("| `linear_swin_tiny")]
    assert len(rows) == len(ROWS)
    for cells in rows:
        name, _, parameters, printed, flops, printed_flops, speed, top1 = map(str.strip, cells)
        row = name.strip("`").removeprefix("linear_swin_tiny").strip("_")
        counted, operations = counts(name.strip("`"))
        assert (parameters, flops) == (f"{counted:,}", f"{operations / 1e9:.3f}G")
        assert (printed, printed_flops) == PRINTED[row]
        assert (int(speed), float(top1)) == (ROWS[row].images_per_second, ROWS[row].top1)


def test_code_on_the_page_runs():
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S):
        exec(block, names)
    assert names["attended"].shape == names["mamba_like"].shape == (1, 14, 20, 96)
    assert names["logits"].shape == (2, 10)
    assert len(names["gates"]) == len(names["lengths"]) == 12


def test_baseline_is_swin_without_windows():
    swin = on_meta("swin_tiny_patch4_window7_224")
    tables = sum(p.numel() for n, p in swin.named_parameters() if "relative_position" in n)
    baseline = on_meta("linear_swin_tiny")
    assert num_parameters(baseline) == num_parameters(swin) - tables == 28_265_032


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("mlla_tiny", 4.15),
        pytest.param("mlla_small", 7.28, marks=pytest.mark.slow),
        pytest.param("mlla_base", 16.16, marks=pytest.mark.slow),
    ],
)
def test_the_way_of_counting_is_that_of_the_authors(name, published):
    # what fvcore counts for the authors' own code
    assert count_flops(on_meta(name)) / 1e9 == pytest.approx(published, abs=0.005)


def test_counting_leaves_the_model_as_it_was():
    model = create("").train()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    assert count_flops(model, 64) == count_flops(model, 64) > 0
    assert model.training
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


@every_row
@torch.no_grad()
def test_forward_and_features_at_any_size(row):
    model, backbone = create(row), create(row, features_only=True)
    info = backbone.feature_info
    assert (info.reduction(), info.channels()) == ([4, 8, 16, 32], [16, 32, 64, 128])
    for size in [(64, 96), (37, 51)]:
        image = torch.randn(2, 3, *size)
        assert model(image).shape == (2, 5)
        for feature, width, stride in zip(
            backbone(image), info.channels(), info.reduction(), strict=True
        ):
            assert feature.shape == (2, width, *(-(-side // stride) for side in size))


@every_row
def test_every_parameter_gets_a_gradient(row):
    model = create(row).train()
    model(torch.randn(2, 3, 64, 96)).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert [n for n, p in model.named_parameters() if p.grad.abs().sum() == 0] == []


@every_row
@torch.no_grad()
def test_state_dict_round_trip(row, tmp_path):
    one, two = create(row), create(row)
    image = torch.randn(1, 3, 40, 72)
    assert not torch.allclose(one(image), two(image))
    torch.save(one.state_dict(), tmp_path / "weights.pt")
    two.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(one(image), two(image))
    assert not list(one.buffers())


@every_row
def test_checkpointing_changes_neither_outputs_nor_gradients(row):
    model = create(row, drop_path_rate=0.5, depths=(1, 1)).train()
    image = torch.randn(2, 3, 32, 48)
    results = []
    for enabled in (False, True):
        model.set_grad_checkpointing(enabled)
        model.zero_grad()
        torch.manual_seed(1)
        output = model(image)
        output.square().sum().backward()
        results.append([output, *(p.grad.clone() for p in model.parameters())])
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(recomputed, plain)


@every_row
@pytest.mark.parametrize("size", SIZES)
def test_a_row_is_one_change_to_the_baseline(row, size):
    baseline, options = row_options(size), row_options(size, row)
    defaults = {"block_design": "attention", "positions": (), "normalise": True}
    changed = {n for n in options if options[n] != {**defaults, **baseline}.get(n, False)}
    # the published size of "all" needs wider queries and keys as well
    assert len(changed - {"head_dim"}) == (row != "")
    assert ("head_dim" in changed) == (row == "block_all")


@every_row
@torch.no_grad()
def test_options_reach_the_model(row):
    narrow = {"dim": 24, "depths": (1, 1), "num_classes": 3}
    options = {**row_options("mini", row), **narrow}
    options["num_heads"] = options["num_heads"][:2]
    created = timm.create_model(model_name("mini", row), **narrow, num_heads=options["num_heads"])
    built = LinearSwin(**options)
    built.load_state_dict(created.state_dict())
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(created.eval()(image), built.eval()(image))


@pytest.mark.parametrize(
    "changed",
    [
        *({"input_gate": True}, {"forget_gate": True}, {"shortcut": True}, {"head_dim": 4}),
        *({"block_design": "all"}, {"block_design": "sub"}, {"mlp_ratio": 2.0}, {"in_chans": 1}),
        *({"positions": (name,)} for name in ("ape", "lepe", "cpe")),
        *({"stage_norm": True, "num_classes": 0}, {"dim": 32}, {"depths": (2, 1)}),
        {"num_heads": (1, 1)},
    ],
    ids=str,
)
def test_option_changes_the_weights(changed):
    base = {**TINY, "num_heads": (2, 2)}
    shapes = [
        {n: t.shape for n, t in LinearSwin(**options).state_dict().items()}
        for options in (base, {**base, **changed})
    ]
    assert shapes[0] != shapes[1]


@torch.no_grad()
@pytest.mark.parametrize(
    "changed",
    [
        {"normalise": False},
        {"positions": ("rope",)},
        {"global_pool": "max"},
        {"drop_rate": 0.5},
        {"drop_path_rate": 0.5},
    ],
    ids=str,
)
def test_option_changes_the_output(changed):
    small = {**TINY, "num_heads": (2, 2)}
    one, two = LinearSwin(**small), LinearSwin(**{**small, **changed})
    for parameter in one.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    two.load_state_dict(one.state_dict())
    image = torch.randn(8, 3, 32, 48)
    assert not torch.allclose(one.train()(image), two.train()(image), rtol=1e-3)


def test_options_of_convolution_and_table_change_the_weights():
    for row, options, name in [
        ("block_sub", {"kernel_size": 3}, "stages.0.blocks.0.token_mixer.local_mixing.weight"),
        ("ape", {"img_size": (32, 64)}, "stages.1.blocks.0.token_mixer.0.positions.table"),
    ]:
        shapes = [create(row, **o).state_dict()[name].shape for o in ({}, options)]
        assert shapes[0] != shapes[1]
    assert shapes[1] == (4, 8, 32)


@torch.no_grad()
def test_without_normaliser_the_output_does_not_grow_with_the_resolution():
    model = create("no_norm", depths=(1,)).eval()
    small = torch.randn(1, 3, 8, 8)
    # the same patches, four times as many of each: means over them stay
    large = small.unfold(2, 4, 4).unfold(3, 4, 4).repeat(1, 1, 2, 2, 1, 1)
    large = large.permute(0, 1, 2, 4, 3, 5).reshape(1, 3, 16, 16)
    torch.testing.assert_close(model(large), model(small))


@torch.no_grad()
def test_a_forget_gate_reads_rows_from_the_top_left():
    model = create("forget_gate", depths=(1,), num_heads=(2,))
    before = torch.randn(1, 3, 32, 32)
    after = before.clone()
    # the patch in row 3, column 5
    after[:, :, 12:16, 20:24] += 1
    one, two = (model.stages(model.stem(image)) for image in (before, after))
    changed = (one != two).any(-1)[0].flatten()
    assert not changed[: 3 * 8 + 5].any()
    assert changed[3 * 8 + 5 :].all()


def test_weight_decay_spares_rates_and_positions():
    model = create("forget_gate", positions=("ape",))
    groups = create_optimizer_v2(model, "adamw", lr=1.0, weight_decay=0.05).param_groups
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    for name, parameter in model.named_parameters():
        spared = parameter.ndim == 1 or name.endswith((".A_log", ".table"))
        assert (id(parameter) in decayed) != spared, name
    assert len(model.no_weight_decay()) == 2 * sum(SMALL["depths"])


def test_every_parameter_belongs_to_a_depth():
    model = create("block_sub", positions=("cpe",))
    groups = group_parameters(model, model.group_matcher(), reverse=True)
    assert groups.keys() == {n for n, _ in model.named_parameters()}
    assert max(groups.values()) == sum(SMALL["depths"]) + 1


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning")
@pytest.mark.parametrize("row", ["forget_gate", "ape", "rope", "block_sub"])
@torch.no_grad()
def test_trace_keeps_height_and_width_open(row):
    model = create(row, depths=(1, 1))
    traced = torch.jit.trace(model, torch.randn(1, 3, 48, 64))
    for size in [(33, 57), (96, 71), (64, 64)]:
        image = torch.randn(2, 3, *size)
        torch.testing.assert_close(traced(image), model(image))


@torch.no_grad()
def test_forget_gate_averages_are_those_of_the_weights():
    model = create("forget_gate", depths=(1, 1), num_heads=(2, 2)).train()
    for module in model.modules():
        if hasattr(module, "forget_rates"):
            # a step of softplus(0) = log 2 everywhere, states that decay by 1/2 and by 1/4
            module.steps.expand.weight.zero_()
            module.steps.expand.bias.zero_()
            module.A_log.zero_()
            module.A_log[:, 4:] = torch.tensor(2.0).log()
    averages = forget_gate_averages(model, torch.randn(2, 3, 32, 32))
    assert averages == pytest.approx([0.375, 0.375])
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_forget_gate_averages_need_forget_gates():
    with pytest.raises(ValueError, match=r"2 of 2 blocks have no forget gate.*forget_gate=True"):
        forget_gate_averages(create("", depths=(1, 1)), torch.randn(1, 3, 32, 32))


@torch.no_grad()
def test_token_length_deviations_are_those_of_the_blocks():
    model = create("", depths=(2, 1))
    images = torch.randn(3, 3, 32, 40)
    grids = [model.stages[0].blocks[0](model.stem(images))]
    grids.append(model.stages[0].blocks[1](grids[-1]))
    grids.append(model.stages[1](grids[-1]))
    expected = []
    for grid in grids:
        lengths = grid.numpy().reshape(3, -1, grid.shape[-1]).astype("float64")
        expected.append((lengths**2).sum(-1) ** 0.5)
    deviations = token_length_deviations(model, images)
    assert deviations == pytest.approx([length.std(axis=1).mean() for length in expected], rel=1e-4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"block_design": "mamba"}, ValueError, r"block_design='mamba' must be one of \('attent"),
        ({"positions": "rope"}, ValueError, "positions='rope' must be a sequence of names among"),
        ({"positions": ("rpe",)}, ValueError, r"positions=\('rpe',\) must be a sequence"),
        ({"positions": ["ape", "ape"]}, ValueError, "names an encoding twice"),
        ({"num_heads": (3, 3)}, ValueError, "dim=16 does not split into num_heads=3"),
        ({"num_heads": (1,)}, ValueError, r"depths=\(1, 1\) and num_heads=\(1,\)"),
        ({"head_dim": 0}, ValueError, "head_dim=0 must be at least 1"),
        ({"head_dim": 3, "positions": ("rope",)}, ValueError, "head_dim=3 is 6; rotary"),
        ({"block_design": "sub", "kernel_size": 4}, ValueError, "kernel_size=4 must be odd"),
        ({"img_size": (64,)}, ValueError, r"img_size=\(64,\) must be the side"),
        ({"img_size": 0}, ValueError, "img_size=0 must be the side"),
        ({"drop_path_rate": 1.0}, ValueError, "drop_path_rate=1.0 must be a probability"),
        ({"mlp_ratio": 0}, ValueError, "mlp_ratio=0 must be positive"),
        ({"in_chans": 0}, ValueError, "in_chans=0 must be at least 1"),
        ({"stage_norm": True}, ValueError, "num_classes=5; pass features_only=True"),
        ({"window_size": 7}, TypeError, "unexpected keyword argument 'window_size'"),
        ({"pretrained": True}, RuntimeError, "no weights of linear_swin_tiny were ever published"),
    ],
)
def test_errors_name_the_argument_and_its_value(options, error, message):
    with pytest.raises(error, match=message):
        timm.create_model("linear_swin_tiny", **{**TINY, "num_heads": (2, 2), **options})


def test_names_of_rows_and_sizes_are_checked():
    assert model_name("mini") == "linear_swin_mini"
    assert set(SIZES) == {"tiny", "mini"}
    with pytest.raises(ValueError, match=r"size='small' must be one of \('tiny', 'mini'\)"):
        model_name("small")
    with pytest.raises(ValueError, match="row='gate' must be one of"):
        model_name("tiny", "gate")
