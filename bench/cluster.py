# SPDX-License-Identifier: Apache-2.0
"""What a volume of three replicas costs: three node processes, each with a disk in a file under
/dev/shm, a controller and a host share the machine's cores."""

import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import time
import typing

import servers
from servers import LARGE, RANDOM_READ, RANDOM_WRITE, nvmetcp

NODES = 3
IDLE_S = 20  # Of which each 2.5 s begin with a keep-alive.
RESYNC_S_MAX = 120
REBUILD_S = 4  # Less than a rebuild takes.
DESTROYED = 64 << 20
REPORT_S = 5  # After which what a node has done is known.
BLOCK = 4096
MIB = 1 << 20
KEEP_ALIVE_MS = 5000  # As Linux has it, which sends one every half of it.
# While a replica is away: random blocks of the whole volume, but so few that most of it stays as it
# was, in each of its regions.
AWAY_S = 60
AWAY_WRITES_PER_S = 500
REGION = 1 << 20
DISK_REGIONS_MAX = 8192  # That may be open; for so many 60 s are promised.
SETTLE_S = 60
SERVE_S = 10


class Cluster(servers.Up):
    """`trilith up --nodes 3` and a volume of three replicas.  CPU time is that of all nodes."""

    name = "cluster"

    def __init__(self, build, spin="auto", replicas=NODES, disks=1, options=()):
        self.started = []
        super().__init__(build, spin, options=["--nodes", NODES, "--disks", disks, "--reactors", 1,
                                               *options])
        try:
            self.pids = servers.wait_for("each node", self.node_pids)
            servers.wait_for("the volume", lambda: self.create("bench", "1G", "--replicas",
                                                               replicas))
            servers.wait_for("its target", lambda: self.volume()["state"] == "ready")
            servers.write_once(self.trilith, self.perf_args, self.log)
        except BaseException:
            self.close()
            raise

    def node_pids(self):
        self.alive()
        runs = [self.run_of(self.folder / "data" / f"node-{i}") for i in range(1, NODES + 1)]
        return all(run and os.path.exists(f"/proc/{run['pid']}") for run in runs) and \
            [run["pid"] for run in runs]

    def launch(self):
        super().launch()
        self.perf_args = ["--api", self.api, "--volume", "bench"]

    def kill(self):
        """All processes at once."""
        for pid in [*self.pids, self.process.pid]:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.started.clear()

    def volume(self):
        shown = subprocess.run([self.trilith, "volume", "show", "bench", "--api", self.api,
                                "-o", "json"], stdout=subprocess.PIPE, check=True, text=True)
        return json.loads(shown.stdout)

    def others(self):
        """Nodes that only store."""
        target = self.volume()["targets"][0]["node"]
        return [i for i in range(NODES) if f"node-{i + 1}" != target]

    def kill_node(self, index):
        os.kill(self.pids[index], signal.SIGKILL)
        if self.pids[index] in self.started:
            self.started.remove(self.pids[index])

    def start_node(self, index):
        name = f"node-{index + 1}"
        subprocess.run([self.trilith, "node", "start", name, "--data", self.folder / "data"],
                       stdout=self.log, stderr=self.log, check=True)
        run = self.folder / "data" / name / "run.json"
        self.pids[index] = json.loads(run.read_text())["pid"]
        self.started.append(self.pids[index])

    def in_sync(self):
        return all(replica["in_sync"] for copyset in self.volume()["copysets"]
                   for replica in copyset["replicas"])

    def close(self):
        for pid in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        super().close()

    def cpu_us(self):
        return sum(servers.cpu_us(pid) for pid in self.pids)

    def attach(self, kato_ms=0):
        """A host's admin queue and I/O queue.  kato_ms: it says in time that it is alive."""
        shown = self.volume()
        address = (shown["targets"][0]["address"], shown["targets"][0]["port"])
        admin, cntlid = nvmetcp.open_admin(address, shown["nqn"], kato_ms=kato_ms)
        return admin, nvmetcp.open_io(admin, address, shown["nqn"], cntlid)

    def idle(self):
        """Of nodes and controller, with the volume attached by a host that asks for nothing but
        keeps itself alive: % of a core, and wake-ups per second by thread."""
        everybody = {*self.pids, self.process.pid}
        with contextlib.ExitStack() as stack:
            admin, queue = self.attach(KEEP_ALIVE_MS)
            stack.callback(admin.close)
            stack.callback(queue.close)
            time.sleep(KEEP_ALIVE_MS / 2000)
            before = sum(servers.cpu_us(pid) for pid in everybody)
            woken = servers.wakeups(everybody)
            for _ in range(round(IDLE_S * 2000 / KEEP_ALIVE_MS)):
                admin.admin(nvmetcp.OP_KEEP_ALIVE)
                time.sleep(KEEP_ALIVE_MS / 2000)
            percent = (sum(servers.cpu_us(pid) for pid in everybody) - before) / IDLE_S / 1e4
            woken = servers.wakeups(everybody) - woken
        return percent, servers.wakeups_text(woken, IDLE_S)


