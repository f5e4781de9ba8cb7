# SPDX-License-Identifier: Apache-2.0
"""Two machines at once, on one volume and on two, and machines that come and go by the hundred."""

import pathlib
import time

import host
import pytest

MIB = 1 << 20
# Of growth of the server in 300 associations, with AddressSanitizer's own 2 MiB: 450 queues that
# were not freed would be 28 MiB.  A unit test counts every allocation.
GROWTH_MAX_KIB = 4096


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """As everywhere, but that its memory is measured."""
    running = host.new_server(tmp_path_factory.mktemp("up")).without_quarantine().start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def volume(server):
    return server.create("hosts", "256M")


def test_two_hosts_share_a_volume(guest, second_guest, server, volume):
    """Each verifies its own part at the same time; then each reads what the other wrote."""
    guests = [guest, second_guest]
    devices = [host.connect(one, server, volume["nqn"]) for one in guests]
    jobs = [one.start(host.fio(device, "randrw", "16M", "4k-16k", 8,
                               f"--offset={turn * 64}M --randseed={turn}"))
            for turn, (one, device) in enumerate(zip(guests, devices))]
    for job in jobs:
        assert job.wait(240).status == 0, job.output
    for writer, reader in ((0, 1), (1, 0)):
        at = f"bs=1M {{}}={200 + writer * 8} count=8"
        written = guests[writer].run(
            f"head -c 8M /dev/urandom >/tmp/shared; dd if=/tmp/shared of={devices[writer]} "
            f"oflag=direct status=none {at.format('seek')}; sha256sum </tmp/shared", 60)
        read = guests[reader].run(
            f"dd if={devices[reader]} iflag=direct status=none {at.format('skip')} | sha256sum", 60)
        assert read == written


def test_two_hosts_on_two_volumes(guest, second_guest, server, volume):
    """One loses its server's connection by a reset; the other one's I/O does not notice."""
    other = server.create("hosts2", "256M")
    first = host.connect(guest, server, volume["nqn"])
    second = host.connect(second_guest, server, other["nqn"])
    name = host.controllers(guest, volume["nqn"])[0]
    jobs = [guest.start(host.fio(first, "randrw", "16M", "4k", 8)),
            second_guest.start(host.fio(second, "randrw", "16M", "4k", 8))]
    guest.run(f"nvme reset /dev/{name}", 60)
    for job in jobs:
        assert job.wait(240).status == 0, job.output
    host.disconnect_all(second_guest)
    server.delete("hosts2")


def rss_kib(server):
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def open_files(server):
    return len(list(pathlib.Path(f"/proc/{server.process.pid}/fd").iterdir()))


def come_and_go(guest, server, volume, times):
    """Associations of a kernel, without a process for each step of them."""
    guest.run(f"""
        for turn in $(seq {times}); do
            echo transport=tcp,traddr=10.0.2.2,trsvcid={server.port},nqn={volume["nqn"]},\
nr_io_queues=$((turn % 2 + 1)) >/dev/nvme-fabrics
            for delete in /sys/class/nvme/nvme*/delete_controller; do echo 1 >$delete; done
        done""", 600)
    server.wait_for("hosts", lambda volume: volume["connected_hosts"] == [])


# Deleted while it looks for partitions.
@pytest.mark.kernel_may_say("logical block 0, async page read")
def test_hosts_that_come_and_go_by_the_hundred(guest, server, volume):
    """Each association works, and none leaves memory or descriptors behind."""
    come_and_go(guest, server, volume, 50)
    before_kib, before_files = rss_kib(server), open_files(server)
    come_and_go(guest, server, volume, 300)
    deadline = time.monotonic() + 30  # For connections to the API.
    while open_files(server) > before_files and time.monotonic() < deadline:
        time.sleep(0.2)
    assert open_files(server) <= before_files
    assert rss_kib(server) - before_kib < GROWTH_MAX_KIB
    device = host.connect(guest, server, volume["nqn"])
    guest.run(host.fio(device, "randrw", "4M"), 120)


def test_many_resets_under_load(guest, server, volume):
    device = host.connect(guest, server, volume["nqn"])
    name = host.controllers(guest, volume["nqn"])[0]
    job = guest.start(host.fio(device, "randrw", "64M", "4k-64k", 16, "--loops=4"))
    resets = 0
    while job.running() and resets < 30:
        guest.run(f"nvme reset /dev/{name}", 60)
        resets += 1
    assert resets > 5
    assert job.wait(600).status == 0, job.output
