# SPDX-License-Identifier: Apache-2.0
"""Volumes whose replicas lie on three nodes, each a process of its own: what was acknowledged
outlives any of them, hosts are served while one is missing, and it catches up when it is back."""

import json
import os
import random
import signal
import subprocess
import threading
import time

import pytest
import trilith

NODES = 3
# A sanitizer makes everything slower; what is promised is measured without (bench/).
SLOWNESS = 1 if trilith.BUILD.name in ("build", "build-release") else 3
# How long a write may wait until the replica of a node whose connections have closed is given up,
# and that of one that does not answer: --replica-timeout more.
PAUSE_US = 200_000 * SLOWNESS
HANG_US = 1_000_000 + PAUSE_US


def running(data):
    """A server of three nodes, for a fixture."""
    port = trilith.free_ports(NODES + 1)
    server = trilith.Server(data, "--nodes", NODES, "--disks", 1, "--disk-size", "256M",
                            "--reactors", 1, port=port, api_port=port + NODES)
    server.start()
    wait_for_nodes(server, NODES)
    yield server
    if server.running():
        server.stop()


@pytest.fixture
def server(tmp_path):
    yield from running(tmp_path / "data")


def wait_for_nodes(server, count):
    """Until so many have reported their disks."""
    deadline = time.monotonic() + 60
    while sum(node["disks"] > 0 for node in server.cli("node", "list")) < count:
        assert time.monotonic() < deadline, server.log()
        time.sleep(0.1)


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
    """Or still holds what it had open: a thread may outlive the first one."""
    try:
        if len(os.listdir(f"/proc/{pid}/task")) > 1:
            return True
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


def verify_writes(server, state):
    """Every one that was acknowledged, as hosts see it."""
    perf(server, "--rw", "read", "--verify", "--verify-state", state)


def verify(server, state):
    """And all replicas, as they are on their disks."""
    verify_writes(server, state)
    found = server.cli("volume", "verify", "db")
    assert found["good"] and len({replica["sha256"] for replica in found["replicas"]}) == 1, found


def longest(measured):
    return max(measured[kind]["latency_max_us"] for kind in ("read", "write", "flush"))


def create(server, replicas):
    volume = server.create("db", "48M", "--replicas", replicas)
    assert volume["degraded"] == []
    target = volume["targets"][0]["node"]
    stores = [replica["node"] for copyset in volume["copysets"]
              for replica in copyset["replicas"] if replica["node"] != target]
    assert len(stores) in (replicas - 1, replicas)
    return target, stores


def out_of_sync(volume):
    return {replica["node"] for copyset in volume["copysets"] for replica in copyset["replicas"]
            if not replica["in_sync"]}


def wait_until_in_sync(server):
    done = server.try_cli("volume", "wait", "db", "--timeout", 60)
    assert done.returncode == 0, done.stderr
    assert not out_of_sync(server.volume("db"))


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
        done = server.try_cli("volume", "wait", "db", "--timeout", 1)
        assert done.returncode == 1 and "not in sync after 1 s: disk" in done.stderr, done.stderr
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


def signal_node(server, node, number):
    os.kill(pid_of(server, node), number)


def test_a_node_that_hangs(server, tmp_path):
    """It is given up after the timeout, not before; the one that serves may hang, too."""
    target, stores = create(server, 3)
    state = tmp_path / "state"
    join = load(server, state, 8)
    time.sleep(2)
    signal_node(server, stores[0], signal.SIGSTOP)
    time.sleep(3)
    signal_node(server, stores[0], signal.SIGCONT)
    pause = longest(join())
    assert 200_000 < pause <= HANG_US, pause
    wait_until_in_sync(server)
    verify(server, state)

    join = load(server, state, 6, "--reconnect", "30")
    time.sleep(1)
    signal_node(server, target, signal.SIGSTOP)
    time.sleep(3)
    signal_node(server, target, signal.SIGCONT)
    join()
    wait_until_in_sync(server)
    verify(server, state)


def test_nodes_that_are_killed_again_and_again(server, tmp_path):
    """Whichever it is, and whatever it was doing: nothing that was acknowledged is lost."""
    target, stores = create(server, 3)
    state = tmp_path / "state"
    join = load(server, state, 40, "--reconnect", "60")
    for number in range(8):
        node = random.choice([target, *stores])
        time.sleep(random.uniform(0.1, 3))
        kill(server, node)
        time.sleep(random.uniform(0, 1))
        start(server, node)
        print(number, node)
    join()
    wait_until_in_sync(server)
    verify(server, state)


