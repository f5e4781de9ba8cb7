# SPDX-License-Identifier: Apache-2.0
"""A network of a test's own: machines that are network namespaces, joined by a bridge in one more.

Machine N has the address 10.90.0.N; in the bridge's namespace, whose address is 10.90.0.254, run
the controller, hosts and proxies.  What happens to packets there is the machine's own nftables,
and a cable is the bridge's port.  All of it ends with the test's process.
"""

import os
import pathlib
import subprocess
import sys

SWITCH = 254
PROXY = 100  # Machine N is reached through its proxy at 100 + N.


def is_possible():
    return os.geteuid() == 0 and subprocess.run(["unshare", "--net", "true"], check=False,
                                                capture_output=True).returncode == 0


def address(number):
    return f"10.90.0.{number}"


class Machine:
    """A network namespace.  It lives as long as its first process, which ends with the test's."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.holder.stdout.readline() == b"\n"
        self.run("ip", "link", "set", "lo", "up")

    @property
    def inside(self):
        """The words before a command that let it run there."""
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"]

    def run(self, *words):
        done = subprocess.run([*self.inside, *map(str, words)], capture_output=True, text=True,
                              check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}"

    def close(self):
        self.holder.stdin.close()
        self.holder.wait()


class Lan:
    def __init__(self, count):
        self.switch = Machine()
        self.switch.run("ip", "link", "add", "bridge", "type", "bridge")
        self.switch.run("ip", "address", "add", f"{address(SWITCH)}/24", "dev", "bridge")
        self.switch.run("ip", "link", "set", "bridge", "up")
        self.machines = {number: Machine() for number in range(1, count + 1)}
        self.proxies = []
        for number, machine in self.machines.items():
            self.switch.run("ip", "link", "add", f"port{number}", "type", "veth", "peer", "name",
                            "eth0", "netns", machine.holder.pid)
            self.switch.run("ip", "link", "set", f"port{number}", "master", "bridge", "up")
            machine.run("ip", "address", "add", f"{address(number)}/24", "dev", "eth0")
            machine.run("ip", "link", "set", "eth0", "up")
        for machine in (self.switch, *self.machines.values()):
            machine.run("nft", "add table inet test")
            for hook in ("input", "output"):
                machine.run("nft", f"add chain inet test {hook} "
                                   f"{{ type filter hook {hook} priority 0; }}")

    def at(self, number):
        return self.switch if number == SWITCH else self.machines[number]

    def block(self, number, *senders):
        """What these send does not arrive at the machine."""
        for sender in senders:
            self.at(number).run("nft", f"add rule inet test input ip saddr {address(sender)} drop")

    def cut(self, number, *others):
        """Nothing passes between the machine and these, in either direction."""
        self.block(number, *others)
        for other in others:
            self.block(other, number)

    def cut_from_port(self, number, port):
        """Nothing passes between the machine and what listens at this port, wherever that is."""
        self.at(number).run("nft", f"add rule inet test output tcp dport {port} drop")
        self.at(number).run("nft", f"add rule inet test input tcp sport {port} drop")

    def heal(self):
        for machine in (self.switch, *self.machines.values()):
            machine.run("nft", "flush table inet test")

    def unplug(self, number):
        self.switch.run("ip", "link", "set", f"port{number}", "down")

    def plug(self, number):
        self.switch.run("ip", "link", "set", f"port{number}", "up")

    def proxy(self, number, port):
        """Returns a proxy before this port of a machine, at the machine's other address."""
        self.switch.run("ip", "address", "add", f"{address(PROXY + number)}/24", "dev", "bridge")
        self.proxies.append(Proxy(self.switch, address(PROXY + number), address(number), port))
        return self.proxies[-1]

    def close(self):
        for proxy in self.proxies:
            proxy.close()
        for machine in (*self.machines.values(), self.switch):
            machine.close()


class Proxy:
    """A process that passes connections on, late (delay.py)."""

    def __init__(self, machine, listen, target, port):
        program = pathlib.Path(__file__).with_name("delay.py")
        self.process = subprocess.Popen(
            [*machine.inside, sys.executable, program, listen, target, str(port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.wait()

    def wait(self):
        assert self.process.stdout.readline() == "\n"

    def delay(self, least_ms, more_ms=0):
        """Every piece, in either direction, takes so long, and up to so much longer."""
        self.process.stdin.write(f"{least_ms} {more_ms}\n")
        self.process.stdin.flush()
        self.wait()

    def close(self):
        self.process.stdin.close()
        self.process.wait()
