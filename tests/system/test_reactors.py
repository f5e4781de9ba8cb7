# SPDX-License-Identifier: Apache-2.0
"""Two reactors and all that passes between them, under load.

"make test" runs it with AddressSanitizer; "make check" with ThreadSanitizer, for which it is meant:
a race that the sanitizer sees ends the server.
"""

import subprocess
import threading
import time

import hostile
import pytest
import trilith

REACTORS = 2
SECONDS = 4


@pytest.fixture
def server(tmp_path):
    """Two disks, of which each reactor has one, and a volume over both."""
    running = trilith.Server(tmp_path / "data", "--disk", "mem:512M", "--disk", "mem:512M",
                             "--reactors", REACTORS, "--log-level", "error").start()
    yield running
    if running.running():
        running.stop()


def perf(server, volume, *options, limit=("--time", str(SECONDS))):
    return subprocess.Popen(
        [str(trilith.PROGRAM), "perf", "--to", f"127.0.0.1:{server.port}", "--volume", volume,
         "--rw", "randrw", "--verify", *limit, *options],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=trilith.ENVIRONMENT)


class Churn:
    """Volumes and hosts that come and go, while the block runs."""

    def __init__(self, server):
        self.server = server
        self.ending = threading.Event()
        self.turns = 0
        self.failure = None
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            while not self.ending.is_set():
                self.turns += 1
                self.server.create("short", "32M")
                done = perf(self.server, "short", "--connections", "2", limit=("--bytes", "1M"))
                assert done.wait(60) == 0, done.stdout.read()
                self.server.delete("short")
        except Exception as error:
            self.failure = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.ending.set()
        self.thread.join()


def test_messages_between_reactors_under_load(server):
    """Commands that cross from a connection's reactor to a disk's, hosts and volumes that come and
    go, and hosts that are thrown out, all at a time; and a stop in the midst of it."""
    server.create("one", "128M", "--block-size", "512")
    server.create("two", "128M")
    attacked = server.create("attacked", "32M")
    hosts = [
        # A stripe unit is 256 KiB: the large ones are on both disks.
        perf(server, "one", "--connections", "4", "--depth", "8", "--block-size", "4K",
             "--flush-every", "32"),
        perf(server, "two", "--connections", "2", "--depth", "4", "--block-size", "512K"),
    ]
    with Churn(server) as churn, hostile.Attack(
            server.address, attacked["nqn"],
            [hostile.Unfinished, hostile.NoData, hostile.BadDigests, hostile.ConnectFlood]):
        for host in hosts:
            out, _ = host.communicate(timeout=120)
            assert host.returncode == 0, out
    assert churn.failure is None, f"{churn.failure}\n{server.log()[-4000:]}"
    assert churn.turns > 0
    server.prove_replicas()
    hosts = [perf(server, name, "--connections", "4") for name in ("one", "two")]
    time.sleep(1)
    server.stop(unproven=dict.fromkeys(server.volumes(), "it was, before this load"))
    for host in hosts:
        assert host.wait(60) == 1
