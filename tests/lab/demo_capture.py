#!/usr/bin/env python3
"""Writes captures/demo.pcap: one network's morning, put together from the other captures.

    tests/lab/demo_capture.py

Each capture keeps its packets; times are moved so that they follow one another, and addresses are given new names
per role (a database, a cache, a web tier), so that the report shows several edges. Checksums are left as they are:
mirrored copies often carry wrong ones, and cleartap never looks at them.
"""

import pathlib
import struct

import shape

CAPTURES = pathlib.Path(__file__).resolve().parents[2] / "captures"

# (capture, client, server): what the demo tells, in this order.
STORY = [
    ("postgresql/prefer-ssl-on", "10.20.1.11", "10.20.8.5"),
    ("postgresql/ssl-refused-then-plain", "10.20.1.12", "10.20.8.6"),
    ("postgresql/auth-password", "10.20.1.13", "10.20.8.6"),
    ("postgresql/hostssl-refuses-plain", "10.20.1.14", "10.20.8.5"),
    ("mysql/offered-taken-tls13", "10.20.1.11", "10.20.8.9"),
    ("mysql/offered-declined", "10.20.1.15", "10.20.8.9"),
    ("redis/auth-password", "10.20.1.16", "10.20.9.3"),
    ("redis/tls13", "10.20.1.11", "10.20.9.4"),
    ("http/basic-requests", "10.20.1.17", "10.20.2.20"),
    ("http/keep-alive-ab", "10.20.1.18", "10.20.2.20"),
    ("http/connect-tls", "10.20.1.19", "10.20.3.8"),
    ("http2/grpc-bearer", "10.20.1.20", "10.20.2.31"),
    ("tls/tls12-rsa-key-exchange", "10.20.1.21", "10.20.2.40"),
    ("tls/tls13-aes256", "10.20.1.21", "10.20.2.41"),
    ("ssh/key-login", "10.20.1.22", "10.20.1.11"),
    ("dns/udp-types", "10.20.1.11", "10.20.0.2"),
    ("postgresql/late-tls", "10.20.1.23", "10.20.8.5"),
    ("redis/port-443-plain", "10.20.1.24", "10.20.9.3"),
]


def address(text):
    return bytes(int(part) for part in text.split("."))


def main():
    out, canaries, clock = [], set(), 1_790_000_000_000_000
    for name, client, server in STORY:
        packets = shape.read(CAPTURES / f"{name}.pcap")
        truth = (CAPTURES / f"{name}.toml").read_text()
        canaries.update(line for line in truth.splitlines() if line.startswith("canaries"))
        first = packets[0].seconds * 1_000_000 + packets[0].micros
        names = {}
        for packet in packets:
            at = packet.seconds * 1_000_000 + packet.micros - first + clock
            frame = bytearray(packet.frame)
            inner = 14 + (frame[14] & 15) * 4 + 16
            if frame[inner + 12:inner + 14] == b"\x08\x00":
                src, dst = bytes(frame[inner + 26:inner + 30]), bytes(frame[inner + 30:inner + 34])
                flow = min((src, dst), (dst, src))
                if flow not in names:
                    from_server = packet.sport < packet.dport
                    pair = (server, client) if from_server else (client, server)
                    names[flow] = {src: pair[0], dst: pair[1]}
                frame[inner + 26:inner + 30] = address(names[flow][src])
                frame[inner + 30:inner + 34] = address(names[flow][dst])
            out.append((at, bytes(frame)))
        clock = out[-1][0] + 40_000_000
    out.sort(key=lambda entry: entry[0])
    with open(CAPTURES / "demo.pcap", "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 262144, 1))
        for at, frame in out:
            file.write(struct.pack("<IIII", *divmod(at, 1_000_000), len(frame), len(frame)) + frame)
    words = sorted({w for line in canaries for w in line.split('"')[1::2]})
    quoted = ", ".join(f'"{word}"' for word in words)
    (CAPTURES / "demo.toml").write_text(
        'proves = "what a report looks like: databases, caches and web servers, in clear and not"\n'
        'made_by = "tests/lab/demo_capture.py"\nlicence = "Apache-2.0"\nmade = "2026-11-23"\n'
        f"versions = {{ from = \"{', '.join(name for name, _, _ in STORY)}\" }}\ncanaries = [{quoted}]\n")


if __name__ == "__main__":
    main()
