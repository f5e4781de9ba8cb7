# SPDX-License-Identifier: Apache-2.0
"""The benchmark runs and tells what it promises; how fast anything is, is no test."""

import json
import subprocess
import sys

import pytest
import trilith

BENCH = trilith.ROOT / "bench" / "bench.py"
sys.path.insert(0, str(BENCH.parent))
import servers  # pylint: disable=wrong-import-position
START = trilith.ROOT / "bench" / "start.py"
WORKLOAD = "randwrite 4K QD32"


@pytest.fixture(scope="module")
def figures():
    done = subprocess.run(
        [BENCH, "--build", trilith.BUILD, "--table-seconds", "1", "--workload", WORKLOAD,
         "--server", "echo", "--server", "memory", "--server", "node", "-o", "json"],
        capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)[WORKLOAD]


@pytest.mark.parametrize("name", ["echo", "memory", "node"])
def test_every_server_is_measured(figures, name):
    result = figures[name]
    assert result["ios"] > 100
    assert result["iops"] > 0
    assert 0 < result["p50_us"] <= result["p99_us"] <= result["p999_us"]
    assert result["server_cpu_us"] > 0
    assert 0 < result["server_syscalls"] < 3


def test_steady_writes_are_one_device_write(figures):
    """An overwrite in place is not journaled."""
    assert figures["echo"]["server_device_writes"] == 0
    assert 0.99 <= figures["node"]["server_device_writes"] < 1.2


def test_device_writes_are_told_by_the_part_of_the_disk():
    """The node whose disks keep no data counts each write once, and checkpoints of each disk."""
    node = servers.Small(trilith.BUILD, "hollow", "bench_node", fill=192 << 20,
                         options=["--hollow", "--volume-size", "192M"])
    with servers.closing(node):
        stats = node.stats()
    parts = ("superblock", "journal", "checkpoint", "sums", "data")
    assert stats["device_writes"] == sum(stats[part + "_writes"] for part in parts)
    # Three disks; 1536 writes of 128 KiB go to one disk each, or two; all are first touches.
    assert stats["data_writes"] >= 1536
    assert stats["journal_writes"] > 0
    assert len(stats["checkpoints"]) == 3


def test_the_start_of_a_disk_is_measured(tmp_path):
    """bench/start.py opens what its generator makes, and says how long that took."""
    done = subprocess.run([START, "--build", trilith.BUILD, "--folder", tmp_path, "--size", "32G",
                           "-o", "json"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    for how in ("clean", "crashed"):
        assert figures[how]["seconds"] > 0
        assert figures[how]["mapped_bytes"] > 15.9 * (1 << 30)  # Half of the data area.
        assert figures[how]["resident_bytes"] > 0
    assert figures["clean"]["suspect_regions"] == 0
    assert figures["crashed"]["suspect_regions"] > 0
    # All of them were read, each once at least.
    assert figures["crashed"]["settled_bytes"] > 0
    assert figures["crashed"]["settled_seconds_on_disk"] > figures["crashed"]["settled_seconds"]


def test_the_disk_that_is_started_is_a_good_one(tmp_path):
    """What the generator makes passes the check: the figure is one of a disk that could be."""
    disk = tmp_path / "disk"
    subprocess.run([trilith.BUILD / "bench" / "bench_start", "make", disk, "4G", "clean"],
                   check=True, timeout=60)
    done = subprocess.run([trilith.BUILD / "trilith", "disk", "check", disk],
                          capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout


def test_figures_are_told_with_their_limits():
    """Each figure stands beside what was promised, and says whether that is met."""
    done = subprocess.run(
        [BENCH.parent / "figures.py", "--build", trilith.BUILD, "--seconds", "1", "--rounds", "1",
         "--only", "reactors"],
        capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    line = done.stdout.splitlines()[-1]
    assert line.startswith("  one volume over two reactors: CPU per I/O / over one")
    assert "<= 1.15" in line
    assert "met" in line.lower()
