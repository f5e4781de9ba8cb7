# SPDX-License-Identifier: Apache-2.0
"""Three nodes on machines of their own (lan.py), a volume of three replicas, and a network that
breaks: no acknowledged write is lost, whoever cannot hear whom; replicas are equal afterwards."""

import os
import re
import signal
import subprocess
import time

import lan
import pytest
import trilith
from test_links import (HANG_US, PAUSE_US, create, kill, load, longest, out_of_sync, verify,
                        verify_writes, wait_for_nodes, wait_until_in_sync)

NODES = 3
PORT, API_PORT = 4420, 7420
# As a host waits that sees nothing of what goes on behind the node that it is connected to.
PATIENCE = ("--reconnect", "60")

pytestmark = pytest.mark.skipif(not lan.is_possible(), reason="needs root, for network namespaces")


class Cluster(trilith.Server):
    """The controller, which also hosts are beside, and node-N on machine N."""

    def __init__(self, data, *options):
        self.lan = lan.Lan(NODES)
        super().__init__(data, "--roles", "target", "--reactors", 1, *options, port=PORT + 1,
                         api_port=API_PORT, host=lan.address(lan.SWITCH),
                         inside=self.lan.switch.inside)
        self.nodes, self.proxies = {}, {}

    def run_node(self, number):
        name = f"store-{number}"
        # By itself a node is reached where it reaches the controller from.
        reached_at = ["--advertise", lan.address(number + lan.PROXY)] * (number in self.proxies)
        command = [*self.lan.at(number).inside, trilith.PROGRAM, "node", "run", "--name", name,
                   "--controller", self.api, "--data", self.data, "--port", PORT, "--disks", 1,
                   "--disk-size", "256M", "--reactors", 1, "--listen", "0.0.0.0", *reached_at]
        with open(self.log_path, "ab") as log:
            self.nodes[name] = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log,
                                                stdin=subprocess.DEVNULL, env=self.environment)

    def out(self):
        """Which nodes' replicas are not in sync."""
        return out_of_sync(self.volume("db"))

    def end(self):
        """In order; whoever is left is killed."""
        try:
            self.prove_replicas()
            for process in self.nodes.values():
                process.send_signal(signal.SIGTERM)
            statuses = [process.wait(trilith.STOP_LIMIT_S) for process in self.nodes.values()]
            self.stop(unproven=dict.fromkeys(self.volumes(), "no node is left that could read it"))
            assert set(statuses) == {0}, (statuses, self.log()[-4000:])
        finally:
            for process in self.nodes.values():
                process.kill()
            if self.running():
                self.kill()
            self.lan.close()


def running(data, *options, proxies=False):
    cluster = Cluster(data, *options)
    try:
        cluster.start(healthy=False)
        for number in range(1, NODES + 1):
            if proxies:
                cluster.proxies[number] = cluster.lan.proxy(number, PORT)
            cluster.run_node(number)
        wait_for_nodes(cluster, NODES)
        yield cluster
    finally:
        cluster.end()


@pytest.fixture
def cluster(tmp_path):
    yield from running(tmp_path / "data")


@pytest.fixture
def cluster_that_rebuilds(tmp_path):
    """What is away is given up within seconds."""
    yield from running(tmp_path / "data", "--rebuild-after", "3s")


@pytest.fixture
def cluster_behind_proxies(tmp_path):
    """Hosts and engines reach each node through a proxy of its own."""
    yield from running(tmp_path / "data", proxies=True)


def number_of(node):
    return int(node.rsplit("-", 1)[1])


def test_a_store_that_its_engine_cannot_reach(cluster, tmp_path):
    """It is given up after the timeout, whichever way is blocked and whatever it tells the
    controller; afterwards it catches up."""
    target, stores = create(cluster, 3)
    engine, store = number_of(target), number_of(stores[0])
    state = tmp_path / "state"
    for breaks, mends in [
            (lambda: cluster.lan.cut(engine, store), cluster.lan.heal),
            (lambda: cluster.lan.block(store, engine), cluster.lan.heal),
            (lambda: cluster.lan.block(engine, store), cluster.lan.heal),
            (lambda: cluster.lan.unplug(store), lambda: cluster.lan.plug(store))]:
        join = load(cluster, state, 3)
        time.sleep(0.5)
        breaks()
        pause = longest(join())
        assert 200_000 < pause <= HANG_US, pause
        cluster.wait_for("db", lambda v: out_of_sync(v) == {stores[0]})
        mends()
        wait_until_in_sync(cluster)
        verify(cluster, state)


def test_the_controller_cannot_be_reached(cluster, tmp_path):
    """Nobody notices, until a replica must be excluded: then writes wait, as no exclusion may
    count before it is recorded, and go on by themselves."""
    target, stores = create(cluster, 3)
    nodes = [number_of(node) for node in (target, *stores)]
    state = tmp_path / "state"
    load(cluster, state, 1)()
    join = load(cluster, state, 3, *PATIENCE)
    for node in nodes:
        cluster.lan.cut_from_port(node, API_PORT)
    assert longest(join()) <= PAUSE_US

    join = load(cluster, state, 6, *PATIENCE)
    time.sleep(1)
    kill(cluster, stores[0])
    time.sleep(3)
    cluster.lan.heal()
    assert longest(join()) >= 2_000_000
    cluster.wait_for("db", lambda v: out_of_sync(v) == {stores[0]})
    cluster.run_node(nodes[1])
    wait_until_in_sync(cluster)
    verify(cluster, state)


