# SPDX-License-Identifier: Apache-2.0
"""The servers that are measured, and `trilith perf` as their host."""

import collections
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "system"))
import nvmetcp  # pylint: disable=wrong-import-position,unused-import

NQN = "nqn.2026-01.io.trilith:volume:bench"
START_SECONDS_MAX = 20
GIB = 1 << 30

# Arguments of perf.
RANDOM_READ = ["--rw", "randread"]
RANDOM_WRITE = ["--rw", "randwrite"]
LARGE = ["--block-size", "128K", "--depth", "16"]


class BenchError(Exception):
    pass


def one_cpu(number):
    """Keeps the calling process on one CPU if there are several.  Without a number: where it is."""
    cpus = sorted(os.sched_getaffinity(0))
    if number is not None and len(cpus) > 1:
        os.sched_setaffinity(0, {cpus[number % len(cpus)]})


def start(command, cpu=None, **options):
    return subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                            preexec_fn=lambda: one_cpu(cpu), **options)


def wait_for(what, attempt, seconds=START_SECONDS_MAX):
    """The first true answer of attempt()."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = attempt()
        if answer:
            return answer
        time.sleep(0.05)
    raise BenchError(f"{what} is not there after {seconds} s")


def cpu_us(pid):
    """User and system time of a process so far, with that of threads that have ended."""
    clock = ~pid << 3 | 2  # clock_getcpuclockid(3), which Python has for threads alone.
    return time.clock_gettime_ns(clock) / 1000


# What threads of a name are for: the first of a process, and the others, which have the name of
# the thread that started them.
THREADS = [
    ("reactor", "reactors", "gRPC's clients"),
    ("grpc_global", "gRPC's timers", "gRPC's timers"),
    ("timer_manager", "gRPC's timers", "gRPC's timers"),
    ("trilith", "main threads", "controller"),
    ("iou-wrk", "the kernel's workers", "the kernel's workers"),
]


def wakeups(pids):
    """How often threads have ended a sleep so far, by what they are for."""
    found = collections.Counter()
    for pid in pids:
        names = set()
        tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
        for task in sorted(tasks, key=lambda task: int(task.name)):
            lines = (task / "status").read_text().splitlines()
            status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
            name = status["Name"]
            what = next(((first, others) for begin, first, others in THREADS
                         if name.startswith(begin)), ("gRPC's others", "gRPC's others"))
            found[what[name in names]] += int(status["voluntary_ctxt_switches"])
            names.add(name)
    return found


def wakeups_text(counter, seconds):
    return ", ".join(f"{name} {count / seconds:.1f}" for name, count in counter.most_common())


def write_once(trilith, perf_args, output, size=GIB):
    """Writes all of a volume, so that later reads find data and later writes overwrite."""
    subprocess.run([str(trilith), "perf", *perf_args, "--rw", "write", "--block-size", "128K",
                    "--depth", "16", "--bytes", str(size)], check=True, stdout=output,
                   stderr=output)


class Small:
    """One of the servers in this folder.  It reports what it has done so far on SIGUSR1."""

    def __init__(self, build, name, program, *, spin="off", cpu=None, fill=0, options=()):
        self.name = name
        self.process = start([build / "bench" / program, "--spin", spin, *options], cpu,
                             stdout=subprocess.PIPE, text=True)
        try:
            line = self.process.stdout.readline()
            if not line:
                raise BenchError(f"{program} did not start")
            self.perf_args = ["--to", line.split()[-1], "--volume", NQN]
            if fill:
                write_once(build / "trilith", self.perf_args, subprocess.DEVNULL, fill)
        except BaseException:
            self.close()
            raise

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def stats(self):
        self.process.send_signal(signal.SIGUSR1)
        return json.loads(self.process.stdout.readline())

    def measure(self, perf):
        before = self.stats()
        result = perf(self.perf_args)
        after = self.stats()
        for key, stat in (("server_cpu_us", "cpu_us"), ("server_syscalls", "syscalls"),
                          ("server_device_writes", "device_writes"),
                          ("server_device_flushes", "device_flushes")):
            result[key] = (after[stat] - before[stat]) / max(result["ios"], 1)
        return result


class Files(Small):
    """The node over three files in a folder of its own."""

    def __init__(self, build, folder="/dev/shm", **options):
        self.folder = tempfile.mkdtemp(prefix="trilith-bench-", dir=folder)
        try:
            super().__init__(build, "files", "bench_node", fill=GIB,
                             options=["--disks", self.folder], **options)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def close(self):
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Up:
    """`trilith up` on files in /dev/shm."""

    name = "up"

    def __init__(self, build, spin="auto", disk_size="2G", options=("--disks", 3)):
        self.trilith = str(build / "trilith")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="trilith-bench-", dir="/dev/shm"))
        self.log = open(self.folder / "log", "w", encoding="utf-8")
        self.command = [self.trilith, "up", "--data", self.folder / "data",
                        "--disk-size", disk_size, "--listen", "127.0.0.1", "--port", "0",
                        "--api", "127.0.0.1:0", "--spin", spin, *options]
        self.launch()

    def launch(self):
        """Starts it; also again, after it has ended."""
        self.process = start(self.command, stdout=self.log, stderr=self.log)
        try:
            run = wait_for("trilith up", lambda: self.alive() and
                           self.run_of(self.folder / "data", self.process.pid))
            self.api, self.address = run["api"], run["listen"]
            self.perf_args = ["--to", self.address, "--volume", NQN]
        except BaseException:
            self.close()
            raise

    @staticmethod
    def run_of(folder, pid=None):
        """What a process says of itself there; None: it does not yet, or another one did."""
        run_json = folder / "run.json"
        run = json.loads(run_json.read_text()) if run_json.exists() else None
        return run if run and (pid or run["pid"]) == run["pid"] else None

    def alive(self):
        if self.process.poll() is not None:
            raise BenchError("trilith up ended: " + (self.folder / "log").read_text()[-500:])
        return True

    def create(self, name, size, *options):
        return self.alive() and subprocess.run(
            [self.trilith, "volume", "create", name, "--size", size, *map(str, options), "--api",
             self.api], stdout=self.log, stderr=self.log, check=False).returncode == 0

    def fill(self):
        """Makes the volume that perf_args name, and writes all of it."""
        wait_for("the volume", lambda: self.create("bench", "1G"))
        write_once(self.trilith, self.perf_args, self.log)
        return self

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def cpu_us(self):
        return cpu_us(self.process.pid)

    def measure(self, perf):
        before = self.cpu_us()
        result = perf(self.perf_args)
        result["server_cpu_us"] = (self.cpu_us() - before) / max(result["ios"], 1)
        return result


@contextlib.contextmanager
def closing(*servers):
    """Closes servers at the end, whatever happens."""
    try:
        yield servers
    finally:
        for server in servers:
            server.close()


def host(trilith, workload, seconds, spin="off", cpu=None):
    """A function that runs perf with some more arguments, and returns what matters of its
    report."""
    def run(arguments):
        with start([trilith, "perf", *arguments, *workload, "--time", seconds, "--spin", spin,
                    "-o", "json"], cpu, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                   text=True) as process:
            out, err = process.communicate(timeout=seconds + 60)
        if process.returncode != 0:
            raise BenchError(f"perf: {err.strip()}")
        report = json.loads(out)
        part = report["read"] if report["read"]["ios"] > 0 else report["write"]
        return {
            "ios": part["ios"],
            "iops": part["iops"],
            "mb_per_s": part["mb_per_s"],
            "mean_us": part["latency_mean_us"],
            "p50_us": part["latency_p50_us"],
            "p99_us": part["latency_p99_us"],
            "p999_us": part["latency_p999_us"],
            "host_cpu_us": report["cpu_per_io_us"],
        }
    return run


def open_server(name, build, spin="off", cpu=None):
    if name == "up":
        up = Up(build, spin)
        try:
            return up.fill()
        except BaseException:
            up.close()
            raise
    if name == "node":
        return Small(build, name, "bench_node", spin=spin, cpu=cpu, fill=GIB)
    if name == "files":
        return Files(build, spin=spin, cpu=cpu)
    program = {"echo": "bench_echo", "memory": "bench_target"}[name]
    return Small(build, name, program, spin=spin, cpu=cpu)
