"""Spreading blocks of work over cores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock, local
from typing import TypeVar

from threadpoolctl import ThreadpoolController

from calm.machine import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(work: Callable[[Item], Result], items: Iterable[Item], *, threads: int | None = None) -> list[Result]:
    """Do the work on every item, one item a core, and return the results in order.

    Matrix products and element-wise functions of numpy release the interpreter's lock. Meanwhile the linear-algebra
    library keeps to one thread a call, so that cores are not asked for twice.

    Parameters
    ----------
    work : callable
        Must touch nothing that another item's work writes.
    items : iterable
    threads : int, optional
        As many as there are cores; 1 works in turn, and leaves the threads of the linear-algebra library alone.

    Examples
    --------
    >>> parallel_map(lambda x: x * x, [1, 2, 3])
    [1, 4, 9]
    """
    work_items = list(items)
    workers = min(available_cores() if threads is None else threads, len(work_items))
    if workers <= 1 or getattr(_thread, "working", False):
        return [work(item) for item in work_items]

    def start() -> None:
        _thread.working = True  # work that is itself spread over cores goes on in turn

    # How many threads the linear-algebra library takes is the whole process's: who asks at the same time, waits.
    with (
        _turn,
        ThreadpoolController().limit(limits=1, user_api="blas"),
        ThreadPoolExecutor(workers, initializer=start) as pool,
    ):
        return list(pool.map(work, work_items))


_turn = Lock()
_thread = local()


def chunk_slices(total: int, size: int) -> Iterator[slice]:
    """Cut ``range(total)`` into slices of at most ``size``.

    >>> list(chunk_slices(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))
