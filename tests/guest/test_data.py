# SPDX-License-Identifier: Apache-2.0
"""Data: verified I/O of many shapes, a file system, space that comes back."""

import pytest

import host

MIB = 1 << 20


@pytest.fixture(scope="module")
def volume(server):
    return server.create("data", "512M")


def test_fio_verifies_mixed_io(guest, server, volume):
    device = host.connect(guest, server, volume["nqn"])
    guest.run(host.fio(device, "randrw", "64M", "4k-64k", 32, "--runtime=8"), 180)


def test_fio_with_fua_and_flush(guest, server, volume):
    device = host.connect(guest, server, volume["nqn"])
    guest.run(host.fio(device, "randwrite", "2M", "4k", 4, "--fsync=16"), 120)
    guest.run(host.fio(device, "randwrite", "1M", "4k", 4, "--sync=dsync"), 120)
    guest.run(f"head -c 4096 /dev/urandom >/tmp/block; "
              f"nvme write {device} -s 7 -c 0 -z 4096 -d /tmp/block --force-unit-access; "
              f"nvme read {device} -s 7 -c 0 -z 4096 -d /tmp/back; cmp /tmp/block /tmp/back; "
              f"nvme flush {device}", 60)


def test_blocks_of_512_bytes(guest, server):
    """Small and unaligned writes are verified; the kernel knows that 4 KiB suit better."""
    small = server.create("small", "256M", "--block-size", "512")
    device = host.connect(guest, server, small["nqn"])
    assert guest.run(f"blockdev --getss --getpbsz {device}").split() == ["512", "4096"]
    # Without its map of what is written, fio would have overlapping commands in flight at once,
    # and what these leave is undefined.
    guest.run(host.fio(device, "randrw", "4M", "512-16k", 16,
                       "--blockalign=512 --serialize_overlap=1"), 180)
    guest.run(f"""
        dd if=/dev/urandom of=/tmp/block bs=512 count=16 status=none
        dd if=/tmp/block of={device} bs=512 seek=16003 oflag=direct status=none
        nvme write-zeroes {device} -n 1 -s 16005 -c 4
        dd if=/dev/zero of=/tmp/block bs=512 seek=2 count=5 conv=notrunc status=none
        dd if={device} of=/tmp/back bs=512 skip=16003 count=16 iflag=direct status=none
        cmp /tmp/block /tmp/back
        mkfs.ext4 -q {device}
        e2fsck -fn {device}""", 60)


def test_unwritten_and_zeroed_blocks_read_as_zeros(guest, server, volume):
    device = host.connect(guest, server, volume["nqn"])
    guest.run(f"""
        is_zero() {{ [ "$(dd if={device} bs=1M skip=$1 count=$2 iflag=direct status=none |
            tr -d '\\0' | wc -c)" = 0 ]; }}
        not() {{ if "$@"; then false; fi; }}  # "set -e" does not see the status behind a "!".
        dd if=/dev/urandom of={device} bs=1M seek=100 count=8 oflag=direct status=none
        blkdiscard -z -o $((101 << 20)) -l $((2 << 20)) {device}
        is_zero 101 2
        not is_zero 100 1
        not is_zero 103 1
        blkdiscard -o $((104 << 20)) -l $((2 << 20)) {device}
        is_zero 104 2
        not is_zero 106 1
        is_zero 300 8""", 60)


def test_ext4_keeps_files_and_discard_gives_space_back(guest, server, volume):
    device = host.connect(guest, server, volume["nqn"])
    guest.run(f"blkdiscard {device}", 60)
    server.wait_for("data", lambda v: v["used_bytes"] < MIB)
    guest.run(f"""
        mkfs.ext4 -q {device}
        mount {device} /mnt
        head -c 40M /dev/urandom >/mnt/file
        sha256sum </mnt/file >/tmp/sum
        sync
        umount /mnt
        e2fsck -fn {device}
        mount {device} /mnt
        sha256sum -c /tmp/sum </mnt/file""", 180)
    server.wait_for("data", lambda v: v["used_bytes"] >= 40 * MIB)
    guest.run("rm /mnt/file; sync; fstrim /mnt; umount /mnt", 60)
    server.wait_for("data", lambda v: v["used_bytes"] < 30 * MIB)
    guest.run(f"e2fsck -fn {device}; blkdiscard {device}", 60)
    server.wait_for("data", lambda v: v["used_bytes"] < MIB)


