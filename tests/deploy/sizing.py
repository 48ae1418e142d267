#!/usr/bin/env python3
"""The sizing tables of deploy/README.md, from the table under "Speed" in README.md and the prices below.

    tests/deploy/sizing.py --check target/debug/cleartap     complain if deploy/README.md says something else
    tests/deploy/sizing.py --write target/debug/cleartap     write it
    tests/deploy/sizing.py --flow target/release/cleartap    measure the memory of an open flow (FLOW_BYTES)
"""

import math
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- made by tests/deploy/sizing.py -->\n", "<!-- /made -->\n"

# Resident bytes for each flow, measured by `--flow`: open and decided, all of them ending at once.
FLOW_BYTES = 1700
# What receiving a packet costs beside deciding on it, microseconds: of a sensor with a packet ring at full speed (`benches/live.py --rates 0`).
RECEIVING_US = 0.8
# The share of a core that is planned with: a mirror has peaks.
PLANNED = 1 / 2
# us-east-1, list, USD: per month of 730 hours.
HOURS = 730
MIRROR = 0.015 * HOURS
BALANCER, CAPACITY_UNIT = 0.0225 * HOURS, 0.006 * HOURS
# Instance: vCPUs, GiB, network baseline in Gbit/s, USD an hour.
INSTANCES = {"c7i.large": (2, 4, 0.781, 0.08925), "c7i.xlarge": (4, 8, 1.562, 0.1785), "c7i.2xlarge": (8, 16, 3.125, 0.357)}
# Interfaces: mirrored Gbit/s that are assumed, VPCs, instance, USD for alarms, dashboard and log.
CASES = {10: (0.1, 1, "c7i.large", 5), 100: (1, 3, "c7i.large", 5), 1000: (10, 10, "c7i.xlarge", 10)}


def speed():
    """Traffic: million packets/s of a core with records, Gbit/s of a core with records."""
    section = (ROOT / "README.md").read_text().split("\n## Speed\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")]
    head = next(row for row in rows if row[0] == "traffic")
    column = lambda word: next(number for number, name in enumerate(head) if word in name)
    report, records, gigabits = column("report only"), column("JSON"), column("Gbit/s")
    found = {}
    for row in rows:
        if re.fullmatch(r"[\d.]+", row[report]):
            packets = float(row[records])
            found[row[0]] = (packets, float(row[gigabits]) * packets / float(row[report]))
    assert len(found) >= 3, "the table under Speed is not understood"
    return found


def cloudwatch(binary, scopes, sensors):
    told = subprocess.run([binary, "metrics", "cost", "--scopes", str(scopes), "--sensors", str(sensors)], capture_output=True, text=True,
                          check=True, timeout=60).stdout
    return float(re.search(r"total, USD +([\d.]+)", told)[1])


def capacity(instance, planned):
    """Gbit/s of one sensor: what its cores take, or its network."""
    vcpus, _, network, _ = INSTANCES[instance]
    return min(planned * vcpus, network)


def plan(packets):
    """The share of what a core decides on that is planned for, once it receives, too; `packets`: millions a second."""
    return PLANNED / (1 + packets * RECEIVING_US)


def table(rows):
    head, *rest = rows
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [head, ["---"] * len(head), *rest]) + "\n"


def money(value):
    return f"${value:,.0f}"


def text(binary):
    found = speed()
    mix = next(value for name, value in found.items() if name.startswith("mix"))
    rows = [["traffic", "measured on a core, with records", "planned for a vCPU"]]
    for name, (packets, gigabits) in found.items():
        rows.append([name, f"{packets:.2f} million packets/s, {gigabits:.1f} Gbit/s",
                     f"{packets * plan(packets):.2f} million packets/s, {gigabits * plan(packets):.1f} Gbit/s"])
    out = table(rows)
    planned = mix[1] * plan(mix[0])
    rows = [["instance", "cores would take, of the mix", "network baseline", "so plan with", "flows at once", "USD a month"]]
    for name, (vcpus, memory, network, price) in INSTANCES.items():
        # Half of the machine's memory; the unit presses at 60 %.
        flows = (memory * 512 - 2 * 256 - 256 - 200) * 1024 * 1024 / FLOW_BYTES / 1e6
        rows.append([f"`{name}` ({vcpus} vCPU, {memory} GiB)", f"{planned * vcpus:.1f} Gbit/s", f"{network:.2f} Gbit/s",
                     f"**{capacity(name, planned):.2f} Gbit/s**", f"{flows:.1f} million", money(price * HOURS)])
    out += "\n" + table(rows)
    out += "\n" + costs(binary, planned)
    return out