class Promise(typing.NamedTuple):
    """As on a machine whose echo takes 1.35 us of CPU per I/O."""

    what: str
    text: str
    floor: float
    goal: float


# Name, workload, and what is promised of it.
PROMISES = [
    ("4 KiB random write, depth 32", [*RANDOM_WRITE, "--depth", "32"], [
        Promise("server_cpu_us", "us of CPU of all nodes", 40, 25),
        Promise("iops", "IOPS", 25_000, 40_000)]),
    ("4 KiB random write, depth 1", [*RANDOM_WRITE, "--depth", "1"], [
        Promise("mean_us", "us, mean", 200, 140)]),
    ("4 KiB random read, depth 32", [*RANDOM_READ, "--depth", "32"], [
        Promise("server_cpu_us", "us of CPU of all nodes", 8, 4),
        Promise("iops", "IOPS", 100_000, 200_000)]),
    ("128 KiB sequential write", ["--rw", "write", *LARGE], [
        Promise("mb_per_s", "MB/s", 700, 1000)]),
    ("128 KiB sequential read", ["--rw", "read", *LARGE], [
        Promise("mb_per_s", "MB/s", 1800, 2500)]),
]
RATES = ("iops", "mb_per_s")


def costs(one, rounds, seconds, scale):
    found = {}
    for _ in range(rounds):
        for name, workload, _promises in PROMISES:
            perf = servers.host(one.trilith, workload, seconds)
            found.setdefault(name, []).append(one.measure(perf))
    for name, _workload, promises in PROMISES:
        for promise in promises:
            values = [result[promise.what] for result in found[name]]
            least = promise.what == "server_cpu_us"
            is_rate = promise.what in RATES
            factor = 1 / scale if is_rate else scale
            yield (f"3 replicas, {name}: {promise.text}",
                   min(values) if least else statistics.median(values),
                   promise.floor * factor, promise.goal * factor, is_rate, "")
    percent, woken = one.idle()
    yield ("3 replicas, idle with a host attached: % of a core of all", percent, 0.3, None, False,
           f"wake-ups per second: {woken}")


def writing(one, seconds, after_s, act):
    """Random writes, during which something happens; what perf says of them."""
    with servers.start([one.trilith, "perf", *one.perf_args, *RANDOM_WRITE, "--depth", "32",
                        "--time", seconds, "-o", "json"], stdout=subprocess.PIPE,
                       text=True) as host:
        time.sleep(after_s)
        act()
        out, _ = host.communicate(timeout=seconds + 60)
    if host.returncode != 0:
        raise servers.BenchError(f"perf ended with {host.returncode}")
    return json.loads(out)["write"]


def return_of(one, victim):
    one.start_node(victim)
    servers.wait_for("resync", one.in_sync, RESYNC_S_MAX)


def failures(one):
    """What a host sees of a replica that dies or hangs."""
    victim = one.others()[0]
    report = writing(one, 6, 2, lambda: os.kill(one.pids[victim], signal.SIGSTOP))
    os.kill(one.pids[victim], signal.SIGCONT)
    yield ("a replica hangs: ms without a write", report["latency_max_us"] / 1000, 1200, None,
           False, "replica timeout of 1 s")
    servers.wait_for("resync", one.in_sync, RESYNC_S_MAX)
    report = writing(one, 5, 1, lambda: one.kill_node(victim))
    yield ("a replica is killed: ms without a write", report["latency_max_us"] / 1000, 200, None,
           False, "")
    return_of(one, victim)


def write_slowly(one, seconds):
    """Random blocks at a steady rate; which ones."""
    written = set()
    admin, queue = one.attach()
    blocks = one.volume()["bytes"] // BLOCK
    begin = time.monotonic()
    count = 0
    while (now := time.monotonic() - begin) < seconds:
        if count > now * AWAY_WRITES_PER_S:
            time.sleep(count / AWAY_WRITES_PER_S - now)
        block = random.randrange(blocks)
        answer, _ = queue.rw(nvmetcp.OP_WRITE, block, 1, data=os.urandom(BLOCK))
        if answer.status != 0:
            raise servers.BenchError(f"a write ended with status {answer.status:#x}")
        written.add(block)
        count += 1
    queue.close()
    admin.close()
    return written


def resync(one, away_s):
    """What bringing a replica up to date takes that has missed few of each region's blocks: whoever
    copies whole regions, or the volume, copies many times as much."""
    victim = one.others()[0]
    time.sleep(REPORT_S)
    before = one.volume()
    one.kill_node(victim)
    distinct = len(write_slowly(one, away_s)) * BLOCK
    return_of(one, victim)
    time.sleep(REPORT_S)
    after = one.volume()
    copied, hashed = (after[key] - before[key]
                      for key in ("resync_copied_bytes", "resync_compared_bytes"))
    yield (f"resync after {away_s} s of writes: bytes copied / distinct bytes written",
           copied / distinct, 2, None, False,
           f"{copied / MIB:.0f} / {distinct / MIB:.0f} MiB, of a volume of "
           f"{after['bytes'] / MIB:.0f} MiB; {hashed / MIB:.0f} MiB hashed")


