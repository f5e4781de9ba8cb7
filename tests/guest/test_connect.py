# SPDX-License-Identifier: Apache-2.0
"""The kernel finds, connects and identifies volumes, and reads what it wrote."""

import uuid

import pytest

import boot
import host
import image

SIZE = 256 << 20
DISCOVERY = "nqn.2014-08.org.nvmexpress.discovery"
KERNELS = {"bookworm": "6.1.", "trixie": "6.12."}


@pytest.fixture(scope="module")
def volume(server):
    return server.create("first", "256M")


def discovered(guest, server, address=boot.HOST):
    records = host.nvme_json(guest, f"discover -t tcp -a {address} -s {server.port}")["records"]
    return {record["subnqn"]: record for record in records}


def test_the_kernel_is_the_one_that_is_meant(guest):
    """Of releases that are not named here, any."""
    release = guest.run("uname -r").strip()
    assert release.startswith(KERNELS.get(image.SUITE, "")), release


def test_discovery_names_every_volume_and_where_it_is(guest, server, volume):
    other = server.create("second", "64M")
    records = discovered(guest, server)
    for nqn in (volume["nqn"], other["nqn"]):
        assert records[nqn]["trtype"] == "tcp"
        assert records[nqn]["adrfam"] == "ipv4"
        assert records[nqn]["subtype"] == "nvme subsystem"
        assert records[nqn]["traddr"] == boot.HOST
        assert records[nqn]["trsvcid"] == str(server.port)
    server.delete("second")
    assert other["nqn"] not in discovered(guest, server)


def test_connect_all_attaches_what_discovery_advertises(guest, server, volume):
    guest.run(f"nvme connect-all -t tcp -a {boot.HOST} -s {server.port}", 60)
    assert host.device(guest, volume["nqn"])


def test_a_discovery_controller_that_stays_hears_of_volumes(guest, server, volume):
    """The kernel holds it; udev would hear of each change, and ask for the log over it."""
    where = f"-t tcp -a {boot.HOST} -s {server.port}"
    guest.run(f"nvme connect-all --persistent {where}", 60)
    assert host.device(guest, volume["nqn"])
    [name] = host.controllers(guest, DISCOVERY)
    connected = server.log().count(f"connected to '{DISCOVERY}'")
    assert connected > 0
    guest.run("""
        rm -f /tmp/events
        uevent sh -c 'echo "$DEVNAME $NVME_AEN" >>/tmp/events' >/dev/null 2>&1 &
        echo $! >/tmp/listener
        sleep 1""")

    def told(times):
        """Notice, discovery log page change, page 70h."""
        guest.run(f"""
            for turn in $(seq 100); do
                [ $(grep -c "^{name} 0x70f002$" /tmp/events) != {times} ] || exit 0
                sleep 0.1
            done
            cat /tmp/events; exit 1""", 60)
        return guest.run(f"nvme discover --device={name} {where}", 60)

    other = server.create("meanwhile", "64M")
    log = told(1)
    assert volume["nqn"] in log and other["nqn"] in log
    server.delete("meanwhile")
    log = told(2)
    assert volume["nqn"] in log and other["nqn"] not in log
    assert server.log().count(f"connected to '{DISCOVERY}'") == connected
    guest.run("kill $(cat /tmp/listener)")


@pytest.mark.parametrize("digests", ["", "--hdr-digest", "--data-digest",
                                     "--hdr-digest --data-digest"])
def test_reads_give_what_was_written(guest, server, volume, digests):
    device = host.connect(guest, server, volume["nqn"], digests)
    # Sizes below, at and above what fits into a capsule and into one data PDU.
    guest.run(host.fio(device, "randrw", "4M", "4k", 16), 120)
    guest.run(host.fio(device, "write", "12M", "4k-512k", 4), 120)
    guest.run(f"nvme disconnect -n {volume['nqn']}")
    assert host.controllers(guest, volume["nqn"]) == []


