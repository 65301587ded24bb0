"""How the kernels cut their work, known without importing a compiler."""

from mlla.ops.simd.lanes import LANES

# channels whose states stay in the first-level cache together
BLOCK = 2 * LANES
# tokens between two stored states, which the backward pass runs through again
CHUNK = 32


def num_tiles(total: int, size: int) -> int:
    """Return how many tiles cover `total`, the last one perhaps in part."""
    return (total + size - 1) // size
