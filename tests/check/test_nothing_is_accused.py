"""Modules with nothing wrong are not accused, whatever their kind and the seed."""

import pytest
from probing import by_check, specimen, specimen_module

from mlla.check import Verdict
from mlla.check.probes import PROBES
from mlla.check.probes.options import probe_options
from mlla.check.probes.places import probe_places
from mlla.check.probes.positions import probe_positions
from mlla.check.probes.published import probe_published

CORRECT = [
    name
    for name, value in vars(specimen_module("correct")).items()
    if isinstance(value, type) and value.__module__ == "specimens_correct"
]


def faults(name, probes, **choices):
    subject = specimen("correct", name, **choices)
    findings = [finding for probe in probes for finding in probe(subject)]
    stopped = [f for f in findings if "the check itself" in f.seen]
    assert not stopped
    return [f"{f.check}: {f.seen}" for f in findings if f.verdict is Verdict.FAULT]


@pytest.mark.parametrize("name", CORRECT)
def test_what_is_correct_has_no_fault(name):
    # large maps and exports of all are for the slow run
    fast = [probe for probe in PROBES if probe.__name__ not in ("probe_precision", "probe_exports")]
    assert not faults(name, fast, width=32)


@pytest.mark.slow
@pytest.mark.parametrize("name", CORRECT)
def test_what_is_correct_has_no_fault_at_full_size(name):
    assert not faults(name, PROBES, width=64)


@pytest.mark.slow
@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("name", CORRECT)
def test_no_seed_makes_a_fault(name, width):
    for seed in range(1, 4):
        probes = (probe_places, probe_positions, probe_options)
        assert not faults(name, probes, width=width, seed=seed)


def test_what_is_right_is_said_to_be_right():
    subject = specimen("correct", "LinearAttentionOnMaps")
    published = by_check(probe_published(subject))["published operator"]
    assert "equal to the published linear attention with 4 heads" in published.seen
    positions = by_check(probe_positions(subject))["positions"]
    assert positions.seen == "two-dimensional: rows and columns count apart"
    output = by_check(probe_places(subject))["output in its place"]
    assert "the output at pixel (8, 8) depends most on (8, 8)" in output.seen


def test_the_block_equals_the_published_one():
    finding = by_check(probe_published(specimen("correct", "MLLABlockOnMaps")))
    assert "equal to the published block with 2 heads" in finding["published operator"].seen


def test_a_gate_at_zero_hides_no_option():
    finding = by_check(probe_options(specimen("correct", "GatedByZero")))["options"]
    assert finding.seen == "num_heads: each changes the result"
