#!/usr/bin/env python3
"""Live receive over a veth pair: what one packet costs the sensor, and what is lost, beside `tcpdump -w /dev/null`.

    sudo benches/live.py target/release/cleartap MIX.pcap [--seconds 5] [--rates 50000,100000,0] [--runs 3]

The capture is a mirror's (VXLAN over Ethernet and IPv4), such as `cargo bench --bench whole -- --keep` leaves in target/bench. Needs root
and `tcpreplay`. A veth pair on a shared machine is not a network card: it orders the ways to receive, it does not say what an
instance can take. Rate 0 is as fast as the sender goes.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import resource
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

TX, RX = "cleartap-tx", "cleartap-rx"
HEALTH = 8099


def sh(*command, **more):
    return subprocess.run(command, check=True, capture_output=True, text=True, **more).stdout


def target(capture):
    """Outer destination of the first packet: Ethernet and IPv4 address."""
    head = open(capture, "rb").read(24 + 16 + 64)
    order = "<" if head[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    assert struct.unpack(order + "I", head[20:24])[0] == 1, "the capture has to be of Ethernet"
    frame = head[40:]
    assert frame[12:14] == b"\x08\x00" and frame[23] == 17, "the capture has to be a mirror's, over IPv4"
    return ":".join(f"{b:02x}" for b in frame[:6]), ".".join(str(b) for b in frame[30:34])


@contextlib.contextmanager
def wire(mac, address, receives=1):
    """Two namespaces with a cable between them. `receives`: the processor on which the kernel receives."""
    for name in (TX, RX):
        subprocess.run(["ip", "netns", "del", name], capture_output=True)
        sh("ip", "netns", "add", name)
    try:
        sh("ip", "link", "add", "tx0", "netns", TX, "type", "veth", "peer", "name", "rx0", "netns", RX)
        sh("ip", "-n", RX, "link", "set", "rx0", "address", mac)
        for name, link in ((TX, "tx0"), (RX, "rx0")):
            sh("ip", "-n", name, "link", "set", link, "mtu", "9001", "up")
        sh("ip", "-n", RX, "link", "set", "lo", "up")
        sh("ip", "-n", RX, "addr", "add", f"{address}/32", "dev", "rx0")
        sh("ip", "-n", RX, "route", "add", "default", "dev", "rx0")
        for key in ("all", "rx0", "default"):
            sh("ip", "netns", "exec", RX, "sysctl", "-qw", f"net.ipv4.conf.{key}.rp_filter=0")
        sh("ip", "netns", "exec", RX, "sh", "-c", f"echo {1 << receives} > /sys/class/net/rx0/queues/rx-0/rps_cpus")
        yield
    finally:
        for name in (TX, RX):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def cpu_s(pid):
    """Own time, and the kernel's for it: part of that is receiving, which it charges to whoever is there."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return [int(field) / os.sysconf("SC_CLK_TCK") for field in fields[11:13]]


def since(pid, before):
    return [now - then for now, then in zip(cpu_s(pid), before)]


def status():
    with urllib.request.urlopen(f"http://127.0.0.1:{HEALTH}/status", timeout=5) as answer:
        return json.load(answer)["capture"]


def enter():
    """This program lives with the receiver."""
    import ctypes
    with open(f"/run/netns/{RX}") as file:
        assert ctypes.CDLL(None).setns(file.fileno(), 0x40000000) == 0


def replay(capture, rate, *how):
    """Sends as tcpreplay is told; gives how many and how fast."""
    speed = "--topspeed" if rate == 0 else f"--pps={rate}"
    command = ["ip", "netns", "exec", TX, "taskset", "-c", "0", "tcpreplay", "-q", "-i", "tx0", "--preload-pcap", speed, *how, capture]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(re.search(r"Actual: (\d+) packets", out)[1]), float(re.search(r"([\d.]+) pps", out)[1])


def lasting(seconds):
    """Over and over, for so long."""
    return "--loop=1000000", f"--duration={seconds}"


@contextlib.contextmanager
def running(command, home, **more):
    """The sensor, from when it answers until what it was asked for is done."""
    env = {**os.environ, "CLEARTAP_HEALTH__LISTEN": f"127.0.0.1:{HEALTH}"}
    with open(home / "log", "wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, **more)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                status()
                break
            except OSError:
                assert time.monotonic() < end, (home / "log").read_text()
                time.sleep(0.1)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


def sensor(binary, way, home, capture, rate, seconds):
    kind, shards = way
    where = ["--interface", "rx0"] if kind == "ring" else []
    command = ["taskset", "-c", "1" if shards == 1 else "0,1", binary, "run", *where, "--shards", str(shards), "--buffer", "256", "--records",
               "/dev/null", "--findings", "none", "--interval", "3600"]
    with running(command, home) as process:
        before, used = status(), cpu_s(process.pid)
        sent, pps = replay(capture, rate, *lasting(seconds))
        time.sleep(2.5)
        after, used = status(), since(process.pid, used)
    got = after["packets"] - before["packets"]
    return sent, pps, got, after["kernel_drops"] - before["kernel_drops"], used


def tcpdump(_, _way, _home, capture, rate, seconds):
    process = subprocess.Popen(["taskset", "-c", "1", "tcpdump", "-i", "rx0", "-B", "262144", "-w", "/dev/null", "udp", "port", "4789"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(1)
    used = cpu_s(process.pid)
    sent, pps = replay(capture, rate, *lasting(seconds))
    time.sleep(1)
    used = since(process.pid, used)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=20)[1]
    got = int(re.search(r"(\d+) packets captured", said)[1])
    lost = int(re.search(r"(\d+) packets dropped by kernel", said)[1])
    return sent, pps, got, lost, used


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("capture")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rates", default="50000,100000,0")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("needs root: network namespaces")
    binary, capture = (str(pathlib.Path(path).resolve()) for path in (args.binary, args.capture))
    ways = {"tcpdump -w /dev/null": (tcpdump, None), "interface ring, 1 shard": (sensor, ("ring", 1)),
            "interface ring, 2 shards": (sensor, ("ring", 2)), "UDP socket, 1 shard": (sensor, ("udp", 1)),
            "UDP socket, 2 shards": (sensor, ("udp", 2))}
    print("| way | offered | packets/s sent | lost, % | own ns a packet | kernel ns a packet |\n|---|---|---|---|---|---|", flush=True)
    with wire(*target(capture)), tempfile.TemporaryDirectory() as home:
        enter()
        for rate in (int(rate) for rate in args.rates.split(",")):
            for name, (measure, way) in ways.items():
                runs = [measure(binary, way, pathlib.Path(home), capture, rate, args.seconds) for _ in range(args.runs)]
                median = lambda pick: statistics.median(pick(*run) for run in runs)  # noqa: E731
                pps = median(lambda sent, pps, got, lost, used: pps)
                lost = median(lambda sent, pps, got, lost, used: 100 * lost / max(1, got + lost))
                own, kernel = (median(lambda sent, pps, got, lost, used, at=at: 1e9 * used[at] / max(1, got)) for at in (0, 1))
                print(f"| {name} | {rate or 'all'} | {pps:,.0f} | {lost:.2f} | {own:.0f} | {kernel:.0f} |", flush=True)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
