"""Loops of Numba in the threads that PyTorch's own operators run in; imports Numba.

PyTorch's threads stay awake for a while after every product. A second set of threads would have to
wait for the processor that they hold, so loops ask OpenMP for PyTorch's.
"""

from typing import Any, no_type_check

from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_INT, _LONG, _BYTES = ir.IntType(32), ir.IntType(64), ir.IntType(8).as_pointer()
_NEXT, _LAST, _STEP, _FAILED, _ARGUMENTS = range(5)


def sharing(loop: Any) -> Any:
    """Return a function of Numba, (team, arguments), that shares the tasks of a loop.

    It calls `loop(*arguments, first, last)` for ranges that cover the tasks. `team` is what
    `mlla.ops.simd.workers.share_tasks` gives: the address of OpenMP's function that starts a team,
    or 0 to stay in this thread; the number of threads; the first task; the task to stop before; and
    the number of tasks at once. It raises MemoryError if a loop in a team raised something, which
    only allocations do.

    Args:
        loop: Compiled; does the tasks from `first` on, up to `last`, and returns nothing. What it
            writes must not depend on the ranges.
    """

    @intrinsic
    @no_type_check
    def in_team(typing_context, start_team, num_threads, first, last, step, arguments):
        signature = types.Dispatcher(loop).get_call_type(
            typing_context, (*arguments.types, types.int64, types.int64), {}
        )

        def generate(context, builder, _signature, values):
            return _run_team(context, builder, loop.get_compile_result(signature), *values)

        numbers = start_team, num_threads, first, last, step
        return types.int64(*numbers, arguments), generate

    @njit
    @no_type_check
    def share(team, arguments):
        start_team, num_threads, first, last, step = team
        if start_team == 0:
            loop(*arguments, first, last)
        elif in_team(start_team, num_threads, first, last, step, arguments):
            raise MemoryError("a compiled loop could not allocate its buffers")

    return share


def _run_team(
    context: Any, builder: Any, loop: Any,
    start_team: Any, num_threads: Any, first: Any, last: Any, step: Any, arguments: Any,
) -> Any:  # fmt: skip
    """Write the start of a team whose threads take tasks; return 1 if a loop failed, or 0."""
    context.active_code_library.add_linking_library(loop.library)
    layout = ir.LiteralStructType([_LONG, _LONG, _LONG, _LONG, arguments.type])
    job = cgutils.alloca_once(builder, layout)
    for place, value in enumerate((first, last, step, _LONG(0), arguments)):
        builder.store(value, _field(builder, job, place))
    module = builder.module
    name = module.get_unique_name("take_tasks")
    work = ir.Function(module, ir.FunctionType(ir.VoidType(), [_BYTES]), name)
    work.linkage = "internal"
    _take_tasks(context, work, layout, loop)
    starts = ir.FunctionType(ir.VoidType(), [_BYTES, _BYTES, _INT, _INT]).as_pointer()
    untyped = [builder.bitcast(pointer, _BYTES) for pointer in (work, job)]
    threads = builder.trunc(num_threads, _INT)
    builder.call(builder.inttoptr(start_team, starts), [*untyped, threads, _INT(0)])
    return builder.load(_field(builder, job, _FAILED))


def _take_tasks(context: Any, work: Any, layout: Any, loop: Any) -> None:
    """Write what a thread does: take the next tasks, until there are none."""
    enter, take, run, leave = (work.append_basic_block() for _ in range(4))
    builder = ir.IRBuilder(enter)
    job = builder.bitcast(work.args[0], layout.as_pointer())
    end = builder.load(_field(builder, job, _LAST))
    step = builder.load(_field(builder, job, _STEP))
    arguments = cgutils.unpack_tuple(builder, builder.load(_field(builder, job, _ARGUMENTS)))
    builder.branch(take)
    builder.position_at_end(take)
    first = builder.atomic_rmw("add", _field(builder, job, _NEXT), step, "monotonic")
    builder.cbranch(builder.icmp_signed("<", first, end), run, leave)
    builder.position_at_end(run)
    after = builder.add(first, step)
    last = builder.select(builder.icmp_signed("<", after, end), after, end)
    status, _ = context.call_internal_no_propagate(
        builder, loop.fndesc, loop.signature, [*arguments, first, last]
    )
    with builder.if_then(status.is_error):
        builder.store(_LONG(1), _field(builder, job, _FAILED))
    builder.branch(take)
    builder.position_at_end(leave)
    builder.ret_void()


def _field(builder: Any, job: Any, place: int) -> Any:
    return builder.gep(job, [_INT(0), _INT(place)], inbounds=True)
