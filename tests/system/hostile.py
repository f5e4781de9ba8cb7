# SPDX-License-Identifier: Apache-2.0
"""Hosts that mean harm, all at once, from addresses of their own.

Each kind holds connections, and does something to them ten times a second from one thread, at a
rate that costs this machine little: what is looked for is what the target itself makes of it.
"""

import contextlib
import resource
import socket
import struct
import threading
import time

import nvmetcp as nvme

TICK_S = 0.1
ATTACKERS = "127.0.66.1"  # Another peer than the neighbour, who is at 127.0.0.1.


class Kind:
    """Hosts of one kind.  open() makes their connections, tick() is called again and again."""

    def __init__(self, address, nqn):
        self.address, self.nqn = address, nqn
        self.held = []    # Sockets.
        self.admins = []  # Connections that only keep a controller.

    def connect(self):
        return nvme.Connection(self.address, source=ATTACKERS)

    def queues(self, count, digests=0):
        """I/O queues, fifty to a controller."""
        for turn in range(count):
            if turn % 50 == 0:
                admin, cntlid = nvme.open_admin(self.address, self.nqn, source=ATTACKERS)
                self.admins.append(admin)
            queue = nvme.open_io(admin, self.address, self.nqn, cntlid, 1 + turn % 50, digests,
                                 source=ATTACKERS)
            queue.socket.setblocking(False)
            self.held.append(queue.socket)
            yield queue

    def open(self):
        pass

    def tick(self, turn):
        pass

    def close(self):
        for connection in self.held + [admin.socket for admin in self.admins]:
            connection.close()
        self.held, self.admins = [], []


def write_capsule(bytes_, kind):
    return nvme.command(nvme.OP_WRITE, 1, 1, nvme.sgl(kind, bytes_),
                        struct.pack("<QHH", 0, bytes_ // 4096 - 1, 0))


def send(connection, data):
    """As much as the target takes."""
    with contextlib.suppress(OSError):
        connection.send(data)


class HalfOpen(Kind):
    """Says nothing, or half of an ICReq."""

    count = 3000  # Of 4096 that a node takes, all kinds and the neighbours together.

    def open(self):
        for turn in range(self.count):
            connection = nvme.dial(self.address, ATTACKERS)
            if turn % 2:
                connection.send(nvme.ic_req()[:100])
            self.held.append(connection)


class Drips(Kind):
    """A command capsule, one byte per second."""

    def open(self):
        self.capsule = nvme.pdu(nvme.CAPSULE_CMD, write_capsule(8192, nvme.SGL_IN_CAPSULE),
                                bytes(8192))
        for _ in self.queues(50):
            pass

    def tick(self, turn):
        at = turn // 10
        for connection in self.held[turn % 10::10]:
            send(connection, self.capsule[at:at + 1])


class Unfinished(Kind):
    """Capsules whose data stop in the middle."""

    def open(self):
        capsule = nvme.pdu(nvme.CAPSULE_CMD, write_capsule(8192, nvme.SGL_IN_CAPSULE), bytes(8192))
        for queue in self.queues(50):
            send(queue.socket, capsule[:5000])


class NoData(Kind):
    """Writes of 512 KiB, as many as the queue holds, whose R2Ts are never answered."""

    def open(self):
        for queue in self.queues(50):
            capsule = nvme.pdu(nvme.CAPSULE_CMD, write_capsule(512 << 10, nvme.SGL_TRANSPORT))
            send(queue.socket, capsule * 30)


class Deaf(Kind):
    """Reads of 512 KiB, as many as the queue holds; takes nothing of them."""

    def open(self):
        read = nvme.command(nvme.OP_READ, 1, 1, nvme.sgl(nvme.SGL_TRANSPORT, 512 << 10),
                            struct.pack("<QHH", 0, 127, 0))
        for queue in self.queues(30):
            # What the kernel takes for it is not held by the target.
            queue.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            send(queue.socket, nvme.pdu(nvme.CAPSULE_CMD, read) * 30)


class BadDigests(Kind):
    """Writes with a wrong data digest, 200 per second, whose responses are taken."""

    def open(self):
        for _ in self.queues(4, nvme.FLAG_DDGST):
            pass
        good = nvme.pdu(nvme.CAPSULE_CMD, write_capsule(4096, nvme.SGL_IN_CAPSULE), bytes(4096),
                        digests=nvme.FLAG_DDGST)
        self.broken = good[:-1] + bytes([good[-1] ^ 1])

    def tick(self, turn):
        for connection in self.held:
            send(connection, self.broken * 5)
            with contextlib.suppress(OSError):
                while connection.recv(65536):
                    pass


class ConnectFlood(Kind):
    """Fifty associations per second, each of a new host and given up at once; and some that are
    refused."""

    def tick(self, turn):
        for number in range(5):
            with contextlib.suppress(OSError, nvme.Closed), self.connect() as host:
                host.ic()
                host.connect(self.nqn + ("x" if number == 0 else ""))


KINDS = [HalfOpen, Drips, Unfinished, NoData, Deaf, BadDigests, ConnectFlood]


class Attack:
    """All kinds at once on one target, while the block runs."""

    def __init__(self, address, nqn, kinds=tuple(KINDS)):
        self.kinds = [kind(address, nqn) for kind in kinds]
        self.ending = threading.Event()
        self.failure = None
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        for kind in self.kinds:
            kind.open()
        self.thread.start()
        return self

    def run(self):
        turn = 0
        try:
            while not self.ending.wait(TICK_S):
                for kind in self.kinds:
                    kind.tick(turn)
                turn += 1
        except Exception as error:
            self.failure = error

    def __exit__(self, *exc):
        self.ending.set()
        self.thread.join()
        for kind in self.kinds:
            kind.close()
        if self.failure is not None:
            raise self.failure


def ended(connection):
    """Whether the target has closed or reset it; what it had sent is thrown away."""
    connection.setblocking(False)
    try:
        while connection.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def wait_until_ended(connections, limit_s):
    """Returns after how many seconds the last of them was ended."""
    started = time.monotonic()
    left = list(connections)
    while left:
        left = [connection for connection in left if not ended(connection)]
        assert not left or time.monotonic() - started < limit_s, f"{len(left)} are still there"
        time.sleep(0.2)
    return time.monotonic() - started
