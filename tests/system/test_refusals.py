# SPDX-License-Identifier: Apache-2.0
"""What stores refuse to engines of other nodes (docs/replication.md, 2.4) is counted by name, which
`trilith node show` tells, and logged, within limits."""

import struct
import time
import uuid

import nvmetcp as nvme
import pytest
from test_links import create, running

OPEN, CONFIRM = 0x81, 0x90
BAD_CRC, FOREIGN, STALE_SESSION = 0x706, 0x707, 0x702


@pytest.fixture
def server(tmp_path):
    yield from running(tmp_path / "data")


def refusals(server, node):
    return {entry["status"]: int(entry["count"])
            for entry in server.cli("node", "show", node)["refusals"]}


def wait_for_refusals(server, node, expected):
    """Until it has refused so often for these reasons; nodes report every few seconds."""
    deadline = time.monotonic() + 30
    while (found := refusals(server, node)) != expected:
        assert time.monotonic() < deadline, (found, expected, server.log()[-4000:])
        time.sleep(0.2)
    shown = server.try_cli("node", "show", node).stdout
    for status, count in expected.items():
        assert f"{status} {count}" in shown, shown


def logged(server, text):
    return [line for line in server.log().splitlines() if "an engine of node" in line
            and line.endswith(text)]


def entry(opcode, cid, data, crc_xor=0):
    """A command of epoch 1 and session 1 (2.3)."""
    head = struct.pack("<BBHIIIQ", opcode, 0x40, cid, 1 if opcode != OPEN else 0, 0, 0, 1)
    tail = struct.pack("<IHHQI", 0, 0, 0, 0, 1)
    crc = nvme.crc32c(head[:1] + head[4:] + tail) ^ crc_xor
    return head + nvme.sgl(nvme.SGL_IN_CAPSULE, len(data)) + tail + struct.pack("<I", crc)


def open_data(cluster, disk):
    """OPEN's, without sets (2.5)."""
    volume = struct.pack("<16s64sQQIIIBBHI12x", uuid.uuid4().bytes, b"db", 1 << 26, 1 << 26, 4096,
                         1 << 16, 1, 3, 2, 0, 0)
    rest = struct.pack("<HBxI4x16s16sQQII", 1, OPEN, 0, cluster.bytes, disk.bytes, 1, 0, 0, 0) + \
        volume
    return struct.pack("<I", nvme.crc32c(rest)) + rest


def test_an_engine_that_says_what_cannot_be(server):
    """Of another cluster, of no session, or with a wrong bit."""
    nodes = {node["name"]: node for node in server.cli("node", "list")}
    disk = next(disk for disk in server.cli("disk", "list") if disk["name"] == "node-1/disk-1")
    store = f"nqn.2026-01.io.trilith:store:{nodes['node-1']['uuid']}"
    engine = f"nqn.2026-01.io.trilith:node:{nodes['node-2']['uuid']}"
    address = nodes["node-1"]["address"], nodes["node-1"]["port"]
    admin, cntlid = nvme.open_admin(address, store, host_nqn=engine)
    queue = nvme.open_io(admin, address, store, cntlid)

    def status_of(opcode, data=b"", crc_xor=0):
        return queue.complete(entry(opcode, queue.next_cid(), data, crc_xor), data)[0].status

    elsewhere = open_data(uuid.uuid4(), uuid.UUID(disk["uuid"]))
    assert [status_of(OPEN, elsewhere) for _ in range(3)] == [FOREIGN] * 3
    assert [status_of(CONFIRM) for _ in range(2)] == [STALE_SESSION] * 2
    assert status_of(CONFIRM, crc_xor=1) == BAD_CRC
    queue.close()
    admin.close()
    wait_for_refusals(server, "node-1", {"FOREIGN": 3, "STALE_SESSION": 2, "BAD_DIGEST": 1})
    for text, count in ((": belongs to something else", 3), (": stale session", 2),
                        (": digest mismatch", 1)):
        lines = logged(server, text)
        assert len(lines) == count and all(nodes["node-2"]["uuid"] in line for line in lines)
    for other in ("node-2", "node-3"):
        assert refusals(server, other) == {}


def test_shards_that_nobody_has_written(server):
    """Whoever verifies asks for each of their blocks: all are counted, and few are logged."""
    _, stores = create(server, 3)
    begin = time.monotonic()
    server.prove_equal("db")
    wait_for_refusals(server, stores[0], {"UNKNOWN_SHARD": 48 * 16})
    # Two at once, and then one in five seconds, at each of two stores.
    most = 2 * (2 + 1 + (time.monotonic() - begin) // 5)
    assert 2 <= len(logged(server, ": unknown shard")) <= most
    assert "there are too many" not in server.log()
