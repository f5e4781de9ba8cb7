# SPDX-License-Identifier: Apache-2.0
"""The API through the CLI: volumes, disks, status, and how errors are told."""

import concurrent.futures
import json
import re
import socket
import subprocess

import nvmetcp
import pytest
import trilith

HOST = "nqn.2014-08.org.example:allowed"
OTHER = "nqn.2014-08.org.example:stranger"


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    server = trilith.Server(tmp_path_factory.mktemp("cli") / "data", "--disks", "3",
                            "--disk-size", "256M").start()
    yield server
    server.stop()


def fails(done, status, *words):
    """The command ended with this status, and said these words, once, on standard error."""
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("trilith: ")
    for word in words:
        assert word in lines[0]


# ---- Volumes ----

def test_a_volume_from_creation_to_deletion(up):
    volume = up.create("life", "100M")
    assert volume["state"] == "ready"
    assert volume["bytes"] == 100 << 20
    assert volume["targets"][0]["port"] == up.port
    assert re.fullmatch(rf"nvme connect -t tcp -a \S+ -s {up.port} -n {volume['nqn']}",
                        volume["connect"])
    assert "life" in [v["name"] for v in up.cli("volume", "list")]
    for name in volume["uuid"], volume["nqn"]:
        assert up.volume(name)["name"] == "life"

    assert up.cli("volume", "delete", "life")["gone"] is True
    assert "life" not in [v["name"] for v in up.cli("volume", "list")]
    fails(up.try_cli("volume", "show", "life"), 1, "volume 'life'", "volume list")


def test_a_new_volume_of_an_old_name_has_nothing_of_the_old_one(up):
    def first_block(volume):
        admin, cntlid = nvmetcp.open_admin(up.address, volume["nqn"])
        queue = nvmetcp.open_io(admin, up.address, volume["nqn"], cntlid)
        return admin, queue

    admin, queue = first_block(up.create("again", "64M"))
    assert queue.rw(nvmetcp.OP_WRITE, 0, 1, data=b"x" * 4096)[0].status == 0
    queue.close()
    admin.close()
    old = up.volume("again")["uuid"]
    up.cli("volume", "delete", "again", "--force")
    volume = up.create("again", "64M")
    assert volume["uuid"] != old
    admin, queue = first_block(volume)
    status, data = queue.rw(nvmetcp.OP_READ, 0, 1)
    assert (status.status, data) == (0, bytes(4096))
    queue.close()
    admin.close()
    up.cli("volume", "delete", "again", "--force")


def test_creating_twice(up):
    first = up.create("twice", "64M")
    assert up.create("twice", "64M")["uuid"] == first["uuid"]
    fails(up.try_cli("volume", "create", "twice", "--size", "65M"), 1,
          "volume 'twice'", "another size", "64M")
    up.cli("volume", "delete", "twice")


def test_creating_at_the_same_time(up):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        names = [f"many-{i // 2}" for i in range(8)]
        uuids = list(pool.map(lambda name: up.create(name, "64M")["uuid"], names))
    assert len(set(uuids)) == 4
    for name in set(names):
        up.cli("volume", "delete", name)


def test_what_a_volume_is_created_with_is_shown(up):
    volume = up.create("default", "64M")
    assert (volume["lba_bytes"], volume["on_unflushed_loss"]) == (4096, "error")
    options = ["--block-size", "512", "--on-unflushed-loss", "continue"]
    volume = up.create("other", "64M", *options)
    assert (volume["lba_bytes"], volume["on_unflushed_loss"]) == (512, "continue")
    assert up.create("other", "64M", *options)["uuid"] == volume["uuid"]
    fails(up.try_cli("volume", "create", "other", "--size", "64M", "--block-size", "512"), 1,
          "another unflushed-loss policy")
    for name in "default", "other":
        up.cli("volume", "delete", name)


def test_overcommitting_warns_and_works(up):
    done = up.try_cli("volume", "create", "large", "--size", "10G", "-o", "json")
    assert done.returncode == 0
    assert "overcommitted by" in done.stderr
    assert json.loads(done.stdout)["state"] == "ready"
    up.cli("volume", "delete", "large")


