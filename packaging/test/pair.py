#!/usr/bin/env python3
"""A pair of appliances with the shipped keepalived.conf, two nodes and a stubborn partner, in networks of their own.

    partner .200 ── outside 203.0.113.0/24 ── a .1, b .2 ── inside 198.51.100.0/24 ── edge1 .11, edge2 .12

The partner sends a line every 5 ms and connects anew the instant its connection ends, as OCS 2007 does; nodes answer each
line with their name. What must hold: however the appliance with the VIPs goes, the other one has them soon, and the
partner is on the node where it was; who returns takes nothing back; without any healthy node the VIPs stay.

Needs root, util-linux, iproute2, keepalived. PINFOLD is the program (target/release/pinfold).
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

from apart import PINFOLD, ROOT, go_apart, until

VIP = "203.0.113.10"

CONFIG = """
version = 1
[server]
state_dir = "/run/pinfold/state"
placement_key = "the same on both"
[[pool]]
name = "edge"
  [[pool.node]]
  name = "edge1"
  address = "198.51.100.11"
  [[pool.node]]
  name = "edge2"
  address = "198.51.100.12"
[[listener]]
name = "federation"
bind = "203.0.113.10:5061"
service = "federation"
pool = "edge"
probe = { kind = "tcp" }
[[partner]]
name = "fabrikam"
addresses = ["203.0.113.200"]
generation = "ocs-2007"
"""

NODE = """
import socket, sys, threading
address, name = sys.argv[1:]
def serve(connection):
    with connection:
        while connection.recv(65536):
            connection.sendall(name.encode() + b"\\n")
door = socket.create_server((address, 5061))
while True:
    threading.Thread(target=lambda c: serve(c), args=[door.accept()[0]], daemon=True).start()
"""

PARTNER = """
import socket, time
while True:
    try:
        with socket.create_connection(("203.0.113.10", 5061), timeout=1) as connection:
            connection.settimeout(1)
            while True:
                connection.sendall(b"a line\\n")
                got = connection.recv(4096)
                if not got:
                    break
                print(time.monotonic(), got.split()[-1].decode(), flush=True)
                time.sleep(0.005)
    except OSError:
        time.sleep(0.001)
