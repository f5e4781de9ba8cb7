# SPDX-License-Identifier: Apache-2.0
"""A replica whose disk is gone for good is made anew on another disk, while hosts use the volume;
what was acknowledged is there whatever else happens, and no placement differs from its record."""

import os
import threading
import time

import nvmetcp as nvme
import pytest
import trilith
from test_links import kill, out_of_sync, perf, pid_of, start, verify_writes
from test_scrub import counts, host, pattern, rot, scrubs, write_blocks

DISKS = 5
BLOCKS = 200  # That the tests' own initiator writes.


def load(server, state, seconds, *options):
    """Starts verified reads and writes; join() ends when all of them were right."""
    results = []
    worker = threading.Thread(target=lambda: results.append(
        perf(server, "--rw", "randrw", "--depth", "8", "--time", seconds, "--flush-every", "40",
             "--verify", "--verify-state", state, *options)))
    worker.start()

    def join():
        worker.join()
        assert results, server.log()[-4000:]
    return join


def verify_replicas(server, state):
    """What hosts read; and all replicas are whole and equal, when nobody is out of sync."""
    verify_writes(server, state)
    wait_until_equal(server)


def wait_until_equal(server):
    deadline = time.monotonic() + 60
    while True:
        done = server.try_cli("volume", "verify", "db")
        if done.returncode == 0:
            return
        assert out_of_sync(server.volume("db")) or "out_of_sync" in done.stdout, \
            done.stdout + done.stderr
        assert time.monotonic() < deadline, done.stdout + done.stderr
        time.sleep(1)


def disks(volume):
    return {replica["disk"] for copyset in volume["copysets"] for replica in copyset["replicas"]}


def check_places(volume):
    """Each shard lies where the record of its copyset says."""
    for place in volume["places"]:
        copyset = volume["copysets"][place["copyset"]]
        assert place["disks"] == [replica["disk"] for replica in copyset["replicas"]]


def wait_until_rebuilt(server, without):
    """All in sync, and nothing of it on this disk."""
    server.wait_for("db", lambda v: v["state"] == "ready" and not out_of_sync(v)
                    and without not in disks(v), timeout_s=90)


def wait_until_empty(server, name):
    deadline = time.monotonic() + 60
    while True:
        disk = [disk for disk in server.cli("disk", "list") if disk["name"] == name][0]
        if disk["state"] == "ready" and disk["bytes"] - disk["free_bytes"] < 8 << 20:
            return
        assert time.monotonic() < deadline, (disk, server.log()[-3000:])
        time.sleep(0.3)


@pytest.fixture
def one_node(tmp_path):
    """A function that starts a node of five disks, the second perhaps with a fault."""
    servers = []
    paths = [tmp_path / f"d{number}" for number in range(1, DISKS + 1)]
    for path in paths:
        with open(path, "wb") as file:
            os.truncate(file.fileno(), 512 << 20)

    def run(fault=None, without=(), after="1s"):
        (tmp_path / "data" / "node-1" / "disks").unlink(missing_ok=True)
        options = []
        for number, path in enumerate(paths, 1):
            if number not in without:
                options += ["--disk", f"fault:{fault}:{path}" if fault and number == 2 else path]
        server = trilith.Server(tmp_path / "data", *options, "--rebuild-after", after)
        servers.append(server)
        return server.start(healthy=False)

    yield run
    for server in servers:
        if server.running():
            server.kill()


