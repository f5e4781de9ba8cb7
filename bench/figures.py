#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what Trilith promises, each figure as a ratio within this run, beside limit and goal.

    bench/figures.py [--build DIR] [--seconds S] [--rounds N] [--folder DIR] [--only TEXT]

What is compared is measured in turns, round by round.  Rates and latencies are medians of the
rounds; CPU per I/O is the least of them, since whatever else runs only adds to it.  Server and host
have a CPU each where two are compared that way.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import typing

import attached
import cluster
import overwrite
import servers
from servers import LARGE, RANDOM_READ, RANDOM_WRITE

SOURCE = pathlib.Path(__file__).resolve().parent.parent

# What the limits in microseconds were set by: the echo server's CPU per I/O at depth 32.
ECHO_REFERENCE_US = 1.35
SPIN_US = "1000"  # Longer than any wait at depth 1.
FILE_BYTES = 683 << 20  # About what each disk of the node over files has.


class Figure(typing.NamedTuple):
    name: str
    value: float
    limit: float
    goal: typing.Optional[float] = None
    at_least: bool = False  # Else it is a most.
    note: str = ""

    def reaches(self, bound):
        return self.value >= bound if self.at_least else self.value <= bound

    def verdict(self):
        if not self.reaches(self.limit):
            return "NOT MET"
        return "goal not met" if self.goal and not self.reaches(self.goal) else "met"


def print_figure(figure):
    sign = ">=" if figure.at_least else "<="
    goal = f"goal {figure.goal:g}" if figure.goal else ""
    print(f"  {figure.name:66}{figure.value:9.3f}  {sign} {figure.limit:<8.3g}{goal:10}"
          f"{figure.verdict():14}{figure.note}", flush=True)


class Rounds:
    """Results of several rounds in which servers took turns."""

    def __init__(self):
        self.results = {}

    def add(self, key, result):
        self.results.setdefault(key, []).append(result)

    def median(self, key, what):
        return statistics.median(result[what] for result in self.results[key])

    def least(self, key, what):
        return min(result[what] for result in self.results[key])


