"""CPU cores and memory available to this process, within the limits of a container or batch job."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path


@cache
def available_cores() -> int:
    """Return the number of CPU cores that this process may use.

    CPU affinity and the CPU quota of control groups are respected.

    Examples
    --------
    >>> available_cores() >= 1
    True
    """
    from joblib import cpu_count

    return int(cpu_count())


def available_memory() -> float:
    """Return the memory that this process can still allocate, in bytes.

    This is the smaller of the machine's available memory and what the memory limit of control groups leaves.

    Examples
    --------
    >>> available_memory() > 0
    True
    """
    import psutil

    return min(float(psutil.virtual_memory().available), control_group_memory())


def control_group_memory(root: Path = Path("/")) -> float:
    """Return the memory that control groups leave to this process, in bytes; infinity without a limit.

    Parameters
    ----------
    root : Path, default=Path("/")
        Folder that contains ``proc`` and ``sys``.

    Notes
    -----
    Both versions of control groups are read: see "Control Group v2" and "Memory Resource Controller" in the
    documentation of the Linux kernel. psutil reports the memory of the whole machine only. The page cache counts as
    used memory in a control group, but the kernel frees it when memory is short, so that it counts as available here.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return math.inf
    available = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, file_names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = root / "sys/fs/cgroup/memory"
            file_names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        folder = base / path.lstrip("/")
        # The limits of all parent groups apply too. Inside a container, the group's own path may not exist.
        for group in (folder, *folder.parents):
            available = min(available, _available_in_group(group, *file_names))
            if group == base:
                break
    return available


def _available_in_group(group: Path, limit: str, usage: str, page_cache: str) -> float:
    """Return the memory that one control group leaves, in bytes; infinity without a limit.

    ``limit`` and ``usage`` name files of the group, ``page_cache`` an entry of its ``memory.stat``.
    """
    try:
        limit_bytes, used_bytes = int((group / limit).read_text()), int((group / usage).read_text())
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such group, or "max": no limit
        return math.inf
    return float(max(0, limit_bytes - used_bytes + int(statistics.get(page_cache, 0))))