def test_a_disk_that_fails_under_load(one_node, tmp_path):
    """It is dead, and not waited for; two of the others take its place."""
    server = one_node("error,writes,skip=2500", after="10m")
    server.create("db", "320M", "--replicas", "3", "--allow-degraded")
    state = tmp_path / "state"
    join = load(server, state, 8)
    join()
    load(server, state, 4)()
    wait_until_rebuilt(server, "node-1/disk-2")
    check_places(server.volume("db"))
    verify_replicas(server, state)
    log = server.log()
    assert "disk 'node-1/disk-2' is to be rebuilt on disk 'node-1/disk-" in log
    assert "takes the place of disk 'node-1/disk-2'" in log
    assert log.count("serving nqn.") == 1  # One engine all the while.

    server.kill()
    server = one_node(without=(2,))
    wait_until_rebuilt(server, "node-1/disk-2")
    verify_replicas(server, state)
    load(server, state, 2)()
    server.cli("volume", "resize", "db", "--size", "512M")
    check_places(server.volume("db"))
    load(server, state, 2)()
    server.stop()

    server = one_node()  # The disk is back, and what it has of the volume is deleted.
    wait_until_empty(server, "node-1/disk-2")
    assert "node-1/disk-2" not in disks(server.volume("db"))
    verify_replicas(server, state)
    server.cli("disk", "remove", "node-1/disk-2")
    server.delete("db")
    server.stop()


def test_killed_while_it_is_rebuilt(one_node, tmp_path):
    """The engine dies again and again, before and after the record has the new disk."""
    server = one_node("error,writes,skip=1500", after="10m")
    server.create("db", "320M", "--replicas", "3", "--allow-degraded", "--min-in-sync", "1")
    state = tmp_path / "state"
    for pause in (0.0, 0.4, 0.8, 1.2):
        load(server, state, 2)()
        time.sleep(pause)
        server.kill()
        server = one_node("error,writes,skip=300", after="10m")
        server.wait_for("db", lambda v: v["state"] == "ready")
        verify_writes(server, state)
    load(server, state, 3)()
    wait_until_rebuilt(server, "node-1/disk-2")
    check_places(server.volume("db"))
    verify_replicas(server, state)
    server.kill()


def test_a_node_that_stays_away(tmp_path):
    """After --rebuild-after its replicas are made anew on a node that had none; when it returns,
    it is none of the volume's any more."""
    port = trilith.free_ports(4)
    server = trilith.Server(tmp_path / "data", "--nodes", 4, "--disks", 1, "--disk-size", "256M",
                            "--reactors", 1, "--rebuild-after", "4s", port=port)
    server.start()
    try:
        volume = server.create("db", "48M", "--replicas", "3")
        target = volume["targets"][0]["node"]
        away = sorted(out for out in {replica["node"] for copyset in volume["copysets"]
                                      for replica in copyset["replicas"]} if out != target)[0]
        state = tmp_path / "state"
        join = load(server, state, 4)
        time.sleep(1)
        kill(server, away)
        join()
        assert out_of_sync(server.volume("db")) == {away}
        join = load(server, state, 25)
        wait_until_rebuilt(server, f"{away}/disk-1")
        join()
        check_places(server.volume("db"))
        verify_replicas(server, state)
        start(server, away)
        wait_until_empty(server, f"{away}/disk-1")
        server.wait_for("db", lambda v: v["degraded"] == [])
        load(server, state, 2)()
        assert f"{away}/disk-1" not in disks(server.volume("db"))
        others = {replica["node"] for copyset in server.volume("db")["copysets"]
                  for replica in copyset["replicas"]} - {target}
        kill(server, *others)  # What the target has alone is not what counts: then all of it.
        start(server, *others)
        server.wait_for("db", lambda v: v["state"] == "ready" and not out_of_sync(v),
                        timeout_s=60)
        verify_replicas(server, state)
        assert pid_of(server, away)
    finally:
        server.stop()


def lose_the_server(server):
    """Writes, and kills the node that serves them; another one does, with all of it.  Returns the
    names of both."""
    gone = server.create("db", "48M", "--replicas", "3")["targets"][0]["node"]
    write_blocks(server, "db", range(BLOCKS))
    kill(server, gone)
    server.wait_for("db", lambda v: v["state"] == "offline")
    assert f"node '{gone}' does not report; another one serves it in " in \
        server.volume("db")["reason"]
    server.wait_for("db", lambda v: v["state"] == "ready", timeout_s=90)
    volume = server.volume("db")
    served = volume["targets"][0]["node"]
    assert served != gone
    assert served in {replica["node"] for replica in volume["copysets"][0]["replicas"]}
    check_blocks(server, BLOCKS)
    write_blocks(server, "db", range(BLOCKS, 2 * BLOCKS))
    return gone, served


