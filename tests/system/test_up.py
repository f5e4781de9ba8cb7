# SPDX-License-Identifier: Apache-2.0
"""`trilith up`: starting, dying, coming back, and what it refuses."""

import concurrent.futures
import json
import os
import socket
import subprocess
import time

import nvmetcp
import pytest
import trilith

BLOCK = 4096
WRITE_S = 2


@pytest.fixture
def up(tmp_path):
    """A function that makes servers on directories of their own; what still runs is killed."""
    servers = []

    def make(name="data", *options):
        server = trilith.Server(tmp_path / name, *options)
        servers.append(server)
        return server

    yield make
    for server in servers:
        if server.running():
            server.kill()


def small(up, name="data"):
    return up(name, "--disks", "2", "--disk-size", "256M")


def perf(server, *args):
    return server.try_cli("perf", "--to", f"127.0.0.1:{server.port}", "--volume", "db", *args)


def wait_for(condition, limit_s=30):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_ready(server, name="db"):
    wait_for(lambda: server.volume(name)["state"] == "ready")


def disk(server, number=1):
    return server.data / "node-1" / f"disk-{number}"


def refused(*args):
    """The message of a `trilith up` that must end at once."""
    done = trilith.cli("up", *args)
    assert done.returncode in (1, 2)
    return done.returncode, done.stderr


# ---- Dying and coming back ----

def can_mount():
    return os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], check=False,
                                                capture_output=True).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="needs root, for a mount namespace")
def test_the_loss_of_unflushed_writes_is_told_as_asked(up, tmp_path):
    """After power loss, which to the server is another boot of the machine, the first flush of a
    volume that was written to fails, once; with --on-unflushed-loss continue none does."""
    server = small(up)
    boot_id = tmp_path / "boot_id"
    server.inside = ["unshare", "--mount", "sh", "-c",
                     'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"', boot_id]
    boot_id.write_text("11111111-1111-4111-8111-111111111111\n")
    server.start()
    policies = {"tells": ["--on-unflushed-loss", "error"], "default": [], "unused": [],
                "goes-on": ["--on-unflushed-loss", "continue"]}
    for name, options in policies.items():
        server.create(name, "64M", *options)

    def on_a_queue(name, action):
        nqn = server.volume(name)["nqn"]
        admin, cntlid = nvmetcp.open_admin(server.address, nqn)
        with admin, nvmetcp.open_io(admin, server.address, nqn, cntlid) as queue:
            return action(queue)

    def write(queue):
        assert queue.rw(nvmetcp.OP_WRITE, 0, 1, data=b"x" * BLOCK)[0].status == 0

    def flush(queue):
        command = nvmetcp.command(nvmetcp.OP_FLUSH, queue.next_cid(), nsid=1)
        return queue.complete(command)[0].status

    def write_die_and_flush_twice():
        for name in policies:
            if name != "unused":
                on_a_queue(name, write)
        server.kill()
        server.start()
        for name in policies:
            wait_ready(server, name)
        return {name: on_a_queue(name, lambda queue: [flush(queue), flush(queue)])
                for name in policies}

    assert write_die_and_flush_twice() == dict.fromkeys(policies, [0, 0])  # The machine lives.
    boot_id.write_text("22222222-2222-4222-8222-222222222222\n")
    write_fault = 0x280
    assert write_die_and_flush_twice() == {
        "tells": [write_fault, 0], "default": [write_fault, 0], "goes-on": [0, 0],
        "unused": [0, 0]}
    server.stop()


def test_servers_take_the_features_of_the_environment(up, monkeypatch):
    """What lets all of these tests run with those of an older kernel."""
    monkeypatch.setattr(trilith, "IO_FEATURES", "5.14")
    server = small(up).start()
    assert server.cli("status")["nodes"][0]["io_features"] == ["files"]
    server.stop()


# With everything that this kernel has, and with what Linux 5.14 has.
@pytest.mark.parametrize("features", ["all", "5.14"])
@pytest.mark.parametrize("block_size", ["4K", "64K"])
def test_no_acknowledged_write_is_lost_by_sigkill(up, tmp_path, block_size, features):
    server = up("data", "--disks", "2", "--disk-size", "256M", "--io-features", features).start()
    assert ("io_uring uses files\n" in server.log()) == (features == "5.14")
    server.create("db", "128M")
    state = tmp_path / "state"
    command = [str(trilith.PROGRAM), "perf", "--to", f"127.0.0.1:{server.port}", "--volume", "db",
               "--rw", "randwrite", "--block-size", block_size, "--depth", "16",
               "--io-features", features,
               "--time", "30", "--flush-every", "100", "--verify", "--verify-state", str(state)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, env=trilith.ENVIRONMENT) as writer:
        time.sleep(WRITE_S)
        assert writer.poll() is None
        server.kill()
        assert writer.wait(60) == 1
    server.start()
    wait_ready(server)
    done = perf(server, "--rw", "read", "--verify", "--verify-state", str(state))
    assert done.returncode == 0, done.stdout + done.stderr
    server.stop()


