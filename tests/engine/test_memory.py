"""How much memory there is, by files as Linux has them."""

import mmap
from pathlib import Path

import pytest
import torch

from bdpo_pipeline.engine.memory import CPU_SHARE, available_memory, find_budget, resident_memory


@pytest.fixture
def machine(tmp_path):
    def build(available, group="", **files):
        for name, text in {
            "proc/meminfo": f"MemTotal: 99 kB\nMemAvailable: {available // 1024} kB\n",
            "proc/self/cgroup": group,
            **files,
        }.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return build


def version_2(folder, limit, used, droppable):
    return {
        f"sys/fs/cgroup{folder}/memory.max": f"{limit}\n",
        f"sys/fs/cgroup{folder}/memory.current": f"{used}\n",
        f"sys/fs/cgroup{folder}/memory.stat": f"anon 1\ninactive_file {droppable}\n",
    }


def test_without_a_limit_it_is_what_the_machine_has(machine):
    assert available_memory(machine(8 << 30)) == 8 << 30


def test_a_limit_counts_less_what_is_used_and_cannot_be_dropped(machine):
    files = version_2("/a/b", 4 << 30, 3 << 30, 1 << 30)
    assert available_memory(machine(8 << 30, "0::/a/b\n", **files)) == 2 << 30


def test_limits_of_all_groups_above_count(machine):
    files = version_2("/a", 1 << 30, 0, 0) | version_2("/a/b", "max", 0, 0)
    assert available_memory(machine(8 << 30, "0::/a/b\n", **files)) == 1 << 30


def test_a_container_finds_its_limit_at_the_mount(machine):
    files = version_2("", 1 << 30, 0, 0)
    assert available_memory(machine(8 << 30, "0::/docker/123\n", **files)) == 1 << 30


def test_a_limit_above_the_machine_changes_nothing(machine):
    files = version_2("/a", 1 << 60, 0, 0)
    assert available_memory(machine(8 << 30, "0::/a\n", **files)) == 8 << 30


def test_version_1_of_control_groups(machine):
    folder = "sys/fs/cgroup/memory/job"
    files = {
        f"{folder}/memory.limit_in_bytes": f"{3 << 30}",
        f"{folder}/memory.usage_in_bytes": f"{2 << 30}",
        f"{folder}/memory.stat": f"total_inactive_file {1 << 29}\n",
    }
    group = "9:cpu:/\n8:memory,hugetlb:/job\n0::/\n"
    assert available_memory(machine(8 << 30, group, **files)) == (1 << 30) + (1 << 29)


def test_resident_memory_grows_by_what_is_written():
    before = resident_memory()
    with mmap.mmap(-1, 64 << 20) as block:
        block.write(b"x" * (64 << 20))
        grown = resident_memory() - before
    assert 60 << 20 < grown < 160 << 20


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="reads Linux's files")
def test_processes_of_a_machine_share_its_budget():
    cpu = torch.device("cpu")
    given, shared = find_budget(8.0, cpu, 1), find_budget(8.0, cpu, 2)
    assert (given.total, shared.total) == (8e9, 4e9)
    assert "compute.memory_gb = 8" in given.reason
    assert "2 processes" in shared.reason
    free = find_budget(None, cpu, 1)
    assert free.total - free.used == pytest.approx(CPU_SHARE * available_memory(), rel=0.2)
