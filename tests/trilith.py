# SPDX-License-Identifier: Apache-2.0
"""`trilith up` as a process that tests start, kill and ask.

The build that is tested is the one that TRILITH_BUILD names, build-asan by default.  With
TRILITH_IO_FEATURES servers and `perf` use no more of the kernel than that says, as --io-features.
"""

import fcntl
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / os.environ.get("TRILITH_BUILD", "build-asan")
PROGRAM = BUILD / "trilith"
IO_FEATURES = os.environ.get("TRILITH_IO_FEATURES")
START_LIMIT_S = 60
STOP_LIMIT_S = 60
CLI_LIMIT_S = 60
IN_SYNC_LIMIT_S = 60
VERIFY_RATE = "4G"  # Hosts need nothing of the disks any more.

# A finding of a sanitizer ends the process with this status, which nothing else uses.
SANITIZER_STATUS = 99
ENVIRONMENT = {
    **os.environ,
    "ASAN_OPTIONS": f"exitcode={SANITIZER_STATUS}:detect_leaks=1",
    "UBSAN_OPTIONS": f"halt_on_error=1:print_stacktrace=1:exitcode={SANITIZER_STATUS}",
    "LSAN_OPTIONS": f"exitcode={SANITIZER_STATUS}",
    # gRPC's libraries are not instrumented: what they do to their own memory cannot be judged.
    "TSAN_OPTIONS": f"halt_on_error=1:exitcode={SANITIZER_STATUS}:second_deadlock_stack=1:"
                    "ignore_noninstrumented_modules=1:"
                    f"suppressions={pathlib.Path(__file__).with_name('tsan.supp')}",
}


class Failed(AssertionError):
    """A command of the CLI, or the server, ended as it should not."""


# A lock on its byte of this file reserves a port for the process that chose it, to its end: its
# server may be down when another process of the tests looks for a port.
PORTS = open(pathlib.Path(tempfile.gettempdir()) / f"trilith-test-ports.{os.getuid()}", "ab")
chosen_ports = set()


