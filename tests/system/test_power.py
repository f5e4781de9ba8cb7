# SPDX-License-Identifier: Apache-2.0
"""Nodes that lose their power, which to a store is another boot of its machine: what was not
flushed may be gone, although nothing is here, and each does as if it were (docs/replication.md,
7.4)."""

import os
import time
import uuid

import nvmetcp as nvme
import pytest
import trilith
from test_links import (create, kill, load, out_of_sync, pid_of, verify, wait_for_nodes,
                        wait_until_in_sync)
from test_up import can_mount

NODES = 3
BLOCK = 4096
WRITE_FAULT = 0x280
SERVE_S = 10  # As is promised, from the start of the processes on.

pytestmark = pytest.mark.skipif(not can_mount(), reason="needs root, for a mount namespace")


class Machine(trilith.Server):
    """Three nodes on a machine that can be booted."""

    def __init__(self, data):
        port = trilith.free_ports(NODES + 1)
        super().__init__(data, "--nodes", NODES, "--disks", 1, "--disk-size", "256M", "--reactors",
                         1, port=port, api_port=port + NODES)
        self.boot()

    def boot(self):
        """What is started from now on takes the machine for rebooted."""
        boot_id = self.data.parent / f"boot-{uuid.uuid4()}"
        boot_id.write_text(f"{uuid.uuid4()}\n")
        self.inside = ["unshare", "--mount", "sh", "-c",
                       'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"', boot_id]

    def start_node(self, node):
        done = trilith.cli("node", "start", node, "--data", self.data, inside=self.inside)
        assert done.returncode == 0, done.stderr

    def kill_all(self):
        pids = [pid_of(self, f"node-{number}") for number in range(1, NODES + 1)]
        for pid in pids:
            os.kill(pid, 9)
        self.kill()


@pytest.fixture
def server(tmp_path):
    server = Machine(tmp_path / "data")
    server.start()
    wait_for_nodes(server, NODES)
    yield server
    if server.running():
        server.stop()


def test_one_node_of_three(server, tmp_path):
    """One that stores, and the one that serves: it comes back with less than the others, for all
    that they know, and is given what it may lack.  No loss is told, as nothing is lost."""
    target, stores = create(server, 3)
    state = tmp_path / "state"
    for node in (stores[0], target):
        join = load(server, state, 4, "--reconnect", "30")  # A Flush that fails would fail it.
        time.sleep(1)
        kill(server, node)
        server.boot()
        server.start_node(node)
        join()
        wait_until_in_sync(server)
        verify(server, state)


class Host:
    """A connection to a volume."""

    def __init__(self, server, name):
        volume = server.volume(name)
        address = volume["targets"][0]["address"], volume["targets"][0]["port"]
        self.admin, cntlid = nvme.open_admin(address, volume["nqn"])
        self.queue = nvme.open_io(self.admin, address, volume["nqn"], cntlid)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.queue.close()
        self.admin.close()

    def write(self, lba, byte):
        return self.queue.rw(nvme.OP_WRITE, lba, 1, data=byte * BLOCK)[0].status

    def read(self, lba):
        answer, data = self.queue.rw(nvme.OP_READ, lba, 1)
        return answer.status, bytes(data)

    def flush(self):
        """By an id of its own: what uses it again has had the answer before (docs/nvme.md)."""
        return self.queue.complete(nvme.command(nvme.OP_FLUSH, 0x7000, 1))[0].status


def first_write_s(server, name, since):
    """When a host that tries again and again has written something."""
    while True:
        try:
            with Host(server, name) as host:
                if host.write(9, b"n") == 0:
                    return time.monotonic() - since
        except (OSError, nvme.Closed, AssertionError):
            pass
        assert time.monotonic() < since + 60, server.log()[-4000:]
        time.sleep(0.05)


def test_all_nodes_at_once(server, tmp_path):
    """The volumes are served again within ten seconds, with all that was flushed.  Where something
    was not, the host's first Flush fails, and that once, unless the volume was created to go on."""
    volumes = {"tells": "error", "goes-on": "continue"}
    for name, policy in volumes.items():
        server.create(name, "48M", "--replicas", 3, "--on-unflushed-loss", policy)
    server.create("unused", "48M", "--replicas", 3)
    create(server, 3)
    state = tmp_path / "state"
    load(server, state, 2)()
    for name in volumes:
        with Host(server, name) as host:
            for lba in range(8):
                assert host.write(lba, b"f") == 0
            assert host.flush() == 0
            assert host.write(3, b"u") == 0

    server.kill_all()
    server.boot()
    begin = time.monotonic()
    server.start(healthy=False)
    took = {name: first_write_s(server, name, begin) for name in volumes}
    print("s until the first write:", {name: round(took[name], 1) for name in took})
    assert max(took.values()) <= SERVE_S, took

    with Host(server, "unused") as host:
        told = {"unused": [host.flush() for _ in range(3)]}
    for name in volumes:
        with Host(server, name) as host:
            for lba in set(range(8)) - {3}:
                assert host.read(lba) == (0, b"f" * BLOCK)
            status, data = host.read(3)
            assert status == 0 and data in (b"f" * BLOCK, b"u" * BLOCK)
            told[name] = [host.flush() for _ in range(3)]
    assert told == {"tells": [WRITE_FAULT, 0, 0], "goes-on": [0, 0, 0], "unused": [0, 0, 0]}
    for name in volumes:
        with Host(server, name) as host:  # Nor on another connection.
            assert host.flush() == 0
    server.wait_for("db", lambda v: v["state"] == "ready" and not out_of_sync(v))
    verify(server, state)
