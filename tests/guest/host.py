# SPDX-License-Identifier: Apache-2.0
"""The guest as an NVMe host: what the tests do with nvme-cli, fio and sysfs."""

import json
import re

import boot
import trilith

# Reconnects for longer than any test, at once and often; notices a silent target soon.
CONNECT = "--ctrl-loss-tmo=300 --reconnect-delay=1 --keep-alive-tmo=5"

# What the kernel says when an I/O failed, or when it dislikes what a target told it.
COMPLAINTS = re.compile(
    r"I/O error|Buffer I/O|EXT4-fs (error|warning)|XFS .*(corrupt|error)|"
    r"identify failed|duplicate (IDs|nsid)|bogus|"
    r"invalid (queue|PDU|data)|PDU.*error|digest error|\b(BUG|WARNING|Oops)[: ]|hung task|"
    r"blocked for more than|unsupported|mismatch|Removing after probe failure", re.I)


class Keeper:
    """Boots a guest when one is asked for and there is none that works."""

    def __init__(self, **options):
        self.options = options
        self.running = None

    def get(self):
        if self.running is not None and self.running.broken:
            self.stop()
        if self.running is None:
            self.running = boot.Guest(**self.options).__enter__()
        return self.running

    def stop(self):
        if self.running is not None:
            self.running.stop()
            self.running = None


def complaints(log):
    return [line for line in log.splitlines() if COMPLAINTS.search(line)]


def disconnect_all(guest):
    guest.run("umount -A /mnt 2>/dev/null || true; nvme disconnect-all", 60)


def connect(guest, server, nqn, options="", address=boot.HOST):
    """Connects and returns the namespace's device, such as /dev/nvme0n1."""
    guest.run(f"nvme connect -t tcp -a {address} -s {server.port} -n {nqn} {CONNECT} {options}",
              60)
    return device(guest, nqn)


def device(guest, nqn):
    """The block device of the subsystem's namespace; waits for it."""
    return guest.run(f"""
        for turn in $(seq 200); do
            for subsystem in /sys/class/nvme-subsystem/*; do
                [ "$(cat $subsystem/subsysnqn 2>/dev/null)" = {nqn} ] || continue
                for name in $subsystem/nvme*n*; do
                    name=${{name##*/}}
                    case $name in *c*n*) continue ;; esac
                    [ ! -b /dev/$name ] || {{ echo /dev/$name; exit 0; }}
                done
            done
            sleep 0.1
        done
        echo "no namespace of {nqn}"; exit 1""", 60).strip()


def controllers(guest, nqn):
    """The names of the subsystem's controllers, such as nvme0."""
    return guest.run(f"""
        for controller in /sys/class/nvme/nvme*; do
            [ ! -e $controller ] || [ "$(cat $controller/subsysnqn)" != {nqn} ] ||
                echo ${{controller##*/}}
        done""").split()


def nvme_json(guest, command):
    return json.loads(guest.run(f"nvme {command} -o json"))


def new_server(folder):
    """A server, yet to be started, with three disks, which advertises the address that the guest
    sees."""
    return trilith.Server(folder / "data", "--disks", "3", "--disk-size", "2G", "--listen", "::",
                          "--advertise", boot.HOST)


def fio(target, rw="randrw", size="32M", block_size="4k", depth=8, more=""):
    """A fio command line that verifies what it has written."""
    return (f"fio --name=x --filename={target} --rw={rw} --size={size} --bs={block_size} "
            f"--direct=1 --ioengine=libaio --iodepth={depth} --verify=crc32c "
            f"--verify_backlog=64 --verify_fatal=1 --verify_state_save=0 "
            f"--output-format=terse --output=/tmp/fio {more}")
