# SPDX-License-Identifier: Apache-2.0
"""Makes the guest: a Debian kernel and root disk, and the QEMU that runs them, in a cache.

Everything comes from Debian packages that this machine's apt can fetch.  They are unpacked, not
installed: no privileges are needed and the machine is not changed.  QEMU and its helpers run
with the libraries that were unpacked along with them, so any host will do.

    <cache>/apt/      package lists and packages
    <cache>/set-KEY/  what one version of this file makes of them; never changed afterwards
        tools/        programs for the host, started by tools/exec
        vmlinux  initrd  root.img

The environment can name another cache (TRILITH_GUEST_CACHE), Debian release
(TRILITH_GUEST_SUITE) or mirror (TRILITH_GUEST_MIRROR).
"""

import contextlib
import fcntl
import hashlib
import lzma
import os
import pathlib
import shutil
import stat
import subprocess
import time

SUITE = os.environ.get("TRILITH_GUEST_SUITE", "trixie")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
UNUSED_DAYS = 14  # Sets not used for longer are removed when a new one is made.

HOST_PACKAGES = ["e2fsprogs", "kmod", "qemu-system-x86", "zstd"]
GUEST_PACKAGES = [
    "bash", "busybox-static", "coreutils", "e2fsprogs", "fio", "grep", "iproute2", "kmod",
    "mount", "nvme-cli", "procps", "sed", "util-linux", "xfsprogs",
]
# The small kernel: no drivers for real hardware to wait for.
KERNEL_PACKAGE = "linux-image-cloud-amd64"
KERNEL_MODULES = ["virtio_pci", "virtio_blk", "virtio_console", "virtio_net", "nvme_tcp"]

# First stage: loads modules and mounts the disk.  Both stages are busybox's: starting anything
# bigger takes noticeable time on an emulated processor.
INITRD_INIT = """#!/bin/busybox sh
bb=/bin/busybox
$bb mount -t devtmpfs dev /dev
for module in /modules/*; do $bb insmod $module; done
until [ -b /dev/vda ]; do $bb sleep 0.1; done
$bb mount -t ext4 -o noatime /dev/vda /root
$bb mount -o move /dev /root/dev
exec $bb switch_root /root /sbin/guest-init
"""

# Second stage, process 1.  Port 1 of the serial device carries jobs: "ID SCRIPT" comes in, the
# script in base64; "ID STATUS OUTPUT" goes out when it has ended.  Jobs run side by side.
GUEST_INIT = """#!/usr/bin/busybox sh
export PATH=/usr/sbin:/usr/bin HOME=/root
bb=/usr/bin/busybox

$bb mount -t proc proc /proc
$bb mount -t sysfs sys /sys
$bb mount -t debugfs debug /sys/kernel/debug
$bb mkdir -p /dev/shm
for dir in /dev/shm /run /tmp; do $bb mount -t tmpfs tmpfs $dir; done
$bb mkdir -p /run/jobs /mnt
$bb hostname guest
$bb ip link set lo up
$bb ip address add 10.0.2.15/24 dev eth0
echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad
$bb ip address add fec0::15/64 dev eth0
$bb ip link set eth0 up

until [ -c /dev/vport0p1 ]; do $bb sleep 0.1; done
exec 3<>/dev/vport0p1
echo ready >&3
while read -r id script <&3; do
    (
        job=/run/jobs/$id
        echo "$script" | $bb base64 -d >$job
        exec 9>/run/jobs/lock
        /usr/bin/bash $job </dev/null >$job.out 2>&1 3>&- 9>&-
        status=$?
        output=$($bb base64 $job.out | $bb tr -d '\\n')
        $bb flock 9
        echo "$id $status $output" >&3
    ) &
done
"""


def cache_root():
    named = os.environ.get("TRILITH_GUEST_CACHE")
    if named:
        return pathlib.Path(named)
    xdg = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(xdg) / "trilith-guest"


def host_mirror():
    """The Debian mirror that this machine's own apt is set up with."""
    named = os.environ.get("TRILITH_GUEST_MIRROR")
    if named:
        return named
    targets = subprocess.check_output(
        ["apt-get", "indextargets", "--format",
         "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)"], text=True)
    for line in targets.splitlines():
        if line.startswith("Debian|Debian|main|"):
            return line.split("|", 3)[3]
    raise RuntimeError("this machine's apt knows no Debian mirror: set TRILITH_GUEST_MIRROR")


