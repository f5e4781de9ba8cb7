# SPDX-License-Identifier: Apache-2.0
"""Rolling restarts, as for a new version: every node in turn, again and again, while a host writes
and verifies.  `make rolling` does so for half an hour, `make test` for a minute."""

import os
import threading
import time

import pytest
import trilith
from test_links import (NODES, create, running, start, verify, wait_for_nodes,
                        wait_until_in_sync)

SECONDS = int(os.environ.get("TRILITH_ROLLING_SECONDS", "60"))


@pytest.fixture
def server(tmp_path):
    yield from running(tmp_path / "data")


class Host(threading.Thread):
    """Writes and verifies for so long."""

    def __init__(self, server, state, seconds):
        super().__init__()
        self.server, self.state, self.seconds = server, state, seconds
        self.done = None
        self.start()

    def run(self):
        target = self.server.volume("db")["targets"][0]
        self.done = self.server.try_cli(
            "perf", "--to", f"{target['address']}:{target['port']}", "--volume", "db", "--rw",
            "randrw", "--depth", "4", "--time", self.seconds, "--flush-every", "40", "--verify",
            "--verify-state", self.state, "--reconnect", "60", limit_s=self.seconds + 120)

    def end(self):
        self.join()
        assert self.done.returncode == 0, self.done.stdout + self.done.stderr


def restart(server, node):
    done = trilith.cli("node", "stop", node, "--data", server.data)
    assert done.returncode == 0, done.stderr
    start(server, node)


def test_rolling_restarts(server, tmp_path):
    """Nothing that was acknowledged is lost, no command fails, and each replica has caught up
    before the next one goes."""
    target, stores = create(server, 3)
    state = tmp_path / "state"
    host = Host(server, state, SECONDS)
    end = time.monotonic() + SECONDS
    restarts = 0
    while time.monotonic() < end and host.is_alive():
        restart(server, [*stores, target][restarts % NODES])
        wait_for_nodes(server, NODES)
        wait_until_in_sync(server)
        restarts += 1
        print(f"{restarts} restarts", end="\r", flush=True)
    host.end()
    assert restarts >= NODES
    verify(server, state)
