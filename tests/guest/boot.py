# SPDX-License-Identifier: Apache-2.0
"""A running guest, and commands in it.

    with Guest() as guest:
        guest.run("nvme discover -t tcp -a 10.0.2.2 -s 4420", timeout_s=30)
        job = guest.start("fio ...")      # goes on while the test does something else
        job.wait(timeout_s=60)

The guest's network is QEMU's: it sees the host's 127.0.0.1 as 10.0.2.2 and ::1 as fec0::2.
"""

import base64
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

import image

HOST = "10.0.2.2"
HOST6 = "fec0::2"
BOOT_LIMIT_S = 120  # Emulated, on a busy machine; five seconds are usual.
CONSOLE_TAIL_LINES = 40

# What costs time at boot and nothing here needs: self-tests of ciphers, a random number
# generator's start-up tests, keys for verifying modules.  The test of the timer's interrupt counts
# ticks against a busy loop, and panics when a busy machine lets QEMU wait in between.
CMDLINE = ("console=ttyS0 panic=-1 oops=panic mitigations=off cryptomgr.notests loglevel=7 "
           "no_timer_check initcall_blacklist=jent_mod_init,load_system_certificate_list")


class GuestError(Exception):
    """The guest died, or a command took longer than it may."""


class CommandFailed(AssertionError):
    """A command ended with a status that was not expected."""


class Job:
    """A command that was started in a guest."""

    def __init__(self, guest, number, script):
        self.guest, self.number, self.script = guest, number, script
        self.status = None
        self.output = None

    def running(self):
        self.guest.receive(0)
        return self.status is None

    def wait(self, timeout_s):
        """Waits for the end; returns the job.  A guest that lets it wait too long is given up."""
        deadline = time.monotonic() + timeout_s
        while self.status is None:
            left = deadline - time.monotonic()
            if left <= 0:
                self.guest.broken = True
                raise GuestError(f"still running after {timeout_s} s:\n{self.script}\n"
                                 f"{self.guest.console_tail()}")
            self.guest.receive(left)
        return self


class Guest:
    def __init__(self, cpus=2, mem="1G"):
        self.cpus, self.mem = cpus, mem
        self.broken = False
        self.jobs = {}
        self.unread = b""
        self.process = self.link = self.directory = None

    def __enter__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="trilith-guest-"))
        try:
            self.boot(image.get())
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc):
        self.stop()

    def boot(self, files):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.directory / "control"))
        listener.listen(1)
        with open(self.directory / "qemu.log", "wb") as log:
            self.process = subprocess.Popen(
                self.qemu(files), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        listener.settimeout(30)
        try:
            self.link, _ = listener.accept()
        except TimeoutError:
            raise GuestError(f"QEMU does not start: {self.console_tail()}") from None
        finally:
            listener.close()
        ready = self.jobs["ready"] = Job(self, "ready", "(boot)")
        ready.wait(BOOT_LIMIT_S)

    def qemu(self, files):
        tools = files / "tools"
        kvm = os.access("/dev/kvm", os.R_OK | os.W_OK)
        # Without KVM a model with rdrand, or the guest would wait for entropy; newer vector
        # instructions are slow to emulate.
        #
        # One thread for all processors.  With a thread each, one may translate code between the
        # moment another drops the old translation and the moment it stores the new bytes, and
        # keeps what it read: when Linux patches its code (static keys) that is an int3 which
        # nobody expects any more, an oops.  In one thread nothing runs between the two.
        accel = ["-accel", "kvm", "-cpu", "host"] if kvm and os.environ.get(
            "TRILITH_GUEST_KVM") else ["-accel", "tcg,thread=single", "-cpu", "Nehalem,+rdrand"]
        return [
            tools / "exec", "qemu-system-x86_64",
            "-L", tools / "usr/share/qemu", "-L", tools / "usr/share/seabios",
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-machine", "q35,usb=off,sata=off,smbus=off,vmport=off,i8042=off,smm=off",
            *accel, "-smp", str(self.cpus), "-m", self.mem,
            "-kernel", files / "vmlinux", "-initrd", files / "initrd", "-append", CMDLINE,
            "-chardev", f"file,id=console,path={self.directory}/console",
            "-serial", "chardev:console",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=control,path={self.directory}/control",
            "-device", "virtserialport,nr=1,chardev=control",
            "-drive", f"if=none,id=root,format=raw,snapshot=on,file={files}/root.img",
            "-device", "virtio-blk-pci,drive=root",
            "-netdev", "user,id=net,net=10.0.2.0/24,ipv6-net=fec0::/64",
            "-device", "virtio-net-pci,netdev=net,romfile=",
        ]

    def stop(self):
        """An orderly shutdown would wait for block devices whose server is gone."""
        if self.link is not None:
            self.link.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def console_tail(self):
        text = ""
        for name in ("qemu.log", "console"):
            path = self.directory / name
            if path.exists():
                text += path.read_text(errors="replace")
        return "\n".join(text.splitlines()[-CONSOLE_TAIL_LINES:])

    def console(self):
        """The guest's kernel log so far."""
        return (self.directory / "console").read_text(errors="replace")

    # ---- Commands ----

    def start(self, script):
        job = Job(self, str(len(self.jobs)), script)
        self.jobs[job.number] = job
        encoded = base64.b64encode(script.encode()).decode()
        self.link.sendall(f"{job.number} {encoded}\n".encode())
        return job

    def try_run(self, script, timeout_s=30):
        """Runs a script to its end, whatever it is."""
        return self.start(script).wait(timeout_s)

    def run(self, script, timeout_s=30):
        """Runs a script, which must succeed, and returns what it printed."""
        job = self.try_run("set -e\n" + script, timeout_s)
        if job.status != 0:
            raise CommandFailed(f"exit status {job.status} of:\n{script}\n{job.output}")
        return job.output

    def receive(self, timeout_s):
        """Takes in the ends of jobs, waiting up to timeout_s for the first."""
        self.link.settimeout(max(timeout_s, 0.001))
        try:
            got = self.link.recv(1 << 16)
        except (TimeoutError, BlockingIOError):
            return
        if not got:
            self.broken = True
            raise GuestError(f"the guest died:\n{self.console_tail()}")
        *lines, self.unread = (self.unread + got).split(b"\n")
        for line in lines:
            number, _, rest = line.decode().strip().partition(" ")
            status, _, output = rest.partition(" ")
            job = self.jobs[number]
            job.output = base64.b64decode(output).decode(errors="replace")
            job.status = int(status or 0)
