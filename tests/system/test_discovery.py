# SPDX-License-Identifier: Apache-2.0
"""A host that stays connected to the discovery service, as `nvme connect-all --persistent` leaves
one: it hears of volumes as they come and go, and of none that it may not see."""

import struct

import nvmetcp
import pytest
import trilith

AEN_DISCOVERY_CHANGED = 1 << 31
# Asynchronous event: notice, discovery log changed, page 70h.
EVENT = 0x70 << 16 | 0xF0 << 8 | 0x02
HEADER_BYTES = RECORD_BYTES = 1024
SUBTYPE_NVM = 2


@pytest.fixture
def server(tmp_path):
    with trilith.Server(tmp_path / "data", "--disks", "1", "--disk-size", "1G") as running:
        yield running


class Watcher:
    def __init__(self, server):
        self.admin, _ = nvmetcp.open_admin(server.address, nvmetcp.DISCOVERY_NQN, kato_ms=30000)
        config = struct.pack("<II", nvmetcp.FEATURE_ASYNC_EVENT, AEN_DISCOVERY_CHANGED)
        assert self.admin.admin(nvmetcp.OP_SET_FEATURES, cdw10=config)[0].status == 0
        self.ask()

    def ask(self):
        """Leaves a request for the next event with the target."""
        self.admin.send_command(nvmetcp.command(nvmetcp.OP_ASYNC_EVENT, self.admin.next_cid()))

    def event(self):
        return self.admin.receive_response()[0].result

    def volumes(self):
        """The NQNs in the log, which is read as Linux does: until two GENCTRs around it agree."""
        while True:
            genctr, count = struct.unpack_from("<QQ", self.read(0, HEADER_BYTES))
            records = self.read(HEADER_BYTES, count * RECORD_BYTES)
            if struct.unpack_from("<Q", self.read(0, HEADER_BYTES))[0] == genctr:
                break
        found = [records[i:i + RECORD_BYTES] for i in range(0, len(records), RECORD_BYTES)]
        return [record[256:512].rstrip(b"\0").decode() for record in found
                if record[2] == SUBTYPE_NVM]

    def read(self, offset, bytes_):
        response, data = self.admin.log_page(0x70, bytes_, offset)
        assert response.status == 0
        return data


def test_volumes_are_announced_as_they_come_and_go(server):
    watcher = Watcher(server)
    for name in ("one", "two"):
        nqn = server.create(name, "64M")["nqn"]
        assert watcher.event() == EVENT
        assert nqn in watcher.volumes()
        watcher.ask()
    server.delete("one")
    assert watcher.event() == EVENT
    assert watcher.volumes() == [nqn]
    # What changes nothing in the log is no event: another size, and a volume for another host.
    watcher.ask()
    server.cli("volume", "resize", "two", "--size", "96M")
    server.create("other", "64M", "--allow-host", "nqn.2014-08.org.example:other")
    assert watcher.volumes() == [nqn]
    # And that no event has come is seen from the next one, which is of something else.
    third = server.create("three", "64M")["nqn"]
    assert watcher.event() == EVENT
    assert watcher.volumes() == [nqn, third]
    watcher.admin.close()


def test_what_is_advertised_can_be_connected_to(server):
    """What `nvme connect-all` does: reads the log, and connects to each record's address."""
    for name in ("one", "two", "three"):
        server.create(name, "64M")
    watcher = Watcher(server)
    nqns = watcher.volumes()
    assert len(nqns) == 3
    for nqn in nqns:
        admin, cntlid = nvmetcp.open_admin(server.address, nqn)
        queue = nvmetcp.open_io(admin, server.address, nqn, cntlid)
        assert queue.rw(nvmetcp.OP_READ, 0, 1)[0].status == 0
        queue.close()
        admin.close()
    watcher.admin.close()


def test_the_service_answers_anew_after_a_crash(server):
    """A persistent host reconnects, and hears of the volumes as they are served again."""
    nqn = server.create("one", "64M")["nqn"]
    Watcher(server).admin.close()
    server.kill()
    server.start()
    watcher = Watcher(server)
    if nqn not in watcher.volumes():
        assert watcher.event() == EVENT
        assert nqn in watcher.volumes()
    watcher.admin.close()
