# SPDX-License-Identifier: Apache-2.0
"""Many queues, many controllers, and hosts that come and go."""

import pytest

import boot
import host
import image

CPUS = 8  # Linux makes at most one queue of each kind for each processor.


@pytest.fixture(scope="module")
def booted():
    reason = image.why_impossible()
    if reason:
        pytest.skip(reason)
    keeper = host.Keeper(cpus=CPUS)
    yield keeper
    keeper.stop()


@pytest.fixture(scope="module")
def volume(server):
    return server.create("queues", "256M")


def test_many_queues_carry_io(guest, server, volume):
    device = host.connect(guest, server, volume["nqn"],
                          f"--nr-io-queues={CPUS} --nr-write-queues={CPUS} --queue-size=1024")
    name = host.controllers(guest, volume["nqn"])[0]
    # One admin queue, and one of each kind for each processor.
    assert int(guest.run(f"cat /sys/class/nvme/{name}/queue_count")) == 2 * CPUS + 1
    guest.run(host.fio(device, "randrw", "4M", "4k", 8,
                       f"--numjobs={CPUS} --offset_increment=8M --group_reporting"), 240)


def test_several_hosts_reach_the_same_namespace(guest, server, volume):
    """Each has a controller with an identifier of its own.

    The kernel is asked without nvme-cli, whose version 2.3 takes them all for one host.
    """
    for turn in range(3):
        host_id = f"0190c5f2-7a3b-4c1d-8e9f-00ffa0b1c2d{turn}"
        guest.run(f"echo transport=tcp,traddr={boot.HOST},trsvcid={server.port},"
                  f"nqn={volume['nqn']},nr_io_queues=2,hostid={host_id},"
                  f"hostnqn=nqn.2014-08.org.nvmexpress:uuid:{host_id} >/dev/nvme-fabrics", 60)
    names = host.controllers(guest, volume["nqn"])
    assert len(names) == 3
    ids = {guest.run(f"cat /sys/class/nvme/{name}/cntlid").strip() for name in names}
    assert len(ids) == 3
    guest.run(host.fio(host.device(guest, volume["nqn"]), "randrw", "8M"), 120)


def test_connecting_and_disconnecting_leaves_nothing_behind(guest, server, volume):
    for turn in range(8):
        host.connect(guest, server, volume["nqn"], "--nr-io-queues=4" if turn % 2 else "")
        guest.run(f"nvme disconnect -n {volume['nqn']}", 60)
    server.wait_for("queues", lambda volume: volume["connected_hosts"] == [])