def test_only_allowed_hosts_connect(up):
    volume = up.create("private", "64M", "--allow-host", HOST)
    assert volume["allowed_hosts"] == [HOST]
    # NVMe over Fabrics, "Connect Response": Connect Invalid Host.
    with pytest.raises(AssertionError, match="Connect: status 0x184"):
        nvmetcp.open_admin(up.address, volume["nqn"], host_nqn=OTHER)
    admin, _ = nvmetcp.open_admin(up.address, volume["nqn"], host_nqn=HOST)
    admin.close()
    up.cli("volume", "delete", "private", "--force")


def test_as_many_hosts_as_may_be_allowed_connect(up):
    def allow(count):
        names = [f"{HOST}-{i}" for i in range(count)]
        return names, [word for name in names for word in ("--allow-host", name)]

    names, options = allow(128)
    volume = up.create("shared", "64M", *options)
    assert volume["allowed_hosts"] == names
    for name in names[0], names[63], names[64], names[127]:
        nvmetcp.open_admin(up.address, volume["nqn"], host_nqn=name)[0].close()
    line = re.search("^allowed hosts: *(.*)$", up.try_cli("volume", "show", "shared").stdout, re.M)
    shown = line[1].split(", ")  # Those that fit, none cut in the middle.
    assert shown[:-1] == names[:len(shown) - 1] and len(shown) > 2 and shown[-1] == "...", shown
    up.cli("volume", "delete", "shared", "--force")
    fails(up.try_cli("volume", "create", "shared", "--size", "64M", *allow(129)[1]), 2,
          "more than 128")


# ---- Disks and status ----

def test_disks(up):
    disks = up.cli("disk", "list")
    assert [d["name"] for d in disks] == [f"node-1/disk-{i}" for i in (1, 2, 3)]
    assert all(d["state"] == "ready" and d["backend"] == "file" for d in disks)
    one = up.cli("disk", "show", disks[1]["uuid"])
    assert one["name"] == "node-1/disk-2"
    assert one["atomic_bytes"] >= 512
    fails(up.try_cli("disk", "show", "disk-9"), 1, "disk 'disk-9'", "disk list")
    fails(trilith.cli("disk", "check", disks[0]["path"]), 1, "in use")


def test_shards_are_spread_over_the_disks(up):
    up.create("wide", "384M")
    planned = {d["name"]: d["planned_bytes"] for d in up.cli("disk", "list")}
    assert set(planned.values()) == {128 << 20}
    assert up.volume("wide")["disks"] == list(planned)
    up.cli("volume", "delete", "wide")


def test_a_volume_names_the_disks_it_lies_on_and_no_others(up):
    disks = up.create("narrow", "64M")["disks"]
    planned = {d["name"]: d["planned_bytes"] for d in up.cli("disk", "list")}
    assert len(disks) == 1
    assert [name for name in planned if planned[name]] == disks
    up.cli("volume", "delete", "narrow")


def test_output_that_cannot_be_written_is_a_failure(up):
    for args in (["volume", "list", "-o", "json"], ["status"], ["--help"], ["version"]):
        with open("/dev/full", "wb") as full:
            command = [trilith.PROGRAM, *args]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=full, check=False,
                                  stderr=subprocess.PIPE, text=True, timeout=60,
                                  env={**trilith.ENVIRONMENT, "TRILITH_API": up.api})
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert "the output could not be written: No space left" in done.stderr


def test_status(up):
    up.create("counted", "64M")
    status = up.cli("status")
    assert status["problems"] == []
    assert (status["disks"], status["disks_ready"]) == (3, 3)
    assert status["volumes"] == status["volumes_ready"] >= 1
    assert status["nodes"][0]["connected"] is True
    assert status["nodes"][0]["version"] == status["version"] != ""
    assert status["controllers"] == [f"127.0.0.1:{up.api_port}"]
    assert re.fullmatch(r"[0-9a-f-]{36}", status["cluster_uuid"])
    assert "all is well" in up.try_cli("status").stdout
    up.cli("volume", "delete", "counted")


