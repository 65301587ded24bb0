"""The shapes in the signatures of ops and layers hold: their tests run once more, checked."""

import subprocess
import sys
from pathlib import Path

from run_python import run_python

TESTS = Path(__file__).resolve().parents[1]
CHECKED = "--jaxtyping-packages=mlla.ops,mlla.layers,beartype.beartype"
SMALL_CASES = (
    "not errors and not 20x80 and not 7x28 and not 160x160 and not 25600 and not gradcheck"
    # the checks themselves are what a trace warns of
    " and not trace"
)


def test_signatures_tell_the_truth():
    # in a process of its own, because the checks are built in on import
    process = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", SMALL_CASES),
            *(CHECKED, "ops/test_linear_attention_parity.py", "ops/test_rotary.py"),
            *("ops/test_grid_padding.py", "layers"),
        ],
        cwd=TESTS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout


def test_the_checks_are_on():
    code = """
from jaxtyping import TypeCheckError, install_import_hook
with install_import_hook("mlla.ops", "beartype.beartype"):
    from mlla.ops import rotate_by_position
import torch
try:
    rotate_by_position(torch.ones(2, 8))
except TypeCheckError:
    print("checked")
"""
    assert run_python(code) == ["checked"]