def test_an_end_while_writes_wait(server, tmp_path):
    """Too few replicas: writes wait, and that is said; the processes end all the same, those too
    that were started later."""
    _, stores = create(server, 3)
    kill(server, *stores)
    start(server, stores[0])
    server.wait_for("db", lambda v: stores[1] in out_of_sync(v))
    kill(server, stores[0])
    volume = server.volume("db")
    worker = threading.Thread(target=lambda: server.try_cli(
        "perf", "--to", f"127.0.0.1:{volume['targets'][0]['port']}", "--volume", "db", "--rw",
        "randwrite", "--time", "60"))
    worker.start()
    server.wait_for("db", lambda v: "reached; reads wait for it, too" in v["writes_wait"])
    assert "volume 'db': writes wait: for disk" in server.try_cli("status").stdout
    start(server, stores[1])
    later = pid_of(server, stores[1])
    begin = time.monotonic()
    server.stop(unproven={"db": "nothing of it can be read, as it waits for a store"})
    assert time.monotonic() - begin < 15
    assert not is_running(later)
    worker.join()
    server.start(healthy=False)  # And when all are back, the fixture's end proves all equal.


def test_a_disk_that_is_destroyed(server, tmp_path):
    """Its node says so, and serves on; the volume stays degraded, and says why."""
    _, stores = create(server, 3)
    state = tmp_path / "state"
    load(server, state, 2)()
    kill(server, stores[0])
    with open(server.data / stores[0] / "disk-1", "r+b") as disk:
        disk.write(bytes(64 << 20))
    start(server, stores[0])
    load(server, state, 2)()
    server.wait_for("db", lambda v: any("its node does not have it" in text
                                        for text in v["degraded"]))
    status = server.try_cli("status")
    assert (status.returncode, "superblocks are gone" in status.stdout) == (1, True), status.stdout
    verify_writes(server, state)
    join = load(server, state, 3)
    kill(server, stores[1])  # With it too few are left: all waits for it.
    time.sleep(3)
    start(server, stores[1])
    join()
    verify_writes(server, state)
    out = f"{stores[0]}/disk-1"
    server.wait_for("db", lambda v: v["state"] == "ready" and out_of_sync(v) == {stores[0]})
    server.prove_in_sync("db", [out])
    server.stop(unproven={"db": f"disk '{out}' is destroyed, and there is none in its place"})


def test_another_port(server, tmp_path):
    """A node that comes back elsewhere is found there."""
    _, stores = create(server, 2)
    state = tmp_path / "state"
    load(server, state, 1)()
    kill(server, stores[0])
    load(server, state, 1)()
    args = server.data / stores[0] / "args"
    port = str(json.loads((server.data / stores[0] / "run.json").read_text())["port"])
    args.write_text(args.read_text().replace(port, str(trilith.free_port())))
    start(server, stores[0])
    wait_until_in_sync(server)
    verify(server, state)


def test_a_node_that_serves_without_disks(tmp_path):
    """All its volume's replicas are on other nodes."""
    port = trilith.free_ports(NODES + 2)
    server = trilith.Server(tmp_path / "data", "--nodes", NODES, "--disks", 1, "--disk-size",
                            "256M", "--reactors", 1, "--roles", "store", port=port,
                            api_port=port + NODES)
    state = tmp_path / "state"
    with server:
        node = subprocess.Popen(
            [trilith.PROGRAM, "node", "run", "--name", "node-9", "--controller",
             f"127.0.0.1:{server.api_port}", "--data", server.data, "--roles", "target", "--port",
             str(port + NODES + 1), "--reactors", "2"], env=trilith.ENVIRONMENT)
        try:
            wait_for_nodes(server, NODES)
            wait_for_node(server, "node-9")
            target, stores = create(server, 3)
            assert (target, len(stores)) == ("node-9", 3)
            join = load(server, state, 4)
            time.sleep(1)
            kill(server, stores[0])
            join()
            start(server, stores[0])
            kill(server, target)
            node.wait()
            start(server, target)
            wait_until_in_sync(server)
            verify(server, state)
        finally:
            kill(server, "node-9")
        server.stop(unproven={"db": "nobody is there any more to serve it"})


def wait_for_node(server, name):
    deadline = time.monotonic() + 60
    while not [n for n in server.cli("node", "list") if n["name"] == name and n["connected"]]:
        assert time.monotonic() < deadline, server.log()
        time.sleep(0.1)
