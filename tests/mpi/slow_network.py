#!/usr/bin/env python3
"""Runs two ranks in two network namespaces with a slow network between them, to check the model of docs/scaling.md.
The network is a pair of veth devices, slowed down by `tc`: netem delays packets and limits their rate; a kernel
without netem can only limit the rate (tbf), so there a relay between two tun devices does both, which costs
processor time. Needs root, iproute2 and MPICH, whose ranks need no network to be started.

    slow_network.py DELAY_MS MBIT_PER_SECOND PROGRAM [ARGUMENT]..."""

import collections
import ctypes
import fcntl
import os
import struct
import subprocess
import sys
import threading
import time

MTU = 60000
TUNSETIFF, IFF_TUN, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 0x0001, 0x1000, 0x40000000
NAMES = ("tlm-a", "tlm-b")


def ip(*arguments):
    subprocess.run(["ip", *map(str, arguments)], check=True)


def enter(file):
    if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"setns {file.name}")


def make_end(name, number):
    """Makes a namespace with a tun device, whose packets the descriptor gives and takes."""
    ip("netns", "add", name)
    with open("/proc/self/ns/net") as own, open(f"/run/netns/{name}") as other:
        enter(other)
        try:
            return open_tun(number)
        finally:
            enter(own)


def open_tun(number):
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", b"tun0", IFF_TUN | IFF_NO_PI))
    ip("addr", "add", f"10.77.0.{number}/24", "dev", "tun0")
    ip("link", "set", "tun0", "mtu", MTU, "txqueuelen", 10000, "up")
    ip("link", "set", "lo", "up")
    return tun


class Direction:
    """Passes packets on after the time that they take on the line, and the delay."""

    def __init__(self, source, target, delay, rate):
        self.source, self.target, self.delay, self.rate = source, target, delay, rate
        self.waiting, self.there = collections.deque(), threading.Semaphore(0)
        for run in (self.take, self.give):
            threading.Thread(target=run, daemon=True).start()

    def take(self):
        free = 0.0
        while True:
            packet = os.read(self.source, MTU + 100)
            free = max(free, time.monotonic()) + 8 * len(packet) / self.rate
            self.waiting.append((free + self.delay, packet))
            self.there.release()

    def give(self):
        while True:
            self.there.acquire()
            due, packet = self.waiting.popleft()
            time.sleep(max(0.0, due - time.monotonic()))
            os.write(self.target, packet)


def wait_for_link(name):
    deadline = time.monotonic() + 10
    while " state UP " not in subprocess.run(["ip", "-n", name, "link", "show", "veth0"], check=True, text=True,
                                             stdout=subprocess.PIPE).stdout:
        if time.monotonic() > deadline:
            raise TimeoutError(f"veth0 of {name} does not come up")
        time.sleep(0.05)


def shape_by_kernel(delay, mbit):
    """Joins the namespaces by veth devices that `tc` slows down; False if this kernel cannot."""
    for name in NAMES:
        ip("netns", "add", name)
    ip("link", "add", "veth0", "netns", NAMES[0], "type", "veth", "peer", "name", "veth0", "netns", NAMES[1])
    shapes = [["netem", "delay", f"{delay}ms", "rate", f"{mbit}mbit", "limit", "100000"]]
    if delay == 0:
        shapes.append(["tbf", "rate", f"{mbit}mbit", "burst", "256kb", "latency", "1s"])
    for number, name in enumerate(NAMES, 1):
        inside = ["ip", "netns", "exec", name]
        subprocess.run([*inside, "ip", "addr", "add", f"10.77.0.{number}/24", "dev", "veth0"], check=True)
        # A short queue, as of a network card: else the answers of MPI wait behind whole messages, by chance.
        subprocess.run([*inside, "sysctl", "-qw", "net.ipv4.tcp_limit_output_bytes=131072"], check=True)
        for device in ("lo", "veth0"):
            subprocess.run([*inside, "ip", "link", "set", device, "up"], check=True)
        if not any(subprocess.run([*inside, "tc", "qdisc", "add", "dev", "veth0", "root", *shape],
                                  stderr=subprocess.DEVNULL).returncode == 0 for shape in shapes):
            remove()
            return False
    for name in NAMES:
        wait_for_link(name)
    return True


def shape_by_relay(delay, mbit):
    ends = [make_end(name, number) for number, name in enumerate(NAMES, 1)]
    for source, target in (ends, ends[::-1]):
        Direction(source, target, delay / 1000, mbit * 1e6)


def remove():
    for name in NAMES:
        subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)


def main(delay, mbit, *command):
    try:
        device = "veth0"
        if not shape_by_kernel(float(delay), float(mbit)):
            print("no netem in this kernel: a relay takes its place", flush=True)
            shape_by_relay(float(delay), float(mbit))
            device = "tun0"
        environment = dict(os.environ, UCX_TLS="tcp,self", MPIR_CVAR_NOLOCAL="1", UCX_NET_DEVICES=device)
        ranks = [["-n", "1", "ip", "netns", "exec", name, *command] for name in NAMES]
        return subprocess.run(["mpirun.mpich", *ranks[0], ":", *ranks[1]], env=environment).returncode
    finally:
        remove()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
