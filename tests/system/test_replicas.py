# SPDX-License-Identifier: Apache-2.0
"""Volumes of several replicas on the disks of one node: what was acknowledged is on each of them,
whatever happens to the server; a disk that fails is left out, and that is said."""

import os
import select
import shutil
import signal
import struct
import threading
import time

import nvmetcp as nvme
import pytest
import trilith

BLOCK = 4096
MIB = 1 << 20
DISK_BYTES = 256 * MIB
DISKS = 3
CROWDED = "replicas of the same data lie on one node"


@pytest.fixture
def start(tmp_path):
    """A function that starts the server, perhaps with a fault on some disks (from 1); what still
    runs is killed."""
    servers = []
    paths = [tmp_path / f"d{number}" for number in range(1, DISKS + 1)]
    for path in paths:
        with open(path, "wb") as file:
            os.truncate(file.fileno(), DISK_BYTES)

    def run(faults=None, paths=paths, data=tmp_path / "data"):
        (data / "node-1" / "disks").unlink(missing_ok=True)  # It may be started without some.
        options = []
        for number, path in enumerate(paths, 1):
            fault = (faults or {}).get(number)
            options += ["--disk", f"fault:{fault}:{path}" if fault else path]
        server = trilith.Server(data, *options)
        servers.append(server)
        return server.start(healthy=False)

    yield run
    for server in servers:
        if server.running():
            server.kill()


def create(server, *options, size="48M", replicas="3"):
    return server.create("db", size, "--replicas", replicas, "--allow-degraded", *options)


def perf(server, *args):
    return server.try_cli("perf", "--to", f"127.0.0.1:{server.port}", "--volume", "db", *args)


def load(server, state, *args, seconds=4):
    """Starts verified reads and writes; join() returns the command's result."""
    results = []
    worker = threading.Thread(target=lambda: results.append(
        perf(server, "--rw", "randrw", "--depth", "16", "--time", str(seconds), "--flush-every",
             "40", "--verify", "--verify-state", str(state), *args)))
    worker.start()

    def join():
        worker.join()
        done = results[0]
        assert done.returncode == 0, done.stdout + done.stderr + server.log()[-2000:]
        return done
    return join


def verify(server, state):
    done = perf(server, "--rw", "read", "--verify", "--verify-state", str(state))
    assert done.returncode == 0, done.stdout + done.stderr


def replicas(volume):
    return [replica for copyset in volume["copysets"] for replica in copyset["replicas"]]


def out_of_sync(volume):
    return {replica["disk"] for replica in replicas(volume) if not replica["in_sync"]}


def wait_for_used(server, condition):
    """Of every disk; nodes report every few seconds."""
    deadline = time.monotonic() + 30
    while not all(condition(disk["bytes"] - disk["free_bytes"])
                  for disk in server.cli("disk", "list")):
        assert time.monotonic() < deadline, server.cli("disk", "list")
        time.sleep(0.2)


def wait_until_ready(server):
    server.wait_for("db", lambda volume: volume["state"] == "ready")


def test_created_shown_and_deleted(start):
    server = start()
    done = server.try_cli("volume", "create", "db", "--size", "48M", "--replicas", "3")
    assert done.returncode == 1
    assert "3 replicas need 3 nodes with a working disk, and there is 1" in done.stderr
    assert "--allow-degraded" in done.stderr
    done = server.try_cli("volume", "create", "db", "--size", "48M", "--replicas", "2",
                          "--min-in-sync", "3")
    assert (done.returncode, "--min-in-sync is at most 2" in done.stderr) == (2, True), done.stderr

    volume = create(server)
    assert (volume["state"], volume["replicas"], volume["min_in_sync"]) == ("ready", 3, 2)
    assert volume["degraded"] == [CROWDED]
    assert len(volume["disks"]) == DISKS
    for copyset in volume["copysets"]:
        assert len({replica["disk"] for replica in copyset["replicas"]}) == DISKS
    assert out_of_sync(volume) == set()
    status = server.try_cli("status")
    assert (status.returncode, f"volume 'db': degraded: {CROWDED}" in status.stdout) == (1, True)
    shown = server.try_cli("volume", "show", "db", "--shards").stdout
    assert "in sync" in shown and "SHARD" in shown and "node-1/disk-3" in shown

    done = perf(server, "--rw", "write", "--bytes", "32M", "--block-size", "64K")
    assert done.returncode == 0, done.stderr
    server.wait_for("db", lambda v: 32 * MIB <= v["used_bytes"] <= 40 * MIB)
    wait_for_used(server, lambda used: used >= 32 * MIB)
    server.delete("db")
    wait_for_used(server, lambda used: used < 8 * MIB)  # What it keeps back.
    server.stop()


def test_killed_under_load(start, tmp_path):
    """Each new engine takes over and makes equal what the one before had under way.  In the end
    every disk alone has everything."""
    server = start()
    create(server, "--min-in-sync", "1")
    state = tmp_path / "state"
    join = load(server, state, "--reconnect", "30", seconds=12)
    for _ in range(3):
        time.sleep(2)
        server.kill()
        server.start(healthy=False)
    join()
    wait_until_ready(server)
    assert out_of_sync(server.volume("db")) == set()
    verify(server, state)
    server.stop()
    for number in range(1, DISKS + 1):
        check_alone(start, tmp_path, number, state)


def check_alone(start, tmp_path, number, state):
    """The data of a copy of the cluster that has only this disk left."""
    path = tmp_path / f"copy-{number}"
    shutil.copy(tmp_path / f"d{number}", path)
    data = tmp_path / f"data-{number}"
    shutil.copytree(tmp_path / "data", data)
    server = start(paths=[path], data=data)
    wait_until_ready(server)
    out = out_of_sync(server.volume("db"))
    assert len(out) == DISKS - 1
    verify(server, state)
    server.prove_in_sync("db", out)
    server.stop(unproven={"db": "its other disks are not there"})


