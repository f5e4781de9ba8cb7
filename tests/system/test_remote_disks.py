# SPDX-License-Identifier: Apache-2.0
"""Disks of other nodes that fail, hang, fill up or rot under a volume: hosts go on over links as
they do beside their own disks, and in the end all replicas are equal."""

import os
import signal
import subprocess
import time

import nvmetcp as nvme
import pytest
import trilith
from test_links import (HANG_US, load, longest, out_of_sync, verify, verify_writes,
                        wait_for_nodes, wait_until_in_sync)

BLOCK = 4096
MIB = 1 << 20
CAPACITY_EXCEEDED = 0x081


class Store:
    """A node that only stores, on one file that may be wrapped in a fault."""

    def __init__(self, server, name, disk_bytes=256 * MIB):
        self.server, self.name = server, name
        self.disk = server.data.parent / f"{name}.disk"
        self.process = None
        with open(self.disk, "wb") as file:
            os.truncate(file.fileno(), disk_bytes)

    def start(self, fault=None):
        folder = self.server.data.parent / self.name
        # It may be started without the fault: the disk has another name then.
        (folder / self.name / "disks").unlink(missing_ok=True)
        command = [trilith.PROGRAM, "node", "run", "--name", self.name, "--data", folder,
                   "--controller", self.server.api, "--token", self.server.data / "token",
                   "--roles", "store", "--listen", "127.0.0.1", "--port", trilith.free_port(),
                   "--reactors", "1", "--disk",
                   f"fault:{fault}:{self.disk}" if fault else self.disk]
        with open(self.server.log_path, "ab") as log:
            self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=self.server.environment)
        return self

    def kill(self):
        self.process.kill()
        self.process.wait(trilith.STOP_LIMIT_S)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(trilith.STOP_LIMIT_S) == 0, self.server.log()[-4000:]

    def running(self):
        return self.process is not None and self.process.poll() is None

    @property
    def disk_name(self):
        return next(disk["name"] for disk in self.server.cli("disk", "list")
                    if disk["node"] == self.name)


@pytest.fixture
def cluster(tmp_path):
    """A function that makes a cluster of two nodes, one of which serves, and a store beside them
    with this fault, and a volume of a replica on each; returns the server and the store."""
    servers, stores = [], []

    def make(fault=None, disk_bytes=256 * MIB, size="48M"):
        server = trilith.Server(tmp_path / "data", "--nodes", 2, "--disks", 1, "--disk-size",
                                "256M", "--reactors", 1, port=trilith.free_ports(2))
        servers.append(server.start())
        stores.append(Store(server, "far", disk_bytes).start(fault))
        wait_for_nodes(server, 3)
        volume = server.create("db", size, "--replicas", 3)
        assert volume["degraded"] == [] and volume["targets"][0]["node"] != "far"
        return server, stores[0]

    def another(name):
        stores.append(Store(servers[0], name).start())
        return stores[-1]

    make.another = another
    yield make
    try:
        for server in servers:
            if server.running():
                server.prove_replicas()
        for store in stores:
            if store.running():
                store.stop()
        for server in servers:
            if server.running():
                server.stop(dict.fromkeys(server.volumes(), "a replica's node has been ended"))
    finally:
        for process in (*stores, *servers):
            if process.running():
                process.kill()


def test_it_fails(cluster, tmp_path):
    """Writes of the host go on without it, and another node's disk takes its place."""
    server, far = cluster("error,writes,skip=600")
    state = tmp_path / "state"
    assert longest(load(server, state, 3)()) <= HANG_US
    server.wait_for("db", lambda v: out_of_sync(v) == {"far"})
    assert f"disk '{far.disk_name}' is out of sync: " in server.log()
    verify_writes(server, state)
    join = load(server, state, 4)
    cluster.another("spare")
    server.wait_for("db", lambda v: not out_of_sync(v) and
                    "far" not in {disk.split("/")[0] for disk in v["disks"]}, timeout_s=60)
    join()
    verify(server, state)
    far.kill()


