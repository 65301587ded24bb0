"""Residual units from grid to grid, (B, H, W, C) to (B, H, W, C)."""

from mlla.blocks.mlla_block import MLLABlock
from mlla.blocks.odss_block import ODSSBlock
from mlla.blocks.six_designs_block import SixDesignsBlock
from mlla.blocks.vm_unet_vss_block import VMUNetVSSBlock
from mlla.blocks.xss_block import XSSBlock

__all__ = ["MLLABlock", "ODSSBlock", "SixDesignsBlock", "VMUNetVSSBlock", "XSSBlock"]