class Apt:
    """apt with a state of its own: it believes that nothing is installed and looks at none of
    the machine's package sources and preferences, so it resolves the same everywhere."""

    def __init__(self, directory, mirror):
        self.directory = directory
        for name in ("lists/partial", "archives/partial"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        (directory / "status").write_text("")
        source = f"deb [signed-by={KEYRING}] {mirror} {SUITE} main\n"
        (directory / "sources.list").write_text(source)
        self.options = []
        for option in (
            "APT::Architecture=amd64", "APT::Architectures=amd64",
            "APT::Install-Recommends=false", "APT::Sandbox::User=root",
            "Acquire::Languages=none", "Acquire::Retries=3", "Debug::NoLocking=true",
            f"Dir::Cache={directory}", f"Dir::State={directory}",
            f"Dir::State::status={directory}/status",
            f"Dir::Etc::SourceList={directory}/sources.list", "Dir::Etc::SourceParts=/dev/null",
            "Dir::Etc::Preferences=/dev/null", "Dir::Etc::PreferencesParts=/dev/null",
        ):
            self.options += ["-o", option]

    def run(self, *args, cwd=None):
        return subprocess.run(["apt-get", "-qq", *self.options, *args], cwd=cwd, check=True,
                              stdout=subprocess.PIPE, text=True).stdout

    def resolve(self, packages):
        """The packages and all they depend on, as (name, version, architecture)."""
        found = []
        for line in self.run("install", "--simulate", *packages).splitlines():
            if line.startswith("Inst "):
                name, rest = line[5:].split(" ", 1)
                fields = rest[rest.index("(") + 1:rest.index(")")].split()
                found.append((name, fields[0], fields[-1].strip("[]")))
        return found

    def fetch(self, packages):
        wanted = sorted({f"{name}={version}" for name, version, _ in packages})
        self.run("download", *wanted, cwd=self.directory / "archives")

    def unpack(self, packages, tree):
        """Files only: the packages' scripts do not run."""
        for name in ("bin", "lib", "lib64", "sbin"):
            (tree / "usr" / name).mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                (tree / name).symlink_to(f"usr/{name}")
        for name, version, arch in packages:
            file = f"{name}_{version.replace(':', '%3a')}_{arch}.deb"
            with subprocess.Popen(["dpkg-deb", "--fsys-tarfile",
                                   self.directory / "archives" / file],
                                  stdout=subprocess.PIPE) as deb:
                subprocess.run(["tar", "-C", tree, "--keep-directory-symlink", "--no-same-owner",
                                "--exclude=./usr/share/doc/*", "--exclude=./usr/share/man/*",
                                "--exclude=./usr/share/locale/*", "-x"],
                               stdin=deb.stdout, check=True)


def write_program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def write_exec(tools):
    """tools/exec PROGRAM ARG... runs a program of the tree with the tree's own libraries."""
    write_program(tools / "exec", """#!/bin/sh
tree=${0%/*}
lib=$tree/usr/lib/x86_64-linux-gnu
for dir in bin sbin; do
    program=$tree/usr/$dir/$1
    [ ! -e "$program" ] && [ ! -L "$program" ] || break
done
name=$1
shift
# An absolute link means a file of the tree.
case $(readlink "$program") in /*) program=$tree$(readlink "$program") ;; esac
export QEMU_MODULE_DIR="$lib/qemu"
exec "$tree/lib64/ld-linux-x86-64.so.2" --library-path "$lib" \\
    --argv0 "$name" "$program" "$@"
""")


def unpack_kernel(tools, bzimage, vmlinux):
    """Takes the kernel out of its compressed image, so that no boot has to do it on an emulated
    processor.  The offsets are those of Documentation/arch/x86/boot.rst of Linux."""
    image = bzimage.read_bytes()
    payload = (image[497] + 1) * 512 + int.from_bytes(image[584:588], "little")
    length = int.from_bytes(image[588:592], "little") - 4
    plain = subprocess.run([tools / "exec", "zstd", "-dqc"], input=image[payload:payload + length],
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    vmlinux.write_bytes(plain.stdout if plain.returncode == 0 else image)


def modules_in_order(tree, release):
    """The modules that the initrd loads, each after those that it depends on."""
    directory = tree / "lib/modules" / release
    needs = {}
    for line in (directory / "modules.dep").read_text().splitlines():
        module, _, rest = line.partition(":")
        needs[module] = rest.split()
    by_name = {pathlib.Path(m).stem.replace("-", "_"): m for m in needs}
    order = []
    for name in KERNEL_MODULES:
        if name in by_name:  # Else it is built in.
            # modules.dep lists the deepest dependency last.
            order += [*reversed(needs[by_name[name]]), by_name[name]]
    return [directory / module for module in dict.fromkeys(order)]


def cpio(entries):
    """A "newc" archive of (name, mode, content)."""
    out = bytearray()
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")]):
        raw = name.encode() + b"\0"
        fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(raw), 0]
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + raw
        out += b"\0" * (-len(out) % 4)
        out += content + b"\0" * (-len(content) % 4)
    return bytes(out)


def write_initrd(tree, release, path):
    entries = [(name, stat.S_IFDIR | 0o755, b"") for name in ("bin", "dev", "modules", "root")]
    program = stat.S_IFREG | 0o755
    entries.append(("init", program, INITRD_INIT.encode()))
    entries.append(("bin/busybox", program, (tree / "usr/bin/busybox").read_bytes()))
    for number, module in enumerate(modules_in_order(tree, release)):
        entries.append((f"modules/{number:02}-{module.name}", program, module.read_bytes()))
    path.write_bytes(cpio(entries))


def write_root(tree):
    """Makes the unpacked tree a system that starts."""
    busybox = tree / "usr/bin/busybox"
    for name in subprocess.check_output([busybox, "--list"], text=True).split():
        if not (tree / "usr/bin" / name).exists() and not (tree / "usr/sbin" / name).exists():
            (tree / "usr/bin" / name).symlink_to("busybox")
    for name in ("dev", "etc/nvme", "proc", "root", "run", "sys", "tmp", "var/tmp", "mnt"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("hostname", "guest\n"),
        ("passwd", "root:x:0:0:root:/root:/bin/bash\n"),
        ("group", "root:x:0:\n"),
        ("hosts", "127.0.0.1 localhost guest\n"),
    ):
        (tree / "etc" / name).write_text(text)
    write_program(tree / "usr/sbin/guest-init", GUEST_INIT)


def make(directory, apt):
    tools, tree = directory / "tools", directory / "root"
    tree.mkdir(parents=True)
    apt.run("update")
    apt.run("autoclean")
    host, guest = apt.resolve(HOST_PACKAGES), apt.resolve(GUEST_PACKAGES)
    # Without what it depends on, which is about installing it.
    kernel = [p for p in apt.resolve([KERNEL_PACKAGE]) if p[0].startswith("linux-image-6")]
    apt.fetch(host + guest + kernel)
    apt.unpack(host, tools)
    apt.unpack(guest + kernel, tree)
    write_exec(tools)

    release = next((tree / "lib/modules").iterdir()).name
    unpack_kernel(tools, tree / f"boot/vmlinuz-{release}", directory / "vmlinux")
    shutil.rmtree(tree / "boot")
    for packed in (tree / "lib/modules").rglob("*.ko.xz"):
        packed.with_suffix("").write_bytes(lzma.decompress(packed.read_bytes()))
        packed.unlink()
    subprocess.run([tools / "exec", "depmod", "-b", tree, release], check=True)
    write_initrd(tree, release, directory / "initrd")
    write_root(tree)
    used_kib = int(subprocess.check_output(["du", "-sk", tree], text=True).split()[0])
    subprocess.run([tools / "exec", "mke2fs", "-q", "-t", "ext4", "-O",
                    "^has_journal,^metadata_csum", "-m", "0", "-d", tree,
                    directory / "root.img", f"{used_kib * 5 // 4 // 1024 + 256}M"], check=True)
    shutil.rmtree(tree)


def why_impossible():
    """What this machine lacks for running guests, or None."""
    if os.uname().machine != "x86_64":
        return "guests need an x86-64 machine"
    for program in ("apt-get", "dpkg-deb", "tar"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if not pathlib.Path(KEYRING).exists():
        return "debian-archive-keyring is not installed"
    return None


def get():
    """The directory of the current set; the first call makes it, which takes a minute."""
    cache = cache_root()
    cache.mkdir(parents=True, exist_ok=True)
    mirror = host_mirror()
    made_from = pathlib.Path(__file__).read_bytes() + f"{SUITE} {mirror}".encode()
    directory = cache / f"set-{hashlib.sha256(made_from).hexdigest()[:16]}"
    with open(cache / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if directory.is_dir():
            os.utime(directory)
            return directory
        for old in [*cache.glob("new-*"), *cache.glob("set-*")]:
            unused_s = time.time() - old.stat().st_mtime
            if old.name.startswith("new-") or unused_s > UNUSED_DAYS * 86400:
                shutil.rmtree(old)
        new = cache / directory.name.replace("set-", "new-")
        make(new, Apt(cache / "apt", mirror))
        new.rename(directory)
    return directory
