# SPDX-License-Identifier: Apache-2.0
"""A disk that fails under a host: the host gets the error that the specification has for it, on a
connection that goes on; what was acknowledged is there; other disks' volumes do not notice."""

import os
import select
import struct
import time

import nvmetcp as nvme
import pytest
import trilith
from conftest import Bystander

BLOCK = 4096
DISK_BYTES = 256 << 20
WRITE_FAULT, READ_ERROR = 0x280, 0x281  # Media and Data Integrity Errors.


def pattern(number):
    return number.to_bytes(8, "little") * (BLOCK // 8)


class Host:
    """One connection to a volume, and what it was told is written."""

    def __init__(self, server, volume):
        self.admin, cntlid = nvme.open_admin(server.address, volume["nqn"])
        self.queue = nvme.open_io(self.admin, server.address, volume["nqn"], cntlid)
        self.written = {}

    def write(self, lba, number):
        status = self.queue.rw(nvme.OP_WRITE, lba, 1, data=pattern(number))[0].status
        if status == 0:
            self.written[lba] = number
        return status

    def read(self, lba):
        answer, data = self.queue.rw(nvme.OP_READ, lba, 1)
        return answer.status, bytes(data)

    def flush(self):
        return self.queue.complete(nvme.command(nvme.OP_FLUSH, self.queue.next_cid(), 1))[0].status

    def check_all(self):
        for lba, number in self.written.items():
            assert self.read(lba) == (0, pattern(number))

    def close(self):
        self.queue.close()
        self.admin.close()


@pytest.fixture
def start(tmp_path):
    """A function that starts a server with a good disk and one with this fault, each of which has
    a volume of its own, on the directory of the one before unless it is to be a new one; returns
    the server and the records of the volumes."""
    servers = []

    def run(fault=None, anew=False):
        anew = anew or not servers
        directory = tmp_path / str(len(servers)) if anew else servers[-1].data.parent
        good, bad = directory / "good", directory / "bad"
        if anew:
            directory.mkdir()
            for path in (good, bad):
                with open(path, "wb") as file:
                    os.truncate(file.fileno(), DISK_BYTES)
        bad = f"fault:{fault}:{bad}" if fault else bad
        server = trilith.Server(directory / "data", "--disk", good, "--disk", bad)
        servers.append(server.start(healthy=False))
        if anew:
            for name in ("one", "two"):
                server.create(name, "64M", "--stripe-width", "1")
        volumes = {server.volume(name)["disks"][0]: server.volume(name) for name in ("one", "two")}
        assert len(volumes) == 2
        return server, volumes["node-1/disk-1"], volumes["node-1/disk-2"]

    yield run
    for server in servers:
        if server.running():
            server.kill()


def write_until_failure(host, limit=1000):
    """Returns the LBA that failed, with its status."""
    for lba in range(limit):
        status = host.write(lba, lba + 1)
        if status != 0:
            return lba, status
    raise AssertionError(f"{limit} writes did not fail")


def wait_until_reported(server, disk):
    """`trilith status` names the disk, and exits with a failure."""
    deadline = time.monotonic() + 30
    while True:
        done = server.try_cli("status")
        if done.returncode != 0 and disk in done.stdout + done.stderr:
            return
        assert time.monotonic() < deadline, done.stdout + done.stderr
        time.sleep(0.2)


def wait_for_health(server, disk, health, reason, timeout_s=40):
    """Disks are judged every ten seconds; `disk show` says what and why, `status` fails."""
    deadline = time.monotonic() + timeout_s
    while True:
        shown = server.cli("disk", "show", disk)
        if shown["health"] == health:
            break
        assert time.monotonic() < deadline, shown
        time.sleep(0.5)
    assert reason in shown["health_reason"]
    assert shown["health_since_unix_ms"] > 0
    if health != "healthy":
        wait_until_reported(server, disk)


def test_writes_that_fail(start):
    """Write Fault from then on for all that changes something; what was written can be read, also
    after a restart on the disk when it works again."""
    server, good, bad = start("error,writes,skip=400")
    neighbour, host = Bystander(server, good), Host(server, bad)
    lba, status = write_until_failure(host)
    assert lba > 10 and status == WRITE_FAULT
    assert host.write(lba + 1, 7) == WRITE_FAULT
    assert host.write(0, 8) == WRITE_FAULT
    assert host.flush() == WRITE_FAULT
    host.check_all()
    neighbour.works()
    wait_until_reported(server, "node-1/disk-2")
    wait_for_health(server, "node-1/disk-2", "failed", "it takes no more writes")
    neighbour.works()
    assert "'node-1/disk-2'" in server.log()
    added = server.try_cli("disk", "add", server.cli("disk", "show", "node-1/disk-2")["path"])
    assert added.returncode != 0 and "has failed" in added.stderr, added
    written = host.written
    for one in (host, neighbour):
        one.close()
    server.kill()

    server, good, bad = start()
    host = Host(server, bad)
    host.written = written
    host.check_all()
    assert host.write(lba, 9) == 0
    assert host.read(lba) == (0, pattern(9))
    host.close()
    server.stop()


def test_reads_that_fail(start):
    """Unrecovered Read Error for that block, that time; nothing else notices."""
    server, good, bad = start("error,reads,skip=60,count=1")
    neighbour, host = Bystander(server, good), Host(server, bad)
    for lba in range(50):
        assert host.write(lba, lba + 1) == 0
    assert host.flush() == 0
    failed = []
    for turn in range(100):
        status, data = host.read(turn % 50)
        if status != 0:
            failed.append(status)
        else:
            assert data == pattern(turn % 50 + 1)
    assert failed == [READ_ERROR]
    host.check_all()
    neighbour.works()
    wait_for_health(server, "node-1/disk-2", "suspect", "reads have failed in 1 place of its")
    wait_for_health(server, "node-1/disk-1", "healthy", "")
    assert "disk 'node-1/disk-2': suspect, was healthy: reads have failed" in server.log()
    shown = server.try_cli("disk", "show", "node-1/disk-2").stdout
    assert "ms, 99 of 100 below" in shown
    assert "none: it is a file" in shown
    host.close()
    neighbour.close()
    server.stop()


def test_a_flush_that_fails(start):
    """The host's Flush is Write Fault and not tried again; what was written can be read.  The store
    flushes for itself, too: where that was the one that failed, the next write told, and another
    server's Flush is to fail."""
    for skip in range(40, 60, 4):
        server, good, bad = start(f"error,flushes,skip={skip},count=1", anew=True)
        neighbour, host = Bystander(server, good), Host(server, bad)
        for lba in range(200):
            written, flushed = host.write(lba, lba + 1), host.flush()
            if (written, flushed) != (0, 0):
                break
        assert (written or flushed) == WRITE_FAULT
        host.check_all()
        assert host.write(0, 7) == WRITE_FAULT
        neighbour.works()
        host.close()
        neighbour.close()
        server.stop()
        if written == 0:
            break
    else:
        raise AssertionError("no Flush of the host is the one that fails")


def test_a_slow_disk_delays_its_own_volume(start):
    """Its commands wait, and are right; those for other disks do not wait for them."""
    server, good, bad = start("delay,us=3000000,reads,skip=60")
    neighbour, host = Bystander(server, good), Host(server, bad)
    for lba in range(4):
        assert host.write(lba, lba + 1) == 0
    for _ in range(200):
        started = time.monotonic()
        host.check_all()
        if time.monotonic() - started > 2:
            break
    else:
        raise AssertionError("no read is slow")
    sqe = nvme.command(nvme.OP_READ, host.queue.next_cid(), 1, nvme.sgl(nvme.SGL_TRANSPORT, BLOCK),
                       struct.pack("<QHH", 2, 0, 0))
    host.queue.send_command(sqe)
    neighbour.works()
    assert select.select([host.queue.socket], [], [], 0)[0] == []
    answer, data = host.queue.receive_response()
    assert (answer.status, bytes(data)) == (0, pattern(3))
    host.close()
    neighbour.close()
    server.stop()


def test_a_disk_that_becomes_slow_is_read_no_more(tmp_path):
    """Three slow windows of ten seconds make it suspect, and the other replica is read instead; it
    still gets the writes, but no new shards."""
    paths = [tmp_path / "good", tmp_path / "bad"]
    for path in paths:
        with open(path, "wb") as file:
            os.truncate(file.fileno(), DISK_BYTES)
    bad = f"fault:delay,us=1200000,reads,skip=60:{paths[1]}"
    server = trilith.Server(tmp_path / "data", "--disk", paths[0], "--disk", bad, "--reactors", 1,
                            "--replica-timeout", 5000)
    server.start(healthy=False)
    # Of two shards each disk is the first of one, from which it is read.
    host = Host(server, server.create("db1", "128M", "--shard-size", "64M", "--replicas", 2,
                                      "--allow-degraded"))
    for lba in range(0, 640, 64):
        assert host.write(lba, lba + 1) == 0
    deadline = time.monotonic() + 120
    while server.cli("disk", "show", "node-1/disk-2")["health"] != "suspect":
        assert time.monotonic() < deadline, server.log()
        host.check_all()
    wait_for_health(server, "node-1/disk-2", "suspect", "took longer than")
    started = time.monotonic()
    host.check_all()
    assert time.monotonic() - started < 10  # Each read of the slow disk is 1.2 s.
    assert host.write(0, 99) == 0
    host.check_all()
    new = server.create("db2", "128M", "--shard-size", "64M")
    assert new["disks"] == ["node-1/disk-1"]
    host.close()
    server.stop()