@pytest.mark.parametrize("features, used, short", [
    ("none", [], "none"),
    ("files", ["files"],
     "-ring-fd,-coop-taskrun,-buffers,-poll-first,-defer-taskrun,-dio-align,-write-atomic,"
     "-block-discard"),
])
def test_status_says_what_io_uring_uses(tmp_path, features, used, short):
    server = trilith.Server(tmp_path / "data", "--disks", "1", "--disk-size", "128M",
                            "--io-features", features).start()
    node = server.cli("status")["nodes"][0]
    assert node["io_features"] == used
    assert "io" not in node, "the table's column is not for programs"
    lines = [line.split() for line in server.try_cli("status").stdout.splitlines()]
    titles = next(line for line in lines if line and line[0] == "NODE")
    row = next(line for line in lines if line and line[0] == "node-1")
    assert dict(zip(titles, row))["IO"] == short
    server.stop()


def test_tables(up):
    up.create("table", "64M")
    lines = up.try_cli("volume", "list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "USED", "REPLICAS", "STATE", "HOSTS",
                                "NQN"]
    row = dict(zip(lines[0].split(), [l for l in lines if l.startswith("table ")][0].split()))
    assert (row["SIZE"], row["STATE"], row["HOSTS"]) == ("64M", "ready", "0")
    assert "connect with:" in up.try_cli("volume", "show", "table").stdout
    up.cli("volume", "delete", "table")


def test_volumes_and_disks_are_the_same_after_a_restart(tmp_path):
    server = trilith.Server(tmp_path / "data", "--disks", "2", "--disk-size", "128M").start()
    before = server.create("kept", "64M")
    disks = [d["uuid"] for d in server.cli("disk", "list")]
    server.kill()
    server.start()
    after = server.volume("kept")
    assert [after[k] for k in ("uuid", "nqn", "bytes", "disks")] == [
        before[k] for k in ("uuid", "nqn", "bytes", "disks")]
    assert [d["uuid"] for d in server.cli("disk", "list")] == disks
    server.stop()


# ---- Errors ----

@pytest.mark.parametrize("words, args", [
    (["name has"], ["volume", "create", "Not A Name", "--size", "1G"]),
    (["--size is missing"], ["volume", "create", "x"]),
    (["not a size", "10G"], ["volume", "create", "x", "--size", "many"]),
    (["not an NQN", "/etc/nvme/hostnqn"],
     ["volume", "create", "x", "--size", "1G", "--allow-host", "me"]),
    *((["--block-size", f"'{size}'", "neither 512 nor 4096"],
       ["volume", "create", "x", "--size", "1G", "--block-size", size])
      for size in ("1", "1K", "8K", "4097")),
    (["not a size"], ["volume", "create", "x", "--size", "1G", "--block-size", "small"]),
    (["--on-unflushed-loss 'maybe'", "neither error nor continue"],
     ["volume", "create", "x", "--size", "1G", "--on-unflushed-loss", "maybe"]),
    (["--stride", "not a number"], ["volume", "create", "x", "--size", "1G", "--stride", "few"]),
    (["--stride", "65"], ["volume", "create", "x", "--size", "1G", "--stride", "65"]),
    (["too many"], ["volume", "show", "x", "y"]),
    (["missing"], ["volume", "delete"]),
    (["--output", "table", "json"], ["disk", "list", "-o", "xml"]),
    (["needs an argument"], ["status", "--api"]),
    (["no option '--frob'"], ["status", "--frob"]),
    (["not a number"], ["volume", "delete", "x", "--wait", "soon"]),
    (["'frob' is not a command", "volume"], ["frob"]),
    (["'frob' is not a command", "create"], ["volume", "frob"]),
])
def test_wrong_arguments(words, args):
    fails(trilith.cli(*args), 2, *words)


def test_wrong_values_are_the_controllers_to_refuse(up):
    """... and are wrong arguments all the same: exit status 2."""
    fails(up.try_cli("volume", "create", "odd", "--size", "1000001"), 2,
          "volume 'odd'", "multiple of 4096")
    fails(up.try_cli("volume", "create", "odd", "--size", "1G", "--stripe-unit", "5K"), 2,
          "power of two")
    fails(up.try_cli("volume", "create", "odd", "--size", "2000000G"), 2, "1P")
    fails(up.try_cli("volume", "create", "odd", "--size", "1G", "--stride", "2"), 2,
          "one replica lies on one node", "--stride")
    fails(up.try_cli("volume", "create", "odd", "--size", "1G", "--replicas", "3", "--stride",
                     "2"), 2, "a stride of 2 nodes has no room for 3 replicas")


