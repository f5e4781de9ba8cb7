#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the target beside the echo server and prints ratios.

    bench/bench.py [--build DIR] [--seconds S] [--spin off|auto|US] [--server NAME]...
                   [--workload TEXT] [-o json]

Servers, one after the other, each with `trilith perf` as its host on the same machine:

    echo    the reactor alone: answers every read with zeros (bench/echo.c)
    memory  the target over a namespace in memory (bench/target.c)
    node    target, engine and stores over three disks in memory, one reactor (bench/node.c)
    files   the same over three files in /dev/shm
    up      all of it: `trilith up` on such files, with a reactor per core

Without --server and --workload it also measures how long a large disk takes to start
(bench/start.py).

An absolute figure says more about the machine than about Trilith; a ratio to the echo server, of
the same minute on the same cores, says what the layers above the reactor cost.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import start

SOURCE = pathlib.Path(__file__).resolve().parent.parent
NQN = "nqn.2026-01.io.trilith:volume:bench"
START_SECONDS_MAX = 20
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


class BenchError(Exception):
    pass


def wait_for(what, attempt):
    """The first true answer of attempt()."""
    end = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < end:
        answer = attempt()
        if answer:
            return answer
        time.sleep(0.05)
    raise BenchError(f"{what} did not start within {START_SECONDS_MAX} s")


def cpu_us(pid):
    """User and system time of a process so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1_000_000 // os.sysconf("SC_CLK_TCK")


class Small:
    """One of the servers in this folder.  It reports what it has done so far on SIGUSR1."""

    def __init__(self, build, name, program, spin, folder=None, fill=False):
        self.name = name
        self.folder = folder
        command = [str(build / "bench" / program), "--spin", spin]
        if folder:
            command += ["--disks", folder]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            line = self.process.stdout.readline()
            if not line:
                raise BenchError(f"{program} did not start")
            self.perf_args = ["--to", line.split()[-1], "--volume", NQN]
            if fill:
                write_once(build / "trilith", self.perf_args, subprocess.DEVNULL)
        except BaseException:
            self.close()
            raise

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def stats(self):
        self.process.send_signal(signal.SIGUSR1)
        return json.loads(self.process.stdout.readline())

    def measure(self, perf):
        before = self.stats()
        result = perf(self.perf_args)
        after = self.stats()
        for key, stat in (("server_cpu_us", "cpu_us"), ("server_syscalls", "syscalls"),
                          ("server_device_writes", "device_writes")):
            result[key] = (after[stat] - before[stat]) / max(result["ios"], 1)
        return result


def write_once(trilith, perf_args, output):
    """Writes all of a volume, so that later reads find data and later writes overwrite."""
    subprocess.run([str(trilith), "perf", *perf_args, "--rw", "write", "--block-size", "128K",
                    "--depth", "16", "--bytes", "1G"], check=True, stdout=output, stderr=output)


class Up:
    """`trilith up` with a volume that is written once, so that reads find data."""

    name = "up"

    def __init__(self, build, spin):
        self.trilith = str(build / "trilith")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="trilith-bench-", dir="/dev/shm"))
        self.log = open(self.folder / "log", "w", encoding="utf-8")
        self.process = subprocess.Popen(
            [self.trilith, "up", "--data", str(self.folder / "data"), "--disks", "3",
             "--disk-size", "2G", "--listen", "127.0.0.1", "--port", "0", "--api", "127.0.0.1:0",
             "--spin", spin],
            stdout=self.log, stderr=self.log)
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self):
        run_json = self.folder / "data" / "run.json"
        wait_for("trilith up", lambda: self.alive() and run_json.exists())
        run = json.loads(run_json.read_text())
        self.api = run["api"]
        wait_for("the volume", self.create)
        self.perf_args = ["--to", run["listen"], "--volume", NQN]
        write_once(self.trilith, self.perf_args, self.log)

    def alive(self):
        if self.process.poll() is not None:
            raise BenchError("trilith up ended: " + (self.folder / "log").read_text()[-500:])
        return True

    def create(self):
        return self.alive() and subprocess.run(
            [self.trilith, "volume", "create", "bench", "--size", "1G", "--api", self.api],
            stdout=self.log, stderr=self.log, check=False).returncode == 0

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def measure(self, perf):
        before = cpu_us(self.process.pid)
        result = perf(self.perf_args)
        result["server_cpu_us"] = (cpu_us(self.process.pid) - before) / max(result["ios"], 1)
        return result


def host(trilith, workload, seconds, spin):
    """A function that runs perf with some more arguments, and returns what matters of its
    report."""
    def run(arguments):
        done = subprocess.run([trilith, "perf", *arguments, *workload, "--time", str(seconds),
                               "--spin", spin, "-o", "json"], capture_output=True, text=True,
                              timeout=seconds + 60, check=False)
        if done.returncode != 0:
            raise BenchError(f"perf: {done.stderr.strip()}")
        report = json.loads(done.stdout)
        part = report["read"] if report["read"]["ios"] > 0 else report["write"]
        return {
            "ios": part["ios"],
            "iops": part["iops"],
            "mb_per_s": part["mb_per_s"],
            "p50_us": part["latency_p50_us"],
            "p99_us": part["latency_p99_us"],
            "p999_us": part["latency_p999_us"],
            "host_cpu_us": report["cpu_per_io_us"],
        }
    return run


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


def open_server(name, build, spin):
    if name == "up":
        return Up(build, spin)
    if name == "node":
        return Small(build, name, "bench_node", spin, fill=True)
    if name == "files":
        folder = tempfile.mkdtemp(prefix="trilith-bench-", dir="/dev/shm")
        return Small(build, name, "bench_node", spin, folder, fill=True)
    program = {"echo": "bench_echo", "memory": "bench_target"}[name]
    return Small(build, name, program, spin)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=SOURCE / "build")
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--spin", default="off", help="of both sides: off, auto or microseconds")
    parser.add_argument("--server", action="append", choices=SERVERS)
    parser.add_argument("--workload", default="", help="only those whose name contains this")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    args = parser.parse_args()

    trilith = str(args.build / "trilith")
    names = args.server or SERVERS
    everything = {}
    servers = []
    try:
        for name in names:
            servers.append(open_server(name, args.build, args.spin))
        for name, workload in WORKLOADS:
            if not re.search(re.escape(args.workload), name):
                continue
            perf = host(trilith, workload, args.seconds, args.spin)
            everything[name] = {server.name: server.measure(perf) for server in servers}
            if args.output == "table":
                print_workload(name, everything[name])
        if not args.server and not args.workload:
            everything["start"] = start.measure(args.build)
            if args.output == "table":
                start.print_figures(everything["start"])
    except (BenchError, subprocess.SubprocessError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        for server in servers:
            server.close()
    if args.output == "json":
        json.dump(everything, sys.stdout, indent=2)
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
