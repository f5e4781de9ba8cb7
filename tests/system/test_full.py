# SPDX-License-Identifier: Apache-2.0
"""A full disk of a replicated volume refuses what needs space on it, and nothing else: it stays in
sync, what it refuses is taken back from the others, and the host is told."""

import os

import nvmetcp as nvme
import pytest
import trilith

BLOCK = 4096
MIB = 1 << 20
CAPACITY_EXCEEDED = 0x81
CELL_BLOCKS = 4  # The least that a disk gives to a first write.
DISK_BYTES = {"small": 32 * MIB, "d2": 256 * MIB, "d3": 256 * MIB}


@pytest.fixture
def server(tmp_path):
    """One on a small disk and two larger ones, with a volume that has a replica on each."""
    options = []
    for name, size in DISK_BYTES.items():
        with open(tmp_path / name, "wb") as file:
            os.truncate(file.fileno(), size)
        options += ["--disk", tmp_path / name]
    running = trilith.Server(tmp_path / "data", *options).start(healthy=False)
    running.create("db", "64M", "--replicas", "3", "--allow-degraded")
    yield running
    if running.running():
        running.kill()


def pattern(number):
    return b"<%020d>" % number * (BLOCK // 22) + b" " * (BLOCK % 22)


def status_value(answer):
    return answer[0].status & 0xFF


def verified(server):
    found = trilith.json.loads(server.try_cli("volume", "verify", "db", "-o", "json").stdout)
    assert found["good"], found
    return {replica["sha256"] for replica in found["replicas"]}


def test_one_full_disk_refuses_for_all(server):
    nqn = server.volume("db")["nqn"]
    admin, cntlid = nvme.open_admin(server.address, nqn)
    queue = nvme.open_io(admin, server.address, nqn, cntlid)

    def write(number, content):
        return status_value(queue.rw(nvme.OP_WRITE, number, 1, data=pattern(content)))

    def read(number):
        answer = queue.rw(nvme.OP_READ, number, 1)
        assert status_value(answer) == 0
        return bytes(answer[1])

    written = []
    for number in range(0, 64 * MIB // BLOCK, CELL_BLOCKS):
        status = write(number, number)
        if status != 0:
            break
        written.append(number)
    assert status == CAPACITY_EXCEEDED
    assert len(written) > 100
    refused = number
    assert read(refused) == bytes(BLOCK)
    assert len(verified(server)) == 1
    for number in written[::50]:
        assert write(number, number + 1) == 0
        assert read(number) == pattern(number + 1)
    for number in range(refused, refused + 40 * CELL_BLOCKS, CELL_BLOCKS):
        assert write(number, number) == CAPACITY_EXCEEDED
        assert read(number) == bytes(BLOCK)
    assert status_value(queue.complete(nvme.command(nvme.OP_FLUSH, queue.next_cid(), 1))) == 0
    shown = server.volume("db")
    assert shown["state"] == "ready"
    assert all(replica["in_sync"]
               for copyset in shown["copysets"] for replica in copyset["replicas"]), shown
    assert server.log().count("is full: writes that need space there are refused") == 1
    assert len(verified(server)) == 1
    # What is given back is there for others.
    zeros = nvme.command(nvme.OP_WRITE_ZEROES, queue.next_cid(), 1,
                         cdw10=written[0].to_bytes(8, "little") + (63).to_bytes(4, "little"))
    assert status_value(queue.complete(zeros)) == 0
    assert write(refused, refused) == 0
    assert read(refused) == pattern(refused)
    assert len(verified(server)) == 1
    queue.close()
    admin.close()
    server.stop()
