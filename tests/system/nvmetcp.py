# SPDX-License-Identifier: Apache-2.0
"""An NVMe/TCP host made of bytes, for saying to a target what no kernel would say.

NVM Express NVMe/TCP Transport Specification 1.1, "PDUs"; NVM Express Base Specification 2.0,
"Fabrics Command Set".  Nothing here checks what it sends: a test may pass any header field.
"""

import dataclasses
import socket
import struct
import uuid

IC_REQ, IC_RESP, H2C_TERM, C2H_TERM = 0x00, 0x01, 0x02, 0x03
CAPSULE_CMD, CAPSULE_RESP, H2C_DATA, C2H_DATA, R2T = 0x04, 0x05, 0x06, 0x07, 0x09

FLAG_HDGST, FLAG_DDGST, FLAG_LAST, FLAG_SUCCESS = 1, 2, 4, 8

# Fatal Error Status of a termination PDU.
FES_HEADER_FIELD, FES_SEQUENCE, FES_HEADER_DIGEST = 1, 2, 3
FES_OUT_OF_RANGE, FES_LIMIT, FES_UNSUPPORTED = 4, 5, 6

HEADER_BYTES = {IC_REQ: 128, IC_RESP: 128, H2C_TERM: 24, C2H_TERM: 24, CAPSULE_CMD: 72,
                CAPSULE_RESP: 24, H2C_DATA: 24, C2H_DATA: 24, R2T: 24}

OP_FLUSH, OP_WRITE, OP_READ, OP_WRITE_ZEROES, OP_DSM = 0x00, 0x01, 0x02, 0x08, 0x09
OP_IDENTIFY, OP_SET_FEATURES, OP_GET_FEATURES, OP_KEEP_ALIVE = 0x06, 0x09, 0x0A, 0x18
OP_GET_LOG_PAGE, OP_ASYNC_EVENT = 0x02, 0x0C
FEATURE_ASYNC_EVENT = 0x0B
OP_FABRICS = 0x7F
FCTYPE_PROPERTY_SET, FCTYPE_CONNECT, FCTYPE_PROPERTY_GET = 0x00, 0x01, 0x04

PROPERTY_CAP, PROPERTY_CC, PROPERTY_CSTS = 0x00, 0x14, 0x1C

SGL_IN_CAPSULE, SGL_TRANSPORT = 0x01, 0x5A
DISCOVERY_NQN = "nqn.2014-08.org.nvmexpress.discovery"
TIMEOUT_S = 10
IP_BIND_ADDRESS_NO_PORT = 24  # ip(7); Python's socket does not have it.


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def pdu(kind, header=b"", data=b"", flags=0, hlen=None, pdo=None, plen=None, digests=0):
    """One PDU.  hlen, pdo and plen are right unless they are given; digests are FLAG_*DGST."""
    hlen = HEADER_BYTES.get(kind, 24) if hlen is None else hlen
    header_digest = bool(digests & FLAG_HDGST)
    data_digest = bool(digests & FLAG_DDGST) and data
    offset = 8 + len(header) + 4 * header_digest
    if plen is None:
        plen = offset + len(data) + (4 if data_digest else 0)
    if pdo is None:
        pdo = offset if data and kind not in (H2C_TERM, C2H_TERM) else 0
    flags |= (FLAG_HDGST if header_digest else 0) | (FLAG_DDGST if data_digest else 0)
    out = struct.pack("<BBBBI", kind, flags, hlen, pdo, plen) + header
    if header_digest:
        out += struct.pack("<I", crc32c(out))
    out += data
    if data_digest:
        out += struct.pack("<I", crc32c(data))
    return out


def ic_req(version=0, hpda=0, digests=0, max_r2t=0, **fields):
    """An ICReq; digests asks for FLAG_HDGST and FLAG_DDGST."""
    header = struct.pack("<HBBI", version, hpda, digests, max_r2t).ljust(120, b"\0")
    return pdu(IC_REQ, header, **fields)


def sgl(kind, bytes_, offset=0):
    return struct.pack("<QIxxxB", offset, bytes_, kind)


def command(opcode, cid, nsid=0, sgl1=b"", cdw10=b"", flags=0x40):
    """A submission queue entry; cdw10 is everything from byte 40 on."""
    head = struct.pack("<BBHI", opcode, flags, cid, nsid)
    return (head + bytes(16) + sgl1.ljust(16, b"\0") + cdw10).ljust(64, b"\0")


@dataclasses.dataclass
class Pdu:
    kind: int
    flags: int
    header: bytes  # Without the common header and the digest.
    data: bytes

    # Of a CapsuleResp.
    @property
    def cid(self):
        return struct.unpack_from("<H", self.header, 12)[0]

    @property
    def status(self):
        """SCT << 8 | SC, without phase, More and Do Not Retry."""
        return struct.unpack_from("<H", self.header, 14)[0] >> 1 & 0x7FF

    @property
    def do_not_retry(self):
        return bool(struct.unpack_from("<H", self.header, 14)[0] & 0x8000)

    @property
    def result(self):
        return struct.unpack_from("<I", self.header, 0)[0]

    @property
    def result64(self):
        return struct.unpack_from("<Q", self.header, 0)[0]

    # Of a termination PDU.
    @property
    def fes(self):
        return struct.unpack_from("<H", self.header, 0)[0]

    @property
    def fei(self):
        return struct.unpack_from("<I", self.header, 2)[0]

    # Of an R2T.
    @property
    def r2t(self):
        """(CCCID, TTAG, offset, length)"""
        return struct.unpack_from("<HHII", self.header, 0)