def costs(binary, planned):
    columns = []
    for interfaces, (gigabits, scopes, instance, rest) in CASES.items():
        fleet = interfaces > 10
        # One more than needed, so that one may fail or be replaced.
        sensors = math.ceil(gigabits / capacity(instance, planned)) + fleet
        hourly = gigabits * 3600 / 8
        parts = [interfaces * MIRROR, sensors * INSTANCES[instance][3] * HOURS,
                 BALANCER + hourly * CAPACITY_UNIT if fleet else 0, cloudwatch(binary, scopes, sensors), rest]
        columns.append([
            f"{interfaces:,} interfaces", f"{interfaces:,} x ${MIRROR:.2f} = {money(parts[0])}", f"{gigabits} Gbit/s",
            f"{sensors} `{instance}`: {money(parts[1])}",
            f"{money(BALANCER)} + {hourly:,.0f} GB/h x ${CAPACITY_UNIT:.2f} = {money(parts[2])}" if fleet else "none",
            f"{scopes}: {money(parts[3])}", money(rest), f"**{money(sum(parts))}**"])
    names = ["", "mirror sessions", "assumed mirrored traffic", "sensors", "load balancer", "CloudWatch, VPCs", "alarms, dashboard, log",
             "**total**"]
    return table(list(zip(names, *columns)))


def measure(binary):
    """The memory of open, decided flows: a capture with many, less one with few."""
    def peak(flows):
        with tempfile.NamedTemporaryFile(suffix=".pcap") as file:
            file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101))
            for number in range(flows):
                # Few hosts: what is remembered of each is no flow's.
                client, server, port = bytes([10, 0, 0, number // 50_000]), bytes([10, 255, 0, 1]), 10_000 + number % 50_000
                for source, target, ports, numbers, flags, payload in (
                        (client, server, (port, 6379), (1, 0), 2, b""), (server, client, (6379, port), (1, 2), 0x12, b""),
                        (client, server, (port, 6379), (2, 2), 0x18, b"*1\r\n$4\r\nPING\r\n"),
                        (server, client, (6379, port), (2, 16), 0x18, b"+PONG\r\n")):
                    tcp = struct.pack("!HHIIBBHHH", *ports, *numbers, 0x50, flags, 65535, 0, 0) + payload
                    packet = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, source, target) + tcp
                    file.write(struct.pack("<IIII", 1, number % 1000000, len(packet), len(packet)) + packet)
            file.flush()
            child = subprocess.Popen([binary, "analyze", file.name, "--format", "json", "--flows-max", "1048576"],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, status, usage = os.wait4(child.pid, 0)
            assert status == 0, status
            return usage.ru_maxrss * 1024
    few, many = peak(50_000), peak(450_000)
    print(f"{(many - few) / 400_000:.0f} bytes for each open flow ({few >> 20} MiB with 50,000, {many >> 20} MiB with 450,000)")


def main():
    what, binary = sys.argv[1:]
    if what == "--flow":
        return measure(binary)
    page = ROOT / "deploy/README.md"
    before, rest = page.read_text().split(BEGIN)
    made, after = rest.split(END)
    if what == "--write":
        page.write_text(before + BEGIN + text(binary) + END + after)
    elif made != text(binary):
        sys.exit("deploy/README.md, Sizing: not what README.md and the prices say; tests/deploy/sizing.py --write target/debug/cleartap")
    return 0


if __name__ == "__main__":
    sys.exit(main())
