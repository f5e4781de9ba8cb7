# SPDX-License-Identifier: Apache-2.0
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import nvmetcp
import trilith


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """`trilith up` on two small disks."""
    data = tmp_path_factory.mktemp("up") / "data"
    running = trilith.Server(data, "--disks", "2", "--disk-size", "1G").start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def volume(server):
    return server.create("wire", "64M")


class Bystander:
    """A host that has nothing to do with what a test does to the server."""

    def __init__(self, server, volume):
        self.admin, cntlid = nvmetcp.open_admin(server.address, volume["nqn"])
        self.queue = nvmetcp.open_io(self.admin, server.address, volume["nqn"], cntlid)
        self.turn = 0

    def works(self):
        """Writes something new, and reads it back."""
        self.turn += 1
        block = bytes([self.turn % 256]) * 4096
        written, _ = self.queue.rw(nvmetcp.OP_WRITE, 1000, 1, data=block)
        read, data = self.queue.rw(nvmetcp.OP_READ, 1000, 1)
        assert (written.status, read.status) == (0, 0)
        assert data == block
        assert self.admin.identify(1)[0].status == 0

    def close(self):
        self.queue.close()
        self.admin.close()


@pytest.fixture(scope="module")
def lasting_bystander(server, volume):
    host = Bystander(server, volume)
    yield host
    host.close()


@pytest.fixture
def bystander(lasting_bystander):
    """Works before and after every test that names it, over the same two connections."""
    lasting_bystander.works()
    yield lasting_bystander
    lasting_bystander.works()