def test_it_hangs(cluster, tmp_path):
    """Of what the host does nothing takes longer than the time after which a replica is given up;
    it is resynced when it works again."""
    server, far = cluster("delay,us=3600000000,skip=600")
    state = tmp_path / "state"
    pause = longest(load(server, state, 4)())
    assert pause <= HANG_US, pause
    server.wait_for("db", lambda v: out_of_sync(v) == {"far"})
    assert f"disk '{far.disk_name}' is out of sync: it does not answer" in server.log()
    load(server, state, 1)()
    far.kill()
    load(server, state, 1)()
    far.start()
    wait_until_in_sync(server)
    verify(server, state)


def test_it_is_full(cluster):
    """It refuses for all what needs space, and stays in sync; what it has can be written."""
    server, far = cluster(disk_bytes=32 * MIB, size="64M")
    volume = server.volume("db")
    address = volume["targets"][0]["address"], volume["targets"][0]["port"]
    admin, cntlid = nvme.open_admin(address, volume["nqn"])
    queue = nvme.open_io(admin, address, volume["nqn"], cntlid)
    data = os.urandom(64 << 10)
    blocks = len(data) // BLOCK

    def write(lba, content=data):
        return queue.write_by_r2t(lba, content).status

    lba = 0
    while (status := write(lba)) == 0:
        lba += blocks
    assert status == CAPACITY_EXCEEDED and lba * BLOCK > 8 * MIB
    again = os.urandom(len(data))
    assert write(0, again) == 0
    assert write(lba) == CAPACITY_EXCEEDED
    for at, expected in ((0, again), (blocks, data), (lba, bytes(len(data)))):
        answer, read = queue.rw(nvme.OP_READ, at, blocks)
        assert (answer.status, bytes(read)) == (0, expected)
    assert queue.complete(nvme.command(nvme.OP_FLUSH, queue.next_cid(), 1))[0].status == 0
    assert not out_of_sync(server.volume("db"))
    server.prove_equal("db")
    zeros = nvme.command(nvme.OP_WRITE_ZEROES, queue.next_cid(), 1,
                         cdw10=(blocks).to_bytes(8, "little") + (63).to_bytes(4, "little"))
    # What is given back is there for others.
    assert queue.complete(zeros)[0].status == 0
    assert write(lba) == 0
    assert f"disk '{far.disk_name}' is full: " in server.log()
    assert not out_of_sync(server.volume("db"))
    queue.close()
    admin.close()


def pattern(number):
    return b"<%020d>" % number * (BLOCK // 22) + b" " * (BLOCK % 22)


def test_it_rots(cluster):
    """What its node finds there when it is back is not what was written: it is given it again by
    the resync, and nobody reads it before."""
    server, far = cluster()
    volume = server.volume("db")
    address = volume["targets"][0]["address"], volume["targets"][0]["port"]
    admin, cntlid = nvme.open_admin(address, volume["nqn"])
    queue = nvme.open_io(admin, address, volume["nqn"], cntlid)
    for number in range(32):
        assert queue.rw(nvme.OP_WRITE, number, 1, data=pattern(number))[0].status == 0
    far.stop()
    content = far.disk.read_bytes()
    place = content.index(pattern(3))
    assert content[place + BLOCK:][:BLOCK] == pattern(4)
    assert queue.rw(nvme.OP_WRITE, 31, 1, data=pattern(0))[0].status == 0
    server.wait_for("db", lambda v: out_of_sync(v) == {"far"})
    far.start(f"rot,at={place},bytes={2 * BLOCK}")
    wait_until_in_sync(server)
    for number in range(31):
        answer, data = queue.rw(nvme.OP_READ, number, 1)
        assert (answer.status, bytes(data)) == (0, pattern(number))
    queue.close()
    admin.close()
    server.prove_equal("db")
    server.wait_for("db", lambda v: v["resync_copied_bytes"] == 3 * BLOCK)
