#!/usr/bin/env python3
"""Runs two ranks in two network namespaces with a slow network between them, to check the model of docs/scaling.md.
The network is a relay between two tun devices, which delays packets and limits their rate, as `tc netem` does where
the kernel has it. Needs root, /dev/net/tun and MPICH, whose ranks need no network to be started.

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


def main(delay, mbit, *command):
    try:
        ends = [make_end(name, number) for number, name in enumerate(NAMES, 1)]
        for source, target in (ends, ends[::-1]):
            Direction(source, target, float(delay) / 1000, float(mbit) * 1e6)
        environment = dict(os.environ, UCX_TLS="tcp,self", MPIR_CVAR_NOLOCAL="1", UCX_NET_DEVICES="tun0")
        ranks = [["-n", "1", "ip", "netns", "exec", name, *command] for name in NAMES]
        return subprocess.run(["mpirun.mpich", *ranks[0], ":", *ranks[1]], env=environment).returncode
    finally:
        for name in NAMES:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
