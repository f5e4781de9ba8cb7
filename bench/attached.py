# SPDX-License-Identifier: Apache-2.0
"""What `trilith up` costs with hosts that do nothing, and how much memory it takes.

A hundred volumes are attached by a host that, as Linux does, has one admin queue for each of them
and sends a keep-alive every two and a half seconds; each has three I/O queues of 128 entries.
"""

import os
import pathlib
import subprocess
import time

import servers
from servers import nvmetcp

VOLUMES = 100
QUEUES = 3  # Of a volume, besides its admin queue.
KEEP_ALIVE_MS = 5000
KEEP_ALIVE_EVERY_S = KEEP_ALIVE_MS / 2000
WATCH_S = 20
# Wake-ups per second that a server needs of which nobody asks anything.
TIMERS = {
    # HEALTH_TICK_NS; in each other such turn it reports to the controller, too, REPORT_NS.
    "the node looks at the health of its disks": 1,
    "each other reactor says what it knows for it": 0.5 * (len(os.sched_getaffinity(0)) - 1),
    "the controller takes the report": 0.5,
    "the node hears its answer": 0.5,
    "the controller looks for disks that are lost": 1,  # CTL_REBUILD_MS
}
BUSY_CONNECTIONS = 16


def resident_kib(pid):
    return next(int(line.split()[1]) for line in pathlib.Path(f"/proc/{pid}/status").open()
                if line.startswith("VmRSS"))


def attach(address, name, host_nqn):
    """An admin queue and its I/O queues."""
    nqn = f"nqn.2026-01.io.trilith:volume:{name}"
    admin, cntlid = nvmetcp.open_admin(address, nqn, kato_ms=KEEP_ALIVE_MS, host_nqn=host_nqn)
    queues = []
    for qid in range(1, QUEUES + 1):
        queue = nvmetcp.Connection(address, host_nqn=host_nqn)
        queue.ic()
        answer = queue.connect(nqn, qid=qid, cntlid=cntlid, sqsize=127)
        if answer.status != 0:
            raise servers.BenchError(f"queue {qid} of '{name}': status {answer.status:#x}")
        queues.append(queue)
    return admin, queues


def watch(pid, admins):
    """What the process does while the hosts keep themselves alive, each in its turn."""
    step_s = KEEP_ALIVE_EVERY_S / VOLUMES
    from_s, from_us, woken = time.monotonic(), servers.cpu_us(pid), servers.wakeups([pid])
    sent = 0
    while time.monotonic() - from_s < WATCH_S:
        if admins:
            admins[sent % len(admins)].admin(nvmetcp.OP_KEEP_ALIVE)
            sent += 1
        time.sleep(max(0, from_s + (sent + 1) * step_s - time.monotonic()) if admins else 1)
    took_s = time.monotonic() - from_s
    woken = servers.wakeups([pid]) - woken
    return {"cpu_percent": (servers.cpu_us(pid) - from_us) / 1e4 / took_s,
            "wakeups": woken.total() / took_s, "sent": sent / took_s,
            "causes": servers.wakeups_text(woken, took_s)}


def busy_kib(up, seconds):
    """Resident memory for each queue that has 128 reads in flight."""
    pid = up.process.pid
    before = resident_kib(pid)
    most = before
    command = [up.trilith, "perf", "--to", up.address,
               "--volume", "nqn.2026-01.io.trilith:volume:v0", "--rw", "randread",
               "--depth", "128", "--connections", BUSY_CONNECTIONS, "--time", seconds]
    with servers.start(command, stdout=subprocess.DEVNULL) as perf:
        while perf.poll() is None:
            most = max(most, resident_kib(pid))
            time.sleep(0.05)
    return (most - before) / BUSY_CONNECTIONS


def measure(build, seconds):
    with servers.closing(servers.Up(build, disk_size="10G")) as (up,):
        pid = up.process.pid
        bare = resident_kib(pid)
        servers.wait_for("the first volume", lambda: up.create("v0", "1G"))
        for i in range(1, VOLUMES):
            if not up.create(f"v{i}", "64M"):
                raise servers.BenchError(f"volume v{i} was not made")
        alone = watch(pid, [])
        before = resident_kib(pid)
        host, port = up.address.rsplit(":", 1)
        host_nqn = "nqn.2014-08.org.nvmexpress:uuid:11111111-2222-4333-8444-555555555555"
        attached = [attach((host, int(port)), f"v{i}", host_nqn) for i in range(VOLUMES)]
        idle = resident_kib(pid) - before
        kept = watch(pid, [admin for admin, _ in attached])
        found = {"bare_mib": bare / 1024, "idle_kib": idle / (VOLUMES * QUEUES),
                 "cpu_percent": kept["cpu_percent"], "cpu_percent_alone": alone["cpu_percent"],
                 "wakeups": kept["wakeups"], "causes": kept["causes"],
                 "reasons": kept["sent"] + sum(TIMERS.values()),
                 "wakeups_alone": alone["wakeups"], "causes_alone": alone["causes"],
                 "timers": sum(TIMERS.values()),
                 "busy_kib": busy_kib(up, seconds)}
        for admin, queues in attached:
            for connection in (admin, *queues):
                connection.close()
        return found
