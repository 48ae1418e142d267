#!/usr/bin/env python3
"""More packets than the sensor can take: which verdicts are still right, and whether every packet is accounted for.

    sudo benches/overload.py target/release/cleartap MIX.pcap [--processor 0.1] [--factors 1.5,3] [--way udp]

The sensor gets a share of a processor (a CPU quota; the kernel receives on the other one, and is not charged to it). First the
rate is looked for that it takes without losing or shedding anything; then the capture is sent once at so many times that rate, and
each flow's last record is held against what `analyze` says of the same capture (an interface brings along a few packets of its own).
The capture is a mirror's, as for `live.py`; needs root and `tcpreplay`.
"""

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import live

PERIOD_US = 10_000
V1, V2 = pathlib.Path("/sys/fs/cgroup/cpu"), pathlib.Path("/sys/fs/cgroup")


class Quota:
    """A share of one processor, for what joins it."""

    def __init__(self, share):
        base = V1 if V1.is_dir() else V2
        self.group = base / "cleartap-overload"
        self.group.mkdir(exist_ok=True)
        quota = int(share * PERIOD_US)
        if base == V1:
            (self.group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (self.group / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (self.group / "cpu.max").write_text(f"{quota} {PERIOD_US}")

    def join(self):
        (self.group / "cgroup.procs").write_text(str(os.getpid()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.group.rmdir()


def flows(path):
    """Last record of each flow, by its ends, in order of appearance."""
    last = {}
    for line in open(path, encoding="utf-8"):
        record = json.loads(line)
        ends = (record["scope"], record["community_id"], record["transport"])
        last[(ends, record["ts_first"])] = record
    by_ends = collections.defaultdict(list)
    for (ends, _), record in sorted(last.items(), key=lambda item: item[0][1]):
        by_ends[ends].append((record["encryption"], record["app"]))
    return by_ends


def play(binary, way, quota, capture, rate, home, limit=0):
    """Sends the capture, or so many packets of it, once at this rate; gives what was sent, the sensor's counters and its records."""
    records = home / "records.jsonl"
    records.unlink(missing_ok=True)
    where = ["--interface", "rx0"] if way == "ring" else []
    command = ["taskset", "-c", "1", binary, "run", *where, "--shards", "1", "--records", str(records), "--findings", "none", "--interval", "3600"]
    with live.running(command, home, preexec_fn=quota.join):
        sent, pps = live.replay(capture, rate, *([f"--limit={limit}"] if limit else []))
        # Until nothing moves any more: the buffer may hold seconds of packets.
        before, counts = None, live.status()
        while before is None or counts["packets"] != before["packets"]:
            time.sleep(2.5)
            before, counts = counts, live.status()
    return sent, pps, counts, records


def can_take(binary, way, quota, capture, home):
    """The highest rate, to a tenth, at which nothing is lost and nothing is shed."""
    low, high = 0, 0
    rate = 10_000
    while not high or high > low * 1.1:
        _, pps, counts, _ = play(binary, way, quota, capture, rate, home, limit=rate * 8)
        whole = not counts["kernel_drops"] and not counts["shed"] and pps > rate * 0.95
        low, high = (pps, high) if whole else (low, rate)
        assert low or rate > 1000, "not even a thousand packets a second"
        rate = int((low + high) / 2 if high else rate * 2) or 1000
    return low


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("capture")
    parser.add_argument("--processor", type=float, default=0.1, help="share of one processor (0.1)")
    parser.add_argument("--factors", default="1.5,3")
    parser.add_argument("--way", choices=["udp", "ring"], default="udp")
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("needs root: network namespaces")
    # A sensor that has just begun needs new memory all the time, and large pages may cost a virtual machine milliseconds each.
    os.environ.setdefault("MIMALLOC_ALLOW_THP", "0")
    binary, capture = (str(pathlib.Path(path).resolve()) for path in (args.binary, args.capture))
    quota = Quota(args.processor)
    # What the kernel receives while the sensor runs would be charged to the sensor, were it on the same processor.
    with quota, live.wire(*live.target(capture), receives=0), tempfile.TemporaryDirectory() as place:
        home = pathlib.Path(place)
        truth_path = home / "truth.jsonl"
        subprocess.run([binary, "analyze", capture, "--flows", str(truth_path)], check=True, stdout=subprocess.DEVNULL)
        truth = flows(truth_path)
        live.enter()
        takes = can_take(binary, args.way, quota, capture, home)
        print(f"{args.processor} of a processor, {args.way}: takes {takes:,.0f} packets/s")
        print("| times | packets/s | lost, % | shed, % | flows right, % | wrong class, % | unknown, % | not seen, % | accounted for |")
        print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
        for factor in (float(factor) for factor in args.factors.split(",")):
            sent, pps, counts, records = play(binary, args.way, quota, capture, int(takes * factor), home)
            seen = flows(records)
            sums = collections.Counter()
            for ends, wanted in truth.items():
                for at, (encryption, app) in enumerate(wanted):
                    got = seen[ends][at] if at < len(seen[ends]) else None
                    sums["flows"] += 1
                    sums["right"] += got == (encryption, app)
                    sums["unseen"] += got is None
                    other = got is not None and got != (encryption, app)
                    sums["unknown"] += other and got[0] == "unknown"
                    sums["wrong"] += other and got[0] not in ("unknown", encryption)
            share = lambda count, of: f"{100 * count / max(1, of):.2f}"  # noqa: E731
            lost, got = counts["kernel_drops"], counts["packets"]
            print(f"| {factor:g} | {pps:,.0f} | {share(lost, sent)} | {share(counts['shed'], sent)} | {share(sums['right'], sums['flows'])} | "
                  f"{share(sums['wrong'], sums['flows'])} | {share(sums['unknown'], sums['flows'])} | {share(sums['unseen'], sums['flows'])} | "
                  f"{got} + {lost} of {sent}: {'yes' if 0 <= got + lost - sent < 1000 else 'no'} |", flush=True)


if __name__ == "__main__":
    main()
