"""Vectors of float32, one lane per channel, in functions that Numba compiles; imports Numba.

LLVM cuts them into what the processor has: on x86 two registers of 512 bits, four of 256 or eight
of 128. Loops over channels would be vectorised by LLVM as well, but keep no states in registers.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any, no_type_check

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import intrinsic, overload, register_model

from mlla.ops.simd.lanes import LANES

FLOAT, INT = ir.FloatType(), ir.IntType(32)
FLOATS, INTS = ir.VectorType(FLOAT, LANES), ir.VectorType(INT, LANES)
_SHORTS = ir.VectorType(ir.IntType(16), LANES)
# bfloat16 is the upper half of float32; of what is cut off, the largest number below one half
_BFLOAT16_SHIFT, _BELOW_HALF, _BFLOAT16_NAN = 16, 0x7FFF, 0x7FC0
_ADDRESS = ir.IntType(64)
_BYTE = ir.IntType(8)
# a line of the cache, in bytes and in float32
_LINE_BYTES, LINE = 64, 16


class _Vector(types.Type):  # type: ignore[misc]
    """The type of LANES float32 as Numba sees it."""

    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


VECTOR = _Vector()


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    """The type of LANES float32 as LLVM sees it."""

    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, FLOATS)


def same(value: float) -> Any:
    """Return a constant of LLVM with one float32 in every lane."""
    return ir.Constant(FLOATS, [float(np.float32(value))] * LANES)


def call(builder: Any, name: str, result: Any, arguments: Sequence[Any], **options: Any) -> Any:
    """Call an intrinsic function of LLVM."""
    kinds = [argument.type for argument in arguments]
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, kinds), name)
    return builder.call(function, arguments, **options)


def multiply_add(builder: Any, first: Any, second: Any, third: Any) -> Any:
    """Return first * second + third, rounded once where the processor can."""
    return call(builder, f"llvm.fmuladd.v{LANES}f32", FLOATS, [first, second, third])


def _spread(builder: Any, number: Any) -> Any:
    none = ir.Constant(FLOATS, ir.Undefined)
    first = builder.insert_element(none, number, ir.Constant(INT, 0))
    return builder.shuffle_vector(first, none, ir.Constant(INTS, [0] * LANES))


def _pointer(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Point to a number of an array, counted from its first as if it had one dimension."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.gep(array.data, [arguments[1]])


def same_int(value: int) -> Any:
    """Return a constant of LLVM with one integer in every lane."""
    return ir.Constant(INTS, [value] * LANES)


def _lanes_of(array: Any) -> Any:
    if array.dtype not in (types.float32, types.int16):
        raise TypeError(f"arrays hold float32, or bfloat16 as int16, not {array.dtype}")
    return FLOATS if array.dtype == types.float32 else _SHORTS


def _as_bfloat16(builder: Any, value: Any) -> Any:
    bits = builder.bitcast(value, INTS)
    is_odd = builder.and_(builder.lshr(bits, same_int(_BFLOAT16_SHIFT)), same_int(1))
    rounded = builder.add(builder.add(bits, same_int(_BELOW_HALF)), is_odd)
    short = builder.trunc(builder.lshr(rounded, same_int(_BFLOAT16_SHIFT)), _SHORTS)
    # rounding could carry NaN into infinity
    is_nan = builder.fcmp_unordered("uno", value, value)
    return builder.select(is_nan, ir.Constant(_SHORTS, [_BFLOAT16_NAN] * LANES), short)


@intrinsic
@no_type_check
def load(_context, array, _offset):
    """Read LANES numbers of a contiguous array of any shape from a flat offset on.

    The array holds float32, or bfloat16 as int16.
    """
    kind = _lanes_of(array)

    @no_type_check
    def generate(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature, arguments)
        loaded = builder.load(builder.bitcast(pointer, ir.PointerType(kind)), typ=kind)
        loaded.align = 4 if kind is FLOATS else 2
        if kind is FLOATS:
            return loaded
        bits = builder.shl(builder.zext(loaded, INTS), same_int(_BFLOAT16_SHIFT))
        return builder.bitcast(bits, FLOATS)

    return VECTOR(array, types.int64), generate


@intrinsic
@no_type_check
def store(_context, array, _offset, _vector):
    """Write a vector into a contiguous array of any shape from a flat offset on.

    The array holds float32, or bfloat16 as int16, to which numbers are rounded, ties to even.
    """
    kind = _lanes_of(array)

    @no_type_check
    def generate(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature, arguments)
        value = arguments[2] if kind is FLOATS else _as_bfloat16(builder, arguments[2])
        stored = builder.store(value, builder.bitcast(pointer, ir.PointerType(kind)))
        stored.align = 4 if kind is FLOATS else 2
        return context.get_dummy_value()

    return types.void(array, types.int64, VECTOR), generate


@intrinsic
@no_type_check
def broadcast(_context, array, _offset):
    """Read one number of a contiguous array into every lane."""

    @no_type_check
    def generate(context, builder, signature, arguments):
        number = builder.load(_pointer(context, builder, signature, arguments))
        return _spread(builder, number)

    return VECTOR(array, types.int64), generate


@intrinsic
@no_type_check
def zeros(_context):
    """Return zero in every lane."""
    return VECTOR(), lambda *_: same(0)


def _operation(symbol: Callable[..., Any], method: str) -> None:
    @intrinsic
    @no_type_check
    def operate(_context, _first, _second):
        return VECTOR(VECTOR, VECTOR), lambda _, builder, __, pair: getattr(builder, method)(*pair)

    @overload(symbol)
    @no_type_check
    def choose(first, second):
        if isinstance(first, _Vector) and isinstance(second, _Vector):
            return lambda first, second: operate(first, second)
        return None


_operation(operator.add, "fadd")
_operation(operator.mul, "fmul")
_operation(operator.truediv, "fdiv")
_operation(operator.sub, "fsub")


@intrinsic
@no_type_check
def fused(_context, _first, _second, _third):
    """Return first * second + third, rounded once where the processor can."""
    return VECTOR(VECTOR, VECTOR, VECTOR), lambda _, builder, __, three: multiply_add(
        builder, *three
    )


@intrinsic
@no_type_check
def all_lanes(_context, _number):
    """Return one float32 in every lane."""

    @no_type_check
    def generate(_context, builder, _signature, arguments):
        return _spread(builder, arguments[0])

    return VECTOR(types.float32), generate


@intrinsic
@no_type_check
def swap_neighbours(_context, _vector):
    """Let the lanes of every pair change places."""

    @no_type_check
    def generate(_context, builder, _signature, arguments):
        order = ir.Constant(INTS, [lane ^ 1 for lane in range(LANES)])
        return builder.shuffle_vector(arguments[0], ir.Constant(FLOATS, ir.Undefined), order)

    return VECTOR(VECTOR), generate


@intrinsic
@no_type_check
def where_positive(_context, _vector, _if_positive, _otherwise):
    """Choose the second where the first is positive, else the third."""

    @no_type_check
    def generate(_context, builder, _signature, arguments):
        is_positive = builder.fcmp_ordered(">", arguments[0], same(0.0))
        return builder.select(is_positive, arguments[1], arguments[2])

    return VECTOR(VECTOR, VECTOR, VECTOR), generate


@intrinsic
@no_type_check
def larger_size(_context, _largest, _vector):
    """Return the larger of a vector and the absolute value of another, and NaN if one is NaN."""

    @no_type_check
    def generate(_context, builder, _signature, arguments):
        size = call(builder, f"llvm.fabs.v{LANES}f32", FLOATS, [arguments[1]])
        return call(builder, f"llvm.maximum.v{LANES}f32", FLOATS, [arguments[0], size])

    return VECTOR(VECTOR, VECTOR), generate


@intrinsic
@no_type_check
def largest_lane(_context, _vector):
    """Return the largest number of a vector, and NaN if one is NaN."""

    @no_type_check
    def generate(_context, builder, _signature, arguments):
        return call(builder, f"llvm.vector.reduce.fmaximum.v{LANES}f32", FLOAT, arguments)

    return types.float32(VECTOR), generate


@intrinsic
@no_type_check
def sum_of_lanes(_context, _vector):
    """Add the numbers of a vector, neighbours last."""

    @no_type_check
    def generate(_context, builder, _signature, arguments):
        start = ir.Constant(FLOAT, -0.0)
        name = f"llvm.vector.reduce.fadd.v{LANES}f32"
        return call(builder, name, FLOAT, [start, *arguments], fastmath=("reassoc",))

    return types.float32(VECTOR), generate


def _prefetch(*, for_writing: bool) -> Any:
    @intrinsic
    @no_type_check
    def fetch(_context, array, _offset):
        @no_type_check
        def generate(context, builder, signature, arguments):
            pointer = _pointer(context, builder, signature, arguments)
            pointer = builder.bitcast(pointer, _BYTE.as_pointer())
            # into the nearest cache, as data
            hints = [ir.Constant(INT, value) for value in (int(for_writing), 3, 1)]
            call(builder, "llvm.prefetch.p0", ir.VoidType(), [pointer, *hints])
            return context.get_dummy_value()

        return types.void(array, types.int64), generate

    return fetch


# ask for the line around a flat offset, which may lie outside of the array
prefetch = _prefetch(for_writing=False)
prefetch_for_writing = _prefetch(for_writing=True)


@intrinsic
@no_type_check
def _until_next_line(_context, array):
    """Count the numbers between the start of an array and that of the next line of the cache."""

    @no_type_check
    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.ptrtoint(data, _ADDRESS)
        missing = builder.and_(builder.neg(address), ir.Constant(_ADDRESS, _LINE_BYTES - 1))
        return builder.udiv(missing, ir.Constant(_ADDRESS, FLOAT.get_abi_size(context.target_data)))

    return types.int64(array), generate


@njit
@no_type_check
def scratch(size):
    """Return zeros that start at a line of the cache, so that no vector of theirs crosses one."""
    memory = np.zeros(size + LINE, np.float32)
    start = _until_next_line(memory)
    return memory[start : start + size]