def test_who_serves_is_heard_by_others(cluster_that_rebuilds, tmp_path):
    """The controller does not hear from the node that serves, but from one with which that is
    connected: it is left to serve, however long that lasts.  When it is gone, another one
    serves."""
    cluster = cluster_that_rebuilds
    target, stores = create(cluster, 3)
    state = tmp_path / "state"
    load(cluster, state, 1)()
    join = load(cluster, state, 20)
    cluster.lan.cut_from_port(number_of(target), API_PORT)
    assert longest(join()) <= PAUSE_US
    reason = cluster.volume("db")["reason"]
    assert reason.startswith(f"node '{target}' does not report, but node '"), reason
    kill(cluster, target)
    cluster.wait_for("db", lambda v: v["targets"][0]["node"] in stores and v["state"] == "ready")
    verify_writes(cluster, state)
    cluster.lan.heal()
    cluster.run_node(number_of(target))
    wait_until_in_sync(cluster)
    verify(cluster, state)


def test_an_engine_alone(cluster, tmp_path):
    """It reaches its host and nobody else: nothing is acknowledged, and nothing is lost."""
    target, stores = create(cluster, 3)
    engine = number_of(target)
    state = tmp_path / "state"
    load(cluster, state, 1)()
    join = load(cluster, state, 6, *PATIENCE)
    time.sleep(1)
    cluster.lan.cut(engine, *(number_of(store) for store in stores))
    cluster.lan.cut_from_port(engine, API_PORT)
    time.sleep(3)
    cluster.lan.heal()
    assert longest(join()) >= 2_000_000
    wait_until_in_sync(cluster)
    verify(cluster, state)


def test_an_engine_that_is_replaced_unheard(cluster, tmp_path):
    """It reaches its host and the stores, but not the controller, which lets another one serve: the
    stores refuse what it sends, and count that; its host is not told that anything was written."""
    target, stores = create(cluster, 3)
    engine, state = number_of(target), tmp_path / "state"
    load(cluster, state, 1)()
    cluster.lan.cut_from_port(engine, API_PORT)
    old = cluster.volume("db")["targets"][0]
    host = subprocess.Popen(
        [*cluster.inside, trilith.PROGRAM, "perf", "--to", f"{old['address']}:{old['port']}",
         "--volume", "db", "--rw", "randwrite", "--time", "60", "--verify", "--verify-state",
         state],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=trilith.ENVIRONMENT)
    time.sleep(1)
    cluster.cli("volume", "set", "db", "--node", stores[0])
    cluster.wait_for("db", lambda v: v["state"] == "ready")
    said, _ = host.communicate(timeout=30)
    assert host.returncode == 1, said
    verify(cluster, state)
    cluster.lan.heal()
    deadline = time.monotonic() + 30
    while not any(refusal["status"] == "STALE_EPOCH" for store in stores
                  for refusal in cluster.cli("node", "show", store)["refusals"]):
        assert time.monotonic() < deadline, cluster.log()[-4000:]
        time.sleep(0.2)
    assert re.search(r"an engine of node .*: stale epoch or session", cluster.log())
    wait_until_in_sync(cluster)
    verify(cluster, state)


def test_an_engine_that_hosts_cannot_reach(cluster, tmp_path):
    """The host comes back to it, and has lost nothing; no replica is given up for that."""
    target, _ = create(cluster, 3)
    state = tmp_path / "state"
    load(cluster, state, 1)()
    join = load(cluster, state, 6, *PATIENCE)
    time.sleep(1)
    cluster.lan.unplug(number_of(target))
    time.sleep(3)
    cluster.lan.plug(number_of(target))
    join()
    wait_until_in_sync(cluster)
    verify(cluster, state)


def test_ways_that_take_long(cluster_behind_proxies, tmp_path):
    """A replica far away sets the latency of writes, and stays in sync: so it does however much
    that varies, as long as its answers come in time.  When they do not, it is excluded."""
    cluster = cluster_behind_proxies
    _, stores = create(cluster, 3)
    near, far = (cluster.proxies[number_of(store)] for store in stores)
    state = tmp_path / "state"
    near.delay(1, 2)
    for least_ms, more_ms in [(5, 10), (50, 50), (100, 100)]:
        far.delay(least_ms, more_ms)
        measured = load(cluster, state, 2)()
        assert measured["write"]["latency_mean_us"] >= 2000 * least_ms
        assert not cluster.out()
    far.delay(1500)
    assert longest(load(cluster, state, 3)()) <= HANG_US
    cluster.wait_for("db", lambda v: out_of_sync(v) == {stores[1]})
    far.delay(2, 2)
    wait_until_in_sync(cluster)
    verify(cluster, state)
