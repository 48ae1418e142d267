"""Reading, rewriting and writing recorded packets.

A shape is a function from a list of packets to a list of packets; a case names the
shapes to apply to its recording, for what is hard to time or to provoke live.
"""

import dataclasses
import ipaddress
import random
import struct


@dataclasses.dataclass
class Packet:
    """One outer frame and what is inside it. `frame` is the truth; the rest is decoded from it."""

    seconds: int
    micros: int
    frame: bytes
    vni: int = 0
    transport: str = ""      # "tcp", "udp" or "" (something else)
    src: str = ""
    dst: str = ""
    sport: int = 0
    dport: int = 0
    seq: int = 0
    flags: int = 0           # TCP flags
    payload: bytes = b""
    fragment: bool = False

    @property
    def syn(self):
        return self.flags & 0x12 == 0x02

    def decode(self):
        outer_ihl = (self.frame[14] & 15) * 4
        at = 14 + outer_ihl + 8
        if self.frame[12:14] != b"\x08\x00" or self.frame[23] != 17:
            raise ValueError("not an IPv4 UDP packet")
        self.vni = int.from_bytes(self.frame[at + 4:at + 7], "big")
        inner = self.frame[at + 8:]
        kind, ip = int.from_bytes(inner[12:14], "big"), inner[14:]
        if kind == 0x0800 and len(ip) >= 20:
            head, end, proto = (ip[0] & 15) * 4, int.from_bytes(ip[2:4], "big"), ip[9]
            self.src, self.dst = str(ipaddress.ip_address(ip[12:16])), str(ipaddress.ip_address(ip[16:20]))
            self.fragment = int.from_bytes(ip[6:8], "big") & 0x1fff != 0
        elif kind == 0x86dd and len(ip) >= 40:
            head, end, proto = 40, 40 + int.from_bytes(ip[4:6], "big"), ip[6]
            self.src, self.dst = str(ipaddress.ip_address(ip[8:24])), str(ipaddress.ip_address(ip[24:40]))
        else:
            return self
        body = ip[head:end]
        if proto == 6 and len(body) >= 20:
            self.transport = "tcp"
            self.sport, self.dport, self.seq = struct.unpack(">HHI", body[:8])
            self.flags, self.payload = body[13], body[(body[12] >> 4) * 4:]
        elif proto == 17 and len(body) >= 8 and not self.fragment:
            self.transport = "udp"
            self.sport, self.dport = struct.unpack(">HH", body[:4])
            self.payload = body[8:]
        return self


def read(path):
    data = open(path, "rb").read()
    order = "<" if data[:4] == b"\xd4\xc3\xb2\xa1" else ">"
    packets, at = [], 24
    while at + 16 <= len(data):
        seconds, micros, kept, _ = struct.unpack(order + "IIII", data[at:at + 16])
        packets.append(Packet(seconds, micros, data[at + 16:at + 16 + kept]).decode())
        at += 16 + kept
    return packets


def write(path, packets):
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 262144, 1))
        for packet in packets:
            size = len(packet.frame)
            file.write(struct.pack("<IIII", packet.seconds, packet.micros, size, size) + packet.frame)


def stream(packets, src, sport, dst, dport):
    """The bytes one side sent, in order of sequence number, without repeats (a hole is skipped)."""
    pieces = {}
    start = None
    for p in packets:
        if (p.src, p.sport, p.dst, p.dport) != (src, sport, dst, dport) or p.transport != "tcp":
            continue
        if start is None:
            start = (p.seq - 0x10000) & 0xffffffff
        if p.payload:
            at = (p.seq - start) & 0xffffffff
            if len(p.payload) > len(pieces.get(at, b"")):
                pieces[at] = p.payload
    out, end = b"", None
    for at in sorted(pieces):
        piece = pieces[at]
        if end is not None and at < end:
            piece = piece[end - at:]
        out += piece
        end = max(end or 0, at + len(pieces[at]))
    return out


def holes(packets):
    """The TCP directions (VNI, source, port, destination, port) in which bytes are missing."""
    ends, out = {}, []
    for p in packets:
        if p.transport == "tcp":
            size = len(p.payload) + (1 if p.flags & 0x03 else 0)
            ends.setdefault((p.vni, p.src, p.sport, p.dst, p.dport), []).append((p.seq, size))
    for key, pieces in ends.items():
        first, reached = pieces[0][0], 0
        for at, size in sorted(((seq - first) & 0xffffffff, size) for seq, size in pieces):
            if reached < at < 1 << 31:
                out.append(key)
                break
            reached = max(reached, at + size) if at < 1 << 31 else reached
    return out


# --- shapes -----------------------------------------------------------------

def late(first):
    """Start the recording at the first packet for which `first(packet)` is true."""
    def shape(packets):
        for index, packet in enumerate(packets):
            if first(packet):
                return packets[index:]
        raise ValueError("late: no packet to start at")
    return shape


def skip(count):
    """Leave out the first packets."""
    return lambda packets: packets[count:]


def first(count):
    """Keep the first packets."""
    return lambda packets: packets[:count]


def keep(wanted):
    """Keep the packets for which `wanted(packet)` is true."""
    return lambda packets: [p for p in packets if wanted(p)]


def loss(share, vni=None, seed=1):
    """Lose a share of the packets of one vantage (at least one with payload)."""
    def shape(packets):
        dice = random.Random(seed)
        lost = {i for i, p in enumerate(packets) if vni in (None, p.vni) and dice.random() < share}
        if not any(packets[i].payload for i in lost):
            lost.add(dice.choice([i for i, p in enumerate(packets) if vni in (None, p.vni) and p.payload]))
        return [p for i, p in enumerate(packets) if i not in lost]
    return shape


def swap_neighbours(seed=1, share=0.2):
    """Reorder: some packets change places with the next one; the time stamps stay in order."""
    def shape(packets):
        dice, frames = random.Random(seed), [p.frame for p in packets]
        at = 0
        while at + 1 < len(frames):
            if dice.random() < share:
                frames[at], frames[at + 1] = frames[at + 1], frames[at]
                at += 1
            at += 1
        return [Packet(p.seconds, p.micros, f).decode() for p, f in zip(packets, frames)]
    return shape


def truncate(length):
    """Cut every mirrored packet to `length` bytes after the VXLAN header, as PacketLength does."""
    def shape(packets):
        return [Packet(p.seconds, p.micros, _cut(p.frame, length)).decode() for p in packets]
    return shape


def _cut(frame, length):
    head = (frame[14] & 15) * 4
    end = 14 + head + 8 + 8 + length
    if len(frame) <= end:
        return frame
    ip = bytearray(frame[14:14 + head])
    struct.pack_into(">H", ip, 2, end - 14)
    struct.pack_into(">H", ip, 10, 0)
    total = sum(struct.unpack(f">{head // 2}H", bytes(ip)))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    struct.pack_into(">H", ip, 10, ~total & 0xffff)
    udp = bytearray(frame[14 + head:22 + head])
    struct.pack_into(">HH", udp, 4, end - 14 - head, 0)
    return frame[:14] + bytes(ip) + bytes(udp) + frame[22 + head:end]
