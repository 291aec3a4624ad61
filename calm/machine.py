"""How many cores and how much memory this process may use, inside a container or a batch job too."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path


@cache
def available_cores() -> int:
    """Return how many cores this process may use: of its affinity, and of its control group's quota.

    Examples
    --------
    >>> available_cores() >= 1
    True
    """
    from joblib import cpu_count

    return int(cpu_count())


def available_memory() -> float:
    """Return how many bytes this process may still take: of the machine's memory, and of its control group's limit.

    Examples
    --------
    >>> available_memory() > 0
    True
    """
    import psutil

    return min(float(psutil.virtual_memory().available), control_group_memory())


def control_group_memory(root: Path = Path("/")) -> float:
    """Return how many bytes the control groups of this process leave it; infinity where they set no limit.

    psutil tells of the whole machine, and no kept package reads these files, which Linux documents under
    "Control Group v2" and "Memory Resource Controller". Pages of files that were read count as used there, but are
    given back when memory is short, and so as free here.

    Parameters
    ----------
    root : path, default="/"
        Where ``proc`` and ``sys`` are.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return math.inf
    left = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        folder = base / path.lstrip("/")
        # A limit of any group above holds too; inside a container the group's own path may not be there.
        for group in (folder, *folder.parents):
            left = min(left, _left_in(group, *names))
            if group == base:
                break
    return left


def _left_in(group: Path, limit: str, usage: str, files: str) -> float:
    try:
        most, used = int((group / limit).read_text()), int((group / usage).read_text())
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such group, or "max": no limit
        return math.inf
    return float(max(0, most - used + int(statistics.get(files, 0))))
