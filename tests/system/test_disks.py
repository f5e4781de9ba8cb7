# SPDX-License-Identifier: Apache-2.0
"""`trilith disk add`, `disk grow` and `disk remove` at a node that serves."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time

import nvmetcp
import pytest
import trilith

BLOCK = 4096


@pytest.fixture
def server(tmp_path):
    with trilith.Server(tmp_path / "data", "--disks", "2", "--disk-size", "256M") as running:
        yield running


def image(path, size=256 << 20):
    path.write_bytes(b"")
    os.truncate(path, size)
    return path


def make_swap(path):
    with open(path, "r+b") as file:
        file.seek(1024)
        file.write((1).to_bytes(4, "little") + (16383).to_bytes(4, "little"))
        file.seek(4086)
        file.write(b"SWAPSPACE2")


def make_md(path):
    """The superblock of an array, version 1.0: it lies near the end, and says where."""
    size = path.stat().st_size
    sector = (size // 512 - 16) & ~7
    with open(path, "r+b") as file:
        file.seek(sector * 512)
        file.write(0xa92b4efc.to_bytes(4, "little") + (1).to_bytes(4, "little"))
        file.seek(sector * 512 + 144)
        file.write(sector.to_bytes(8, "little"))


def names(server):
    return [d["name"] for d in server.cli("disk", "list") if d["state"] == "ready"]


def known(server):
    return (server.data / "node-1" / "disks").read_text().split("\n")[:-1]


def refused(server, *args):
    done = server.try_cli("disk", *args)
    assert done.returncode in (1, 2), done.stdout
    return done.stderr


def write_and_flush(server, volume, count):
    """Writes the first blocks of a volume; returns how to read them again."""
    admin, cntlid = nvmetcp.open_admin(server.address, volume["nqn"])
    queue = nvmetcp.open_io(admin, server.address, volume["nqn"], cntlid)
    for lba in range(count):
        assert queue.rw(nvmetcp.OP_WRITE, lba, 1, data=bytes([lba + 1]) * BLOCK)[0].status == 0
    assert queue.rw(nvmetcp.OP_FLUSH, 0, 1)[0].status == 0
    queue.close()
    admin.close()


def check_blocks(server, volume, count):
    admin, cntlid = nvmetcp.open_admin(server.address, volume["nqn"])
    queue = nvmetcp.open_io(admin, server.address, volume["nqn"], cntlid)
    for lba in range(count):
        response, data = queue.rw(nvmetcp.OP_READ, lba, 1)
        assert (response.status, data) == (0, bytes([lba + 1]) * BLOCK)
    queue.close()
    admin.close()


def test_a_disk_is_added_used_and_remembered(server, tmp_path, monkeypatch):
    path = image(tmp_path / "third")
    before = server.create("before", "64M", "--shard-size", "64M")
    write_and_flush(server, before, 4)
    added = server.cli("disk", "add", path)
    assert (added["name"], added["state"], added["path"]) == ("node-1/disk-3", "ready", str(path))
    monkeypatch.chdir(tmp_path)
    for again in path, "third":  # Is nothing.
        assert server.cli("disk", "add", again)["uuid"] == added["uuid"]
    assert "line breaks" in refused(server, "add", "th\nird")
    # New volumes lie there, too; the old one is where it was, and served all the time.
    volume = server.create("db", "192M", "--shard-size", "64M", "--stripe-unit", "4K")
    assert "node-1/disk-3" in volume["disks"]
    write_and_flush(server, volume, 9)
    check_blocks(server, before, 4)
    assert known(server) == ["disk-1", "disk-2", str(path)]
    for end in (server.kill, server.stop):
        end()
        server.start()
        assert names(server) == ["node-1/disk-1", "node-1/disk-2", "node-1/disk-3"]
        server.wait_for("db", lambda v: v["state"] == "ready")
        check_blocks(server, volume, 9)


def test_an_empty_disk_is_removed_and_one_with_shards_is_not(server, tmp_path):
    path = image(tmp_path / "third")
    server.cli("disk", "add", path)
    server.create("one", "192M", "--shard-size", "64M")
    text = refused(server, "remove", "node-1/disk-3")
    assert "shards of 'one' lie on it" in text and "delete these volumes first" in text
    server.delete("one")
    server.try_cli("disk", "remove", "node-1/disk-3").check_returncode()
    assert names(server) == ["node-1/disk-1", "node-1/disk-2"]
    assert known(server) == ["disk-1", "disk-2"]
    assert path.exists()
    # A file that `trilith up` has made goes, and does not come back at the next start.
    server.try_cli("disk", "remove", "node-1/disk-1").check_returncode()
    assert not (server.data / "node-1" / "disk-1").exists()
    server.stop()
    server.options = []  # With --disks 2 there would be two again.
    server.start()
    assert names(server) == ["node-1/disk-2"]
    # The one that was given is taken up again as it was.
    assert server.cli("disk", "add", path)["name"] == "node-1/disk-3"
    assert names(server) == ["node-1/disk-2", "node-1/disk-3"]


def test_what_cannot_be_a_disk_is_refused_with_what_to_do(server, tmp_path):
    holder = trilith.Server(tmp_path / "other", "--disks", "1", "--disk-size", "64M").start()
    holder.stop()
    swap = image(tmp_path / "swap", 64 << 20)
    make_swap(swap)
    noise = image(tmp_path / "noise", 64 << 20)
    with open(noise, "r+b") as file:
        file.write(os.urandom(1 << 20))
    (tmp_path / "alias").symlink_to(server.data / "node-1" / "disk-1")
    for path, words in [(tmp_path / "none", ["No such file", "truncate -s"]),
                        ("/dev/null", ["neither a file"]),
                        (tmp_path, ["neither a file"]),
                        (swap, ["swap", "--force"]),
                        (noise, ["is not empty", "--force"]),
                        (image(tmp_path / "tiny", 1 << 20), ["at least 16M"]),
                        (holder.data / "node-1" / "disk-1", ["belongs to cluster"]),
                        (tmp_path / "alias", ["the same as", "disk-1"])]:
        text = refused(server, "add", path)
        assert all(word in text for word in words), text
    assert "none of this name" in refused(server, "remove", "node-1/disk-9")
    assert "no node of this name" in refused(server, "add", swap, "--node", "node-7")
    assert names(server) == ["node-1/disk-1", "node-1/disk-2"]
    assert known(server) == ["disk-1", "disk-2"]
    # --force is for what holds something else.
    server.cli("disk", "add", swap, "--force")
    assert len(names(server)) == 3
    assert "all is well" in server.try_cli("status").stdout


def test_formatting_leaves_nothing_that_others_know(server, tmp_path):
    path = image(tmp_path / "md")
    make_md(path)
    text = refused(server, "add", path)
    assert "linux_raid_member" in text and "--force" in text
    server.cli("disk", "add", path, "--force")
    server.try_cli("disk", "remove", "node-1/disk-3").check_returncode()
    make_swap(image(tmp_path / "swap"))
    probe = ["/sbin/blkid", "-p"]
    assert "swap" in subprocess.run([*probe, tmp_path / "swap"], capture_output=True, text=True,
                                    check=True).stdout
    assert subprocess.run([*probe, path], capture_output=True, check=False).returncode == 2
    # What a host writes there is nobody's mark.
    make_md(path)
    assert server.cli("disk", "add", path)["name"] == "node-1/disk-3"
    assert len(names(server)) == 3


def test_a_node_that_does_not_answer_formats_nothing_later(tmp_path):
    """Other orders stand when the wait for them is over; one to format is withdrawn."""
    server = trilith.Server(tmp_path / "data", "--nodes", 2, "--disks", 2, "--disk-size", "256M",
                            "--reactors", 1, port=trilith.free_ports(2))
    swap = image(tmp_path / "swap", 64 << 20)
    make_swap(swap)
    before = swap.read_bytes()
    with server:
        pid = json.loads((server.data / "node-2" / "run.json").read_text())["pid"]
        time.sleep(1.5)  # What the node asked for last is older than any order to format may be.
        os.kill(pid, signal.SIGSTOP)
        try:
            text = refused(server, "add", swap, "--node", "node-2", "--force", "--wait", "1")
            assert "has not answered yet" in text and "was withdrawn" in text, text
            text = refused(server, "remove", "node-2/disk-2", "--wait", "1")
            assert "will be removed as soon as that can" in text, text
        finally:
            os.kill(pid, signal.SIGCONT)
        limit = time.monotonic() + 60
        while "node-2/disk-2" in [d["name"] for d in server.cli("disk", "list")]:
            assert time.monotonic() < limit, server.log()
            time.sleep(0.2)
        assert swap.read_bytes() == before
        assert len(server.cli("disk", "list")) == 3
        # It does take one that somebody waits for.
        added = server.cli("disk", "add", swap, "--node", "node-2", "--force")
        assert (added["state"], added["path"]) == ("ready", str(swap))


def test_a_disk_that_was_away_returns(server, tmp_path):
    volume = server.create("db", "128M", "--shard-size", "64M", "--stripe-unit", "4K")
    write_and_flush(server, volume, 8)
    path = server.data / "node-1" / "disk-2"
    server.stop()
    path.rename(tmp_path / "away")
    server.start(healthy=False)
    server.wait_for("db", lambda v: v["state"] == "ready")
    (tmp_path / "away").rename(path)
    server.cli("disk", "add", path)
    server.wait_for("db", lambda v: v["state"] == "ready")
    check_blocks(server, volume, 8)
    assert "all is well" in server.try_cli("status").stdout
    assert known(server) == ["disk-1", "disk-2"]


def test_a_named_disk_that_is_away_stops_nobody(tmp_path):
    """Named by --disk at each start, as a service does: the node serves the others without it."""
    paths = [image(tmp_path / name) for name in ("one", "two")]
    server = trilith.Server(tmp_path / "data", *(w for path in paths for w in ("--disk", path)))
    with contextlib.ExitStack() as stack:
        stack.callback(server.kill)
        server.start()
        volume = server.create("db", "64M", "--shard-size", "64M")
        write_and_flush(server, volume, 8)
        server.stop()
        paths[0].rename(tmp_path / "away")
        server.start(healthy=False)
        status = server.try_cli("status").stdout
        assert str(paths[0]) in status, status
        assert len(names(server)) == 1
        server.stop(unproven={"db": "its disk is away"})
        (tmp_path / "away").rename(paths[0])
        server.start()
        check_blocks(server, volume, 8)
        # A new one that is not there is a mistake.
        server.stop()
        server.options += ["--disk", str(tmp_path / "three")]
        with pytest.raises(trilith.Failed, match="No such file"):
            server.start()


def test_a_disk_with_forgotten_shards_is_kept(server, tmp_path):
    """They are of a volume that was deleted while the disk was away."""
    volume = server.create("db", "128M", "--shard-size", "64M", "--stripe-unit", "4K")
    write_and_flush(server, volume, 8)
    path = server.data / "node-1" / "disk-2"
    server.stop()
    path.rename(tmp_path / "away")
    server.start(healthy=False)
    server.wait_for("db", lambda v: v["state"] == "ready")
    server.delete("db")
    (tmp_path / "away").rename(path)
    server.cli("disk", "add", path)
    text = refused(server, "remove", "node-1/disk-2")
    assert "it holds 1 shards" in text and "node-1/disks" in text
    assert "node-1/disk-2" in names(server)


def format_anew(server, path):
    """The disk's superblocks are lost, and it is formatted: another disk of the same name."""
    server.stop()
    with open(path, "r+b") as file:
        file.write(bytes(2 * BLOCK))
    server.options.append("--force")
    server.start(healthy=False)
    server.options.remove("--force")