def check_blocks(server, count):
    admin, queue = host(server, "db")
    for number in range(count):
        done, data = queue.rw(nvme.OP_READ, number, 1)
        assert (done.status, bytes(data)) == (0, pattern(number))
    queue.close()
    admin.close()


def check_served(server, served, gone):
    """By that one alone, with all that was written; the other one is back."""
    volume = server.volume("db")
    assert (volume["state"], volume["targets"][0]["node"]) == ("ready", served)
    nodes = {node["name"]: node for node in server.cli("node", "list")}
    assert nodes[gone]["connected"] and nodes[gone]["volumes"] == 0
    done = server.try_cli("perf", "--to", f"127.0.0.1:{nodes[gone]['port']}", "--volume", "db",
                          "--rw", "read", "--time", "1")
    assert done.returncode != 0
    assert server.log().count("' serves it now") == 1, server.log()[-4000:]
    assert f"volume 'db': node '{gone}' is gone: node '{served}' serves it now" in server.log()
    check_blocks(server, 2 * BLOCKS)
    write_blocks(server, "db", range(2 * BLOCKS, 3 * BLOCKS))
    check_blocks(server, 3 * BLOCKS)
    wait_until_equal(server)


def test_the_node_that_serves_stays_away(tmp_path):
    """After --rebuild-after another node serves the volume with all that was acknowledged, and what
    the lost one had is made anew on a fourth.  When it returns, it has nothing to do with it."""
    server = trilith.Server(tmp_path / "data", "--nodes", 4, "--disks", 1, "--disk-size", "256M",
                            "--reactors", 1, "--rebuild-after", "4s", port=trilith.free_ports(4))
    server.start()
    try:
        gone, served = lose_the_server(server)
        wait_until_rebuilt(server, f"{gone}/disk-1")
        check_places(server.volume("db"))
        wait_until_equal(server)
        start(server, gone)
        wait_until_empty(server, f"{gone}/disk-1")
        check_served(server, served, gone)
        assert f"{gone}/disk-1" not in disks(server.volume("db"))
    finally:
        server.stop()


def test_the_node_that_serves_stays_away_and_no_other_has_room(tmp_path):
    """The volume is served with two replicas, and what is bad on one is repaired from the other;
    when the lost node returns, its replica is brought up to date, and serves nothing."""
    server = trilith.Server(tmp_path / "data", "--nodes", 3, "--disks", 1, "--disk-size", "256M",
                            "--reactors", 1, "--rebuild-after", "4s", port=trilith.free_ports(3))
    server.start()
    try:
        gone, served = lose_the_server(server)
        server.wait_for("db", lambda v: any("cannot be rebuilt elsewhere" in reason
                                            for reason in v["degraded"]))
        assert out_of_sync(server.volume("db")) == {gone}
        other = ({"node-1", "node-2", "node-3"} - {served, gone}).pop()
        rot(server.data / other / "disk-1", 3)
        server.cli("scrub", "start", f"{other}/disk-1", "--rate", "1G")
        deadline = time.monotonic() + 60
        while (scrub := scrubs(server)[0][f"{other}/disk-1"])["state"] != "done":
            assert time.monotonic() < deadline, scrub
            time.sleep(0.1)
        assert counts(scrub) == (1, 1, 0)

        start(server, gone)
        server.wait_for("db", lambda v: v["degraded"] == [] and not out_of_sync(v), timeout_s=60)
        check_served(server, served, gone)
    finally:
        server.stop()