def test_controller_identifies_itself_honestly(guest, server, volume):
    host.connect(guest, server, volume["nqn"])
    name = host.controllers(guest, volume["nqn"])[0]
    ctrl = host.nvme_json(guest, f"id-ctrl /dev/{name}")
    assert ctrl["subnqn"] == volume["nqn"]
    assert ctrl["sqes"] == 0x66 and ctrl["cqes"] == 0x44
    assert ctrl["cntrltype"] == 1
    assert ctrl["nn"] >= 1
    assert ctrl["kas"] > 0, "Linux refuses to keep alive without"
    assert ctrl["oncs"] & 0x4, "Dataset Management"
    assert ctrl["oncs"] & 0x8, "Write Zeroes"
    assert ctrl["fuses"] == 0
    assert ctrl["vwc"] & 1, "completed writes are not durable before a Flush"
    assert ctrl["sgls"] & 3 in (1, 2)
    assert ctrl["ioccsz"] >= 4 and ctrl["icdoff"] == 0
    assert ctrl["mdts"] > 0
    ident = int(guest.run(f"cat /sys/class/nvme/{name}/cntlid"))
    assert ctrl["cntlid"] == ident


def test_namespace_identifies_the_volume(guest, server, volume):
    device = host.connect(guest, server, volume["nqn"])
    ns = host.nvme_json(guest, f"id-ns {device}")
    block = ns["lbafs"][ns["flbas"] & 0xF]
    assert ns["nsze"] == ns["ncap"] == SIZE // 4096
    assert block["ds"] == 12 and block["ms"] == 0
    assert int(ns["nguid"], 16) != 0
    assert int(guest.run(f"blockdev --getsize64 {device}")) == SIZE
    assert guest.run(f"cat /sys/block/{device[5:]}/queue/logical_block_size").strip() == "4096"

    descriptors = guest.run(f"nvme ns-descs {device}")
    assert volume["uuid"] in descriptors
    # Linux must choose the same identity on every path and after every restart.
    wwid = guest.run(f"cat /sys/block/{device[5:]}/wwid").strip()
    assert wwid == f"uuid.{uuid.UUID(volume['uuid'])}"


def test_subsystem_has_one_path_per_connection(guest, server, volume):
    host.connect(guest, server, volume["nqn"])
    listed = guest.run("nvme list-subsys")
    assert volume["nqn"] in listed
    assert f"traddr={boot.HOST},trsvcid={server.port}" in listed
    assert listed.count(" live") == 1


def test_admin_commands_that_tools_send(guest, server, volume):
    device = host.connect(guest, server, volume["nqn"])
    name = host.controllers(guest, volume["nqn"])[0]
    # nvme-cli 2.3 fails to read the registers of a controller that is not on PCI.
    registers = "true" if "version 2.3" in guest.run("nvme version") else "nvme show-regs -H"
    guest.run(f"""
        nvme smart-log /dev/{name}
        nvme smart-log {device}
        nvme error-log /dev/{name}
        nvme fw-log /dev/{name}
        nvme effects-log /dev/{name}
        nvme get-feature /dev/{name} -f 7 -H
        nvme get-feature /dev/{name} -f 0xb -H
        nvme list-ns /dev/{name}
        nvme id-ns {device}
        nvme list
        nvme get-property /dev/{name} --offset=8
        {registers} /dev/{name}""", 60)


def test_ipv6(guest, server, volume):
    """The same server, by its IPv6 address."""
    records = discovered(guest, server, boot.HOST6)
    assert volume["nqn"] in records
    device = host.connect(guest, server, volume["nqn"], address=boot.HOST6)
    guest.run(host.fio(device, "randrw", "4M"), 60)


@pytest.mark.kernel_may_say("Connect Invalid Data", "failed to connect")
def test_unknown_subsystem_is_refused(guest, server, volume):
    job = guest.try_run(f"nvme connect -t tcp -a {boot.HOST} -s {server.port} "
                        f"-n {volume['nqn']}x", 60)
    assert job.status != 0
    assert host.controllers(guest, volume["nqn"] + "x") == []


@pytest.mark.kernel_may_say("Connect for subsystem", "failed to connect")
def test_only_allowed_hosts_connect(guest, server):
    friend = "nqn.2014-08.org.nvmexpress:uuid:0190c5f2-7a3b-4c1d-8e9f-00ffa0b1c2d3"
    kept = server.create("private", "64M", "--allow-host", friend)["nqn"]
    stranger = friend[:-1] + "4"
    where = f"-t tcp -a {boot.HOST} -s {server.port}"
    assert guest.try_run(f"nvme connect {where} -n {kept} -q {stranger}", 60).status != 0
    assert host.controllers(guest, kept) == []
    # Discovery shows a host what it may use, and nothing else.
    assert kept not in guest.run(f"nvme discover {where} -q {stranger}")
    assert kept in guest.run(f"nvme discover {where} -q {friend}")
    device = host.connect(guest, server, kept, f"-q {friend}")
    guest.run(host.fio(device, "randrw", "4M"), 60)