def is_written(one):
    return subprocess.run([one.trilith, "perf", *one.perf_args, "--rw", "write", "--depth", "1",
                           "--bytes", str(BLOCK)], stdout=one.log, stderr=one.log,
                          check=False).returncode == 0


def verified_s(one):
    """How long it takes to read each block of each replica, which waits for its region to be
    settled, and to find them equal."""
    begin = time.monotonic()
    done = subprocess.run([one.trilith, "volume", "verify", "bench", "--api", one.api],
                          stdout=subprocess.PIPE, stderr=one.log, check=False)
    if done.returncode != 0:
        raise servers.BenchError("the replicas differ after all were killed")
    return time.monotonic() - begin


def crash_of_all(one):
    """All processes end at once, under random writes to all regions, and start again.  The machine
    does not: the disks keep what was not flushed, and their incarnations."""
    with servers.start([one.trilith, "perf", *one.perf_args, *RANDOM_WRITE, "--depth", "32",
                        "--time", "60"], stdout=one.log, stderr=one.log) as host:
        time.sleep(5)
        one.kill()
        host.terminate()
    begin = time.monotonic()
    one.launch()
    servers.wait_for("the first write", lambda: is_written(one), RESYNC_S_MAX)
    yield ("all are killed: s until the first write", time.monotonic() - begin, SERVE_S, None,
           False, "not a loss of power: disks keep their incarnations")
    servers.wait_for("all replicas", one.in_sync, RESYNC_S_MAX)
    in_sync = time.monotonic() - begin
    settled = verified_s(one)
    took = time.monotonic() - begin
    again = verified_s(one)
    one.pids = servers.wait_for("each node", one.node_pids)
    time.sleep(REPORT_S)
    after = one.volume()
    regions = after["bytes"] // REGION
    yield ("all are killed: s until all is settled and verified", took,
           SETTLE_S * regions / DISK_REGIONS_MAX, None, False,
           f"in sync after {in_sync:.1f} s, verified in {settled:.1f}, again in {again:.1f}; "
           f"{regions} open regions of {DISK_REGIONS_MAX} on each "
           f"disk; {after['resync_compared_bytes'] / MIB:.0f} MiB hashed and "
           f"{after['resync_copied_bytes'] / MIB:.0f} copied by resyncs")


def is_rebuilding(one):
    return any(replica["resync_bytes"] > 0 for copyset in one.volume()["copysets"]
               for replica in copyset["replicas"])


def fill_holes(disk):
    """A file on /dev/shm gets its memory when it is first written, which takes the kernel, and what
    runs this machine, several times as long as the write: no disk does that."""
    with open(disk, "r+b") as file:
        while piece := file.read(MIB):
            file.seek(-len(piece), os.SEEK_CUR)
            file.write(piece)


def rebuild(build, seconds):
    """What hosts keep of their writes while a replica is made anew on another disk, at the default
    rate: of two runs without it, before and after, the mean counts."""
    with servers.closing(Cluster(build, disks=2, options=["--rebuild-after", "0"])) as (one,):
        rates = [writing(one, seconds, 0, lambda: None)["iops"]]
        victim = one.others()[0]
        name = next(replica["disk"] for copyset in one.volume()["copysets"]
                    for replica in copyset["replicas"]
                    if replica["node"] == f"node-{victim + 1}")
        one.kill_node(victim)
        with open(one.folder / "data" / name, "r+b") as disk:
            disk.write(bytes(DESTROYED))
        for other in (one.folder / "data" / f"node-{victim + 1}").glob("disk-*"):
            fill_holes(other)
        one.start_node(victim)
        servers.wait_for("the rebuild", lambda: is_rebuilding(one), RESYNC_S_MAX)
        during = writing(one, seconds, 0, lambda: None)["iops"]
        note = "" if is_rebuilding(one) else "it ended before that"
        servers.wait_for("the end of the rebuild", one.in_sync, RESYNC_S_MAX)
        rates.append(writing(one, seconds, 0, lambda: None)["iops"])
        yield ("a replica is rebuilt: share of their writes that hosts keep",
               during / statistics.mean(rates), 0.7, None, True, note)


def measure(build, rounds, seconds, scale):
    """Name, value, limit, goal, whether these are at least, and a note, of each figure.  scale: how
    much slower this machine is than the one of the promises."""
    with servers.closing(Cluster(build)) as (one,):
        yield from costs(one, rounds, seconds, scale)
        yield from failures(one)
        yield from resync(one, AWAY_S)
        yield from crash_of_all(one)
    yield from rebuild(build, min(seconds, REBUILD_S))
