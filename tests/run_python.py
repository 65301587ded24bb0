"""Runs code in a Python of its own."""

import os
import subprocess
import sys


def run_python(code, **environment):
    """Run code with further environment variables; return the words that it prints."""
    process = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=500,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.split()