def test_removing_a_disk_that_is_gone_spares_the_one_at_its_path(server):
    path = server.data / "node-1" / "disk-2"
    lost = server.cli("disk", "show", "node-1/disk-2")["uuid"]
    format_anew(server, path)
    uuids = {d["uuid"]: d for d in server.cli("disk", "list") if d["name"] == "node-1/disk-2"}
    assert len(uuids) == 2 and lost in uuids
    volume = server.create("db", "128M", "--shard-size", "64M", "--stripe-unit", "4K")
    assert sorted(volume["disks"]) == ["node-1/disk-1", "node-1/disk-2"]
    write_and_flush(server, volume, 9)
    text = refused(server, "remove", "node-1/disk-2")
    assert "2 disks have this name" in text and all(uuid in text for uuid in uuids)
    server.try_cli("disk", "remove", lost).check_returncode()
    assert path.exists()
    assert known(server) == ["disk-1", "disk-2"]
    check_blocks(server, volume, 9)
    server.stop()
    server.start()
    assert names(server) == ["node-1/disk-1", "node-1/disk-2"]
    server.wait_for("db", lambda v: v["state"] == "ready")
    check_blocks(server, volume, 9)


def test_removing_a_disk_that_is_gone_spares_one_at_its_path_that_cannot_be_used(server):
    path = server.data / "node-1" / "disk-2"
    lost = server.cli("disk", "show", "node-1/disk-2")["uuid"]
    format_anew(server, path)
    volume = server.create("db", "128M", "--shard-size", "64M", "--stripe-unit", "4K")
    write_and_flush(server, volume, 9)
    server.stop()
    os.truncate(path, 128 << 20)  # What lies behind is free yet.
    server.start(healthy=False)
    assert "it was cut short" in server.log()
    server.try_cli("disk", "remove", lost).check_returncode()
    assert known(server) == ["disk-1", "disk-2"]
    server.stop(unproven={"db": "one of its disks is refused"})
    os.truncate(path, 256 << 20)
    server.start()
    server.wait_for("db", lambda v: v["state"] == "ready")
    check_blocks(server, volume, 9)