def test_no_api_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for args in ["volume", "list"], ["disk", "list"], ["status"]:
        fails(trilith.cli(*args, "--api", f"127.0.0.1:{port}"), 1,
              f"127.0.0.1:{port}", "trilith up", "TRILITH_API")
    fails(trilith.cli("status", "--api", "nowhere:x"), 1, "'nowhere:x'", "192.0.2.1:7420")


def test_something_else_than_an_api_there():
    """A server that accepts and says nothing, or nonsense, is no API; the command ends."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(trilith.cli, "status", "--api", f"127.0.0.1:{port}")
            peer, _ = other.accept()
            peer.sendall(b"HTTP/1.1 400 No\r\n\r\n")
            peer.close()
            assert asked.result().returncode == 1


def test_garbage_does_not_disturb_the_api(up):
    for garbage in b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 100, b"PRI * HTTP/2.0\r\n\r\n":
        with socket.create_connection(("127.0.0.1", up.api_port)) as peer:
            peer.sendall(garbage)
    assert up.try_cli("status").returncode == 0


def test_api_from_the_environment(up, monkeypatch):
    monkeypatch.setitem(trilith.ENVIRONMENT, "TRILITH_API", f"127.0.0.1:{up.api_port}")
    assert trilith.cli("status").returncode == 0


# ---- disk check ----

def test_disk_check_finds_a_flipped_bit(tmp_path):
    server = trilith.Server(tmp_path / "data", "--disks", "1", "--disk-size", "128M").start()
    volume = server.create("data", "64M")
    admin, cntlid = nvmetcp.open_admin(server.address, volume["nqn"])
    queue = nvmetcp.open_io(admin, server.address, volume["nqn"], cntlid)
    mark = b"find me!" * 512
    assert queue.rw(nvmetcp.OP_WRITE, 77, 1, data=mark)[0].status == 0
    queue.close()
    admin.close()
    server.stop()
    disk = server.data / "node-1" / "disk-1"
    before = disk.read_bytes()
    done = trilith.cli("disk", "check", disk, "-o", "json")
    assert (done.returncode, json.loads(done.stdout)["problem_count"]) == (0, 0)

    with open(disk, "r+b") as f:
        f.seek(before.index(mark) + 100)
        f.write(b"X")
    done = trilith.cli("disk", "check", disk, "-o", "json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["problem_count"]) == (1, 1)
    assert "volume 'data'" in report["problems"][0]
    damaged = bytearray(before)
    damaged[before.index(mark) + 100] = ord("X")
    assert disk.read_bytes() == bytes(damaged), "the check has written"


def test_disk_check_repairs_a_superblock(tmp_path):
    server = trilith.Server(tmp_path / "data", "--disks", "1", "--disk-size", "128M").start()
    server.stop()
    disk = server.data / "node-1" / "disk-1"
    before = disk.read_bytes()
    with open(disk, "r+b") as f:
        f.seek(4096 + 100)
        f.write(b"X")
    done = trilith.cli("disk", "check", disk)
    assert done.returncode == 1
    assert f"{disk}: can be repaired with --repair: the superblock at 4096" in done.stdout
    done = trilith.cli("disk", "check", "--repair", disk, "-o", "json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["problem_count"], report["repaired_count"]) == (0, 1, 1)
    assert disk.read_bytes() == before
    assert trilith.cli("disk", "check", disk).returncode == 0


def test_disk_check_of_no_disk(tmp_path):
    file = tmp_path / "zeros"
    file.write_bytes(bytes(64 << 20))
    done = trilith.cli("disk", "check", file)
    assert done.returncode == 1
    file.write_bytes(bytes(5000))
    done = trilith.cli("disk", "check", file)
    assert done.returncode == 1 and "not a Trilith disk" in done.stdout
    fails(trilith.cli("disk", "check", tmp_path / "none"), 1, "none", "not found")