class Bench:
    def __init__(self, args):
        self.args = args
        self.build = args.build
        self.trilith = args.build / "trilith"
        self.echo_us = ECHO_REFERENCE_US  # Until it has been measured.

    def perf(self, workload, depth=None, spin="off", cpu=1):
        depth = [] if depth is None else ["--depth", str(depth)]
        return servers.host(self.trilith, [*workload, *depth], self.args.seconds, spin, cpu)

    def program(self, name, *arguments):
        done = subprocess.run([str(self.build / "bench" / name), *map(str, arguments)],
                              check=True, stdout=subprocess.PIPE, text=True, timeout=120)
        return json.loads(done.stdout)

    def small(self, name, **options):
        return servers.open_server(name, self.build, **options)

    # ---- One connection, server and host on a CPU each ----

    def connection(self):
        rounds = Rounds()
        with servers.closing(self.small("echo", cpu=0), self.small("node", cpu=0)) as both:
            for _ in range(self.args.rounds):
                for depth in (1, 32, 128):
                    for server in both:
                        result = server.measure(self.perf(RANDOM_READ, depth))
                        rounds.add((server.name, depth), result)
                rounds.add("write", both[1].measure(self.perf(RANDOM_WRITE, 32)))
                rounds.add("pair", self.program("bench_pair", self.args.seconds))
                for rw in ("read", "write"):
                    rounds.add(rw + " 128K", both[1].measure(self.perf(["--rw", rw, *LARGE])))
        self.echo_us = rounds.least(("echo", 32), "server_cpu_us")
        yield from self.sleeping(rounds)
        yield from self.spinning()

    def sleeping(self, rounds):
        node_us = rounds.least(("node", 32), "server_cpu_us")
        for depth, limit, goal in ((32, 0.75, 0.85), (128, 0.55, 0.75)):
            echo, node = (rounds.median((name, depth), "iops") for name in ("echo", "node"))
            yield Figure(f"4 KiB random read, depth {depth}, sleeping: IOPS / echo", node / echo,
                         limit, goal, at_least=True, note=f"{node:.0f} / {echo:.0f}")
        echo, node = (rounds.median((name, 1), "p50_us") for name in ("echo", "node"))
        yield Figure("4 KiB random read, depth 1, sleeping: median / echo", node / echo, 1.25,
                     note=f"{node:.1f} / {echo:.1f} us")
        yield Figure("4 KiB random read, depth 32: CPU per I/O / echo", node_us / self.echo_us,
                     1.6, note=f"{node_us:.2f} / {self.echo_us:.2f} us")
        yield Figure("4 KiB random read, depth 32: system calls per I/O",
                     rounds.median(("node", 32), "server_syscalls"), 0.15)
        write_us = rounds.least("write", "server_cpu_us")
        yield Figure("4 KiB random write, depth 32: CPU per I/O / read", write_us / node_us, 1.3,
                     note=f"{write_us:.2f} / {node_us:.2f} us")
        pair = rounds.median("pair", "mb_per_s")
        for rw in ("read", "write"):
            rate = rounds.median(rw + " 128K", "mb_per_s")
            yield Figure(f"128 KiB sequential {rw}: rate / bare TCP connection", rate / pair, 0.8,
                         at_least=True, note=f"{rate:.0f} / {pair:.0f} MB/s")

    def spinning(self):
        rounds = Rounds()
        with servers.closing(self.small("echo", spin=SPIN_US, cpu=0),
                             self.small("node", spin=SPIN_US, cpu=0)) as both:
            for _ in range(self.args.rounds):
                for depth in (1, 32, 128):
                    for server in both:
                        result = server.measure(self.perf(RANDOM_READ, depth, SPIN_US))
                        rounds.add((server.name, depth), result)
        for depth, limit, goal in ((32, 0.75, 0.85), (128, 0.55, 0.75)):
            echo, node = (rounds.median((name, depth), "iops") for name in ("echo", "node"))
            yield Figure(f"4 KiB random read, depth {depth}, spinning: IOPS / echo", node / echo,
                         limit, goal, at_least=True, note=f"{node:.0f} / {echo:.0f}")
        echo, node = (rounds.median((name, 1), "p50_us") for name in ("echo", "node"))
        yield Figure("4 KiB random read, depth 1, spinning: median / echo", node / echo, 1.25,
                     note=f"{node:.1f} / {echo:.1f} us")

    # ---- Files ----

    def files(self):
        """The node over files, and what a bare loop pays for the same I/O on one of them."""
        scaled = 0.8 * self.echo_us / ECHO_REFERENCE_US
        rounds = Rounds()
        with servers.closing(self.small("echo", cpu=0),
                             servers.Files(self.build, self.args.folder, cpu=0)) as (echo, node):
            scratch = pathlib.Path(node.folder) / "scratch"
            with open(scratch, "wb") as out:
                for _ in range(FILE_BYTES >> 20):
                    out.write(bytes(1 << 20))
            for _ in range(self.args.rounds):
                for rw, workload in (("read", RANDOM_READ), ("write", RANDOM_WRITE)):
                    for server in (echo, node):
                        rounds.add((server.name, rw), server.measure(self.perf(workload, 32)))
                    rounds.add(("loop", rw), self.program("bench_loop", scratch, rw, 32,
                                                          self.args.seconds))
        for rw in ("read", "write"):
            node_us, echo_us = (rounds.least((name, rw), "server_cpu_us")
                                for name in ("files", "echo"))
            loop_us = rounds.least(("loop", rw), "cpu_us")
            yield Figure(f"files, 4 KiB random {rw}: us of CPU above echo + bare loop",
                         node_us - echo_us - loop_us, scaled,
                         note=f"{node_us:.2f} - {echo_us:.2f} - {loop_us:.2f}")

    # ---- Reactors ----

    def reactors(self):
        """One volume over two reactors, two connections, anywhere on the CPUs."""
        rounds = Rounds()
        workload = [*RANDOM_READ, "--connections", "2"]
        with servers.closing(*(servers.Small(self.build, count, "bench_node", fill=servers.GIB,
                                             options=["--reactors", count])
                               for count in (1, 2))) as both:
            for _ in range(self.args.rounds):
                for server in both:
                    rounds.add(server.name, server.measure(self.perf(workload, 32, cpu=None)))
        one, two = (rounds.least(count, "server_cpu_us") for count in (1, 2))
        yield Figure("one volume over two reactors: CPU per I/O / over one", two / one, 1.15,
                     note=f"{two:.2f} / {one:.2f} us")

    # ---- Idle hosts and memory ----

    def attached(self):
        found = attached.measure(self.build, self.args.seconds)
        yield Figure("100 idle volumes, 400 connections: % of a core", found["cpu_percent"], 0.1)
        yield Figure("100 idle volumes: wake-ups / those that keep-alive and timers need",
                     found["wakeups"] / found["reasons"], 1.1,
                     note=f"{found['wakeups']:.1f} / {found['reasons']:.1f} per second: "
                          f"{found['causes']}")
        yield Figure("no host: wake-ups / those that timers need",
                     found["wakeups_alone"] / found["timers"], 1.1,
                     note=f"{found['wakeups_alone']:.1f} / {found['timers']:.1f} per second: "
                          f"{found['causes_alone']}")
        yield Figure("trilith up with nothing attached: MiB resident", found["bare_mib"], 64)
        yield Figure("a connected queue of depth 128: KiB resident, idle", found["idle_kib"], 512)
        yield Figure("a connected queue of depth 128: KiB resident, 128 reads",
                     found["busy_kib"], 512, note="with the data in flight")

    # ---- Replicas ----

    def replicas(self):
        scale = self.echo_us / ECHO_REFERENCE_US
        for figure in cluster.measure(self.build, self.args.rounds, self.args.seconds, scale):
            yield Figure(*figure)

    # ---- Steady state ----

    def steady(self):
        for case, writes, note in overwrite.measure(self.build, overwrite.CASES):
            yield Figure(f"overwrite over {case.gib} GiB, depth {case.depth}: device writes each",
                         writes, case.limit, note=note)

    def all(self):
        for part in (self.connection, self.files, self.reactors, self.attached, self.replicas,
                     self.steady):
            if self.args.only in part.__name__:
                yield from part()


def add_arguments(parser):
    parser.add_argument("--rounds", type=int, default=3, help="of each comparison")
    parser.add_argument("--folder", default="/var/tmp", help="where disks in files are made")
    parser.add_argument("--only", default="",
                        help="connection, files, reactors, attached, replicas or steady")


def measure(args, show):
    """All figures; with show, each is printed as soon as it is there."""
    found = []
    if show:
        print("\nfigures: value, limit, goal")
    for figure in Bench(args).all():
        if show:
            print_figure(figure)
        found.append(figure)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=SOURCE / "build")
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    add_arguments(parser)
    args = parser.parse_args()
    try:
        measure(args, True)
    except (servers.BenchError, subprocess.SubprocessError, OSError) as error:
        print(f"figures: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