def knock(address, nqn):
    """The (status, Do Not Retry) of one Connect; None if nobody listens."""
    try:
        with nvmetcp.Connection(address) as host:
            host.ic()
            answer = host.connect(nqn)
            return answer.status, answer.do_not_retry
    except (OSError, nvmetcp.Closed):
        return None


def test_a_host_that_reconnects_early_is_told_to_wait(up):
    """A kernel gives its block device up when it is told that the volume does not exist."""
    server = small(up).start()
    volume = server.create("db", "64M")
    answers = set()
    for _ in range(3):
        server.kill()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            starting = pool.submit(server.start)
            while not starting.done():
                answers.add(knock(server.address, volume["nqn"]))
        starting.result()
    wait_ready(server)
    answers.add(knock(server.address, volume["nqn"]))
    # Controller Busy, and that only until the volume is served.
    assert (0, False) in answers
    assert answers <= {None, (0x181, False), (0, False)}
    assert knock(server.address, volume["nqn"] + "2") == (0x182, True)
    server.cli("volume", "delete", "db")
    assert knock(server.address, volume["nqn"]) == (0x182, True)
    server.stop()


def test_hosts_are_reported_as_they_come_and_go(up):
    server = small(up).start()
    volume = server.create("db", "64M")
    wait_ready(server)
    admin, _ = nvmetcp.open_admin(server.address, volume["nqn"])
    wait_for(lambda: server.volume("db")["connected_hosts"] == [admin.host_nqn])
    admin.close()
    wait_for(lambda: server.volume("db")["connected_hosts"] == [])
    server.cli("volume", "delete", "db")
    wait_for(lambda: server.cli("volume", "list") == [])
    server.stop()


def test_an_orderly_stop_leaves_nothing_but_data(up):
    server = small(up).start()
    assert (server.data / "run.json").exists()
    server.stop()
    assert not (server.data / "run.json").exists()
    assert "warning" not in server.log()
    server.start()
    server.stop()


def test_run_json_of_a_killed_process_is_replaced(up):
    server = small(up).start()
    server.kill()
    assert (server.data / "run.json").exists()
    server.start()
    assert json.loads((server.data / "run.json").read_text())["pid"] == server.process.pid
    server.stop()


