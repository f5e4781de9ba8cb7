# SPDX-License-Identifier: Apache-2.0
"""A cluster of several processes: `trilith up --nodes`, and a node that is run on its own."""

import json
import os
import pathlib
import signal
import subprocess
import time

import pytest
import trilith

NODES = 3


@pytest.fixture
def server(tmp_path):
    port = trilith.free_ports(NODES + 1)
    server = trilith.Server(tmp_path / "data", "--nodes", NODES, "--disks", 1, "--disk-size",
                            "256M", "--reactors", 1, port=port, api_port=port + NODES)
    server.start()
    yield server
    if server.running():
        server.stop()


def run_of(server, name):
    """What the process of a node has written."""
    return json.loads((server.data / name / "run.json").read_text())


def wait_for_nodes(server, connected, timeout_s=30):
    deadline = time.monotonic() + timeout_s
    while True:
        nodes = server.cli("node", "list")
        if {node["name"] for node in nodes if node["connected"]} == set(connected):
            return nodes
        assert time.monotonic() < deadline, f"{nodes}\n{server.log()}"
        time.sleep(0.2)


def names(*numbers):
    return [f"node-{number}" for number in numbers]


def perf(server, volume, *args):
    target = volume["targets"][0]
    done = server.try_cli("perf", "--to", f"{target['address']}:{target['port']}", "--volume",
                          volume["name"], *args)
    assert done.returncode == 0, done.stdout + done.stderr + server.log()


def test_three_processes(server, tmp_path):
    """Each has its own disks and port; volumes of one replica lie on any; one that is killed is
    missed, the others serve on, and it comes back with what it had."""
    nodes = wait_for_nodes(server, names(1, 2, 3))
    assert {node["port"] for node in nodes} == {server.port + i for i in range(NODES)}
    assert len({run_of(server, name)["pid"] for name in names(1, 2, 3)}) == NODES
    volumes = {}
    for number in range(NODES):
        volume = server.create(f"db{number}", "64M")
        volumes[volume["targets"][0]["node"]] = volume
        perf(server, volume, "--rw", "randwrite", "--time", "1", "--verify", "--verify-state",
             tmp_path / volume["name"])
    assert set(volumes) == set(names(1, 2, 3))
    shown = server.cli("node", "show", "node-2")
    assert (shown["port"], shown["disks"], shown["volumes"]) == (server.port + 1, 1, 1)
    assert "node 'node-9'" in server.try_cli("node", "show", "node-9").stderr

    os.kill(run_of(server, "node-2")["pid"], signal.SIGKILL)
    wait_for_nodes(server, names(1, 3))
    assert "node 'node-2' has not reported" in server.try_cli("status").stdout
    assert "node 'node-2': its process was ended by signal 9" in server.log()
    for name in names(1, 3):
        perf(server, volumes[name], "--rw", "read", "--verify", "--verify-state",
             tmp_path / volumes[name]["name"])

    start = ["node", "start", "node-2", "--data", server.data]
    stop = ["node", "stop", "node-2", "--data", server.data]
    done = trilith.cli(*start)
    assert done.returncode == 0, done.stderr
    try:
        wait_for_nodes(server, names(1, 2, 3))
        server.wait_for(volumes["node-2"]["name"], lambda v: v["state"] == "ready")
        perf(server, volumes["node-2"], "--rw", "read", "--verify", "--verify-state",
             tmp_path / volumes["node-2"]["name"])
        assert "it runs already, as process" in trilith.cli(*start).stderr
    finally:
        done = trilith.cli(*stop)
    assert done.returncode == 0, done.stderr
    assert not (server.data / "node-2" / "run.json").exists()
    assert "it does not run" in trilith.cli(*stop).stderr
    other = ["node", "start", "node-9", "--data", server.data]
    assert "no node of this name has run" in trilith.cli(*other).stderr
    server.stop(unproven={volumes["node-2"]["name"]: "the node that has its one replica has ended"})


