# SPDX-License-Identifier: Apache-2.0
"""`trilith scrub`: disks are read in the background; what has rotted in their files behind the
process's back is found, and repaired by the engine of its volume, wherever that is."""

import os
import time

import nvmetcp as nvme
import pytest
import trilith

BLOCK = 4096
MIB = 1 << 20
DISK_BYTES = 256 * MIB


@pytest.fixture
def start(tmp_path):
    """A function that starts the server on three files; what still runs is killed."""
    servers = []
    paths = [tmp_path / f"d{number}" for number in range(1, 4)]
    for path in paths:
        with open(path, "wb") as file:
            os.truncate(file.fileno(), DISK_BYTES)

    def run():
        options = [option for path in paths for option in ("--disk", path)]
        servers.append(trilith.Server(tmp_path / "data", *options))
        return servers[-1].start(healthy=False), paths

    yield run
    for server in servers:
        if server.running():
            server.kill()


def pattern(number):
    return b"<%020d>" % number * (BLOCK // 22) + b" " * (BLOCK % 22)


def host(server, name):
    nqn = server.volume(name)["nqn"]
    target = server.volume(name)["targets"][0]
    address = target["address"], target["port"]
    admin, cntlid = nvme.open_admin(address, nqn)
    return admin, nvme.open_io(admin, address, nqn, cntlid)


def write_blocks(server, name, blocks):
    admin, queue = host(server, name)
    for number in blocks:
        assert queue.rw(nvme.OP_WRITE, number % 100000, 1, data=pattern(number))[0].status == 0
    queue.close()
    admin.close()


def rot(path, number):
    """One bit of a block, in the disk's file."""
    at = path.read_bytes().index(pattern(number))
    with open(path, "r+b") as file:
        file.seek(at + 100)
        byte = file.read(1)[0]
        file.seek(at + 100)
        file.write(bytes([byte ^ 4]))


def scrubs(server):
    """Of each disk, by its name; and the exit status."""
    done = server.try_cli("scrub", "status", "-o", "json")
    assert done.stdout, done.stderr
    return {scrub["disk"]: scrub for scrub in trilith.json.loads(done.stdout)}, done.returncode


def scrub_all(server, *options):
    """Starts it, and waits for the end; as scrubs()."""
    server.cli("scrub", "start", "--rate", "1G", *options)
    deadline = time.monotonic() + 60
    while True:
        found, status = scrubs(server)
        if all(scrub["state"] == "done" for scrub in found.values()):
            return found, status
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def counts(scrub):
    return scrub["found_blocks"], scrub["repaired_blocks"], scrub["lost_blocks"]


def test_what_has_rotted_is_repaired(start):
    """From another replica; of a volume of one replica it is told by volume and address."""
    server, paths = start()
    assert scrubs(server) == ({}, 0)
    server.create("db", "48M", "--replicas", "3", "--allow-degraded")
    server.create("one", "64M", "--stripe-width", "1")
    write_blocks(server, "db", range(200))
    write_blocks(server, "one", [100007, 100008, 100020])
    found, status = scrub_all(server)
    assert status == 0
    assert {counts(scrub) for scrub in found.values()} == {(0, 0, 0)}
    assert all(scrub["done_bytes"] == scrub["all_bytes"] > 0 for scrub in found.values())
    for number in (3, 4, 50):
        rot(paths[1], number)
    rot(paths[2], 3)  # Another replica has it yet.
    single = server.volume("one")["disks"][0]
    for number in (100007, 100008):
        rot(paths[int(single[-1]) - 1], number)

    found, status = scrub_all(server)
    assert status == 1
    lost = 2
    expected = {f"node-1/disk-{k}": [0, 0, 0] for k in (1, 2, 3)}
    for disk, bad in (("node-1/disk-2", 3), ("node-1/disk-3", 1)):
        expected[disk][0] += bad
        expected[disk][1] += bad
    expected[single][0] += lost
    expected[single][2] += lost
    assert {disk: list(counts(scrub)) for disk, scrub in found.items()} == expected
    finding = found[single]["findings"][0]
    assert (finding["volume"], finding["offset"], finding["bytes"]) == ("one", 7 * BLOCK, 2 * BLOCK)
    assert finding["reason"] == "the volume has no other replica"
    table = server.try_cli("scrub", "status").stdout
    assert any(line.split()[:4] == [single, "one", str(7 * BLOCK), str(2 * BLOCK)]
               for line in table.splitlines()), table
    shown = server.try_cli("disk", "show", single).stdout
    assert [line.split()[-1] for line in shown.splitlines() if line.startswith("not repaired")] \
        == ["2"]

    assert server.try_cli("volume", "verify", "db").returncode == 0
    assert server.try_cli("volume", "verify", "one").returncode == 1
    write_blocks(server, "one", [100007, 100008])
    found, status = scrub_all(server)
    assert status == 0
    assert {counts(scrub) for scrub in found.values()} == {(0, 0, 0)}
    server.stop()


def test_it_goes_on_after_a_restart(start):
    """Slowly, and it can be stopped; a disk that is scrubbed is left as it is."""
    server, _ = start()
    server.create("db", "64M", "--stripe-width", "1")
    write_blocks(server, "db", range(0, 4000, 2))
    disk = server.volume("db")["disks"][0]
    assert server.cli("scrub", "start", disk, "--rate", "1M")["begun"] == 1
    assert server.cli("scrub", "start", disk)["begun"] == 0
    deadline = time.monotonic() + 60
    while scrubs(server)[0][disk]["done_bytes"] < 2 * MIB:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    server.stop()
    server.start(healthy=False)
    server.wait_for("db", lambda volume: volume["state"] == "ready")
    scrub = scrubs(server)[0][disk]
    assert scrub["state"] == "running"
    assert scrub["done_bytes"] >= 2 * MIB
    assert server.cli("scrub", "stop", disk)["stopped"] == 1
    assert scrubs(server)[0][disk]["state"] == "stopped"
    done = server.try_cli("scrub", "start", "node-1/disk-9")
    assert (done.returncode, "there is none of this name" in done.stderr) == (1, True), done.stderr
    server.stop()


def test_the_engine_of_another_node_repairs(tmp_path):
    """Rot on every node's disk; the volume is served by one of them, or scrubbed when nobody
    does."""
    server = trilith.Server(tmp_path / "data", "--nodes", "3", "--disks", "1", "--disk-size",
                            "256M")
    try:
        server.start(healthy=False)
        deadline = time.monotonic() + 60
        while len(server.cli("disk", "list")) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        server.create("db", "64M", "--replicas", "3", "--stripe-width", "1")
        write_blocks(server, "db", range(100))
        for node in (1, 2, 3):
            rot(tmp_path / "data" / f"node-{node}" / "disk-1", 10 * node)
        found, status = scrub_all(server)
        assert status == 0, found
        assert {counts(scrub) for scrub in found.values()} == {(1, 1, 0)}
        assert server.try_cli("volume", "verify", "db").returncode == 0
    finally:
        server.stop()