def test_a_node_without_which_writes_wait(tmp_path):
    """Both replicas must be in sync, and one node is gone for good: with fewer the writes that
    wait go on, the replica is made anew on a third node, and then both must be in sync again."""
    server = trilith.Server(tmp_path / "data", "--nodes", 3, "--disks", 1, "--disk-size", "256M",
                            "--reactors", 1, "--rebuild-after", "4s", port=trilith.free_ports(3))
    server.start()
    try:
        volume = server.create("db", "48M", "--replicas", "2", "--min-in-sync", "2")
        target = volume["targets"][0]["node"]
        gone = next(replica["node"] for replica in volume["copysets"][0]["replicas"]
                    if replica["node"] != target)
        state = tmp_path / "state"
        join = load(server, state, 30, "--reconnect", "30")
        time.sleep(1)
        kill(server, gone)
        server.wait_for("db", lambda v: f"'{gone}/disk-1'" in v["writes_wait"])
        assert "'trilith volume set --min-in-sync' goes" in server.volume("db")["writes_wait"]
        time.sleep(6)  # Nothing is rebuilt as long as it is a member.
        assert not out_of_sync(server.volume("db"))
        assert server.cli("volume", "set", "db", "--min-in-sync", "1")["min_in_sync"] == 1
        server.wait_for("db", lambda v: v["writes_wait"] == "" and out_of_sync(v))
        done = server.try_cli("volume", "set", "db", "--min-in-sync", "2")
        assert done.returncode == 1 and "fewer than 2 replicas are in sync now" in done.stderr
        wait_until_rebuilt(server, f"{gone}/disk-1")
        assert server.cli("volume", "set", "db", "--min-in-sync", "2")["min_in_sync"] == 2
        join()
        volume = server.volume("db")
        assert (volume["state"], volume["writes_wait"]) == ("ready", "")
        check_places(volume)
        verify_replicas(server, state)
    finally:
        server.stop()


def test_a_disk_that_is_failing(one_node, tmp_path):
    """More and more of it cannot be read: what it has is made elsewhere while it is a member, and
    nothing is ever out of sync, nor could be.  Then it is empty, and can be taken away."""
    server = one_node("error,reads,skip=400,count=200", after="10m")
    server.create("db", "320M", "--replicas", "3", "--allow-degraded", "--min-in-sync", "3")
    state = tmp_path / "state"
    deadline = time.monotonic() + 120
    while "node-1/disk-2" in disks(server.volume("db")):
        assert time.monotonic() < deadline, server.log()[-4000:]
        load(server, state, 3)()
    assert not out_of_sync(server.volume("db"))
    check_places(server.volume("db"))
    verify_replicas(server, state)
    log = server.log()
    assert "disk 'node-1/disk-2': failing, was " in log
    assert "the replica of disk 'node-1/disk-2' is being moved to disk 'node-1/disk-" in log
    assert "is out of sync" not in log
    assert log.count("serving nqn.") == 1  # One engine all the while.
    load(server, state, 2)()
    wait_until_empty(server, "node-1/disk-2")
    server.cli("disk", "remove", "node-1/disk-2")
    server.delete("db")
    server.stop()


def test_two_fail_and_one_returns(tmp_path):
    """Two of three must be in sync.  When a second node fails, writes wait, and go on as soon as
    the first one is back, which takes the place of the second."""
    server = trilith.Server(tmp_path / "data", "--nodes", 3, "--disks", 1, "--disk-size", "256M",
                            "--reactors", 1, "--rebuild-after", "off", port=trilith.free_ports(3))
    server.start()
    try:
        volume = server.create("db", "48M", "--replicas", "3")
        target = volume["targets"][0]["node"]
        first, second = sorted({"node-1", "node-2", "node-3"} - {target})
        state = tmp_path / "state"
        load(server, state, 1)()
        kill(server, first)
        join = load(server, state, 12)
        server.wait_for("db", lambda v: out_of_sync(v) == {first})
        kill(server, second)
        server.wait_for("db", lambda v: f"'{second}/disk-1'" in v["writes_wait"])
        assert out_of_sync(server.volume("db")) == {first}
        start(server, first)
        server.wait_for("db", lambda v: out_of_sync(v) == {second} and v["writes_wait"] == "")
        join()
        start(server, second)
        server.wait_for("db", lambda v: v["state"] == "ready" and not out_of_sync(v),
                        timeout_s=60)
        verify_replicas(server, state)
    finally:
        server.stop()
