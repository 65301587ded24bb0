"""Residual units from grid to grid, (B, H, W, C) to (B, H, W, C)."""

from mlla.blocks.mlla_block import MLLABlock

__all__ = ["MLLABlock"]
