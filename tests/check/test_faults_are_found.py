"""Every fault of the tutorials' attention, and of its repairs, is found and named."""

import pytest
from probing import by_check, specimen

from mlla.check import Verdict
from mlla.check.probes.exports import probe_exports
from mlla.check.probes.housekeeping import probe_housekeeping
from mlla.check.probes.options import probe_options
from mlla.check.probes.parts import probe_parts
from mlla.check.probes.places import probe_places
from mlla.check.probes.positions import probe_positions
from mlla.check.probes.precision import probe_precision
from mlla.check.probes.published import probe_published
from mlla.check.probes.shapes import probe_shapes

FAULTS = {
    # the six faults of the copies, one by one
    ("ScrambledMLLAttention", probe_places): {
        "pixels stay whole": "token that qk gets is made of 32 different pixels, from rows 0-1",
        "output in its place": "not on itself",
    },
    ("ScrambledThereAndBack", probe_places): {
        "pixels stay whole": "token that norm gets",
        "output in its place": "not on itself",
    },
    ("ScrambledOnTheWayBack", probe_places): {"output in its place": "not on itself"},
    ("SquareOnly", probe_shapes): {
        "non-square maps": "20x80 silently comes back as 40x40",
        "odd and tiny maps": "7x28 silently comes back as 14x14",
    },
    ("FlatPositions", probe_positions): {"positions": "flat list of pixels only"},
    ("ColumnsOnly", probe_positions): {"positions": "depends on the column of a pixel only"},
    ("BareMLLA", probe_parts): {
        "parts of the block": "without norm, gate, depthwise convolutions (1 of 4), residual"
    },
    ("IgnoresHeads", probe_options): {"options": "num_heads, qkv_bias"},
    ("FixedHeadsMLLA", probe_options): {"number of heads": "4 heads whatever the width"},
    ("DoesNotPrint", probe_housekeeping): {"print(model)": "no attribute 'input_resolution'"},
    # all at once
    ("TutorialMLLAttention", probe_shapes): {
        "non-square maps": "20x80 silently comes back as 40x40",
        "odd and tiny maps": "7x13 raises",
    },
    ("TutorialMLLAttention", probe_places): {
        "pixels stay whole": "of 1 of 32 channels",
        "output in its place": "not on itself",
    },
    ("TutorialMLLAttention", probe_positions): {"positions": "of the tokens it cuts out"},
    ("TutorialMLLAttention", probe_parts): {"parts of the block": "says MLLA"},
    ("TutorialMLLAttention", probe_options): {"options": "num_heads, qkv_bias"},
    ("TutorialMLLAttention", probe_housekeeping): {"print(model)": "AttributeError"},
    # explained by their distance to the published operator
    ("TutorialMLLAttention", probe_published): {
        "published operator": "these mistakes: tokens cut out of the map by a reshape; "
        "one-dimensional positions along the flat list"
    },
    ("ScrambledMLLAttention", probe_published): {
        "published operator": "if it is given 4 heads and these mistakes: tokens cut out of the map"
    },
    ("ColumnsOnly", probe_published): {
        "published operator": "mistakes: one-dimensional positions, by the column only"
    },
    ("RepairedButLocalScrambled", probe_published): {
        "published operator": "mistakes: LePE on a scrambled map"
    },
    ("RepairedButRotatedSum", probe_published): {
        "published operator": "mistakes: rotated queries and keys in the normaliser"
    },
    ("RepairedButLocalScrambled", probe_places): {
        "pixels stay whole": "token that lepe gets",
        "output in its place": "not on itself",
    },
    # other ways to go wrong
    ("OverflowsInHalf", probe_precision): {
        "half()": "NaN or infinite",
        "autocast float16": "NaN or infinite",
    },
    ("LayersMadeInForward", probe_housekeeping): {"state dict": "position appears"},
    ("AcrossTheBatch", probe_housekeeping): {"samples apart": "other samples of the batch"},
    ("RandomInEval", probe_housekeeping): {
        "eval repeats": "two different answers",
        "gradients": "unused.weight, unused.bias gets no gradient",
    },
    ("FrozenByExport", probe_exports): {
        "torch.jit.trace": "silently gives wrong numbers at 24x24",
        "ONNX": "silently gives wrong numbers at 24x24",
    },
    ("ChangesItsInput", probe_housekeeping): {"input kept": "overwrites its input"},
    ("KeepsTheFirstSize", probe_shapes): {"change of size": "after 16x16"},
}


@pytest.mark.parametrize(
    ("name", "probe"), FAULTS, ids=[f"{name}-{probe.__name__[6:]}" for name, probe in FAULTS]
)
def test_a_fault_is_found_and_named(name, probe):
    findings = by_check(probe(specimen("broken", name)))
    faults = {check: f.seen for check, f in findings.items() if f.verdict is Verdict.FAULT}
    expected = FAULTS[name, probe]
    assert faults.keys() == expected.keys()
    for check, words in expected.items():
        assert words in faults[check]
        finding = findings[check]
        assert finding.done
        assert finding.why
        assert finding.remedy


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("width", [32, 64, 128])
@pytest.mark.parametrize(
    "name", ["ScrambledMLLAttention", "ScrambledOnTheWayBack", "RepairedButLocalScrambled"]
)
def test_a_scrambled_map_is_found_with_any_seed(name, width, seed):
    findings = probe_places(specimen("broken", name, width=width, seed=seed))
    assert any(finding.verdict is Verdict.FAULT for finding in findings)


def test_less_than_a_fault_is_a_note():
    findings = by_check(probe_options(specimen("broken", "TutorialMLLAttention")))
    assert findings["size option"].verdict is Verdict.NOTE
    assert findings["size option"].seen == "input_resolution changes nothing"
    assert findings["misspelt options"].verdict is Verdict.NOTE
