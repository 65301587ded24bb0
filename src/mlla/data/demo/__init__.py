"""The built-in demo set: generated steel surfaces with six kinds of defects."""

from mlla.data.demo.write import write_demo

__all__ = ["write_demo"]