"""


def sh(command):
    subprocess.run(["sh", "-ec", command], check=True)


class Host:
    """A network namespace with a process that keeps it, and what was started in it."""

    def __init__(self, name, addresses):
        self.name = name
        self.children = []
        # A directory /run of its own, where both appliances have their sockets by the same path.
        keep = "mount -t tmpfs none /run; mkdir -p /run/pinfold/state; echo; exec sleep infinity"
        self.keeper = subprocess.Popen(["unshare", "--net", "--mount", "sh", "-c", keep], stdout=subprocess.PIPE)
        self.keeper.stdout.readline()
        self.links = []
        for network, address in addresses:
            link = {"outside": "ens192", "inside": "ens224"}[network]
            if link not in self.links:
                self.links.append(link)
                port = f"{name}-{network[:3]}"
                sh(f"ip link add {port} type veth peer name {link} netns {self.keeper.pid}")
                sh(f"ip link set {port} master {network} up")
            self.run(f"ip address add {address}/24 dev {link}; ip link set {link} up; ip link set lo up")

    def within(self, command):
        return ["nsenter", "--net", "--mount", f"--target={self.keeper.pid}", *command]

    def run(self, command):
        return subprocess.run(self.within(["sh", "-ec", command]), check=True, stdout=subprocess.PIPE, text=True).stdout

    def start(self, command, **how):
        child = subprocess.Popen(self.within(command), **how)
        self.children.append(child)
        return child

    def processes(self):
        """All that run here, the keeper apart."""
        mine = os.readlink(f"/proc/{self.keeper.pid}/ns/net")
        found = []
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(process / "ns/net") == mine and int(process.name) != self.keeper.pid:
                    found.append(int(process.name))
            except OSError:
                pass
        return found

    def stop(self):
        for child in self.children:
            child.kill()
            child.wait()
        self.children = []


class Appliance(Host):
    def __init__(self, name, number, directory):
        super().__init__(name, [("outside", f"203.0.113.{number}"), ("inside", f"198.51.100.{number + 1}")])
        self.config = directory / "pinfold.toml"
        shipped = (ROOT / "packaging/keepalived/keepalived.conf").read_text()
        # As the file says: router_id is another on each; and here the programs have another user and place.
        own = shipped.replace("router_id pinfold-a", f"router_id pinfold-{name}")
        own = own.replace("script_user pinfold", "script_user root").replace("/usr/bin/pinfold", PINFOLD)
        assert own.count(PINFOLD) == 1, "the track script is where it was"
        self.keepalived_conf = directory / f"keepalived-{name}.conf"
        self.keepalived_conf.write_text(own)
        self.log = open(directory / f"{name}.log", "ab")
        self.pinfold = None

    def start_pinfold(self):
        self.pinfold = self.start([PINFOLD, "serve", "--config", str(self.config)], stderr=self.log)

    def start_keepalived(self):
        self.start(["keepalived", "--dont-fork", "--log-console", "--use-file", str(self.keepalived_conf)], stdout=self.log, stderr=self.log)

    def kill_pinfold(self):
        self.pinfold.send_signal(signal.SIGKILL)
        self.pinfold.wait()

    def lose_power(self):
        """Nothing is said to anybody: neither a last advert nor an end of a connection."""
        for link in self.links:
            self.run(f"ip link set {link} down")
        self.stop()
        # keepalived has children that its end by SIGKILL leaves behind.
        for process in self.processes():
            os.kill(process, signal.SIGKILL)

    def holds_vip(self):
        return VIP in self.run("ip -4 -oneline address show dev ens192")

    def is_well(self):
        return subprocess.run(self.within([PINFOLD, "vrrp-check"]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


class Partner:
    """What the partner has heard, and from whom."""

    def __init__(self, host):
        self.heard = []
        self.process = host.start([sys.executable, "-c", PARTNER], stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            at, node = line.split()
            self.heard.append((float(at), node))

    def served_after(self, moment):
        return until("the partner is served", lambda: next((x for x in list(self.heard) if x[0] > moment), None))

    def gap_since(self, moment):
        last = max(at for at, _ in list(self.heard) if at <= moment + 0.1)
        at, node = self.served_after(max(moment + 0.1, last))
        return at - last, node


def main():
    go_apart("--mount")
    for network in ("outside", "inside"):
        sh(f"ip link add {network} type bridge; ip link set {network} up")
    directory = pathlib.Path(tempfile.mkdtemp(prefix="pinfold-pair-"))
    try:
        scenes(directory)
    except BaseException:
        for log in sorted(directory.glob("*.log")):
            print(f"---- {log.name}\n{log.read_text(errors='replace')[-6000:]}", file=sys.stderr)
        raise
    finally:
        subprocess.run(["rm", "-rf", directory], check=False)


def scenes(directory):
    (directory / "pinfold.toml").write_text(CONFIG)
    nodes = Host("edge", [("inside", "198.51.100.11"), ("inside", "198.51.100.12")])
    for number in (1, 2):
        nodes.start([sys.executable, "-c", NODE, f"198.51.100.1{number}", f"edge{number}"])
    a, b = Appliance("a", 1, directory), Appliance("b", 2, directory)
    for each in (a, b):
        each.start_pinfold()
        each.start_keepalived()

    def alone():
        """The one that has the VIPs, if it is one."""
        holders = [each for each in (a, b) if each.holds_vip()]
        return holders[0] if len(holders) == 1 else None


    first = until("one of them has the VIPs", alone)
    second = b if first is a else a
    partner = Partner(Host("partner", [("outside", "203.0.113.200")]))
    _, node = partner.served_after(0)
    print(f"{first.name} has the VIPs; the partner is on {node}")

    paused = first.processes()
    for process in paused:
        os.kill(process, signal.SIGSTOP)
    end = time.monotonic() + 1
    while time.monotonic() < end:
        assert not second.holds_vip(), "a pause of a second moves nothing"
        time.sleep(0.02)
    for process in paused:
        os.kill(process, signal.SIGCONT)
    partner.served_after(time.monotonic())
    assert alone() is first
    print(f"{first.name} stood still for a second, as in a snapshot, and keeps the VIPs")

    moment = time.monotonic()
    first.kill_pinfold()
    until("the other one has the VIPs", lambda: alone() is second)
    gap, where = partner.gap_since(moment)
    print(f"pinfold on {first.name} killed: the partner is on {where} after {gap:.2f} s, through {second.name}")
    assert where == node, "the same placement_key places alike"

    first.start_pinfold()
    until("it is well again", first.is_well)
    # Three good checks and some adverts later it could have taken them.
    end = time.monotonic() + 6
    while time.monotonic() < end:
        assert alone() is second, "who returns takes nothing back"
        time.sleep(0.1)
    print(f"{first.name} is back, and {second.name} keeps the VIPs")

    moment = time.monotonic()
    second.lose_power()
    until("the first one has the VIPs", first.holds_vip)
    gap, where = partner.gap_since(moment)
    print(f"{second.name} lost its power: the partner is on {where} after {gap:.2f} s, through {first.name}")
    assert where == node, "the same placement_key places alike"

    # What it had when the power went is gone with it.
    for address in re.findall(r"inet (\S+)", second.run("ip -4 -oneline address show")):
        if not re.match(rf"127\.|203\.0\.113\.{2 if second is b else 1}/|198\.51\.100\.{3 if second is b else 2}/", address):
            link = "ens192" if address.startswith("203.") else "ens224"
            second.run(f"ip address del {address} dev {link}")
    for link in second.links:
        second.run(f"ip link set {link} up")
    second.start_pinfold()
    second.start_keepalived()
    until("it is well again", second.is_well)
    nodes.stop()
    until("neither is well", lambda: not first.is_well() and not second.is_well())
    end = time.monotonic() + 6
    while time.monotonic() < end:
        assert alone() is first, "without any healthy node the VIPs stay"
        time.sleep(0.1)
    print(f"no node is left: {first.name} keeps the VIPs")

    for log in directory.glob("*.log"):
        odd = [line for line in log.read_text(errors="replace").splitlines() if re.search("(?i)unknown keyword|ignor|deprecated", line)]
        assert not odd, f"keepalived takes the file as it is meant: {odd}"
    print("passed")


if __name__ == "__main__":
    main()