def test_two_volumes_do_not_mix(guest, server, volume):
    other = server.create("other", "64M")
    first = host.connect(guest, server, volume["nqn"])
    second = host.connect(guest, server, other["nqn"])
    guest.run(f"""
        for i in 1 2; do
            head -c 8M /dev/urandom >/tmp/pattern$i
        done
        dd if=/tmp/pattern1 of={first} bs=256k oflag=direct status=none &
        dd if=/tmp/pattern2 of={second} bs=256k oflag=direct status=none &
        wait
        cmp -n $((8 << 20)) {first} /tmp/pattern1
        cmp -n $((8 << 20)) {second} /tmp/pattern2""", 60)
    guest.run(f"nvme disconnect -n {other['nqn']}")
    server.delete("other")


def test_compare(guest, server, volume):
    """Compare Failure where the data differ, and only there."""
    device = host.connect(guest, server, volume["nqn"])
    guest.run(f"""
        compare() {{ nvme compare {device} -s $1 -c $2 -z $3 -d /tmp/compared; }}
        not() {{ if "$@"; then false; fi; }}  # "set -e" does not see the status behind a "!".
        head -c 64K /dev/urandom >/tmp/compared
        dd if=/tmp/compared of={device} bs=64K seek=3 oflag=direct status=none
        compare 48 15 65536
        head -c 4096 /tmp/compared >/tmp/first
        printf x | dd of=/tmp/compared bs=1 seek=65535 conv=notrunc status=none
        not compare 48 15 65536 >/tmp/said 2>&1
        grep -q "Compare Failure" /tmp/said
        compare 48 0 4096
        dd if={device} bs=4096 skip=48 count=1 iflag=direct status=none | cmp - /tmp/first""", 60)


def test_verify_and_copy(guest, server, volume):
    device = host.connect(guest, server, volume["nqn"])
    guest.run(f"""
        not() {{ if "$@"; then false; fi; }}  # "set -e" does not see the status behind a "!".
        head -c 128K /dev/urandom >/tmp/source
        dd if=/tmp/source of={device} bs=64K seek=10 oflag=direct status=none
        nvme verify {device} --start-block=160 --block-count=31
        not nvme verify {device} --start-block={512 * MIB // 4096 - 1} --block-count=1 \
            >/tmp/said 2>&1
        grep -qi "LBA Out of Range" /tmp/said
        nvme copy {device} --sdlba=4096 --slbs=176,160 --blocks=15,15
        (tail -c 64K /tmp/source; head -c 64K /tmp/source) >/tmp/copied
        dd if={device} bs=64K skip=256 count=2 iflag=direct status=none | cmp - /tmp/copied
        dd if={device} bs=64K skip=10 count=2 iflag=direct status=none | cmp - /tmp/source""", 60)


def test_a_volume_that_grows_is_seen_at_once(guest, server):
    """Without a new connection: the device is larger, and so is the file system on it."""
    grows = server.create("grows", "320M")
    device = host.connect(guest, server, grows["nqn"])
    name = host.controllers(guest, grows["nqn"])[0]
    guest.run(f"""
        modprobe xfs
        mkfs.xfs -q -f {device}
        mount {device} /mnt
        head -c 20M /dev/urandom >/mnt/before
        sha256sum </mnt/before >/tmp/before""", 120)
    connected = len(server.log().split(f"connected to '{grows['nqn']}'"))
    server.cli("volume", "resize", "grows", "--size", "640M")
    guest.run(f"""
        for turn in $(seq 100); do
            [ $(blockdev --getsize64 {device}) != $((640 << 20)) ] || break
            sleep 0.1
        done
        [ $(blockdev --getsize64 {device}) = $((640 << 20)) ]
        xfs_growfs /mnt >/tmp/grown
        [ $(df -m /mnt | awk 'END {{ print $2 }}') -gt 500 ]
        head -c 400M /dev/zero >/mnt/after
        sync
        sha256sum -c /tmp/before </mnt/before
        umount /mnt
        xfs_repair -n {device}
        dd if=/dev/urandom of=/tmp/end bs=1M count=1 status=none
        dd if=/tmp/end of={device} bs=1M seek=639 oflag=direct status=none
        dd if={device} bs=1M skip=639 iflag=direct status=none | cmp - /tmp/end
        [ -e /sys/class/nvme/{name} ]""", 240)
    assert len(server.log().split(f"connected to '{grows['nqn']}'")) == connected
    host.disconnect_all(guest)
    server.delete("grows")
