# SPDX-License-Identifier: Apache-2.0
"""Volumes whose replicas lie on three nodes, each a process of its own: what was acknowledged
outlives any of them, hosts are served while one is missing, and it catches up when it is back."""

import json
import os
import signal
import threading
import time

import pytest
import trilith

NODES = 3
PAUSE_US = 200_000  # While the replica of a node whose connections have closed is given up.


@pytest.fixture
def server(tmp_path):
    port = trilith.free_ports(NODES)
    server = trilith.Server(tmp_path / "data", "--nodes", NODES, "--disks", 1, "--disk-size",
                            "256M", "--reactors", 1, port=port)
    server.start()
    yield server
    if server.running():
        server.stop()


def pid_of(server, node):
    return json.loads((server.data / node / "run.json").read_text())["pid"]


def kill(server, *nodes):
    pids = [pid_of(server, node) for node in nodes]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def start(server, *nodes):
    for node in nodes:
        done = trilith.cli("node", "start", node, "--data", server.data)
        assert done.returncode == 0, done.stderr


def perf(server, *args):
    target = server.volume("db")["targets"][0]
    done = server.try_cli("perf", "--to", f"{target['address']}:{target['port']}", "--volume",
                          "db", *args, "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr + server.log()[-4000:]
    return json.loads(done.stdout)


def load(server, state, seconds, *args):
    """Starts verified reads and writes; join() returns what perf has measured."""
    results = []

    def run():
        results.append(perf(server, "--rw", "randrw", "--depth", "4", "--time", seconds,
                            "--flush-every", "40", "--verify", "--verify-state", state, *args))
    worker = threading.Thread(target=run)
    worker.start()

    def join():
        worker.join()
        assert results, server.log()[-4000:]
        return results[0]
    return join


def verify(server, state):
    perf(server, "--rw", "read", "--verify", "--verify-state", state)


def longest(measured):
    return max(measured[kind]["latency_max_us"] for kind in ("read", "write", "flush"))


def create(server, replicas):
    volume = server.create("db", "48M", "--replicas", replicas)
    assert volume["degraded"] == []
    target = volume["targets"][0]["node"]
    stores = [replica["node"] for copyset in volume["copysets"]
              for replica in copyset["replicas"] if replica["node"] != target]
    assert len(stores) == replicas - 1
    return target, stores


def out_of_sync(volume):
    return {replica["node"] for copyset in volume["copysets"] for replica in copyset["replicas"]
            if not replica["in_sync"]}


def wait_until_in_sync(server):
    server.wait_for("db", lambda v: v["state"] == "ready" and not out_of_sync(v), timeout_s=60)


@pytest.mark.parametrize("replicas", [3, 2])
def test_nodes_that_are_killed(server, tmp_path, replicas):
    """One that only stores: hosts hardly notice, and its replica is resynced while the volume
    serves.  The one that serves, and all of them: everything is there when they are back."""
    target, stores = create(server, replicas)
    state = tmp_path / "state"
    pauses = []
    for store in (*stores, *stores)[:2]:
        join = load(server, state, 4)
        time.sleep(2)
        kill(server, store)
        pauses.append(longest(join()))
        server.wait_for("db", lambda v, store=store: out_of_sync(v) == {store})
        load(server, state, 1)()
        start(server, store)
        wait_until_in_sync(server)
        verify(server, state)
    assert min(pauses) <= PAUSE_US, pauses
    assert max(pauses) <= 5 * PAUSE_US, pauses

    kill(server, target)
    start(server, target)
    wait_until_in_sync(server)
    verify(server, state)
    load(server, state, 1)()

    kill(server, target, *stores)
    start(server, *stores, target)
    wait_until_in_sync(server)
    verify(server, state)
    server.delete("db")
