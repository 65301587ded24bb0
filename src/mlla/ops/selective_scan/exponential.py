"""A power of two that compilers turn into vector instructions; imports Numba."""

from typing import no_type_check

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

# 2^f = 1 + f (c1 + f (c2 + ...)) for |f| <= 1/2: weighted least squares, driven to equal
# relative errors of 2e-9; a constant term of exactly 1 keeps 2^0 = 1
_C1, _C2, _C3 = np.float32(6.93147203e-01), np.float32(2.40226479e-01), np.float32(5.55033247e-02)
_C4, _C5, _C6 = np.float32(9.61843736e-03), np.float32(1.33988744e-03), np.float32(1.53533619e-04)
_ONE = np.float32(1)
# at these two the exponent field is that of zero and of infinity, and the fraction is none
_LOWEST, _HIGHEST = np.float32(-127), np.float32(128)
# 1.5 * 2^23: what is added to it is rounded to an integer, which stands in the lowest bits
_ROUNDER = np.float32(12582912)
_MANTISSA_BITS = np.int32(23)


@intrinsic
@no_type_check
def _bits_of(_context, _value):
    """Read a float32 as an int32."""

    @no_type_check
    def generate(_context, builder, _signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@intrinsic
@no_type_check
def _from_bits(_context, _bits):
    """Read an int32 as a float32."""

    @no_type_check
    def generate(_context, builder, _signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


# no reassociation here: it would cancel the rounder
@njit(fastmath={"contract"}, error_model="numpy")
@no_type_check
def power_of_two(exponent):
    """Return 2^exponent in float32, within two units in the last place.

    Below -126 the result is off by at most 2^-127 and is 0 from -127 on; from 128 on it is
    infinite; NaN stays NaN. There is no branch, so a loop over it becomes vector instructions,
    which the `exp` of the C library does not.
    """
    # in this form, and not as max and min, NaN passes
    exponent = _LOWEST if exponent < _LOWEST else exponent
    exponent = _HIGHEST if exponent > _HIGHEST else exponent
    shifted = exponent + _ROUNDER
    f = exponent - (shifted - _ROUNDER)
    fraction = _ONE + f * (_C1 + f * (_C2 + f * (_C3 + f * (_C4 + f * (_C5 + f * _C6)))))
    return _from_bits(_bits_of(fraction) + (_bits_of(shifted) << _MANTISSA_BITS))
