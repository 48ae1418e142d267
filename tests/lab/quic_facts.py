"""The hellos of a QUIC connection: Initial packets opened with the keys that follow from a connection ID.

RFC 9001 section 5.2 and RFC 9369 section 3.3, with the `cryptography` package and not with the product.
"""

import tls_facts

VERSIONS = {
    1: (bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"), "quic ", 0),
    0x6b3343cf: (bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"), "quicv2 ", 1),
}
RETRY_KINDS = {1: 3, 0x6b3343cf: 0}


def can_open():
    """Whether the package that decrypts is installed."""
    import importlib.util
    return importlib.util.find_spec("cryptography") is not None


def expand(secret, label, size):
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
    name = b"tls13 " + label.encode()
    info = size.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0"
    return HKDFExpand(algorithm=hashes.SHA256(), length=size, info=info).derive(secret)


def keys(version, identity, side):
    import hashlib
    import hmac
    salt, prefix, _ = VERSIONS[version]
    secret = expand(hmac.new(salt, identity, hashlib.sha256).digest(), f"{side} in", 32)
    return tuple(expand(secret, prefix + name, size) for name, size in (("key", 16), ("iv", 12), ("hp", 16)))


def varint(data, at):
    size = 1 << (data[at] >> 6)
    return int.from_bytes(data[at:at + size], "big") & (1 << (8 * size - 2)) - 1, at + size


def long_packets(data):
    """(version, kind, destination ID, source ID, start, offset of the number, end) of a datagram's long headers."""
    start = 0
    while start + 7 <= len(data) and data[start] & 0x80:
        version = int.from_bytes(data[start + 1:start + 5], "big")
        at = start + 5
        to = data[at + 1:at + 1 + data[at]]
        at += 1 + len(to)
        source = data[at + 1:at + 1 + data[at]]
        at += 1 + len(source)
        if version not in VERSIONS:
            return
        kind = data[start] >> 4 & 3
        if kind == RETRY_KINDS[version]:
            yield version, "retry", to, source, start, at, len(data)
            return
        if kind == VERSIONS[version][2]:
            size, at = varint(data, at)
            at += size
        size, at = varint(data, at)
        yield version, "initial" if kind == VERSIONS[version][2] else "other", to, source, start, at, at + size
        start = at + size


def open_initial(data, start, at, end, secrets):
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    key, iv, hp = secrets
    mask = Cipher(algorithms.AES(hp), modes.ECB()).encryptor().update(data[at + 4:at + 20])
    first = data[start] ^ mask[0] & 0x0f
    size = (first & 3) + 1
    number = bytes(a ^ b for a, b in zip(data[at:at + size], mask[1:]))
    header = bytes([first]) + data[start + 1:at] + number
    nonce = bytes(a ^ b for a, b in zip(iv, b"\0" * (12 - size) + number))
    return AESGCM(key).decrypt(nonce, data[at + size:end], header)


def crypto(plain, pieces):
    """Add the CRYPTO frames of an Initial packet; True if it also closes with a TLS alert: its number."""
    at, closed = 0, None
    while at < len(plain):
        kind, at = varint(plain, at)
        if kind in (0, 1):
            continue
        if kind in (2, 3):
            _, at = varint(plain, at)
            _, at = varint(plain, at)
            count, at = varint(plain, at)
            for _ in range(1 + 2 * count + (3 if kind == 3 else 0)):
                _, at = varint(plain, at)
        elif kind == 6:
            offset, at = varint(plain, at)
            size, at = varint(plain, at)
            pieces[offset] = max(pieces.get(offset, b""), plain[at:at + size], key=len)
            at += size
        else:
            if kind == 0x1c:
                error, at = varint(plain, at)
                closed = error - 0x100 if 0x100 <= error < 0x200 else None
            break
    return closed


def messages(pieces):
    data = b""
    for offset in sorted(pieces):
        if offset > len(data):
            break
        data = data[:offset] + pieces[offset] if offset + len(pieces[offset]) > len(data) else data
    out = []
    while len(data) >= 4 and len(data) >= 4 + int.from_bytes(data[1:4], "big"):
        size = 4 + int.from_bytes(data[1:4], "big")
        out.append((data[0], data[4:size]))
        data = data[size:]
    return out


def facts(flow, packets):
    from cryptography.exceptions import InvalidTag
    client = (flow["client"], flow["client_port"])
    vni = flow.get("vni", next((p.vni for p in packets if p.transport == "udp"), 0))
    identities, pieces, alerts, protected = [], ({}, {}), [None, None], [False, False]
    for p in packets:
        if p.vni != vni or client not in ((p.src, p.sport), (p.dst, p.dport)) or not p.payload:
            continue
        who = 0 if (p.src, p.sport) == client else 1
        protected[who] |= not p.payload[0] & 0x80
        for version, kind, to, source, start, at, end in long_packets(p.payload):
            if kind == "retry":
                identities.append(source)
            if kind != "initial":
                continue
            if who == 0 and to not in identities:
                identities.append(to)
            for identity in identities:
                try:
                    secrets = keys(version, identity, ("client", "server")[who])
                    closed = crypto(open_initial(p.payload, start, at, end, secrets), pieces[who])
                    alerts[who] = (2, closed) if closed is not None else alerts[who]
                    break
                except InvalidTag:
                    continue
    up, down = ((messages(pieces[i]), alerts[i], protected[i]) for i in (0, 1))
    return tls_facts.describe(flow, up, down, "q")
