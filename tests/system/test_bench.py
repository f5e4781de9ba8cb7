# SPDX-License-Identifier: Apache-2.0
"""The benchmark runs and tells what it promises; how fast anything is, is no test."""

import json
import subprocess

import pytest
import trilith

BENCH = trilith.ROOT / "bench" / "bench.py"
WORKLOAD = "randwrite 4K QD32"


@pytest.fixture(scope="module")
def figures():
    done = subprocess.run(
        [BENCH, "--build", trilith.BUILD, "--seconds", "1", "--workload", WORKLOAD,
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