def test_a_volume_lies_on_as_many_nodes_as_its_stride(server):
    """Its shards are spread over all nodes, unless --stride says fewer."""
    wait_for_nodes(server, names(1, 2, 3))

    def nodes_of(name, *options):
        volume = server.create(name, "256M", "--replicas", 2, "--shard-size", "64M", *options)
        assert volume["shards"] == 4
        return {disk.split("/")[0] for disk in volume["disks"]}

    assert nodes_of("wide") == set(names(1, 2, 3))
    assert len(nodes_of("narrow", "--stride", 2)) == 2
    assert nodes_of("whole", "--stride", 3) == set(names(1, 2, 3))
    done = server.try_cli("volume", "create", "narrow", "--size", "256M", "--replicas", 2,
                          "--stride", 3)
    assert (done.returncode, "another stride" in done.stderr) == (1, True), done.stderr


def wakeups(pids):
    """How often their threads have ended a sleep so far."""
    statuses = [(task / "status").read_text() for pid in pids
                for task in pathlib.Path(f"/proc/{pid}/task").iterdir()]
    return sum(int(line.split()[1]) for status in statuses for line in status.splitlines()
               if line.startswith("voluntary_ctxt_switches"))


def test_an_idle_cluster_is_woken_seldom(server):
    """25 times per second on two CPUs; 48 when gRPC measured its connections."""
    wait_for_nodes(server, names(1, 2, 3))
    server.create("db", "64M", "--replicas", 3)
    server.wait_for("db", lambda v: v["state"] == "ready")
    time.sleep(5)
    pids = [server.process.pid, *(run_of(server, name)["pid"] for name in names(1, 2, 3))]
    begin, before = time.monotonic(), wakeups(pids)
    time.sleep(10)
    per_second = (wakeups(pids) - before) / (time.monotonic() - begin)
    assert per_second < 36, per_second


def test_they_end_with_the_one_that_started_them(server):
    wait_for_nodes(server, names(1, 2, 3))
    pids = [run_of(server, name)["pid"] for name in names(1, 2, 3)]
    server.kill()
    deadline = time.monotonic() + 30
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):
        assert time.monotonic() < deadline, server.log()
        time.sleep(0.1)
    server.start()
    wait_for_nodes(server, names(1, 2, 3))
    pids = [run_of(server, name)["pid"] for name in names(1, 2, 3)]
    server.stop()
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def test_options_may_be_abbreviated(tmp_path):
    """Those that are not a node's, or that each has of its own, are not passed on either way."""
    port = trilith.free_ports(NODES + 1)
    server = trilith.Server(tmp_path / "data", "--no", NODES, "--rebuild", "30s", "--zones=3",
                            "--po", port, "--disks", 1, "--disk-si=256M", "--react", 1, port=port,
                            api_port=port + NODES)
    server.start()
    nodes = wait_for_nodes(server, names(1, 2, 3))
    assert {node["port"] for node in nodes} == {port + i for i in range(NODES)}
    server.stop()


@pytest.mark.parametrize("whom", ["group", "each"])
def test_they_end_in_order_when_all_are_told(tmp_path, whom):
    """Ctrl-C goes to all processes of the group, and systemd's SIGTERM to all of the service."""
    port = trilith.free_ports(NODES + 1)
    server = trilith.Server(tmp_path / "data", "--nodes", NODES, "--disks", 1, "--disk-size",
                            "256M", "--reactors", 1, port=port, api_port=port + NODES,
                            inside=["setsid"])
    server.start()
    try:
        wait_for_nodes(server, names(1, 2, 3))
        pids = [run_of(server, name)["pid"] for name in names(1, 2, 3)]
        if whom == "group":
            os.killpg(server.process.pid, signal.SIGINT)
        else:
            for pid in [*pids, server.process.pid]:
                os.kill(pid, signal.SIGTERM)
        assert server.process.wait(60) == 0, server.log()
    finally:
        if server.running():
            server.kill()
    log = server.log()
    assert log.count("its process has ended") == NODES and "ended with" not in log, log
    assert not any((server.data / name / "run.json").exists() for name in names(1, 2, 3))


