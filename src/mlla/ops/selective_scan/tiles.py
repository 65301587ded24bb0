"""How the kernel cuts its work, known without importing the compiler."""

# channels whose states stay in the first-level cache together
BLOCK = 64
# tokens between two stored states, which the backward pass runs through again
CHUNK = 32


def num_tiles(total: int, size: int) -> int:
    """Return how many tiles cover `total`, the last one perhaps in part."""
    return (total + size - 1) // size
