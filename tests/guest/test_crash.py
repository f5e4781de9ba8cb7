# SPDX-License-Identifier: Apache-2.0
"""The server dies while the kernel writes; the kernel waits, reconnects and has lost nothing."""

import re
import signal
import time

import pytest

import host


@pytest.fixture(scope="module")
def volume(server):
    return server.create("crash", "512M")


def wait_until_written(guest, device, mib, timeout_s=60):
    """Until the device has taken that much more; so a kill comes while I/O is going on."""
    # Linux 6.1 counts only at the paths, nvme0c0n1 and so on.
    paths = re.sub(r"n(\d+)$", r"c*n\1", device[5:])
    sectors = (f"cat /sys/block/{device[5:]}/stat /sys/block/{paths}/stat 2>/dev/null | "
               "awk '$7 > most { most = $7 } END { print most + 0 }'")
    start = int(guest.run(sectors))
    deadline = time.monotonic() + timeout_s
    while int(guest.run(sectors)) - start < mib * 2048:
        assert time.monotonic() < deadline, "the guest does not write"
        time.sleep(0.1)


def repeated(count, command):
    return f"for turn in $(seq {count}); do {command} --randseed=$turn || exit 1; done"


def test_mounted_file_system_survives_kill_9(guest, server, volume):
    device = host.connect(guest, server, volume["nqn"])
    guest.run(f"""
        mkfs.ext4 -q {device}
        mount {device} /mnt
        head -c 20M /dev/urandom >/mnt/before
        sha256sum </mnt/before >/tmp/before
        sync""", 120)
    for turn in range(2):
        job = guest.start(host.fio("/mnt/load", "randwrite", "24M", "4k-32k", 8,
                                   f"--fsync=64 --randseed={turn + 1}"))
        wait_until_written(guest, device, 4)
        server.kill()
        time.sleep(1)
        assert job.running(), f"I/O did not wait for the server: {job.output}"
        server.start()
        assert job.wait(180).status == 0, job.output
    guest.run(f"""
        sync
        echo 3 >/proc/sys/vm/drop_caches
        sha256sum -c /tmp/before </mnt/before
        umount /mnt
        e2fsck -fn {device}""", 120)


def test_raw_writes_survive_kill_9(guest, server, volume):
    """What fio was told is written is there after the crash: it verifies while it goes on."""
    device = host.connect(guest, server, volume["nqn"], "--data-digest")
    job = guest.start(repeated(2, host.fio(device, "randwrite", "16M", "4k", 16)))
    for _ in range(2):
        wait_until_written(guest, device, 4)
        server.kill()
        server.start()
    assert job.wait(240).status == 0, job.output


def test_stopped_server_is_given_up_and_found_again(guest, server, volume):
    """A server that says nothing for longer than the keep-alive time-out is reconnected to."""
    device = host.connect(guest, server, volume["nqn"], "--keep-alive-tmo=2")
    job = guest.start(host.fio(device, "randwrite", "12M", "4k", 4))
    wait_until_written(guest, device, 2)
    server.process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(6)
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert job.wait(240).status == 0, job.output


def test_controller_reset_under_load(guest, server, volume):
    device = host.connect(guest, server, volume["nqn"])
    name = host.controllers(guest, volume["nqn"])[0]
    job = guest.start(repeated(2, host.fio(device, "randrw", "12M", "4k", 16)))
    for _ in range(2):
        wait_until_written(guest, device, 2)
        guest.run(f"nvme reset /dev/{name}", 60)
    assert job.wait(240).status == 0, job.output


def test_orderly_restart_keeps_everything(guest, server, volume):
    device = host.connect(guest, server, volume["nqn"])
    guest.run(f"head -c 8M /dev/urandom >/tmp/data; "
              f"dd if=/tmp/data of={device} bs=64k oflag=direct status=none", 60)
    server.stop()
    server.start()
    guest.run(f"echo 3 >/proc/sys/vm/drop_caches; cmp -n $((8 << 20)) {device} /tmp/data", 120)
