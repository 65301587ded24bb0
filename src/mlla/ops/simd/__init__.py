"""Loops over vectors of float32 that Numba compiles: what those of several operators share."""
