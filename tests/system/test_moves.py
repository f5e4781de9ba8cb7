# SPDX-License-Identifier: Apache-2.0
"""`trilith volume set --node`: another node serves a volume of several replicas, whether the one
before lives, is gone, or is paused and comes back; nothing that was acknowledged is lost."""

import os
import signal
import subprocess
import time

import trilith
from test_links import kill, out_of_sync, perf, pid_of, start, verify_writes


def three_nodes(tmp_path):
    return trilith.Server(tmp_path / "data", "--nodes", 3, "--disks", 1, "--disk-size", "256M",
                          "--reactors", 1, port=trilith.free_ports(3)).start()


def load(server, state, seconds=1):
    perf(server, "--rw", "randrw", "--depth", "8", "--time", seconds, "--flush-every", "40",
         "--verify", "--verify-state", state)


def move(server, node):
    """The line to connect with names the next node's port."""
    shown = server.cli("volume", "set", "db", "--node", node)
    assert shown["targets"][0]["node"] == node
    server.wait_for("db", lambda v: v["state"] == "ready")
    nodes = {summary["name"]: summary["port"] for summary in server.cli("node", "list")}
    assert f"-s {nodes[node]} " in server.volume("db")["connect"]


def verify_replicas(server, state):
    server.wait_for("db", lambda v: v["state"] == "ready" and not out_of_sync(v), timeout_s=60)
    verify_writes(server, state)
    assert server.try_cli("volume", "verify", "db").returncode == 0


def test_another_node_serves_it(tmp_path):
    server = three_nodes(tmp_path)
    try:
        served = server.create("db", "48M", "--replicas", "3")["targets"][0]["node"]
        first, second = sorted({"node-1", "node-2", "node-3"} - {served})
        state = tmp_path / "state"
        load(server, state)

        move(server, first)  # The one before lives, and gives it back.
        verify_writes(server, state)
        load(server, state)
        assert not out_of_sync(server.volume("db"))

        kill(server, first)  # It is gone, and with it who could serve the volume.
        server.wait_for("db", lambda v: v["state"] == "offline")
        done = server.try_cli("volume", "set", "db", "--node", first)
        assert done.returncode == 1 and f"node '{first}' does not report" in done.stderr
        move(server, second)
        load(server, state)
        assert out_of_sync(server.volume("db")) == {first}
        start(server, first)
        verify_replicas(server, state)

        paused = pid_of(server, second)  # It does not know, and is back when others have written.
        os.kill(paused, signal.SIGSTOP)
        try:
            move(server, served)
            load(server, state)
        finally:
            os.kill(paused, signal.SIGCONT)
        load(server, state)
        verify_replicas(server, state)
        assert server.volume("db")["targets"][0]["node"] == served
    finally:
        server.stop()


def test_a_node_that_cannot_serve_it(tmp_path):
    """It reaches one of three replicas, and two are needed: the command says so, and how to go
    back."""
    server = three_nodes(tmp_path)
    try:
        served = server.create("db", "48M", "--replicas", "3")["targets"][0]["node"]
        first, second = sorted({"node-1", "node-2", "node-3"} - {served})
        kill(server, served)
        kill(server, second)
        done = server.try_cli("volume", "set", "db", "--node", first, "--wait", "6")
        assert done.returncode == 1, done.stdout
        assert f"node '{first}' is to serve it, but does not yet: " in done.stderr
        assert "of 3 replicas in sync 1 can be reached, and 2 must" in done.stderr
        assert f"'trilith volume set db --node {served}' lets the one before serve" in done.stderr
        start(server, second)
        move(server, first)
        start(server, served)
        move(server, served)
    finally:
        server.stop()


def test_another_node_deletes_it(tmp_path):
    server = three_nodes(tmp_path)
    try:
        shown = server.create("db", "48M", "--replicas", "2", "--stride", "2")
        served = shown["targets"][0]["node"]
        other = sorted({"node-1", "node-2", "node-3"} - {served})[0]
        load(server, tmp_path / "state")
        kill(server, served)
        server.wait_for("db", lambda v: v["state"] == "offline")
        done = server.try_cli("volume", "delete", "db", "--wait", "1")
        assert done.returncode == 1 and "'trilith volume set --node' lets another" in done.stderr
        shown = server.cli("volume", "set", "db", "--node", other)
        assert shown["state"] == "deleting" and shown["targets"][0]["node"] == other
        server.wait_for("db", lambda v: "has a part of it" in v["reason"])
        start(server, served)  # What it has is deleted by the other one.
        server.cli("volume", "delete", "db")
        assert server.cli("volume", "list") == []
    finally:
        server.stop()


def test_a_verification_goes_on_at_another_node(tmp_path):
    server = three_nodes(tmp_path)
    try:
        served = server.create("db", "48M", "--replicas", "3")["targets"][0]["node"]
        load(server, tmp_path / "state")
        command = [trilith.PROGRAM, "volume", "verify", "db", "--rate", "8M", "--api", server.api]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env=trilith.ENVIRONMENT) as verify:
            time.sleep(1)
            move(server, sorted({"node-1", "node-2", "node-3"} - {served})[0])
            assert verify.poll() is None, "it was under way"
            said, _ = verify.communicate(timeout=60)
        assert verify.returncode == 0, said
    finally:
        server.stop()


def test_what_cannot_be(tmp_path):
    server = trilith.Server(tmp_path / "data", "--disks", 1, "--disk-size", "256M")
    server.start()
    try:
        server.create("db", "48M")
        for node, why in (("node-1", "its one replica is served by the node that has it"),
                          ("node-9", "its one replica is served by the node that has it")):
            done = server.try_cli("volume", "set", "db", "--node", node)
            assert done.returncode == 1 and why in done.stderr, done.stderr
        for args, why in (((), "what is to be changed? such as --min-in-sync 1, or --node"),
                          (("--min-in-sync", "1", "--node", ""), "--node '' is not the name")):
            done = server.try_cli("volume", "set", "db", *args)
            assert done.returncode == 2 and why in done.stderr, done.stderr
    finally:
        server.stop()
