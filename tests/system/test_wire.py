# SPDX-License-Identifier: Apache-2.0
"""What no kernel sends: the target answers with the status or the termination PDU that the
specification names, logs it once, and every other host works on.

NVMe/TCP Transport Specification 1.0c, "Error Handling Model"; NVM Express Base Specification
2.0c, "Status Code Definitions".
"""

import resource
import socket
import struct
import time

import pytest

import nvmetcp as nvme

pytestmark = pytest.mark.usefixtures("bystander")


@pytest.fixture
def fresh(server):
    """A connection on which nothing was said."""
    with nvme.Connection(server.address) as connection:
        yield connection


@pytest.fixture
def admin(server, volume):
    connection, cntlid = nvme.open_admin(server.address, volume["nqn"])
    connection.cntlid = cntlid
    with connection:
        yield connection


@pytest.fixture
def queue(server, volume, admin):
    with nvme.open_io(admin, server.address, volume["nqn"], admin.cntlid) as connection:
        yield connection


def expect_termination(connection, fes, fei=None):
    """A C2HTermReq with that reason, and the end of the connection."""
    got = connection.receive_kind(nvme.C2H_TERM)
    assert got.fes == fes
    if fei is not None:
        assert got.fei == fei
    connection.socket.shutdown(socket.SHUT_WR)  # The target need not wait for us.
    assert connection.is_closed()