class Closed(Exception):
    """The target closed the connection."""


def dial(address, source=None):
    """A TCP connection; source: an address of this machine that it comes from."""
    if source is None:
        return socket.create_connection(address, TIMEOUT_S)
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        connection.settimeout(TIMEOUT_S)
        # bind() would take a port for itself, whatever the other end: thousands of connections
        # of two tests beside each other use them all.
        connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        connection.bind((source, 0))
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


class Connection:
    """One TCP connection; after ic() and connect() one queue pair."""

    def __init__(self, address, host_nqn=None, source=None):
        self.socket = dial(address, source)
        # Where nobody listens, TCP may connect a local port with itself.
        if self.socket.getsockname() == self.socket.getpeername():
            self.socket.close()
            raise ConnectionRefusedError(f"{address}: connected to itself")
        self.socket.settimeout(TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Each is a host of its own, unless a name is given: a host that connects anew ends its
        # old association.
        self.host_nqn = f"nqn.2014-08.org.nvmexpress:uuid:{uuid.uuid4()}" \
            if host_nqn is None else host_nqn
        self.host_id = uuid.uuid5(uuid.NAMESPACE_URL, self.host_nqn)
        self.digests = 0
        self.cid = 0

    @property
    def socket_port(self):
        return self.socket.getsockname()[1]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def receive_bytes(self, count):
        got = b""
        while len(got) < count:
            try:
                piece = self.socket.recv(count - len(got))
            except ConnectionResetError:
                piece = b""
            if not piece:
                raise Closed(f"closed after {len(got)} of {count} bytes")
            got += piece
        return got

    def receive(self):
        """The next PDU; its digests must be right."""
        common = self.receive_bytes(8)
        kind, flags, hlen, pdo, plen = struct.unpack("<BBBBI", common)
        rest = self.receive_bytes(plen - 8)
        header = rest[:hlen - 8]
        if flags & FLAG_HDGST:
            assert struct.unpack_from("<I", rest, hlen - 8)[0] == crc32c(common + header)
        if kind in (C2H_TERM, H2C_TERM):
            return Pdu(kind, flags, header, rest[hlen - 8:])
        data = rest[pdo - 8:] if pdo else b""
        if flags & FLAG_DDGST:
            data, digest = data[:-4], data[-4:]
            assert struct.unpack("<I", digest)[0] == crc32c(data)
        return Pdu(kind, flags, header, data)

    def receive_kind(self, kind):
        got = self.receive()
        assert got.kind == kind, f"PDU type {got.kind:#x}, not {kind:#x}; FES or so {got.header!r}"
        return got

    def is_closed(self):
        """Whether nothing follows but the end; waits for it."""
        try:
            return self.receive_bytes(1) and False
        except Closed:
            return True

    # ---- The conversation as it should be ----

    def ic(self, digests=0):
        self.send(ic_req(digests=digests))
        answer = self.receive_kind(IC_RESP)
        self.digests = answer.header[3]
        return answer

    def next_cid(self):
        self.cid = (self.cid + 1) % 0x8000
        return self.cid

    def send_command(self, sqe, data=b""):
        self.send(pdu(CAPSULE_CMD, sqe, data, digests=self.digests))

    def complete(self, sqe, data=b""):
        """Sends a command, with data in its capsule; returns the response and the data read."""
        self.send_command(sqe, data)
        return self.receive_response()

    def receive_response(self):
        """C2HData as it comes, then the response (which a C2HData with SUCCESS stands for)."""
        into = bytearray()
        while True:
            got = self.receive()
            if got.kind == C2H_DATA:
                offset, = struct.unpack_from("<I", got.header, 4)
                into[offset:offset + len(got.data)] = got.data
                if got.flags & FLAG_SUCCESS:
                    cid = struct.unpack_from("<H", got.header, 0)
                    return Pdu(CAPSULE_RESP, 0, bytes(12) + struct.pack("<HH", *cid, 0), b""), into
                continue
            assert got.kind == CAPSULE_RESP, f"PDU type {got.kind:#x} {got.header!r}"
            return got, bytes(into)

    def connect_command(self, qid=0, sqsize=31, kato_ms=0, record_format=0):
        cdw10 = struct.pack("<HHHBxI", record_format, qid, sqsize, 0, kato_ms)
        sqe = command(OP_FABRICS, self.next_cid(), sgl1=sgl(SGL_IN_CAPSULE, 1024), cdw10=cdw10)
        return sqe[:4] + bytes([FCTYPE_CONNECT]) + sqe[5:]

    def connect_data(self, subsystem, cntlid=0xFFFF):
        return (self.host_id.bytes + struct.pack("<H", cntlid)).ljust(256, b"\0") + \
            subsystem.encode().ljust(256, b"\0") + self.host_nqn.encode().ljust(512, b"\0")

    def connect(self, subsystem, qid=0, cntlid=0xFFFF, **fields):
        """Returns the response; its result's low 16 bits are the controller's identifier."""
        sqe = self.connect_command(qid, **fields)
        return self.complete(sqe, self.connect_data(subsystem, cntlid))[0]

    def property_get(self, offset, bytes_=4):
        cdw10 = struct.pack("<B3xI", 1 if bytes_ == 8 else 0, offset)
        sqe = command(OP_FABRICS, self.next_cid(), cdw10=cdw10)
        answer = self.complete(sqe[:4] + bytes([FCTYPE_PROPERTY_GET]) + sqe[5:])[0]
        assert answer.status == 0
        return answer.result64 if bytes_ == 8 else answer.result

    def property_set(self, offset, value):
        cdw10 = struct.pack("<B3xIQ", 0, offset, value)
        sqe = command(OP_FABRICS, self.next_cid(), cdw10=cdw10)
        return self.complete(sqe[:4] + bytes([FCTYPE_PROPERTY_SET]) + sqe[5:])[0]

    def enable(self):
        # I/O completion queue entries of 16 bytes, submission queue entries of 64, enabled.
        self.property_set(PROPERTY_CC, 4 << 20 | 6 << 16 | 1)
        for _ in range(1000):
            if self.property_get(PROPERTY_CSTS) & 1:
                return
        raise AssertionError("the controller does not become ready")

    def admin(self, opcode, nsid=0, cdw10=b"", read_bytes=0, in_capsule=b""):
        if in_capsule:
            sgl1 = sgl(SGL_IN_CAPSULE, len(in_capsule))
        else:
            sgl1 = sgl(SGL_TRANSPORT, read_bytes)
        sqe = command(opcode, self.next_cid(), nsid, sgl1, cdw10)
        return self.complete(sqe, in_capsule)

    def identify(self, cns, nsid=0):
        return self.admin(OP_IDENTIFY, nsid, struct.pack("<I", cns), 4096)

    def log_page(self, page, bytes_, offset=0, retain=False):
        dwords = bytes_ // 4 - 1
        cdw10 = struct.pack("<IIQ", page | retain << 15 | (dwords & 0xFFFF) << 16, dwords >> 16,
                            offset)
        return self.admin(OP_GET_LOG_PAGE, 0, cdw10, bytes_)

    def rw(self, opcode, lba, blocks, lba_bytes=4096, data=b"", sgl1=None, nsid=1, control=0):
        """A Read, or a Write with its data in the capsule."""
        if sgl1 is None:
            sgl1 = sgl(SGL_IN_CAPSULE if data else SGL_TRANSPORT, blocks * lba_bytes)
        cdw10 = struct.pack("<QHH", lba, blocks - 1, control)
        return self.complete(command(opcode, self.next_cid(), nsid, sgl1, cdw10), data)

    def write_by_r2t(self, lba, data, lba_bytes=4096, nsid=1):
        """A Write whose data the target asks for."""
        blocks = len(data) // lba_bytes
        sqe = command(OP_WRITE, self.next_cid(), nsid, sgl(SGL_TRANSPORT, len(data)),
                      struct.pack("<QHH", lba, blocks - 1, 0))
        self.send_command(sqe)
        while True:
            got = self.receive()
            if got.kind != R2T:
                return got
            self.send_h2c_data(got, data)

    def send_h2c_data(self, r2t, data, **fields):
        """Answers an R2T.  fields override the command, tag, offset, length or flags."""
        cid, tag, offset, length = r2t.r2t
        piece = data[offset:offset + length]
        header = struct.pack("<HHII4x", fields.get("cid", cid), fields.get("tag", tag),
                             fields.get("offset", offset), fields.get("length", len(piece)))
        self.send(pdu(H2C_DATA, header, piece, flags=fields.get("flags", FLAG_LAST),
                      digests=self.digests))


def open_admin(address, subsystem, digests=0, kato_ms=0, **host):
    """A connected and enabled admin queue; returns (connection, controller identifier)."""
    admin = Connection(address, **host)
    admin.ic(digests)
    answer = admin.connect(subsystem, kato_ms=kato_ms)
    assert answer.status == 0, f"Connect: status {answer.status:#x}"
    admin.enable()
    return admin, answer.result & 0xFFFF


def open_io(admin, address, subsystem, cntlid, qid=1, digests=0, source=None):
    """An I/O queue of the controller of an admin queue."""
    queue = Connection(address, host_nqn=admin.host_nqn, source=source)
    queue.ic(digests)
    answer = queue.connect(subsystem, qid=qid, cntlid=cntlid)
    assert answer.status == 0, f"Connect: status {answer.status:#x}"
    return queue