def test_what_is_refused(server, tmp_path):
    wait_for_nodes(server, names(1, 2, 3))
    api = f"127.0.0.1:{server.api_port}"
    for status, words, args in [
            (2, "--name NAME is missing", ["--controller", api]),
            (2, "--controller ADDR:PORT is missing", ["--name", "node-4"]),
            (1, f"node-1' is in use by process {run_of(server, 'node-1')['pid']}",
             ["--name", "node-1", "--controller", api])]:
        done = trilith.cli("node", "run", "--data", server.data, *args)
        assert (done.returncode, words in done.stderr) == (status, True), done.stderr
    token = tmp_path / "token"
    for text, words in [("no token", "does not hold a token"), ("ab" * 32, "the cluster's token")]:
        token.write_text(text)
        node = subprocess.Popen(
            [trilith.PROGRAM, "node", "run", "--name", "node-4", "--data", tmp_path / "four",
             "--controller", api, "--port", "0", "--disks", "1", "--disk-size", "256M",
             "--token", token],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=trilith.ENVIRONMENT)
        time.sleep(2)
        node.terminate()
        assert words in node.communicate(timeout=60)[1]
    assert len(server.cli("node", "list")) == NODES
    assert (server.data / "token").stat().st_mode & 0o777 == 0o600
    config = tmp_path / "node.conf"
    config.write_text(f"# node-4\nname node-1\n\n  data   {server.data} \ncontroller {api}\n")
    done = trilith.cli("node", "run", "--config", config)
    assert (done.returncode, "node-1' is in use by process" in done.stderr) == (1, True)
    done = trilith.cli("node", "run", f"--config={config}", "--name", "node-2")
    assert (done.returncode, "node-2' is in use by process" in done.stderr) == (1, True)
    config.write_text("speed high\n")
    done = trilith.cli("node", "run", "--config", config)
    assert (done.returncode, "no option '--speed'" in done.stderr) == (2, True), done.stderr
    done = trilith.cli("node", "run", "--config", tmp_path / "none")
    assert (done.returncode, "cannot read" in done.stderr) == (1, True), done.stderr
    done = trilith.cli("up", "--data", tmp_path / "other", "--nodes", "2", "--disk", "/dev/null")
    assert (done.returncode, "--disk names the disks of one node" in done.stderr) == (2, True)


@pytest.fixture
def in_zones(tmp_path):
    port = trilith.free_ports(NODES + 1)
    server = trilith.Server(tmp_path / "data", "--nodes", NODES, "--zones", NODES, "--disks", 1,
                            "--disk-size", "256M", "--reactors", 1, port=port,
                            api_port=port + NODES)
    server.start()
    yield server
    if server.running():
        server.stop()


def run_node(server, folder, *args):
    """A node beside those of the cluster, which waits for SIGTERM."""
    return subprocess.Popen(
        [trilith.PROGRAM, "node", "run", "--data", folder, "--controller",
         f"127.0.0.1:{server.api_port}", "--port", "0", "--reactors", "1", *args],
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=trilith.ENVIRONMENT)


