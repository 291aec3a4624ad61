"""Parallel work on CPU cores, and blocks to divide it into."""

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
    """Call a function on every item in a pool of threads, and return the results in order.

    Threads suffice, because matrix products and element-wise functions of numpy release the GIL. The BLAS library is
    limited to one thread per call, so that the cores are not oversubscribed. Calls from inside ``work`` run serially.

    Parameters
    ----------
    work : callable
        Function of one item. It must not read or write what another call writes.
    items : iterable
        Arguments of the calls.
    threads : int, default=None
        Number of threads. None uses all available cores. 1 runs serially and does not limit the BLAS library.

    Returns
    -------
    list
        Result of each item.

    Examples
    --------
    >>> from calm.fit.parallel import parallel_map
    >>> parallel_map(lambda x: x * x, [1, 2, 3])
    [1, 4, 9]
    """
    work_items = list(items)
    workers = min(available_cores() if threads is None else threads, len(work_items))
    if workers <= 1 or getattr(_thread, "working", False):
        return [work(item) for item in work_items]

    def start() -> None:
        _thread.working = True  # makes nested calls run serially

    # The limit on BLAS threads applies to the whole process, so that concurrent calls wait for the lock.
    with (
        _blas_lock,
        ThreadpoolController().limit(limits=1, user_api="blas"),
        ThreadPoolExecutor(workers, initializer=start) as pool,
    ):
        return list(pool.map(work, work_items))


_blas_lock = Lock()
_thread = local()


def chunk_slices(total: int, size: int) -> Iterator[slice]:
    """Yield slices of at most ``size`` that cover ``range(total)``.

    >>> list(chunk_slices(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))
