# SPDX-License-Identifier: Apache-2.0
"""What random overwrites of 4 KiB cost the devices in the long run, checkpoints included.

Writes that only overwrite make no checkpoint: nothing of theirs stays in the journal, and their
regions stay in use.  So besides the working set the volume has an aside, of which a region on each
disk is written once every few seconds and then left alone.  After half a minute it is idle, and
the disk makes a checkpoint to close it, with the load going on: this is what happens to a volume
whose working set moves.  What that costs is counted as cost of the load, whose writes alone count.
"""

import json
import subprocess
import time
import typing

import servers
from servers import GIB, RANDOM_WRITE, nvmetcp

MIB = 1 << 20
BLOCK = 4096
DISKS = 3
STRIPE_UNIT = 256 << 10  # As bench/node.c has it: one after the other goes to another disk.
REGION = 1 << 20  # Of a shard; each shard of a stripe has its own.
ASIDE = GIB
TOUCH_EVERY_S = 5
WARM_UP_S = 35  # After which regions of the aside are idle, and those of the working set open.
LEAST_S = 60
CHECKPOINTS = 2  # Of each disk.
STEP_S = 10  # By which a run is prolonged that has not seen them.
LONGEST_S = 180
PARTS = ("data", "journal", "sums", "checkpoint", "superblock")
NAMES = {"sums": "table", "superblock": "superblocks"}


class Case(typing.NamedTuple):
    gib: int
    depth: int
    limit: float  # Of device writes for each write.


CASES = [Case(4, 1, 1.05), Case(4, 32, 1.05), Case(64, 1, 3.1), Case(64, 32, 1.05)]


class Overwriting:
    """A node whose disks keep no data, and its load."""

    def __init__(self, build, case):
        self.case = case
        self.trilith = build / "trilith"
        self.bytes = case.gib * GIB
        self.size = self.bytes + ASIDE
        self.node = servers.Small(build, "hollow", "bench_node",
                                  options=["--hollow", "--volume-size", f"{self.size >> 20}M"])
        self.admin = self.queue = self.process = self.before = None
        self.touched = 0
        self.writes = 0
        self.seconds = 0

    def close(self):
        for connection in (self.queue, self.admin):
            if connection:
                connection.close()
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        self.node.close()

    def perf(self, *arguments):
        self.process = servers.start([self.trilith, "perf", *self.node.perf_args, *arguments,
                                      "-o", "json"], stdout=subprocess.PIPE, text=True)

    def wait(self):
        out, _ = self.process.communicate()
        if self.process.returncode != 0:
            raise servers.BenchError(f"perf ended with {self.process.returncode}")
        return json.loads(out)["write"]

    def fill(self):
        self.perf("--rw", "write", "--block-size", "128K", "--depth", "16", "--bytes", self.size)

    def attach(self):
        host, port = self.node.perf_args[1].rsplit(":", 1)
        self.admin, cntlid = nvmetcp.open_admin((host, int(port)), servers.NQN)
        self.queue = nvmetcp.open_io(self.admin, (host, int(port)), servers.NQN, cntlid)

    def touch(self):
        """Opens a region of the aside on each disk."""
        stripe = self.touched % (ASIDE // (DISKS * REGION) - 1)
        self.touched += 1
        for disk in range(DISKS):
            at = self.bytes + stripe * DISKS * REGION + disk * STRIPE_UNIT
            answer, _ = self.queue.rw(nvmetcp.OP_WRITE, at // BLOCK, 1, data=bytes(BLOCK))
            if answer.status != 0:
                raise servers.BenchError(f"a write ended with status {answer.status:#x}")

    def load(self, seconds):
        self.perf(*RANDOM_WRITE, "--depth", self.case.depth, "--size", f"{self.case.gib}G",
                  "--time", seconds)

    def count(self):
        """What has been written since begin()."""
        now = self.node.stats()
        found = {key: value - self.before[key] for key, value in now.items()
                 if isinstance(value, (int, float))}
        found["checkpoints"] = [after - before for after, before
                                in zip(now["checkpoints"], self.before["checkpoints"])]
        return found

    def result(self):
        """Device writes for each write, and a note."""
        found = self.count()
        parts = ", ".join(f"{NAMES.get(part, part)} {found[part + '_writes'] / self.writes:.4f}"
                          for part in PARTS)
        least, most = min(found["checkpoints"]), max(found["checkpoints"])
        checkpoints = str(least) if least == most else f"{least} to {most}"
        return (found["device_writes"] / self.writes,
                f"{parts}; and {found['device_flushes'] / self.writes:.5f} flushes;"
                f" {checkpoints} checkpoints of each disk in {self.seconds} s,"
                f" {self.writes} writes")


def run(every, seconds):
    """All loads at once; what they write."""
    for one in every:
        one.load(seconds)
    end = time.monotonic() + seconds - 1
    while time.monotonic() < end:
        for one in every:
            one.touch()
        time.sleep(TOUCH_EVERY_S)
    return [one.wait()["ios"] for one in every]


def measure_run(every):
    for one in every:
        one.before = one.node.stats()
    seconds = LEAST_S
    while every[0].seconds < LONGEST_S:
        for one, writes in zip(every, run(every, seconds)):
            one.writes += writes
            one.seconds += seconds
        if all(min(one.count()["checkpoints"]) >= CHECKPOINTS for one in every):
            return
        seconds = STEP_S
    raise servers.BenchError(f"no {CHECKPOINTS} checkpoints of each disk in {LONGEST_S} s")


def measure(build, cases):
    """Each case with its device writes for each write and a note.  All at once: what is counted
    hardly depends on the time it takes (how many openings of regions share a record does)."""
    with servers.closing(*(Overwriting(build, case) for case in cases)) as every:
        for one in every:
            one.fill()
        for one in every:
            one.wait()
            one.attach()
        run(every, WARM_UP_S)
        measure_run(every)
        return [(one.case, *one.result()) for one in every]
