"""Powers of two for vectors, without a branch and without a call; imports Numba."""

from typing import Any, no_type_check

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.extending import intrinsic

from mlla.ops.simd.lanes import LANES
from mlla.ops.simd.vectors import FLOATS, INTS, VECTOR, multiply_add, same

# 2^f = 1 + f (c1 + f (c2 + ...)) for |f| <= 1/2: weighted least squares, driven to equal errors
# of 1.05 units in the last place; a constant term of exactly 1 keeps 2^0 = 1
_COEFFICIENTS = (6.93146825e-01, 2.40222365e-01, 5.55089153e-02, 9.67176259e-03, 1.32257072e-03)
# at these two the exponent field is that of zero and of infinity, and the fraction is none
_LOWEST, _HIGHEST = -127, 128
# 1.5 * 2^23: what is added to it is rounded to an integer, which stands in the lowest bits
_ROUNDER = 12582912
_MANTISSA_BITS = 23
# turns exponents of e into those of two
LOG2_E = np.float32(1.4426950408889634)
# exponents of at most this size need not be cut off
MILD = 126


def _power(builder: Any, shifted: Any, fraction: Any) -> Any:
    """Return 2^fraction times two to what stands in the lowest bits of `shifted`."""
    power = same(_COEFFICIENTS[-1])
    for coefficient in (*_COEFFICIENTS[-2::-1], 1):
        power = multiply_add(builder, power, fraction, same(coefficient))
    bits = ir.Constant(INTS, [_MANTISSA_BITS] * LANES)
    exponent = builder.shl(builder.bitcast(shifted, INTS), bits)
    return builder.bitcast(builder.add(builder.bitcast(power, INTS), exponent), FLOATS)


@intrinsic
@no_type_check
def power_of_two(_context, _first, _second):
    """Return 2^(first * second) in float32, within two and a half units in the last place.

    Below an exponent of -126 the result is off by at most 2^-127 and is 0 from -127 on; from 128 on
    it is infinite; NaN stays NaN.
    """

    @no_type_check
    def generate(_context, builder, _signature, arguments):
        exponent = builder.fmul(*arguments)
        # in this form, and not as max and min, NaN passes
        for symbol, bound in (("<", _LOWEST), (">", _HIGHEST)):
            is_outside = builder.fcmp_ordered(symbol, exponent, same(bound))
            exponent = builder.select(is_outside, same(bound), exponent)
        shifted = builder.fadd(exponent, same(_ROUNDER))
        return _power(
            builder, shifted, builder.fsub(exponent, builder.fsub(shifted, same(_ROUNDER)))
        )

    return VECTOR(VECTOR, VECTOR), generate


@intrinsic
@no_type_check
def mild_power_of_two(_context, _first, _second):
    """Return `power_of_two` of a product whose size is at most MILD, in fewer instructions."""

    @no_type_check
    def generate(_context, builder, _signature, arguments):
        shifted = multiply_add(builder, *arguments, same(_ROUNDER))
        fraction = multiply_add(builder, *arguments, builder.fsub(same(_ROUNDER), shifted))
        return _power(builder, shifted, fraction)

    return VECTOR(VECTOR, VECTOR), generate
