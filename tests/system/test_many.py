# SPDX-License-Identifier: Apache-2.0
"""A node that dies under many volumes: all of them are served on after the pause of one, and who is
out of sync is recorded for all in a few transactions (docs/replication.md, 6.3)."""

import concurrent.futures
import os
import time

import nvmetcp as nvme
import pytest
import trilith
from test_links import HANG_US, kill, running, start

VOLUMES = int(os.environ.get("TRILITH_MANY_VOLUMES", "200"))
PER_COMMIT = 128  # At most.
PROVED = 3
BLOCK = 4096


@pytest.fixture
def server(tmp_path):
    yield from running(tmp_path / "data")


class Host:
    """Of one volume."""

    def __init__(self, volume):
        address = volume["targets"][0]["address"], volume["targets"][0]["port"]
        self.admin, cntlid = nvme.open_admin(address, volume["nqn"])
        self.queue = nvme.open_io(self.admin, address, volume["nqn"], cntlid)

    def begin_write(self):
        self.queue.send_command(
            nvme.command(nvme.OP_WRITE, self.queue.next_cid(), 1,
                         nvme.sgl(nvme.SGL_IN_CAPSULE, BLOCK), bytes(12)), os.urandom(BLOCK))

    def end_write(self):
        assert self.queue.receive_response()[0].status == 0

    def close(self):
        self.queue.close()
        self.admin.close()


def counts(server):
    done = server.try_cli("status", "-o", "json")
    status = trilith.json.loads(done.stdout)
    return int(status["group_changes"]), int(status["group_commits"])


def test_a_node_dies_under_many_volumes(server):
    names = [f"db{number}" for number in range(VOLUMES)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: server.cli("volume", "create", name, "--size", "16M",
                                              "--replicas", 3), names))
    victim = "node-3"
    served = [volume for volume in server.cli("volume", "list")
              if volume["targets"][0]["node"] != victim]
    assert len(served) >= VOLUMES / 2
    hosts = [Host(volume) for volume in served]
    for host in hosts:
        host.begin_write()
        host.end_write()
    before = counts(server)
    begin = time.monotonic()
    kill(server, victim)
    for host in hosts:
        host.begin_write()
    for host in hosts:
        host.end_write()
    pause_s = time.monotonic() - begin
    changes, commits = (after - was for after, was in zip(counts(server), before))
    print(f"{len(served)} volumes: {changes} changes in {commits} transactions; all have written "
          f"{1000 * pause_s:.0f} ms after the node was killed")
    assert changes == len(served)
    # Of two nodes, each of which sends what came first, and then what came meanwhile.
    assert commits <= 2 * (changes / 2 / PER_COMMIT + 3), (changes, commits)
    assert pause_s * 1_000_000 <= HANG_US, pause_s
    for host in hosts:
        host.close()
    start(server, victim)
    reason = "to read all takes a minute; of those that the two nodes serve some are proved"
    server.stop(unproven=dict.fromkeys(names[PROVED:], reason))