def test_zones_and_roles(in_zones, tmp_path):
    """Nodes say where they are and what for; copies lie in different zones or nowhere; what losing
    nodes would lose follows from it."""
    server = in_zones
    wait_for_nodes(server, names(1, 2, 3))
    config = tmp_path / "node.conf"
    config.write_text(f"name hut\nroles target\nzone zone-9\nrack r1\n"
                      f"token {server.data}/token\n")
    hut = run_node(server, tmp_path / "hut", "--config", config)
    try:
        nodes = {node["name"]: node for node in wait_for_nodes(server, [*names(1, 2, 3), "hut"])}
        for number in range(1, NODES + 1):
            node = nodes[f"node-{number}"]
            assert (node["zone"], node["rack"]) == (f"zone-{number}", "")
            assert node["roles"] == ["store", "target"]
        assert (nodes["hut"]["roles"], nodes["hut"]["zone"]) == (["target"], "zone-9")
        assert (nodes["hut"]["rack"], nodes["hut"]["disks"]) == ("r1", 0)
        done = server.try_cli("disk", "add", tmp_path / "any", "--node", "hut")
        assert "its node has not the role 'store'" in done.stderr

        server.try_cli("volume", "create", "db1", "--size", "64M", "--replicas", 3, "--wait", 1)
        volume = server.cli("volume", "show", "db1", "--shards")
        assert (volume["apart"], volume["degraded"]) == ("zone", [])
        assert {disk.split("/")[0] for disk in volume["places"][0]["disks"]} == set(names(1, 2, 3))
        rows = server.cli("node", "loss", "--failures", 8)
        assert [row["failures"] for row in rows] == [1, 2, 3]
        assert [row["placed"]["probability"] for row in rows] == [0, 0, 1]
        assert rows[2]["placed"]["shards"] == volume["shards"]
        assert "100%" in server.try_cli("node", "loss", "--volume", "db1").stdout
    finally:
        hut.terminate()
        hut.communicate(timeout=60)

    os.kill(run_of(server, "node-3")["pid"], signal.SIGKILL)
    wait_for_nodes(server, names(1, 2))
    three = ["volume", "create", "db2", "--size", "64M", "--replicas", 3]
    done = server.try_cli(*three)
    assert "3 replicas in different zones need 3 zones with a working disk, and there are 2: " in \
        done.stderr
    done = server.try_cli(*three, "--apart", "node", "--allow-degraded")
    assert "3 replicas need 3 working disks" in done.stderr
    done = trilith.cli("node", "run", "--name", "node-3", "--data", server.data, "--controller",
                       f"127.0.0.1:{server.api_port}", "--roles", "target")
    assert "was served with 1 disks: a node that does not store has none" in done.stderr
    done = trilith.cli("node", "start", "node-3", "--data", server.data)
    assert done.returncode == 0, done.stderr


def test_those_that_serve_and_those_that_store(tmp_path):
    """A node without disks serves what lies on nodes that hosts do not connect to."""
    server = trilith.Server(tmp_path / "data", "--nodes", NODES, "--roles", "store", "--disks", 1,
                            "--disk-size", "256M", "--reactors", 1, port=trilith.free_ports(NODES))
    server.start()
    wait_for_nodes(server, names(1, 2, 3))
    two = ["volume", "create", "db1", "--size", "64M", "--replicas", 2]
    assert "no node with the role 'target'" in server.try_cli(*two).stderr
    front = run_node(server, tmp_path / "front", "--name", "front", "--roles", "target", "--token",
                     server.data / "token")
    try:
        wait_for_nodes(server, [*names(1, 2, 3), "front"])
        done = server.try_cli("volume", "create", "one", "--size", "64M")
        assert "the roles 'store' and 'target'" in done.stderr
        volume = server.create("db1", "64M", "--replicas", 2)
        assert (volume["targets"][0]["node"], volume["state"]) == ("front", "ready")
        for mode in ["randwrite", "read"]:
            perf(server, volume, "--rw", mode, "--time", "1", "--verify", "--verify-state",
                 tmp_path / "state")
        server.delete("db1")
    finally:
        front.terminate()
        front.communicate(timeout=60)
        server.stop()


@pytest.mark.parametrize("force", ["--force", "--forc"])
def test_a_node_that_is_started_again_is_not_forced_again(server, tmp_path, force):
    """What its disks hold now may be what --force was not said of."""
    wait_for_nodes(server, names(1, 2, 3))
    node = run_node(server, tmp_path / "more", "--name", "more", force, "--disks", "1",
                    "--disk-size", "64M", "--token", server.data / "token")
    try:
        wait_for_nodes(server, [*names(1, 2, 3), "more"])
    finally:
        node.terminate()
        node.communicate(timeout=60)
    args = (tmp_path / "more" / "more" / "args").read_text().splitlines()
    assert not [arg for arg in args if arg.startswith("--f")]
    assert "--name=more" in args and "--disks=1" in args
    place = ["more", "--data", tmp_path / "more"]
    done = trilith.cli("node", "start", *place)
    try:
        assert done.returncode == 0, done.stderr
    finally:
        assert trilith.cli("node", "stop", *place).returncode == 0