def test_closed_streams_are_no_files_of_ours(up):
    """What it says where nobody listens does not go to its lock."""
    server = small(up)
    closed = ["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-']
    command = [*closed, trilith.PROGRAM, "up", "--data", server.data, "--port",
               str(server.port), "--api", server.api, *server.options]
    server.process = subprocess.Popen(command, env=server.environment)
    wait_for(server.is_up)
    assert (server.data / "lock").read_text() == f"{server.process.pid}\n"
    assert {os.readlink(f"/proc/{server.process.pid}/fd/{fd}") for fd in range(3)} == {"/dev/null"}
    server.stop()


def test_files_that_were_not_finished_are_made_anew(up):
    """A process that is killed at its first start may leave disks without a size."""
    server = small(up)
    disk(server).parent.mkdir(parents=True)
    disk(server, 2).write_bytes(b"")
    server.start()
    assert [d["name"] for d in server.cli("disk", "list") if d["state"] == "ready"] == \
        ["node-1/disk-1", "node-1/disk-2"]
    assert disk(server, 2).stat().st_size == 256 << 20
    server.stop()


# ---- What it refuses ----

def test_a_meta_store_without_its_wal_is_no_new_cluster(up):
    """A process that was killed leaves what it wrote in meta.db-wal, at first all of it."""
    server = small(up).start()
    server.create("db", "64M")
    server.kill()
    meta, wal = server.data / "meta.db", server.data / "meta.db-wal"
    kept = {path: path.read_bytes() for path in (meta, wal)}
    disks = [disk(server, number).read_bytes() for number in (1, 2)]
    options = ["--data", str(server.data), *server.options]

    def is_refused(content):
        status, message = refused(*options, "--port", "0", "--api", "127.0.0.1:0")
        assert (status, "empty" in message, "put it back" in message) == (1, True, True), message
        assert len(message.splitlines()) == 1
        assert meta.read_bytes() == content
        assert [disk(server, number).read_bytes() for number in (1, 2)] == disks

    wal.unlink()
    is_refused(kept[meta])
    os.truncate(meta, 0)
    is_refused(b"")
    wal.write_bytes(kept[wal])
    is_refused(b"")
    assert wal.read_bytes() == kept[wal]
    meta.write_bytes(kept[meta])
    server.start()
    wait_ready(server)
    server.stop()


def test_a_second_start_names_the_holder(up):
    server = small(up).start()
    status, message = refused("--data", str(server.data), "--port", "0", "--api", "127.0.0.1:0")
    assert status == 1
    assert str(server.process.pid) in message
    assert server.is_up()
    server.stop()


def test_wrong_arguments_and_places(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"x")
    for status, word, args in [
            (2, "--data", []),
            (2, "IP address", ["--data", "d", "--listen", "nowhere"]),
            (2, "16M", ["--data", "d", "--disk-size", "1M"]),
            (1, "No such file", ["--data", str(tmp_path / "no" / "dir")]),
            (1, "Not a directory", ["--data", str(file)]),
            (1, "No such file", ["--data", str(tmp_path / "a"), "--disk", "/dev/no-such-disk"]),
            (2, "neither a file", ["--data", str(tmp_path / "b"), "--disk", "/dev/null"])]:
        got, message = refused(*args)
        assert (got, word in message) == (status, True), message


def test_a_port_in_use_is_named(up, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        status, message = refused("--data", str(tmp_path / "d"), "--listen", "127.0.0.1",
                                  "--port", str(port), "--api", "127.0.0.1:0")
        assert (status, str(port) in message, "in use" in message) == (1, True, True)
        status, message = refused("--data", str(tmp_path / "d"), "--port", "0",
                                  "--api", f"127.0.0.1:{port}")
        assert (status, str(port) in message) == (1, True)


def test_foreign_content_needs_force(up, tmp_path):
    image = tmp_path / "swap"
    with open(image, "wb") as file:
        file.truncate(64 << 20)
        # What mkswap leaves: a version, a size, and the signature at the end of the page.
        file.seek(1024)
        file.write((1).to_bytes(4, "little") + (16383).to_bytes(4, "little"))
        file.seek(4086)
        file.write(b"SWAPSPACE2")
    options = ["--disk", str(image), "--port", "0", "--api", "127.0.0.1:0"]
    status, message = refused("--data", str(tmp_path / "d"), *options)
    assert (status, "swap" in message, "--force" in message) == (1, True, True)
    server = up("d", "--disk", image, "--force").start()
    assert len(server.cli("disk", "list")) == 1
    server.stop()


# ---- Damaged and strange disks ----

def test_a_damaged_superblock_is_repaired(up):
    server = small(up).start()
    server.create("db", "64M")
    assert perf(server, "--rw", "write", "--bytes", "16M", "--block-size", "64K").returncode == 0
    server.stop()
    for offset in (0, BLOCK):
        with open(disk(server), "r+b") as file:
            file.seek(offset)
            file.write(os.urandom(BLOCK))
        server.start()
        wait_ready(server)
        assert perf(server, "--rw", "read", "--bytes", "16M").returncode == 0
        assert len(server.cli("disk", "list")) == 2
        server.stop()
        with open(disk(server), "rb") as file:
            assert file.read(8) == b"TRILITH1"
            file.seek(BLOCK)
            assert file.read(8) == b"TRILITH1"


def test_a_disk_that_lost_its_superblocks_is_not_formatted(up):
    server = small(up).start()
    server.create("db", "64M")
    assert perf(server, "--rw", "write", "--bytes", "16M", "--block-size", "64K").returncode == 0
    server.stop()
    with open(disk(server), "r+b") as file:
        file.write(bytes(2 * BLOCK))
    server.start(healthy=False)
    assert "disk-1" in server.log() and "--force" in server.log()
    server.stop(unproven={"db": "one of its disks is refused"})


def test_a_disk_that_was_served_is_never_formatted_by_itself(up):
    """Nothing was written to it, so it looks like a new one when its superblocks are gone."""
    server = small(up).start()
    server.stop()
    with open(disk(server), "r+b") as file:
        file.truncate(0)
        file.truncate(256 << 20)
    os.unlink(disk(server, 2))
    server.start(healthy=False)
    assert "has been served before" in server.log()
    assert not disk(server, 2).exists()
    server.stop()
    with open(disk(server), "rb") as file:
        assert file.read(BLOCK) == bytes(BLOCK)
    os.truncate(disk(server), 256 << 20)
    server.options.append("--force")
    server.start(healthy=False)
    assert [d["name"] for d in server.cli("disk", "list") if d["state"] == "ready"] == \
        ["node-1/disk-1"]
    server.stop()


def image(path, size=256 << 20):
    path.write_bytes(b"")
    os.truncate(path, size)
    return path


def test_given_disks_are_remembered(up, tmp_path, monkeypatch):
    first, second, third = (image(tmp_path / name) for name in ("one", "two", "three"))
    monkeypatch.chdir(tmp_path)
    server = up("data", "--disk", "one", "--disk", second).start()
    server.create("db", "64M", "--shard-size", "64M")
    server.stop()
    server.options = []
    monkeypatch.chdir("/")
    server.start()
    assert [d["path"] for d in server.cli("disk", "list")] == [str(first), str(second)]
    assert server.volume("db")["state"] == "ready"
    server.stop()

    data = ["--data", str(server.data)]
    status, text = refused(*data, "--disk", str(first))
    assert status == 2 and str(second) in text and "node-1/disks" in text
    status, text = refused(*data, "--disks", "3")
    assert status == 2 and "--disk" in text

    # Another one joins, and one that is missing does not keep the others from being served.
    server.options = ["--disk", str(first), "--disk", str(second), "--disk", str(third)]
    server.start()
    server.stop()
    server.options = []
    third.rename(tmp_path / "elsewhere")
    server.start(healthy=False)
    wait_for(lambda: str(third) in server.try_cli("status").stdout)
    assert len([d for d in server.cli("disk", "list") if d["state"] == "ready"]) == 2
    assert not third.exists()
    server.stop()


def test_given_disks_do_not_replace_those_of_the_directory(up, tmp_path):
    server = small(up).start()
    server.stop()
    status, text = refused("--data", str(server.data), "--disk", str(image(tmp_path / "one")))
    assert status == 2 and "disk-1" in text and "none to take the same again" in text


def test_a_disk_of_another_cluster_is_refused_by_name(up):
    first = small(up, "first").start()
    first.stop()
    other = up("other", "--disk", disk(first, 1), "--disk", disk(first, 2)).start(healthy=False)
    assert other.cli("disk", "list") == []
    assert "cluster" in other.log()
    other.stop()
    first.start()
    assert len(first.cli("disk", "list")) == 2
    first.stop()


def fill(server, volume):
    """Writes until a write fails, which must be for want of space, and nothing else may suffer.
    Returns how much was written."""
    admin, cntlid = nvmetcp.open_admin(server.address, volume["nqn"])
    queue = nvmetcp.open_io(admin, server.address, volume["nqn"], cntlid)
    data = os.urandom(64 << 10)
    blocks = len(data) // BLOCK
    written = 0
    while True:
        response = queue.write_by_r2t(written * blocks, data)
        if response.status != 0:
            break
        written += 1
    assert response.status & 0x7FF == 0x081  # Generic: Capacity Exceeded.
    response, read = queue.rw(nvmetcp.OP_READ, 0, blocks)
    assert (response.status, read) == (0, data)
    again = os.urandom(len(data))
    assert queue.write_by_r2t(0, again).status == 0
    assert queue.rw(nvmetcp.OP_FLUSH, 0, 1)[0].status == 0
    response, read = queue.rw(nvmetcp.OP_READ, 0, blocks)
    assert (response.status, read) == (0, again)
    queue.close()
    admin.close()
    return written * len(data)


def test_a_full_disk_fails_writes_and_nothing_else(up):
    server = up("data", "--disks", "1", "--disk-size", "64M").start()
    volume = server.create("db", "128M")
    wait_ready(server)
    assert fill(server, volume) > 32 << 20
    server.stop()


@pytest.fixture
def small_file_system(tmp_path):
    """A directory on a file system of 160 MiB."""
    mount = ("mount", "-t", "tmpfs", "-o", "size=160M", "none", tmp_path)
    if os.geteuid() != 0 or subprocess.run(mount).returncode != 0:
        pytest.skip("only root can mount a file system")
    yield tmp_path
    subprocess.run(("umount", "-l", tmp_path), check=True)


def test_a_full_file_system_fails_writes_and_nothing_else(small_file_system, up):
    """The disks' files take their space as they are written, but for journal and checkpoints."""
    server = up("data", "--disks", "2", "--disk-size", "4G").start()
    volume = server.create("db", "1G")
    wait_ready(server)
    assert fill(server, volume) > 32 << 20
    log = server.log()
    assert all(d["state"] == "ready" for d in server.cli("disk", "list"))
    server.stop(unproven={"db": "the controller's state, too, is on the file system that is full"})
    assert trilith.cli("disk", "check", disk(server)).returncode == 0
    assert "takes no more writes" not in log
