# SPDX-License-Identifier: Apache-2.0
"""What a volume of three replicas costs: three node processes, each with a disk in a file under
/dev/shm, a controller and a host share the machine's cores."""

import contextlib
import json
import math
import os
import signal
import statistics
import subprocess
import time
import typing

import servers
from servers import LARGE, RANDOM_READ, RANDOM_WRITE

NODES = 3
IDLE_S = 20
RESYNC_S_MAX = 120
REBUILD_S = 4  # Less than a rebuild takes.
DESTROYED = 64 << 20
REPORT_S = 5  # After which what a node has done is known.
BLOCK = 4096
MIB = 1 << 20


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
            self.perf_args = ["--api", self.api, "--volume", "bench"]
            servers.wait_for("its target", lambda: self.volume()["state"] == "ready")
            servers.write_once(self.trilith, self.perf_args, self.log)
        except BaseException:
            self.close()
            raise

    def node_pids(self):
        self.alive()
        runs = [self.folder / "data" / f"node-{i}" / "run.json" for i in range(1, NODES + 1)]
        return all(run.exists() for run in runs) and [json.loads(run.read_text())["pid"]
                                                      for run in runs]

    def volume(self):
        shown = subprocess.run([self.trilith, "volume", "show", "bench", "--api", self.api,
                                "-o", "json"], stdout=subprocess.PIPE, check=True, text=True)
        return json.loads(shown.stdout)

    def others(self):
        """Nodes that only store."""
        target = self.volume()["targets"][0]["node"]
        return [i for i in range(NODES) if f"node-{i + 1}" != target]

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

    def idle_percent(self):
        """Of a core: nodes and controller, with the volume served and nobody asking."""
        everybody = {*self.pids, self.process.pid}
        before = sum(servers.cpu_us(pid) for pid in everybody)
        time.sleep(IDLE_S)
        return (sum(servers.cpu_us(pid) for pid in everybody) - before) / IDLE_S / 1e4


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
    yield "3 replicas, nobody asks: % of a core of all", one.idle_percent(), 0.3, None, False, ""


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


def failures(one, away_s):
    """What a host sees of a replica that dies or hangs, and what bringing it up to date takes."""
    victim = one.others()[0]
    report = writing(one, 6, 2, lambda: os.kill(one.pids[victim], signal.SIGSTOP))
    os.kill(one.pids[victim], signal.SIGCONT)
    yield ("a replica hangs: ms without a write", report["latency_max_us"] / 1000, 1200, None,
           False, "replica timeout of 1 s")
    servers.wait_for("resync", one.in_sync, RESYNC_S_MAX)

    before = one.volume()
    report = writing(one, away_s, 0, lambda: os.kill(one.pids[victim], signal.SIGKILL))
    yield ("a replica is killed: ms without a write", report["latency_max_us"] / 1000, 200, None,
           False, "")
    one.start_node(victim)
    servers.wait_for("resync", one.in_sync, RESYNC_S_MAX)
    time.sleep(REPORT_S)
    after = one.volume()
    blocks = before["bytes"] // BLOCK
    distinct = blocks * (1 - math.exp(-report["ios"] / blocks)) * BLOCK
    copied, compared = (after[key] - before[key]
                        for key in ("resync_copied_bytes", "resync_compared_bytes"))
    yield (f"resync after {away_s} s of writes: bytes copied / distinct bytes written",
           copied / distinct, 2, None, False,
           f"{copied / MIB:.0f} / {distinct / MIB:.0f} MiB, {compared / MIB:.0f} compared")


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
        os.kill(one.pids[victim], signal.SIGKILL)
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


def measure(build, rounds, seconds, scale, away_s):
    """Name, value, limit, goal, whether these are at least, and a note, of each figure.  scale: how
    much slower this machine is than the one of the promises."""
    with servers.closing(Cluster(build)) as (one,):
        yield from costs(one, rounds, seconds, scale)
        yield from failures(one, away_s)
    yield from rebuild(build, min(seconds, REBUILD_S))
