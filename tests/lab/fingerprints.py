#!/usr/bin/env python3
"""Makes tests/suite/fingerprints.tsv: JA3 and JA4 of every client hello in captures/, by others than cleartap.

JA3 is tshark's. JA4 is computed here from the fields that tshark shows, after FoxIO's description (JA4.md).
Of several hellos of one client port in a capture each is listed, but not the second after a HelloRetryRequest.

  tests/lab/fingerprints.py > tests/suite/fingerprints.tsv     (needs tshark)
"""
import hashlib
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSIONS = {0x304: "13", 0x303: "12", 0x302: "11", 0x301: "10", 0x300: "s3", 2: "s2",
            0xfeff: "d1", 0xfefd: "d2", 0xfefc: "d3"}


def fields(layer):
    names = ["handshake.version", "handshake.ciphersuite", "handshake.extension.type",
             "handshake.extensions.supported_version", "handshake.sig_hash_alg", "handshake.sig_hash_alg_len",
             "handshake.extensions_alpn_str", "handshake.ja3"]
    return [f"{layer}.{name}" for name in names]


def rows(path, extra):
    columns = ["tcp.srcport", "udp.srcport", *fields("tls"), *fields("dtls"), "quic.version", "tcp.stream", "udp.stream"]
    command = ["tshark", "-r", str(path), "-n", "-Y", "tls.handshake.type == 1 or dtls.handshake.type == 1", "-T", "fields",
               "-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=,", *extra]
    for column in columns:
        command += ["-e", column]
    done = subprocess.run(command, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        yield dict(zip(columns, line.split("\t")))


def numbers(text):
    return [int(part, 0) for part in text.split(",") if part]


def is_grease(code):
    return code & 0x0f0f == 0x0a0a and code >> 8 == code & 0xff


def clean(text):
    return [code for code in numbers(text) if not is_grease(code)]


def hash12(text):
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else "0" * 12


def ja4(row, layer):
    get = lambda name: row.get(f"{layer}.{name}", "")
    carrier = "d" if layer == "dtls" else "q" if row.get("quic.version") else "t"
    offered = clean(get("handshake.extensions.supported_version"))
    rank = lambda version: 0x10000 - version if version >= 0xfe00 else version
    version = max(offered, key=rank) if offered else numbers(get("handshake.version"))[0]
    ciphers, kinds = clean(get("handshake.ciphersuite")), clean(get("handshake.extension.type"))
    alpn = get("handshake.extensions_alpn_str").split(",")[0]
    ends = alpn[0] + alpn[-1] if alpn else "00"
    text = ",".join(f"{kind:04x}" for kind in sorted(kinds) if kind not in (0, 16))
    signatures = signature_algorithms(numbers(get("handshake.extension.type")), numbers(get("handshake.sig_hash_alg_len")),
                                      numbers(get("handshake.sig_hash_alg")))
    if signatures:
        text += "_" + ",".join(f"{code:04x}" for code in signatures)
    first = f"{carrier}{VERSIONS.get(version, '00')}{'d' if 0 in kinds else 'i'}"
    first += f"{min(len(ciphers), 99):02}{min(len(kinds), 99):02}{ends}"
    return f"{first}_{hash12(','.join(f'{code:04x}' for code in sorted(ciphers)))}_{hash12(text)}"


def signature_algorithms(kinds, lengths, codes):
    """Those of the extension of this name (13): tshark lists those for certificates (50) under the same field."""
    at = 0
    for kind, length in zip((kind for kind in kinds if kind in (13, 50)), lengths):
        if kind == 13:
            return [code for code in codes[at:at + length // 2] if not is_grease(code)]
        at += length // 2
    return []


def hellos(path, extra):
    """(client port, JA3, JA4) of each hello but the second of a connection."""
    found = {}
    for row in rows(path, extra):
        layer = "tls" if row["tls.handshake.ja3"] else "dtls"
        ja3 = row[f"{layer}.handshake.ja3"].split(",")[0]
        port = (row["tcp.srcport"] or row["udp.srcport"]).split(",")[-1]
        stream = row["tcp.stream"].split(",")[-1] or "u" + row["udp.stream"].split(",")[-1]
        if ja3:
            found.setdefault((port, stream, layer), (ja3, ja4(row, layer)))
    return sorted((port, *prints) for (port, _, _), prints in found.items())


def main():
    print("# JA3 by tshark, JA4 by tests/lab/fingerprints.py (which makes this table): capture, client port, JA3, JA4.")
    for path in sorted((ROOT / "captures").rglob("*.pcap")):
        truth = path.with_suffix(".toml").read_text()
        if not any(word in truth for word in ("tls", "dtls", "quic", "partial")):
            continue
        ports = sorted(set(re.findall(r"server_port = (\d+)", truth)))
        as_tls = [part for port in ports for part in ("-d", f"tcp.port=={port},tls")]
        name = path.relative_to(ROOT / "captures").with_suffix("")
        for port, ja3, fourth in hellos(path, []) or hellos(path, as_tls):
            print(name, port, ja3, fourth, sep="\t", flush=True)


sys.exit(main())