def is_free(port):
    """Whether nobody has it.  If so, it is this process's."""
    if port in chosen_ports:
        return False
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", port))
        fcntl.lockf(PORTS, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    chosen_ports.add(port)
    return True


def free_port():
    """None that the kernel gives to connections: of those, a host that tries to come back while
    nobody listens gets its own port some time, and is connected with itself; then the server
    cannot listen there any more."""
    lowest = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(lowest // 2, lowest)
        if is_free(port):
            return port


def free_ports(count):
    """The first of so many free ports in a row."""
    while True:
        port = free_port()
        if all(is_free(port + i) for i in range(1, count)):
            return port


def with_io_features(command):
    """The command, with the environment's --io-features if it has none of its own."""
    if not IO_FEATURES or "--io-features" in command:
        return command
    return [*command, "--io-features", IO_FEATURES]


class Server:
    """One `trilith up` on a directory.  The ports are free ones at the first start and the same
    ones at every later start, so that hosts find it again."""

    def __init__(self, data, *options, api_port=0, port=0, host="127.0.0.1", inside=()):
        """host is the address of the API, and inside the words before every command, which let
        it run on another machine (system/lan.py)."""
        self.data = pathlib.Path(data)
        self.options = [str(option) for option in options]
        self.host, self.inside = host, list(inside)
        self.api_port, self.port = api_port or free_port(), port or free_port()
        self.process = None
        self.environment = ENVIRONMENT
        self.log_path = self.data.parent / f"{self.data.name}.log"

    def without_quarantine(self):
        """Before start(), for who measures memory: AddressSanitizer would keep what was freed."""
        options = self.environment["ASAN_OPTIONS"] + ":quarantine_size_mb=1"
        self.environment = {**self.environment, "ASAN_OPTIONS": options}
        return self

    # ---- The process ----

    def start(self, healthy=True):
        """Returns when it serves; without healthy, also if it has problems to report."""
        command = with_io_features([*self.inside, str(PROGRAM), "up", "--data", str(self.data),
                                    "--port", str(self.port), "--api", self.api, *self.options])
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=self.environment)
        deadline = time.monotonic() + START_LIMIT_S
        while not self.is_up(healthy):
            if self.process.poll() is not None:
                raise Failed(f"'trilith up' ended with {self.process.returncode}:\n{self.log()}")
            if time.monotonic() > deadline:
                self.kill()
                raise Failed(f"'trilith up' is not there after {START_LIMIT_S} s:\n{self.log()}")
            time.sleep(0.05)
        return self

    def is_up(self, healthy=True):
        """Whether the process that runs now has written its ports and answers, and reports no
        problems if it shall be healthy."""
        try:
            run = json.loads((self.data / "run.json").read_text())
        except (OSError, ValueError):
            return False
        if run.get("pid") != self.process.pid:
            return False
        self.port, self.api_port = run["port"], run["api_port"]
        question = ["status"] if healthy else ["volume", "list"]
        return self.try_cli(*question).returncode == 0

    def kill(self):
        """SIGKILL, as a crash would end it."""
        self.process.kill()
        self.process.wait(STOP_LIMIT_S)

    def stop(self, unproven=None):
        """SIGTERM; it must end by itself, with success and without a finding.  Before that it is
        proved that all replicas are equal, but for the volumes that are keys of unproven: their
        values say why that cannot be."""
        if self.running():
            try:
                self.prove_replicas(unproven or {})
            except Exception:
                self.kill()
                raise
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"still there {STOP_LIMIT_S} s after SIGTERM:\n{self.log()}") from None
        if status != 0:
            raise Failed(f"ended with {status} at SIGTERM:\n{self.log()}")

    def volumes(self):
        return {volume["name"] for volume in self.cli("volume", "list")}

    def prove_replicas(self, unproven=()):
        """Of every volume but these, what all its replicas have on their disks."""
        names = self.volumes()
        assert names >= set(unproven), (names, unproven)
        for name in sorted(names - set(unproven)):
            self.prove_equal(name)

    def prove_equal(self, name):
        """Each block of each replica is read, none is bad, and all are equal; whoever is out of
        sync must come back."""
        waited = self.try_cli("volume", "wait", name, "--timeout", IN_SYNC_LIMIT_S,
                              limit_s=2 * IN_SYNC_LIMIT_S)
        if waited.returncode != 0:
            raise Failed(f"volume '{name}': {waited.stderr}{self.log()[-4000:]}")
        volume = self.volume(name)
        done = self.try_cli("volume", "verify", name, "--rate", VERIFY_RATE, "-o", "json")
        replicas = json.loads(done.stdout)["replicas"] if done.stdout else []
        digests = [replica["sha256"] for replica in replicas if replica["whole"]]
        if done.returncode != 0 or len(digests) != volume["replicas"] or len(set(digests)) != 1:
            raise Failed(f"volume '{name}', {volume['replicas']} replicas: exit status "
                         f"{done.returncode}\n{done.stdout}{done.stderr}")

    def prove_in_sync(self, name, out):
        """Of a volume of whose replicas those on these disks are out of sync and stay it: nothing
        else is wrong, and all that are in sync are whole and equal."""
        done = self.try_cli("volume", "verify", name, "--rate", VERIFY_RATE, "-o", "json")
        found = json.loads(done.stdout)
        digests = [replica["sha256"] for replica in found["replicas"] if replica["whole"]]
        assert {finding["disk"] for finding in found["findings"]} == set(out), found
        assert {finding["problem"] for finding in found["findings"]} <= {"out_of_sync", "unread"}
        assert len(digests) == len(found["replicas"]) - len(out) and len(set(digests)) == 1, found

    def running(self):
        return self.process is not None and self.process.poll() is None

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *exc):
        if not self.running():
            return
        if kind is None:
            self.stop()
        else:
            self.kill()

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def address(self):
        return self.host, self.port

    @property
    def api(self):
        return f"{self.host}:{self.api_port}"

    # ---- The CLI ----

    def try_cli(self, *args, limit_s=CLI_LIMIT_S):
        return cli(*args, "--api", self.api, inside=self.inside, limit_s=limit_s)

    def cli(self, *args):
        """Runs a command that must succeed; returns what its JSON says."""
        done = self.try_cli(*args, "-o", "json")
        if done.returncode != 0:
            raise Failed(f"trilith {' '.join(map(str, args))}: exit status {done.returncode}\n"
                         f"{done.stderr}{self.log()[-4000:]}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def create(self, name, size, *options):
        """Creates a volume and returns its record."""
        self.cli("volume", "create", name, "--size", size, *options)
        return self.volume(name)

    def wait_for(self, name, condition, timeout_s=30):
        """Waits until a volume's record is as it shall be: nodes report every few seconds."""
        deadline = time.monotonic() + timeout_s
        while not condition(self.volume(name)):
            if time.monotonic() > deadline:
                raise Failed(f"after {timeout_s} s volume '{name}' is still {self.volume(name)}")
            time.sleep(0.2)

    def delete(self, name):
        """Deletes a volume, from which all hosts have disconnected."""
        self.wait_for(name, lambda volume: not volume["connected_hosts"])
        self.cli("volume", "delete", name)

    def volume(self, name):
        return self.cli("volume", "show", name)


def cli(*args, inside=(), limit_s=CLI_LIMIT_S):
    """Runs `trilith` with any arguments; the caller looks at the result."""
    command = [*inside, str(PROGRAM), *map(str, args)]
    if args[:1] == ("perf",):
        command = with_io_features(command)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=limit_s, env=ENVIRONMENT, check=False)
    assert done.returncode != SANITIZER_STATUS, f"{command}: {done.stderr}"
    return done
