"""Available cores and memory respect the limits of containers and batch jobs."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from calm.machine import available_cores, available_memory, control_group_memory


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def limit(group: Path, most: str, used: int, cached: int = 0) -> None:
    write(group / "memory.max", most)
    write(group / "memory.current", str(used))
    write(group / "memory.stat", f"anon 5\ninactive_file {cached}\n")


def test_the_tightest_limit_of_any_group_above_holds(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/job/step\n")
    limit(tmp_path / "sys/fs/cgroup/job/step", "max", 10)
    assert control_group_memory(tmp_path) == math.inf
    limit(tmp_path / "sys/fs/cgroup/job", "1000", 600, cached=100)
    assert control_group_memory(tmp_path) == 500
    limit(tmp_path / "sys/fs/cgroup/job/step", "400", 300)
    assert control_group_memory(tmp_path) == 100


def test_a_container_that_does_not_show_its_groups_path_is_read_at_its_root(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/system.slice/docker-1234.scope\n")
    limit(tmp_path / "sys/fs/cgroup", "1000", 900)
    assert control_group_memory(tmp_path) == 100


def test_the_first_version_of_control_groups_is_read_too(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "9:cpu,cpuacct:/job\n4:memory:/job\n1:name=systemd:/job\n")
    group = tmp_path / "sys/fs/cgroup/memory/job"
    write(group / "memory.limit_in_bytes", "1000\n")
    write(group / "memory.usage_in_bytes", "700\n")
    write(group / "memory.stat", "cache 5\ntotal_inactive_file 50\n")
    assert control_group_memory(tmp_path) == 350


def test_a_machine_without_control_groups_has_no_limit(tmp_path: Path) -> None:
    assert control_group_memory(tmp_path) == math.inf
    assert 0 < available_memory() <= psutil.virtual_memory().total


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_a_process_bound_to_one_core_has_one() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from calm.machine import available_cores; print(available_cores())"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "1\n"
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
