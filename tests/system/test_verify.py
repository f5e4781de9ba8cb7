# SPDX-License-Identifier: Apache-2.0
"""`trilith volume verify`: every block of every replica is read from its disk, while hosts write;
what rots behind the process's back is found, with its address and its disk."""

import hashlib
import os
import signal
import subprocess
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

    def run(fault=None):
        disks = [f"fault:{fault}:{path}" if fault and path == paths[0] else path for path in paths]
        (tmp_path / "data" / "node-1" / "disks").unlink(missing_ok=True)
        options = [option for disk in disks for option in ("--disk", disk)]
        servers.append(trilith.Server(tmp_path / "data", *options))
        return servers[-1].start(healthy=False), paths

    yield run
    for server in servers:
        if server.running():
            server.kill()


def pattern(number):
    return b"<%020d>" % number * (BLOCK // 22) + b" " * (BLOCK % 22)


def write_blocks(server, blocks):
    """Blocks by their numbers, which are what is in them."""
    nqn = server.volume("db")["nqn"]
    admin, cntlid = nvme.open_admin(server.address, nqn)
    queue = nvme.open_io(admin, server.address, nqn, cntlid)
    for number in blocks:
        assert queue.rw(nvme.OP_WRITE, number, 1, data=pattern(number))[0].status == 0
    queue.close()
    admin.close()


def expected_digest(blocks, bytes_):
    content = bytearray(bytes_)
    for number in blocks:
        content[number * BLOCK:(number + 1) * BLOCK] = pattern(number)
    return hashlib.sha256(content).hexdigest()


def rot(path, number):
    """One bit of a block, in the disk's file."""
    content = path.read_bytes()
    at = content.index(pattern(number))
    assert content.find(pattern(number), at + BLOCK) == -1
    with open(path, "r+b") as file:
        file.seek(at + 100)
        file.write(bytes([content[at + 100] ^ 4]))


def verify(server, *options):
    """The result, and the exit status."""
    done = server.try_cli("volume", "verify", "db", "-o", "json", *options)
    return trilith.json.loads(done.stdout) if done.stdout else None, done


def test_digests_are_those_of_the_content(start):
    """Of one replica and of three, what nobody wrote being zeros; and after a restart."""
    server, _ = start()
    blocks = [0, 1, 63, 64, 1000, 5000, 5001, 12287]
    digests = set()
    for replicas in ("1", "3"):
        server.create("db", "48M", "--replicas", replicas, "--allow-degraded", "--stripe-unit",
                      "64K")
        write_blocks(server, blocks)
        found, done = verify(server)
        assert done.returncode == 0, done.stderr
        assert (found["state"], found["good"], found["done_bytes"]) == ("ended", True, 48 * MIB)
        assert len(found["replicas"]) == int(replicas)
        digests |= {replica["sha256"] for replica in found["replicas"]}
        if replicas == "1":
            server.delete("db")
    assert digests == {expected_digest(blocks, 48 * MIB)}
    server.kill()
    server.start(healthy=False)
    server.wait_for("db", lambda volume: volume["state"] == "ready")
    found, done = verify(server)
    assert done.returncode == 0, done.stderr
    assert {replica["sha256"] for replica in found["replicas"]} == digests
    done = server.try_cli("volume", "verify", "db")
    assert "all replicas were read, and are equal" in done.stdout
    assert done.stdout.count(digests.pop()) == 3
    server.stop()


def test_what_has_rotted_is_found_and_not_mended(start):
    server, paths = start()
    server.create("db", "48M", "--replicas", "3", "--allow-degraded")
    write_blocks(server, range(200))
    rot(paths[1], 7)
    rot(paths[1], 8)
    rot(paths[2], 150)
    for _ in range(2):
        found, done = verify(server)
        assert done.returncode == 1
        assert "volume 'db': its replicas are not all whole and equal" in done.stderr
        where = {(finding["offset"], finding["bytes"], finding["disk"], finding["problem"])
                 for finding in found["findings"]}
        assert where == {(7 * BLOCK, 2 * BLOCK, "node-1/disk-2", "bad"),
                         (150 * BLOCK, BLOCK, "node-1/disk-3", "bad")}
        bad = {finding["replica"]: finding["bytes"] // BLOCK for finding in found["findings"]}
        for replica in found["replicas"]:
            assert replica["bad_blocks"] == bad.get(replica["replica"], 0)
            assert replica["whole"] == (replica["replica"] not in bad)
            assert (replica["sha256"] == "") == (replica["replica"] in bad)
            assert replica["differing_blocks"] == replica["unread_bytes"] == 0
    table = server.try_cli("volume", "verify", "db")
    assert table.returncode == 1
    assert any(line.split()[:5] == ["28672", "8192", str(found["findings"][0]["replica"]),
                                    "node-1/disk-2", "bad"]
               for line in table.stdout.splitlines()), table.stdout
    server.stop(unproven={"db": "bits of two of its replicas were flipped, and nobody mends them"})


@pytest.mark.parametrize("replicas", [1, 3])
def test_what_nobody_can_read_is_told_until_it_is_written(start, replicas):
    server, paths = start()
    server.create("db", "48M", "--replicas", str(replicas), "--allow-degraded")
    write_blocks(server, range(200))
    for path in paths:
        if replicas == 3 or pattern(7) in path.read_bytes():
            rot(path, 7)
    nqn = server.volume("db")["nqn"]
    admin, cntlid = nvme.open_admin(server.address, nqn)
    queue = nvme.open_io(admin, server.address, nqn, cntlid)
    assert server.volume("db").get("unreadable", []) == []
    for number in range(200):
        status = queue.rw(nvme.OP_READ, number, 1)[0].status
        assert status == (0x281 if number == 7 else 0), (number, hex(status))
    server.wait_for("db", lambda volume: volume.get("unreadable"))
    found = server.volume("db")["unreadable"]
    assert found == [{"offset": 7 * BLOCK, "bytes": BLOCK}]
    shown = server.try_cli("volume", "show", "db").stdout
    assert f"{BLOCK} bytes at {7 * BLOCK}" in shown
    assert f"bytes at {7 * BLOCK}" in server.try_cli("status").stdout
    write_blocks(server, [7])
    server.wait_for("db", lambda volume: not volume.get("unreadable"))
    answer, data = queue.rw(nvme.OP_READ, 7, 1)
    assert (answer.status, data) == (0, pattern(7))
    queue.close()
    admin.close()
    server.stop()


def test_hosts_write_meanwhile(start, tmp_path):
    """Digests are equal, each time others, and the host notices nothing."""
    server, _ = start()
    server.create("db", "48M", "--replicas", "3", "--allow-degraded")
    state = tmp_path / "state"
    load = subprocess.Popen(
        [trilith.PROGRAM, "perf", "--to", f"127.0.0.1:{server.port}", "--volume", "db", "--rw",
         "randrw", "--depth", "16", "--time", "6", "--verify", "--verify-state", state],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=trilith.ENVIRONMENT)
    digests = []
    while load.poll() is None or not digests:
        found, done = verify(server, "--rate", "64M")
        assert done.returncode == 0, (found, done.stderr)
        digests.append(found["replicas"][0]["sha256"])
        assert {replica["sha256"] for replica in found["replicas"]} == {digests[-1]}
    assert load.returncode == 0, load.stdout.read()
    assert len(set(digests)) > 1
    server.stop()


def test_a_replica_out_of_sync_is_named(start):
    server, _ = start()
    server.create("db", "48M", "--replicas", "3", "--allow-degraded")
    write_blocks(server, range(100))
    server.stop()
    server, _ = start("error,writes,skip=200")
    server.wait_for("db", lambda volume: volume["state"] == "ready")
    write_blocks(server, range(100, 200))
    found, done = verify(server)
    assert done.returncode == 1
    assert {finding["disk"] for finding in found["findings"]} == {"node-1/disk-1"}
    assert {finding["problem"] for finding in found["findings"]} <= {"out_of_sync", "unread"}
    whole = {replica["sha256"] for replica in found["replicas"] if replica["whole"]}
    assert len(whole) == 1
    server.kill()
    server, _ = start()
    server.stop()


def test_interrupted_and_refused(start):
    server, _ = start()
    server.create("db", "48M")
    write_blocks(server, range(0, 12288, 64))
    command = [trilith.PROGRAM, "volume", "verify", "db", "--rate", "1M", "--api",
               f"127.0.0.1:{server.api_port}"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=trilith.ENVIRONMENT)
    deadline = time.monotonic() + 30
    while "verification begins" not in server.log():
        assert time.monotonic() < deadline, server.log()
        time.sleep(0.05)
    _, done = verify(server)
    assert (done.returncode, "being verified already" in done.stderr) == (1, True), done.stderr
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=30)
    assert (running.returncode, "was interrupted" in told) == (1, True), told
    found, done = verify(server)  # At once: the node has let go of the other one.
    assert done.returncode == 0, done.stderr
    assert found["good"]
    done = server.try_cli("volume", "verify", "nobody")
    assert (done.returncode, "there is none of this name" in done.stderr) == (1, True), done.stderr
    server.stop()