def test_a_disk_that_fails_under_load(start, tmp_path):
    """It is out of sync before a write goes on without it, and resynced when it works again."""
    server = start({2: "error,writes,skip=2500"})
    create(server)
    state = tmp_path / "state"
    load(server, state, seconds=6)()
    volume = server.volume("db")
    assert out_of_sync(volume) == {"node-1/disk-2"}
    assert all(replica["out_since_unix_ms"] > 0 for replica in replicas(volume)
               if not replica["in_sync"])
    assert volume["writes_wait"] == ""
    assert [text for text in volume["degraded"] if "'node-1/disk-2' is out of sync" in text]
    status = server.try_cli("status")
    assert status.returncode == 1
    assert "volume 'db': degraded: disk 'node-1/disk-2' is out of sync in" in status.stdout
    verify(server, state)
    load(server, state, seconds=2)()
    server.kill()

    server = start()
    done = server.try_cli("volume", "wait", "db", "--timeout", 60)
    assert done.returncode == 0, done.stderr
    assert out_of_sync(server.volume("db")) == set()
    verify(server, state)
    assert server.cli("volume", "verify", "db")["good"]
    server.stop()


def test_too_few_are_left(start):
    """With fewer replicas in sync than wanted, writes wait, and that is said; reads go on."""
    server = start({2: "error,writes,skip=400", 3: "error,writes,skip=900"})
    volume = create(server)
    admin, cntlid = nvme.open_admin(server.address, volume["nqn"])
    queue = nvme.open_io(admin, server.address, volume["nqn"], cntlid)
    written = 0
    while True:
        sqe = nvme.command(nvme.OP_WRITE, queue.next_cid(), 1, nvme.sgl(nvme.SGL_IN_CAPSULE, BLOCK),
                           struct.pack("<QHH", written, 0, 0))
        queue.send_command(sqe, written.to_bytes(2, "little") * (BLOCK // 2))
        if not select.select([queue.socket], [], [], 5)[0]:
            break
        assert queue.receive_response()[0].status == 0
        written += 1
        assert written < 10000
    assert written > 10
    assert out_of_sync(server.volume("db")) == {"node-1/disk-2"}
    server.wait_for("db", lambda v: "node-1/disk-3" in v["writes_wait"])
    status = server.try_cli("status")
    assert "volume 'db': writes wait: for disk 'node-1/disk-3'" in status.stdout
    other = nvme.open_io(admin, server.address, volume["nqn"], cntlid, qid=2)
    for lba in range(0, written, 7):
        response, data = other.rw(nvme.OP_READ, lba, 1)
        assert (response.status, data) == (0, lba.to_bytes(2, "little") * (BLOCK // 2))
    for connection in (other, queue, admin):
        connection.close()
    server.kill()

    server = start()
    wait_until_ready(server)
    admin, cntlid = nvme.open_admin(server.address, volume["nqn"])
    queue = nvme.open_io(admin, server.address, volume["nqn"], cntlid)
    for lba in range(written):
        response, data = queue.rw(nvme.OP_READ, lba, 1)
        assert (response.status, data) == (0, lba.to_bytes(2, "little") * (BLOCK // 2))
    for connection in (queue, admin):
        connection.close()
    server.stop()


def test_a_volume_that_reaches_too_few_disks_waits_for_them(start, tmp_path):
    """No epoch is taken meanwhile, and no disk is set out of sync."""
    server = start()
    create(server)
    state = tmp_path / "state"
    load(server, state, seconds=2)()
    server.kill()
    server = start(paths=[tmp_path / "d2"])
    server.wait_for("db", lambda v: "is missing" in v["reason"])
    volume = server.volume("db")
    assert "of 3 replicas in sync 1 can be reached, and 2 must" in volume["reason"]
    assert out_of_sync(volume) == set()
    server.kill()
    server = start()
    wait_until_ready(server)
    assert out_of_sync(server.volume("db")) == set()
    verify(server, state)
    server.stop()


def test_it_grows_under_load(start, tmp_path):
    """Onto copysets that it did not have, over the connection that the host has."""
    server = start()
    create(server, "--stripe-unit", "4K", size="66M", replicas="2")
    state = tmp_path / "state"
    before = len(server.volume("db")["copysets"])
    join = load(server, state, seconds=5)
    for size in ("100M", "200M", "350M"):
        server.cli("volume", "resize", "db", "--size", size)
    join()
    volume = server.volume("db")
    assert len(volume["copysets"]) > before
    assert "epoch 2" not in server.log()
    assert volume["served_bytes"] == 350 * MIB
    assert sum(copyset["shards"] for copyset in volume["copysets"]) == volume["shards"]
    verify(server, state)
    server.kill()
    server.start(healthy=False)
    wait_until_ready(server)
    verify(server, state)
    server.stop()


def test_a_disk_that_hangs_is_done_without(start, tmp_path):
    """From some I/O on it answers nothing: hosts go on without an error, and the process ends when
    it is told to.  Afterwards it has what the others have."""
    server = start({2: "delay,us=3600000000,skip=600"})
    create(server, "--min-in-sync", "1")
    state = tmp_path / "state"
    load(server, state, seconds=8)()
    assert out_of_sync(server.volume("db")) == {"node-1/disk-2"}
    assert "'node-1/disk-2' is out of sync: it does not answer" in server.log()
    load(server, state, seconds=2)()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(45) == 1
    assert "disk 'node-1/disk-2'" in server.log() and "does not answer: it is left" in server.log()

    server = start()
    wait_until_ready(server)
    server.wait_for("db", lambda volume: not out_of_sync(volume))
    verify(server, state)
    server.stop()