def expect_one_line(server, before, *words):
    """The log grew by exactly one line about the peer, with these words."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        lines = [line for line in server.log()[before:].splitlines()
                 if all(word in line for word in words)]
        if lines:
            break
        time.sleep(0.05)
    assert len(lines) == 1, server.log()[before:]


# ---- PDUs ----

@pytest.mark.parametrize("fields, fei", [
    ({"hlen": 127}, 2),
    ({"plen": 127}, 4),
    ({"plen": 4}, 4),
    ({"plen": 129}, 4),
    ({"plen": 0xFFFFFFFF}, 4),
], ids=str)
def test_malformed_ic_req(server, fresh, fields, fei):
    before = len(server.log())
    fresh.send(nvme.ic_req(**fields))
    expect_termination(fresh, nvme.FES_HEADER_FIELD, fei)
    expect_one_line(server, before, f"127.0.0.1:{fresh.socket_port}")


def test_ic_req_of_an_unknown_version(fresh):
    fresh.send(nvme.ic_req(version=9))
    expect_termination(fresh, nvme.FES_UNSUPPORTED, 8)


def test_anything_before_ic_req(fresh):
    fresh.send(nvme.pdu(nvme.CAPSULE_CMD, bytes(64)))
    expect_termination(fresh, nvme.FES_SEQUENCE)


def test_second_ic_req(fresh):
    """Here the host does not close: the target does, when it has waited for a while."""
    fresh.ic()
    fresh.send(nvme.ic_req())
    assert fresh.receive_kind(nvme.C2H_TERM).fes == nvme.FES_SEQUENCE
    assert fresh.is_closed()


@pytest.mark.parametrize("kind", [0x08, 0x0A, 0x77, 0xFF, nvme.CAPSULE_RESP, nvme.C2H_DATA,
                                  nvme.R2T, nvme.IC_RESP, nvme.C2H_TERM])
def test_pdu_type_that_no_host_sends(admin, kind):
    hlen = nvme.HEADER_BYTES.get(kind, 24)
    admin.send(nvme.pdu(kind, bytes(hlen - 8)))
    expect_termination(admin, nvme.FES_HEADER_FIELD, 0)


@pytest.mark.parametrize("fields, fei", [
    ({"hlen": 71}, 2),
    ({"hlen": 0}, 2),
    ({"hlen": 255}, 2),
    ({"plen": 71}, 4),
    ({"plen": 0}, 4),
    ({"plen": 1 << 31, "pdo": 72}, 4),
    ({"pdo": 71, "data": bytes(64)}, 3),
    ({"pdo": 73, "data": bytes(64)}, 3),
    ({"pdo": 0, "data": bytes(64)}, 3),
], ids=str)
def test_malformed_capsule(admin, fields, fei):
    admin.send(nvme.pdu(nvme.CAPSULE_CMD, bytes(64), **fields))
    expect_termination(admin, nvme.FES_HEADER_FIELD, fei)


def test_capsule_larger_than_the_limit(admin):
    admin.send(nvme.pdu(nvme.CAPSULE_CMD, bytes(64), bytes(64 << 10)))
    assert admin.receive_kind(nvme.C2H_TERM).fes in (nvme.FES_HEADER_FIELD, nvme.FES_LIMIT)
    assert admin.is_closed()


def test_wrong_header_digest(server, volume):
    admin, _ = nvme.open_admin(server.address, volume["nqn"], nvme.FLAG_HDGST)
    with admin:
        sqe = nvme.command(nvme.OP_KEEP_ALIVE, admin.next_cid())
        good = nvme.pdu(nvme.CAPSULE_CMD, sqe, digests=admin.digests)
        admin.send(good[:-1] + bytes([good[-1] ^ 1]))
        expect_termination(admin, nvme.FES_HEADER_DIGEST)


def test_wrong_data_digest_fails_the_command_alone(server, volume):
    """Transient Transport Error, and the connection goes on."""
    admin, cntlid = nvme.open_admin(server.address, volume["nqn"], nvme.FLAG_DDGST)
    with admin, nvme.open_io(admin, server.address, volume["nqn"], cntlid,
                             digests=nvme.FLAG_DDGST) as queue:
        good = b"good" * 1024
        assert queue.rw(nvme.OP_WRITE, 5, 1, data=good)[0].status == 0

        sqe = nvme.command(nvme.OP_WRITE, queue.next_cid(), 1,
                           nvme.sgl(nvme.SGL_IN_CAPSULE, 4096), struct.pack("<QHH", 5, 0, 0))
        broken = nvme.pdu(nvme.CAPSULE_CMD, sqe, b"evil" * 1024, digests=queue.digests)
        queue.send(broken[:-1] + bytes([broken[-1] ^ 1]))
        answer, _ = queue.receive_response()
        assert answer.status == 0x022
        assert not answer.do_not_retry
        assert bytes(queue.rw(nvme.OP_READ, 5, 1)[1]) == good


def test_wrong_data_digest_of_h2c_data(server, volume):
    admin, cntlid = nvme.open_admin(server.address, volume["nqn"], nvme.FLAG_DDGST)
    with admin, nvme.open_io(admin, server.address, volume["nqn"], cntlid,
                             digests=nvme.FLAG_DDGST) as queue:
        r2t = ask_for_r2t(queue, 16384)
        cid, tag, offset, length = r2t.r2t
        header = struct.pack("<HHII4x", cid, tag, offset, length)
        broken = nvme.pdu(nvme.H2C_DATA, header, bytes(length), nvme.FLAG_LAST,
                          digests=queue.digests)
        queue.send(broken[:-1] + bytes([broken[-1] ^ 1]))
        answer = queue.receive_kind(nvme.CAPSULE_RESP)
        assert answer.status == 0x022
        assert queue.write_by_r2t(0, bytes(16384)).status == 0


# ---- Data that nobody asked for ----

def ask_for_r2t(queue, bytes_, lba=0):
    sqe = nvme.command(nvme.OP_WRITE, queue.next_cid(), 1, nvme.sgl(nvme.SGL_TRANSPORT, bytes_),
                       struct.pack("<QHH", lba, bytes_ // 4096 - 1, 0))
    queue.send_command(sqe)
    return queue.receive_kind(nvme.R2T)


def test_data_without_r2t(queue):
    header = struct.pack("<HHII4x", 1, 7, 0, 4096)
    queue.send(nvme.pdu(nvme.H2C_DATA, header, bytes(4096), nvme.FLAG_LAST))
    assert queue.receive_kind(nvme.C2H_TERM).fes in (nvme.FES_HEADER_FIELD, nvme.FES_SEQUENCE)
    assert queue.is_closed()


def test_data_for_an_unknown_transfer_tag(queue):
    r2t = ask_for_r2t(queue, 16384)
    queue.send_h2c_data(r2t, bytes(16384), tag=(r2t.r2t[1] + 1) % 0x10000)
    expect_termination(queue, nvme.FES_HEADER_FIELD, 10)


def test_data_for_another_command(queue):
    r2t = ask_for_r2t(queue, 16384)
    queue.send_h2c_data(r2t, bytes(16384), cid=(r2t.r2t[0] + 1) % 0x10000)
    expect_termination(queue, nvme.FES_HEADER_FIELD, 8)


def test_data_beyond_what_was_asked_for(queue):
    r2t = ask_for_r2t(queue, 16384)
    queue.send_h2c_data(r2t, bytes(16384), offset=4096)
    expect_termination(queue, nvme.FES_OUT_OF_RANGE)


def test_data_length_that_is_not_the_pdu_length(queue):
    r2t = ask_for_r2t(queue, 16384)
    queue.send_h2c_data(r2t, bytes(16384), length=8192)
    expect_termination(queue, nvme.FES_HEADER_FIELD, 16)


# ---- Commands ----

@pytest.mark.parametrize("opcode", [0x05, 0x7E, 0xC0, 0xFF])
def test_unknown_admin_opcode(admin, opcode):
    answer, _ = admin.admin(opcode)
    assert answer.status == 0x001
    assert answer.do_not_retry
    assert admin.identify(1)[0].status == 0


@pytest.mark.parametrize("opcode", [0x04, 0x0E, 0x7E, 0xFF])
def test_unknown_io_opcode(queue, opcode):
    answer, _ = queue.rw(opcode, 0, 1)
    assert answer.status == 0x001
    assert answer.do_not_retry
    assert queue.rw(nvme.OP_READ, 0, 1)[0].status == 0


LAST = (64 << 20) // 4096


@pytest.mark.parametrize("opcode, lba, blocks", [
    (nvme.OP_READ, LAST, 1),
    (nvme.OP_READ, LAST - 1, 2),
    (nvme.OP_READ, 0xFFFFFFFFFFFFFFFF, 1),
    (nvme.OP_READ, 0xFFFFFFFFFFFFFFFF, 2),
    (nvme.OP_WRITE_ZEROES, LAST, 1),
    (nvme.OP_WRITE_ZEROES, 1 << 52, 65536),
], ids=str)
def test_lba_out_of_range(queue, opcode, lba, blocks):
    sgl = nvme.sgl(nvme.SGL_TRANSPORT, 0 if opcode == nvme.OP_WRITE_ZEROES else blocks * 4096)
    answer, _ = queue.rw(opcode, lba, blocks, sgl1=sgl)
    assert answer.status == 0x080
    assert answer.do_not_retry


def test_write_beyond_the_end(queue):
    assert queue.rw(nvme.OP_WRITE, LAST, 1, data=bytes(4096))[0].status == 0x080
    assert queue.rw(nvme.OP_WRITE, LAST - 1, 2, data=bytes(8192))[0].status == 0x080
    assert queue.rw(nvme.OP_WRITE, LAST - 1, 1, data=bytes(4096))[0].status == 0


def test_deallocate_beyond_the_end(queue):
    ranges = struct.pack("<IIQ", 0, 2, LAST - 1)
    sqe = nvme.command(nvme.OP_DSM, queue.next_cid(), 1, nvme.sgl(nvme.SGL_IN_CAPSULE, 16),
                       struct.pack("<II", 0, 4))
    assert queue.complete(sqe, ranges)[0].status == 0x080


@pytest.mark.parametrize("nsid", [0, 2, 0xFFFFFFFE, 0xFFFFFFFF])
def test_unknown_namespace(queue, nsid):
    answer, _ = queue.rw(nvme.OP_READ, 0, 1, nsid=nsid)
    assert answer.status == 0x00B


def test_sgl_of_an_unknown_type(queue):
    answer, _ = queue.rw(nvme.OP_READ, 0, 1, sgl1=nvme.sgl(0x33, 4096))
    assert answer.status == 0x011


@pytest.mark.parametrize("bytes_", [0, 512, 4095, 8192])
def test_sgl_length_that_is_not_the_command_length(queue, bytes_):
    answer, _ = queue.rw(nvme.OP_READ, 0, 1, sgl1=nvme.sgl(nvme.SGL_TRANSPORT, bytes_))
    assert answer.status == 0x00F


def test_in_capsule_data_that_is_not_there(queue):
    sqe = nvme.command(nvme.OP_WRITE, queue.next_cid(), 1, nvme.sgl(nvme.SGL_IN_CAPSULE, 4096),
                       struct.pack("<QHH", 0, 0, 0))
    answer, _ = queue.complete(sqe)
    assert answer.status in (0x00F, 0x002)


def test_in_capsule_offset_outside(queue):
    sqe = nvme.command(nvme.OP_WRITE, queue.next_cid(), 1,
                       nvme.sgl(nvme.SGL_IN_CAPSULE, 4096, offset=1 << 20),
                       struct.pack("<QHH", 0, 0, 0))
    answer, _ = queue.complete(sqe, bytes(4096))
    assert answer.status == 0x016


def test_transfer_larger_than_mdts(queue):
    blocks = (4 << 20) // 4096
    answer, _ = queue.rw(nvme.OP_READ, 0, blocks)
    assert answer.status in (0x002, 0x00F)
    assert queue.rw(nvme.OP_READ, 0, 1)[0].status == 0


@pytest.mark.parametrize("cns", [0x1F, 0xFF])
def test_unknown_identify(admin, cns):
    assert admin.identify(cns)[0].status == 0x002


# ---- Connect ----

def test_command_before_connect(fresh):
    fresh.ic()
    answer, _ = fresh.identify(1)
    assert answer.status == 0x00C


def test_unknown_subsystem(server, volume, fresh):
    """Connect Invalid Parameters; the offset of SUBNQN in the data."""
    before = len(server.log())
    fresh.ic()
    answer = fresh.connect(volume["nqn"] + "x")
    assert answer.status == 0x182
    assert answer.result == 1 << 16 | 256
    expect_one_line(server, before, volume["nqn"] + "x", fresh.host_nqn)


def test_host_that_is_not_allowed(server, fresh):
    kept = server.create("kept", "64M", "--allow-host", "nqn.2014-08.org.nvmexpress:uuid:"
                         "0190c5f2-7a3b-4c1d-8e9f-00ffa0b1c2d3")["nqn"]
    before = len(server.log())
    fresh.ic()
    answer = fresh.connect(kept)
    assert answer.status == 0x184
    assert answer.do_not_retry
    expect_one_line(server, before, kept, fresh.host_nqn)


def test_unknown_record_format(volume, fresh):
    fresh.ic()
    assert fresh.connect(volume["nqn"], record_format=1).status == 0x180


def test_queue_of_no_entries(volume, fresh):
    fresh.ic()
    answer = fresh.connect(volume["nqn"], sqsize=0)
    assert answer.status == 0x182
    assert answer.result == 44


def test_connect_data_that_is_too_short(volume, fresh):
    fresh.ic()
    sqe = fresh.connect_command()
    answer, _ = fresh.complete(sqe, fresh.connect_data(volume["nqn"])[:512])
    assert answer.status in (0x00F, 0x002)


@pytest.mark.parametrize("nqn", ["", "x" * 300, "nqn.2014-08.org\n", "nqn" + "\u00e9" * 100],
                         ids=["empty", "long", "newline", "other"])
def test_nonsense_for_a_host_nqn(volume, server, nqn):
    with nvme.Connection(server.address, host_nqn=nqn) as connection:
        connection.ic()
        data = connection.connect_data(volume["nqn"])[:512] + nqn.encode()[:256].ljust(512, b"\0")
        answer, _ = connection.complete(connection.connect_command(), data)
        assert answer.status == 0x182


def test_io_queue_of_an_unknown_controller(server, volume, admin):
    with nvme.Connection(server.address, host_nqn=admin.host_nqn) as queue:
        queue.ic()
        answer = queue.connect(volume["nqn"], qid=1, cntlid=(admin.cntlid + 100) & 0x7FFF)
        assert answer.status == 0x182
        assert answer.result == 1 << 16 | 16


def test_io_queue_of_another_host(server, volume, admin):
    with nvme.Connection(server.address, host_nqn=admin.host_nqn[:-1] + "x") as queue:
        queue.ic()
        answer = queue.connect(volume["nqn"], qid=1, cntlid=admin.cntlid)
        assert answer.status in (0x182, 0x184)


def test_more_queues_than_were_granted(server, volume, admin):
    answer, _ = admin.admin(nvme.OP_SET_FEATURES, cdw10=struct.pack("<II", 7, 1 << 16 | 1))
    assert answer.status == 0
    granted = (answer.result & 0xFFFF) + 1
    with nvme.Connection(server.address, host_nqn=admin.host_nqn) as queue:
        queue.ic()
        answer = queue.connect(volume["nqn"], qid=granted + 1000, cntlid=admin.cntlid)
        assert answer.status == 0x182
        assert answer.result == 42


def test_queue_that_exists_already(server, volume, admin, queue):
    with nvme.Connection(server.address, host_nqn=admin.host_nqn) as second:
        second.ic()
        assert second.connect(volume["nqn"], qid=1, cntlid=admin.cntlid).status != 0
    assert queue.rw(nvme.OP_READ, 0, 1)[0].status == 0


# ---- Peers that are slow, silent or gone ----

def test_one_byte_at_a_time(server, volume):
    """However TCP cuts the stream, the conversation is the same."""
    with nvme.Connection(server.address) as connection:
        send = connection.send

        def send_slowly(data):
            for at in range(0, len(data), 1 if len(data) < 200 else 97):
                send(data[at:at + (1 if len(data) < 200 else 97)])

        connection.send = send_slowly
        connection.ic()
        assert connection.connect(volume["nqn"]).status == 0
        connection.enable()
        assert connection.identify(1)[0].status == 0


def test_close_in_the_middle_of_everything(server, volume):
    for cut in (1, 7, 8, 60, 128, 130, 200, 1000):
        connection = nvme.Connection(server.address)
        stream = nvme.ic_req() + nvme.pdu(nvme.CAPSULE_CMD, connection.connect_command(),
                                          connection.connect_data(volume["nqn"]))
        connection.send(stream[:cut])
        connection.close()


def test_half_of_the_data_and_then_nothing(server, volume, admin):
    queue = nvme.open_io(admin, server.address, volume["nqn"], admin.cntlid)
    r2t = ask_for_r2t(queue, 65536)
    header = struct.pack("<HHII4x", *r2t.r2t)
    queue.send(nvme.pdu(nvme.H2C_DATA, header, bytes(65536))[:30000])
    queue.close()


def test_keep_alive_ends_a_silent_controller(server, volume):
    admin, _ = nvme.open_admin(server.address, volume["nqn"], kato_ms=1000)
    with admin:
        started = time.monotonic()
        admin.socket.settimeout(30)
        while not admin.is_closed():
            pass
        assert time.monotonic() - started < 15


def test_host_that_reads_nothing(server, volume, admin, bystander):
    """It stalls itself alone: responses pile up at its own socket."""
    queue = nvme.open_io(admin, server.address, volume["nqn"], admin.cntlid)
    queue.socket.settimeout(1)
    with queue:
        try:
            for _ in range(4000):
                sqe = nvme.command(nvme.OP_READ, queue.next_cid(), 1,
                                   nvme.sgl(nvme.SGL_TRANSPORT, 131072),
                                   struct.pack("<QHH", 0, 31, 0))
                queue.send_command(sqe)
        except (TimeoutError, OSError):
            pass
        for _ in range(20):
            bystander.works()


def test_connections_that_say_nothing_keep_nobody_out(server, volume, bystander):
    """More of them than the target has places for: the oldest make room (W2)."""
    limit = 4096  # NVME_CONNECTIONS_MAX
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * limit:
        pytest.skip(f"this process may open only {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * limit, hard))
    before = len(server.log())
    silent = []
    try:
        for turn in range(limit + 100):
            silent.append(socket.create_connection(server.address))
            if turn % 1000 == 0:
                bystander.works()
        with nvme.open_admin(server.address, volume["nqn"])[0] as newcomer:
            assert newcomer.identify(1)[0].status == 0
            bystander.works()
        silent[0].settimeout(10)
        assert silent[0].recv(1) == b""
    finally:
        for connection in silent:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    expect_one_line(server, before, "make room")
