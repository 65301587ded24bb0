from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path):
    """Write a file with some code, and return its path."""

    def write_code(code: str, name: str = "pasted.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
        return path

    return write_code
