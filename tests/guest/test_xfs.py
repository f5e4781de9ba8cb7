# SPDX-License-Identifier: Apache-2.0
"""XFS: files that are verified, crashes on both sides, a log that is replayed."""

import time

import host
import pytest


@pytest.fixture(scope="module", params=["4096", "512"])
def volume(server, request):
    return server.create(f"xfs{request.param}", "512M", "--block-size", request.param)


@pytest.fixture
def device(guest, server, volume):
    """The volume, with a new file system."""
    guest.run("modprobe xfs")
    found = host.connect(guest, server, volume["nqn"])
    guest.run(f"""
        mkfs.xfs -q -f -s size=$(blockdev --getss {found}) {found}
        mount {found} /mnt""", 120)
    return found


def write_files(directory, count):
    """Files of 3 bytes to about 1 MiB, synced, and their sums in /tmp/sums."""
    return f"""
        mkdir {directory}
        for i in $(seq {count}); do
            head -c $((i * i * 5000 % 1000000 + 3)) /dev/urandom >{directory}/$i
        done
        (cd {directory}; sha256sum *) >/tmp/sums
        sync"""


def test_files_are_as_they_were_written(guest, device):
    guest.run(write_files("/mnt/files", 30) + f"""
        sector=$(blockdev --getss {device})
        xfs_info /mnt | grep -q "sectsz=$sector"
        umount /mnt
        xfs_repair -n {device}
        mount {device} /mnt
        cd /mnt/files
        sha256sum --quiet -c /tmp/sums
        rm *
        fstrim /mnt""", 240)


@pytest.mark.kernel_may_say("Log I/O Error (0x6) detected at xfs_fs_goingdown")
def test_synced_files_survive_a_crash_of_the_file_system(guest, device):
    """It stops without writing its log out, as at a power cut of the host, and replays it."""
    guest.run(write_files("/mnt/files", 20), 120)
    job = guest.start(write_files("/mnt/more", 20).replace("/tmp/sums", "/tmp/other"))
    time.sleep(2)
    guest.run("xfs_io -x -c shutdown /mnt", 60)
    job.wait(60)
    guest.run(f"""
        umount /mnt
        mount {device} /mnt
        cd /mnt/files
        sha256sum --quiet -c /tmp/sums
        cd /
        umount /mnt
        xfs_repair -n {device}""", 240)


def test_mounted_file_system_survives_kill_9(guest, server, device):
    """The server dies while files are written; the kernel waits, and all of them are right."""
    guest.run(write_files("/mnt/files", 10), 120)
    job = guest.start("set -e" + write_files("/mnt/more", 40).replace("/tmp/sums", "/tmp/other"))
    for _ in range(2):
        time.sleep(1)
        server.kill()
        server.start()
    assert job.wait(240).status == 0, job.output
    guest.run(f"""
        umount /mnt
        xfs_repair -n {device}
        mount {device} /mnt
        cd /mnt/files; sha256sum --quiet -c /tmp/sums
        cd /mnt/more; sha256sum --quiet -c /tmp/other""", 240)
