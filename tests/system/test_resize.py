# SPDX-License-Identifier: Apache-2.0
"""`trilith volume resize`: hosts see the new size over the connections that they have, and what
they wrote stays where it was, whatever happens to the server."""

import struct
import threading

import nvmetcp
import pytest
import trilith

BLOCK = 4096
MIB = 1 << 20
AEN_NS_CHANGED = 1 << 8
# Asynchronous event: notice, namespace attribute changed, Changed Namespace List.
EVENT_NS_CHANGED = 0x04 << 16 | 0x00 << 8 | 0x02


@pytest.fixture
def server(tmp_path):
    with trilith.Server(tmp_path / "data", "--disks", "2", "--disk-size", "1G") as running:
        yield running


class Host:
    """An association with one I/O queue that wants to hear of changes."""

    def __init__(self, server, volume):
        self.admin, cntlid = nvmetcp.open_admin(server.address, volume["nqn"])
        self.queue = nvmetcp.open_io(self.admin, server.address, volume["nqn"], cntlid)
        config = struct.pack("<II", nvmetcp.FEATURE_ASYNC_EVENT, AEN_NS_CHANGED)
        assert self.admin.admin(nvmetcp.OP_SET_FEATURES, cdw10=config)[0].status == 0

    def size(self):
        response, data = self.admin.identify(0, nsid=1)
        assert response.status == 0
        return struct.unpack_from("<Q", data, 0)[0] * BLOCK

    def wait_for_event(self):
        """Sends a request for an event, and returns what is answered to it."""
        sqe = nvmetcp.command(nvmetcp.OP_ASYNC_EVENT, self.admin.next_cid())
        self.admin.send_command(sqe)
        return self.admin.receive_response()[0].result

    def changed_namespaces(self):
        response, data = self.admin.log_page(0x04, 4096)
        assert response.status == 0
        return [nsid for nsid, in struct.iter_unpack("<I", data) if nsid != 0]

    def write(self, lba, data):
        return self.queue.rw(nvmetcp.OP_WRITE, lba, 1, data=data)[0].status

    def read(self, lba):
        response, data = self.queue.rw(nvmetcp.OP_READ, lba, 1)
        return data if response.status == 0 else response.status

    def close(self):
        self.queue.close()
        self.admin.close()


def perf(server, *args):
    return server.try_cli("perf", "--to", f"127.0.0.1:{server.port}", "--volume", "db", *args)


def pattern(lba, generation):
    return struct.pack("<QQ", lba, generation) * (BLOCK // 16)


def test_hosts_see_a_larger_volume_without_reconnecting(server):
    volume = server.create("db", "96M", "--stripe-unit", "4K")
    host = Host(server, volume)
    end = 96 * MIB // BLOCK
    blocks = [*range(16), end - 1]
    for lba in blocks:
        assert host.write(lba, pattern(lba, 1)) == 0
    assert host.read(end) == 0x080  # LBA Out of Range.
    resize = threading.Thread(target=server.cli, args=("volume", "resize", "db", "--size", "300M"))
    resize.start()
    assert host.wait_for_event() == EVENT_NS_CHANGED
    resize.join()
    assert host.changed_namespaces() == [1]
    assert host.changed_namespaces() == []
    assert host.size() == 300 * MIB
    for lba in blocks:
        assert host.read(lba) == pattern(lba, 1)
    new = 300 * MIB // BLOCK - 1
    assert host.read(end) == bytes(BLOCK)
    assert host.write(end, pattern(end, 1)) == 0
    assert host.write(new, pattern(new, 1)) == 0
    assert host.read(new) == pattern(new, 1)
    shown = server.volume("db")
    assert (shown["bytes"], shown["served_bytes"], shown["reason"]) == (300 * MIB, 300 * MIB, "")
    host.close()


def test_a_killed_server_comes_back_with_the_size_that_hosts_saw(server):
    volume = server.create("db", "64M", "--stripe-unit", "4K")
    size = 64
    written = {}
    for generation in range(4):
        size += 50 * (generation + 1)
        server.cli("volume", "resize", "db", "--size", f"{size}M")
        host = Host(server, volume)
        assert host.size() == size * MIB
        for lba in (generation, size * MIB // BLOCK - 1, size * MIB // BLOCK // 2):
            assert host.write(lba, pattern(lba, generation)) == 0
            written[lba] = pattern(lba, generation)
        host.close()
        server.kill()
        server.start()
        server.wait_for("db", lambda v: v["state"] == "ready")
        host = Host(server, volume)
        assert host.size() == size * MIB
        for lba, data in written.items():
            assert host.read(lba) == data
        host.close()
    server.stop()
    for disk in (1, 2):
        done = trilith.cli("disk", "check", server.data / "node-1" / f"disk-{disk}")
        assert done.returncode == 0, done.stdout + done.stderr
    server.start()


def test_data_is_right_while_the_volume_grows(server, tmp_path):
    """perf --verify writes over the whole of it, while it grows in twenty steps."""
    server.create("db", "128M", "--stripe-unit", "4K")
    stop = threading.Event()
    sizes = iter(range(132, 212, 4))

    def grow():
        for size in sizes:
            server.cli("volume", "resize", "db", "--size", f"{size}M")
            if stop.is_set():
                return

    growing = threading.Thread(target=grow)
    growing.start()
    state = tmp_path / "state"
    done = perf(server, "--rw", "randrw", "--depth", "16", "--time", "3", "--verify",
                "--verify-state", str(state))
    stop.set()
    growing.join()
    assert done.returncode == 0, done.stdout + done.stderr
    done = perf(server, "--rw", "read", "--verify", "--verify-state", str(state))
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_cannot_be_is_refused_with_what_to_do(server):
    server.create("db", "64M")
    for status, words, args in [
            (2, "--size is missing", ["db"]),
            (1, "cannot shrink: create one of 32M, and copy", ["db", "--size", "32M"]),
            (1, "'trilith volume list' shows all", ["none", "--size", "1G"]),
            (1, "at most 16384 of them", ["db", "--size", "900T"]),
            (2, "multiple", ["db", "--size", "70000001"])]:
        done = server.try_cli("volume", "resize", *args)
        assert (done.returncode, words in done.stderr) == (status, True), done.stderr
    assert server.volume("db")["bytes"] == 64 * MIB
    # The size that it has is no error, nor is one that the disks may not hold, which is said.
    assert server.try_cli("volume", "resize", "db", "--size", "64M").stderr == ""
    done = server.try_cli("volume", "resize", "db", "--size", "20G")
    assert (done.returncode, "overcommitted by" in done.stderr) == (0, True), done.stderr
    server.delete("db")  # Reading all of it would take long.
