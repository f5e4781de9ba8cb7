#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the target beside the echo server and prints ratios.

    bench/bench.py [--build DIR] [--seconds S] [--table-seconds S] [--spin off|auto|US]
                   [--server NAME]... [--workload TEXT] [-o json]

Servers, one after the other, each with `trilith perf` as its host on the same machine:

    echo    the reactor alone: answers every read with zeros (bench/echo.c)
    memory  the target over a namespace in memory (bench/target.c)
    node    target, engine and stores over three disks in memory, one reactor (bench/node.c)
    files   the same over three files in /dev/shm
    up      all of it: `trilith up` on such files, with a reactor per core

Without --server and --workload it then measures every figure that is promised, beside its limit
(bench/figures.py), and how long a large disk takes to start (bench/start.py).  That is all of
it, in about ten minutes.

An absolute figure says more about the machine than about Trilith; a ratio to the echo server, of
the same minute on the same cores, says what the layers above the reactor cost.
"""

import argparse
import contextlib
import json
import pathlib
import re
import subprocess
import sys

import figures
import start
from servers import BenchError, host, open_server

SOURCE = pathlib.Path(__file__).resolve().parent.parent
SERVERS = ["echo", "memory", "node", "files", "up"]

# name, arguments of perf.
WORKLOADS = [
    ("randread 4K QD1", ["--rw", "randread", "--depth", "1"]),
    ("randread 4K QD32", ["--rw", "randread", "--depth", "32"]),
    ("randread 4K QD128", ["--rw", "randread", "--depth", "128"]),
    ("randwrite 4K QD1", ["--rw", "randwrite", "--depth", "1"]),
    ("randwrite 4K QD32", ["--rw", "randwrite", "--depth", "32"]),
    ("randwrite 4K QD128", ["--rw", "randwrite", "--depth", "128"]),
    ("read 128K QD16", ["--rw", "read", "--depth", "16", "--block-size", "128K"]),
]


# key of the result, heading, format.
COLUMNS = [
    ("iops", "IOPS", "{:.0f}"),
    ("p50_us", "p50 us", "{:.1f}"),
    ("p99_us", "p99 us", "{:.1f}"),
    ("p999_us", "p99.9 us", "{:.1f}"),
    ("server_cpu_us", "CPU us/IO", "{:.2f}"),
    ("server_syscalls", "calls/IO", "{:.3f}"),
    ("server_device_writes", "dev writes/IO", "{:.2f}"),
]


def text(result, key, form):
    return form.format(result[key]) if key in result else "-"


def ratio(result, echo, key):
    if key not in result or not echo.get(key):
        return "-"
    return f"{result[key] / echo[key]:.2f}"


def print_workload(name, results):
    width = max(len(heading) for _, heading, _ in COLUMNS) + 1
    print(f"\n{name}")
    print(f"  {'':16}" + "".join(f"{heading:>{width}}" for _, heading, _ in COLUMNS))
    for server, result in results.items():
        print(f"  {server:16}" + "".join(f"{text(result, key, form):>{width}}"
                                         for key, _, form in COLUMNS))
    echo = results.get("echo")
    for server, result in results.items():
        if echo and server != "echo":
            print(f"  {server + ' / echo':16}" + "".join(f"{ratio(result, echo, key):>{width}}"
                                                         for key, _, _ in COLUMNS))
    sys.stdout.flush()


def measure_tables(args):
    """Each workload on each server, by the workload's name."""
    everything = {}
    with contextlib.ExitStack() as stack:
        servers = []
        for name in args.server or SERVERS:
            servers.append(open_server(name, args.build, args.spin))
            stack.callback(servers[-1].close)
        for name, workload in WORKLOADS:
            if not re.search(re.escape(args.workload), name):
                continue
            perf = host(args.build / "trilith", workload, args.table_seconds, args.spin)
            everything[name] = {server.name: server.measure(perf) for server in servers}
            if args.output == "table":
                print_workload(name, everything[name])
    return everything


def measure_promises(args):
    """What is promised, each beside its limit."""
    show = args.output == "table"
    found = {"figures": [figure._asdict() | {"verdict": figure.verdict()}
                         for figure in figures.measure(args, show)],
             "start": start.measure(args.build)}
    if show:
        start.print_figures(found["start"])
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=SOURCE / "build")
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement of a figure")
    parser.add_argument("--table-seconds", type=int, default=1, help="of each in the tables")
    parser.add_argument("--spin", default="off",
                        help="of both sides, in the tables: off, auto or microseconds")
    parser.add_argument("--server", action="append", choices=SERVERS)
    parser.add_argument("--workload", default="", help="only those whose name contains this")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    figures.add_arguments(parser)
    args = parser.parse_args()

    try:
        everything = measure_tables(args)
        if not args.server and not args.workload:
            everything |= measure_promises(args)
    except (BenchError, subprocess.SubprocessError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if args.output == "json":
        json.dump(everything, sys.stdout, indent=2)
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