def test_a_disk_that_cannot_be_used_is_removed(server):
    path = server.data / "node-1" / "disk-2"
    server.stop()
    with open(path, "r+b") as file:
        file.write(bytes(2 * BLOCK))
    server.start(healthy=False)
    assert "superblocks are gone" in server.log()
    server.try_cli("disk", "remove", "node-1/disk-2").check_returncode()
    assert known(server) == ["disk-1"] and not path.exists()
    server.stop()
    server.options = []
    server.start()
    assert names(server) == ["node-1/disk-1"]


@pytest.mark.parametrize("pause", [0, 0.02, 0.05, 0.1, 0.2])
def test_a_crash_while_a_disk_is_added_loses_nothing(server, tmp_path, pause):
    """The order outlives the process: the disk is there at the next start, or soon after."""
    path = image(tmp_path / "third")
    adding = threading.Thread(target=server.try_cli, args=("disk", "add", path))
    adding.start()
    threading.Event().wait(pause)
    server.kill()
    adding.join()
    server.start(healthy=False)
    server.cli("disk", "add", path)
    assert known(server) == ["disk-1", "disk-2", str(path)]
    assert len(names(server)) == 3
    server.stop()
    server.start()
    assert len(names(server)) == 3


@pytest.mark.parametrize("memory", ["1M", "all"])
def test_show_says_what_checksums_take(tmp_path, memory):
    with trilith.Server(tmp_path / "data", "--disks", "1", "--disk-size", "2G",
                        "--checksum-memory", memory) as server:
        def disk():
            return server.cli("disk", "show", "node-1/disk-1")

        # A block of 4 KiB has the checksums of 31 grains of 128 KiB.
        blocks = -(-disk()["bytes"] // (31 * (128 << 10)))
        assert disk()["checksum_budget_bytes"] == (1 << 20 if memory == "1M" else blocks * BLOCK)
        assert disk()["checksum_bytes"] == 0
        write_and_flush(server, server.create("db", "64M"), 1)
        limit = time.monotonic() + 30  # Nodes report every few seconds.
        while disk()["checksum_bytes"] != BLOCK:
            assert time.monotonic() < limit
            time.sleep(0.2)
        assert "checksum memory: 4K" in server.try_cli("disk", "show", "node-1/disk-1").stdout


def grow_file(path, size):
    os.truncate(path, size)
    return path


def write_while(server, volume, stop, errors):
    """Writes and reads back one block after the other until it is told to stop."""
    admin, cntlid = nvmetcp.open_admin(server.address, volume["nqn"])
    queue = nvmetcp.open_io(admin, server.address, volume["nqn"], cntlid)
    lba = 0
    while not stop.is_set():
        data = bytes([lba % 255 + 1]) * BLOCK
        wrote = queue.rw(nvmetcp.OP_WRITE, lba, 1, data=data)[0].status
        response, read = queue.rw(nvmetcp.OP_READ, lba, 1)
        if (wrote, response.status, read) != (0, 0, data):
            errors.append(lba)
        lba = (lba + 1) % 1000
    queue.close()
    admin.close()


def test_a_disk_grows_while_hosts_use_it(server):
    path = server.data / "node-1" / "disk-1"
    before = server.cli("disk", "show", "node-1/disk-1")
    text = refused(server, "grow", "node-1/disk-1")
    assert "256M" in text and "make the device larger first" in text
    assert "none of this name" in refused(server, "grow", "node-1/disk-9")
    volume = server.create("db", "64M", "--shard-size", "64M", "--stripe-unit", "4K")
    stop, errors = threading.Event(), []
    host = threading.Thread(target=write_while, args=(server, volume, stop, errors))
    host.start()
    for size in 300 << 20, 1 << 30:
        grow_file(path, size)
        grown = server.cli("disk", "grow", "node-1/disk-1")
        assert grown["state"] == "ready"
        assert grown["bytes"] - before["bytes"] > (size - (256 << 20)) * 0.95
        assert server.cli("disk", "show", "node-1/disk-1")["bytes"] == grown["bytes"]
    stop.set()
    host.join()
    assert errors == []
    write_and_flush(server, volume, 9)
    # What is placed from now on sees it, and all of it is there after a crash and after a stop.
    placed = [server.create(f"new{i}", "64M", "--shard-size", "64M")["disks"] for i in range(4)]
    assert placed.count(["node-1/disk-1"]) >= 3
    for end in (server.kill, server.stop):
        end()
        server.start()
        assert server.cli("disk", "show", "node-1/disk-1")["bytes"] == grown["bytes"]
        server.wait_for("db", lambda v: v["state"] == "ready")
        check_blocks(server, volume, 9)
    server.stop()
    done = trilith.cli("disk", "check", path)
    assert done.returncode == 0, done.stdout


def test_a_file_that_became_larger_is_told_and_one_cut_short_is_refused(server):
    path = server.data / "node-1" / "disk-2"
    before = server.cli("disk", "show", "node-1/disk-2")["bytes"]
    server.stop()
    grow_file(path, 512 << 20)
    server.start()
    assert "its device has become larger; 'trilith disk grow node-1/disk-2'" in server.log()
    assert server.cli("disk", "show", "node-1/disk-2")["bytes"] == before
    server.cli("disk", "grow", "node-1/disk-2")
    server.stop()
    grow_file(path, 400 << 20)
    server.start(healthy=False)
    assert "it was cut short" in server.log()
    assert names(server) == ["node-1/disk-1"]


@pytest.mark.parametrize("pause", [0, 0.01, 0.03, 0.1])
def test_a_crash_while_a_disk_grows_loses_nothing(server, pause):
    """The order outlives the process; the disk has one size or the other, and all that it held."""
    volume = server.create("db", "128M", "--shard-size", "64M", "--stripe-unit", "4K")
    write_and_flush(server, volume, 9)
    path = server.data / "node-1" / "disk-1"
    grow_file(path, 1 << 30)
    growing = threading.Thread(target=server.try_cli, args=("disk", "grow", "node-1/disk-1"))
    growing.start()
    threading.Event().wait(pause)
    server.kill()
    growing.join()
    server.start()
    server.wait_for("db", lambda v: v["state"] == "ready")
    check_blocks(server, volume, 9)
    if server.cli("disk", "show", "node-1/disk-1")["bytes"] < 900 << 20:
        server.try_cli("disk", "grow", "node-1/disk-1")  # Or the order has done it meanwhile.
    assert server.cli("disk", "show", "node-1/disk-1")["bytes"] > 900 << 20
    check_blocks(server, volume, 9)


def test_the_atomic_size_is_what_the_disk_was_formatted_with(tmp_path):
    def sizes(server):
        return {d["name"]: server.cli("disk", "show", d["name"])["atomic_bytes"]
                for d in server.cli("disk", "list")}

    more = ["--disks", "1", "--disk-size", "256M"]
    with trilith.Server(tmp_path / "data", *more, "--atomic-size", "16K") as server:
        server.cli("disk", "add", image(tmp_path / "second"))
        assert sizes(server) == {"node-1/disk-1": 16384, "node-1/disk-2": 16384}
        volume = server.create("db", "64M", "--shard-size", "64M")
        write_and_flush(server, volume, 4)
    # It is told once: later it only concerns disks that are new.
    with trilith.Server(tmp_path / "data", *more, "--atomic-size", "512") as server:
        server.cli("disk", "add", image(tmp_path / "third"))
        assert sizes(server) == {"node-1/disk-1": 16384, "node-1/disk-2": 16384,
                                 "node-1/disk-3": 512}
        check_blocks(server, volume, 4)
