"""What the recorded bytes of a TLS, DTLS or QUIC handshake show, decoded without help from the product.

The result is the `tls` table of a flow in a .toml. What a case knows from its peers is compared with it.
JA3: BSD-3-Clause, Salesforce. JA4 (TLS client): BSD-3-Clause, FoxIO. Both are computed here from their published
definitions; `lab.py --facts` compares JA3 with tshark's too.
"""

import hashlib
import re
import subprocess

KEYS = ("version_offered", "ja3", "ja4", "ciphers_offered", "groups_offered", "group", "dh_bits",
        "signature_algorithm", "resumed", "resumption", "early_data", "hello_retry_request", "renegotiated", "ech_offered",
        "extended_master_secret", "compression", "client_cert", "certificates", "cert_not_before", "cert_not_after",
        "cert_subject", "cert_issuer", "cert_key", "cert_signature", "cert_self_signed", "outcome", "alert")
GROUPS = {19: "secp192r1", 21: "secp224r1", 22: "secp256k1", 23: "secp256r1", 24: "secp384r1", 25: "secp521r1",
          26: "brainpoolP256r1", 27: "brainpoolP384r1", 28: "brainpoolP512r1", 29: "x25519", 30: "x448",
          256: "ffdhe2048", 257: "ffdhe3072", 258: "ffdhe4096", 259: "ffdhe6144", 260: "ffdhe8192",
          0x200: "MLKEM512", 0x201: "MLKEM768", 0x202: "MLKEM1024", 0x11eb: "SecP256r1MLKEM768",
          0x11ec: "X25519MLKEM768", 0x11ed: "SecP384r1MLKEM1024"}
SIGNATURES = {0x0101: "rsa_pkcs1_md5", 0x0201: "rsa_pkcs1_sha1", 0x0202: "dsa_sha1", 0x0203: "ecdsa_sha1",
              0x0301: "rsa_pkcs1_sha224", 0x0303: "ecdsa_sha224",
              0x0401: "rsa_pkcs1_sha256", 0x0403: "ecdsa_secp256r1_sha256",
              0x0501: "rsa_pkcs1_sha384", 0x0503: "ecdsa_secp384r1_sha384", 0x0601: "rsa_pkcs1_sha512",
              0x0603: "ecdsa_secp521r1_sha512", 0x0804: "rsa_pss_rsae_sha256", 0x0805: "rsa_pss_rsae_sha384",
              0x0806: "rsa_pss_rsae_sha512", 0x0807: "ed25519", 0x0808: "ed448", 0x0809: "rsa_pss_pss_sha256",
              0x080a: "rsa_pss_pss_sha384", 0x080b: "rsa_pss_pss_sha512"}
ALERTS = {0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 40: "handshake_failure",
          41: "no_certificate", 42: "bad_certificate", 43: "unsupported_certificate", 44: "certificate_revoked",
          45: "certificate_expired", 46: "certificate_unknown", 47: "illegal_parameter", 48: "unknown_ca",
          49: "access_denied", 50: "decode_error", 51: "decrypt_error", 70: "protocol_version",
          71: "insufficient_security", 80: "internal_error", 86: "inappropriate_fallback", 90: "user_canceled",
          100: "no_renegotiation", 109: "missing_extension", 110: "unsupported_extension", 112: "unrecognized_name",
          113: "bad_certificate_status_response", 115: "unknown_psk_identity", 116: "certificate_required",
          120: "no_application_protocol"}
NAMES = {0x0300: "SSLv3", 0x0301: "TLSv1.0", 0x0302: "TLSv1.1", 0x0303: "TLSv1.2", 0x0304: "TLSv1.3",
         0xfeff: "DTLSv1.0", 0xfefd: "DTLSv1.2", 0xfefc: "DTLSv1.3"}
SHORT = {0x0300: "s3", 0x0301: "10", 0x0302: "11", 0x0303: "12", 0x0304: "13", 0xfeff: "d1", 0xfefd: "d2",
         0xfefc: "d3"}
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
COMPRESSIONS = {0: "NULL", 1: "DEFLATE"}
FATAL = 2


class Reader:
    """Takes a byte string apart, and raises IndexError at its end."""

    def __init__(self, data):
        self.data = data

    def take(self, size):
        if size > len(self.data):
            raise IndexError
        out, self.data = self.data[:size], self.data[size:]
        return out

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def vector(self, size):
        return self.take(self.number(size))


def numbers(data, size=2):
    return [int.from_bytes(data[at:at + size], "big") for at in range(0, len(data) - size + 1, size)]


def grease(number):
    return number & 0x0f0f == 0x0a0a and number >> 8 == number & 0xff


# --- hellos ------------------------------------------------------------------------------------

def client_hello(body, dtls=False):
    read, out = Reader(body), {}
    out["version"] = read.number(2)
    read.take(32)
    out["session"] = read.vector(1)
    if dtls:
        out["cookie"] = read.vector(1)
    out["ciphers"] = numbers(read.vector(2))
    out["compression"] = read.vector(1)
    out["extensions"] = extensions(read)
    return out


def server_hello(body):
    read, out = Reader(body), {}
    out["version"] = read.number(2)
    out["retry"] = read.take(32) == RETRY
    out["session"] = read.vector(1)
    out["cipher"], out["compression"] = read.number(2), read.number(1)
    out["extensions"] = extensions(read)
    versions = dict(out["extensions"]).get(43)
    if versions:
        out["version"] = numbers(versions)[0]
    return out


def extensions(read):
    out = []
    if read.data:
        read = Reader(read.vector(2))
        while read.data:
            number = read.number(2)
            out.append((number, read.vector(2)))
    return out


def of_client(hello, letter):
    """Facts of a ClientHello; `letter` is t, q or d, for JA4."""
    held = dict(hello["extensions"])
    offered = [v for v in numbers(held[43][1:]) if not grease(v)] if 43 in held else [hello["version"]]
    best = min(offered) if letter == "d" else max(offered)
    groups = [g for g in numbers(held.get(10, b"")[2:]) if not grease(g)]
    ciphers = [c for c in hello["ciphers"] if not grease(c)]
    kinds = [n for n, _ in hello["extensions"] if not grease(n)]
    points = list(held.get(11, b"")[1:])
    ja3 = ",".join("-".join(map(str, part)) for part in ([hello["version"]], ciphers, kinds, groups, points))
    out = {"version_offered": NAMES.get(best), "ja3": hashlib.md5(ja3.encode()).hexdigest(),
           "ja4": ja4(letter, best, held, ciphers, kinds), "ciphers_offered": len(ciphers),
           "groups_offered": [GROUPS.get(g, f"0x{g:04x}") for g in groups], "early_data": 42 in held,
           "ech_offered": 0xfe0d in held}
    return {k: v for k, v in out.items() if v is not None}


def ja4(letter, best, held, ciphers, kinds):
    alpn = held.get(16, b"")
    first = alpn[3:3 + alpn[2]] if len(alpn) > 2 else b""
    if not first:
        ends = "00"
    elif chr(first[0]).isalnum() and chr(first[-1]).isalnum() and first.isascii():
        ends = chr(first[0]) + chr(first[-1])
    else:
        ends = first.hex()[0] + first.hex()[-1]
    signatures = [s for s in numbers(held.get(13, b"")[2:]) if not grease(s)]
    rest = ",".join(f"{n:04x}" for n in sorted(k for k in kinds if k not in (0, 16)))
    if signatures:
        rest += "_" + ",".join(f"{s:04x}" for s in signatures)
    def digest(text, there):
        return hashlib.sha256(text.encode()).hexdigest()[:12] if there else "0" * 12
    return (f"{letter}{SHORT.get(best, '00')}{'d' if 0 in held else 'i'}{min(len(ciphers), 99):02}"
            f"{min(len(kinds), 99):02}{ends}_{digest(','.join(f'{c:04x}' for c in sorted(ciphers)), ciphers)}"
            f"_{digest(rest, rest)}")


# --- records and messages -----------------------------------------------------------------------

def begin(data, kind):
    """Where the TLS records of one side begin: at its hello, or at an alert that is all it says."""
    found = re.search(rb"\x16\x03[\x00-\x04](..)" + bytes([kind]) + rb"\x00", data, re.S)
    if found:
        return found.start()
    found = re.match(rb"\x15\x03[\x00-\x04]\x00\x02[\x01\x02]", data, re.S)
    return 0 if found else None


def side(data, kind):
    """(messages, alert, whether sealed records follow) of one side's clear part."""
    at = begin(data, kind)
    out, alert, sealed, buffer = [], None, False, b""
    while at is not None and at + 5 <= len(data) and data[at] in (20, 21, 22, 23) and data[at + 1] == 3:
        end = at + 5 + int.from_bytes(data[at + 3:at + 5], "big")
        body, content = data[at + 5:end], data[at]
        if end > len(data):
            break
        at = end
        if content == 22:
            buffer += body
            while len(buffer) >= 4 and len(buffer) >= 4 + int.from_bytes(buffer[1:4], "big"):
                size = 4 + int.from_bytes(buffer[1:4], "big")
                out.append((buffer[0], buffer[4:size]))
                buffer = buffer[size:]
        elif content == 21 and len(body) == 2:
            alert = alert or (tuple(body) if body[0] == FATAL or body[1] != 0 else None)
        elif content == 23 or (content == 20 and not retried(out) and not thirteen(out, kind)):
            sealed = True
            break
    return out, alert, sealed


def retried(messages):
    """Whether all the server has said so far is a HelloRetryRequest."""
    hellos = [server_hello(b) for t, b in messages if t == 2]
    return bool(hellos) and hellos[-1]["retry"]


def thirteen(messages, kind):
    """In TLS 1.3 a ChangeCipherSpec means nothing; before a second ClientHello too."""
    if kind == 1:
        return len(messages) == 1 and messages[0][0] == 1
    hellos = [server_hello(b) for t, b in messages if t == 2]
    return bool(hellos) and hellos[-1]["version"] == 0x0304


def datagrams(payloads, kind):
    """As `side`, of DTLS datagrams: the fragments of each message put together."""
    parts, alert, sealed = {}, None, False
    for data in payloads:
        while len(data) >= 13 and data[0] in (20, 21, 22, 23):
            epoch, size = int.from_bytes(data[3:5], "big"), int.from_bytes(data[11:13], "big")
            content, body, data = data[0], data[13:13 + size], data[13 + size:]
            if epoch:
                sealed = True
            elif content == 21 and len(body) == 2:
                alert = alert or (tuple(body) if body[1] != 0 else None)
            while content == 22 and not epoch and len(body) >= 12:
                total, number = int.from_bytes(body[1:4], "big"), int.from_bytes(body[4:6], "big")
                offset, length = int.from_bytes(body[6:9], "big"), int.from_bytes(body[9:12], "big")
                whole = parts.setdefault((number, body[0]), {"size": total, "bytes": {}})
                whole["bytes"].update(zip(range(offset, offset + length), body[12:12 + length]))
                body = body[12 + length:]
    out = [(kind_, bytes(p["bytes"][i] for i in range(p["size"]))) for (_, kind_), p in sorted(parts.items())
           if len(p["bytes"]) == p["size"]]
    return out, alert, sealed


# --- the facts -------------------------------------------------------------------------------------

def facts(flow, packets, streams):
    """The `tls` table of a flow, or None when there is no handshake to read."""
    if flow["encryption"] == "quic":
        import quic_facts
        # Without the package there is nothing to compare with: what the .toml says stays.
        return quic_facts.facts(flow, packets) if quic_facts.can_open() else None
    if flow["encryption"] == "dtls" or (flow["transport"] == "udp" and flow.get("plaintext_reason") == "null_cipher"):
        up, down = (datagrams(p, k) for p, k in zip(payloads(flow, packets), (1, 2)))
        return describe(flow, up, down, "d")
    if flow["origin"] == "midstream":
        return None
    return describe(flow, side(streams[0], 1), side(streams[1], 2), "t")


def payloads(flow, packets):
    """The datagrams of each side, once each (a second vantage shows them again)."""
    c, s = (flow["client"], flow["client_port"]), (flow["server"], flow["server_port"])
    vni = flow.get("vni", next((p.vni for p in packets if p.transport == "udp"), 0))
    return tuple([p.payload for p in packets if (p.src, p.sport, p.dst, p.dport) == (*a, *b) and p.vni == vni]
                 for a, b in ((c, s), (s, c)))


def describe(flow, up, down, letter):
    (sent, up_alert, up_sealed), (told, down_alert, down_sealed) = up, down
    out = {}
    try:
        asked = [client_hello(b, letter == "d") for t, b in sent if t == 1]
        answers = [server_hello(b) for t, b in told if t == 2]
    except IndexError:
        return None
    if asked:
        out |= of_client(asked[0], letter)
    answered = [a for a in answers if not a["retry"]]
    if answers:
        out["hello_retry_request"] = len(answered) < len(answers)
    if answered:
        out |= of_server(asked, answered[0], sent, told, up_sealed and down_sealed)
    for alert, direction in ((up_alert, "c2s"), (down_alert, "s2c")):
        if alert and (alert[0] == FATAL or "alert" not in out) and (alert[0] == FATAL or not answered):
            out["alert"] = {"direction": direction, "level": {1: "warning", 2: "fatal"}[alert[0]],
                            "description": ALERTS[alert[1]]}
    if out.get("alert", {}).get("level") == "fatal" and (told or down_alert):
        out["outcome"] = "alert"
    elif up_sealed and down_sealed and flow["outcome"] == "established":
        out["outcome"] = "completed"
    return out or None


def of_server(asked, hello, sent, told, both_sealed):
    out, held = {}, dict(hello["extensions"])
    if hello["version"] in (0x0304, 0xfefc):
        if 51 in held:
            group = numbers(held[51])[0]
            out["group"] = GROUPS.get(group, f"0x{group:04x}")
        if 41 not in held:
            out["resumed"] = False
        elif not outside(asked):  # a key that was agreed on outside resumes nothing
            out["resumed"] = True
            out["resumption"] = "psk_dhe" if 51 in held else "psk"
        out["client_cert"] = "unknown"
        return out
    kinds = [t for t, _ in told]
    out["extended_master_secret"], out["compression"] = 23 in held, COMPRESSIONS[hello["compression"]]
    full = 11 in kinds or 12 in kinds or 14 in kinds
    if full:
        out["resumed"] = False
    elif both_sealed and asked and asked[0]["session"] and asked[0]["session"] == hello["session"]:
        out["resumed"] = True
        out["resumption"] = "session_ticket" if dict(asked[0]["extensions"]).get(35) else "session_id"
    exchange = next((b for t, b in told if t == 12), None)
    if exchange:
        out |= key_exchange(hello, exchange)
    chain = next((b for t, b in told if t == 11), None)
    if chain:
        out |= certificates(chain)
    given = next((b for t, b in sent if t == 11), None)
    if given is not None:
        out["client_cert"] = "yes" if len(given) > 3 else "no"
    elif full and any(t == 16 for t, _ in sent):
        out["client_cert"] = "no"
    return out


def outside(asked):
    """Whether the client's first pre-shared key was not made in a session: its age is 0 (RFC 8446 section 4.2.11)."""
    keys = Reader(dict(asked[-1]["extensions"]).get(41, b"") if asked else b"")
    return not keys.data or (keys.take(2), keys.vector(2), keys.number(4))[2] == 0


def key_exchange(hello, body):
    """Group or size of the prime, and who signed how, of a ServerKeyExchange."""
    import tls_server
    name = {number: name for name, number in tls_server.ciphers().values()}.get(hello["cipher"], "")
    read, out = Reader(body), {}
    if "PSK" in name.split("_WITH_")[0]:
        read.vector(2)
    if "_ECDH" in name:
        if read.number(1) == 3:
            group = read.number(2)
            out["group"] = GROUPS.get(group, f"0x{group:04x}")
            read.vector(1)
    elif "_DHE_" in name or "_DH_anon" in name:
        out["dh_bits"] = int.from_bytes(read.vector(2), "big").bit_length()
        read.vector(2)
        read.vector(2)
    if hello["version"] in (0x0303, 0xfefd) and len(read.data) > 4:
        out["signature_algorithm"] = SIGNATURES[read.number(2)]
    return out


def certificates(body):
    """What `openssl x509` says of the leaf of a Certificate message, and how many certificates there are."""
    read, chain = Reader(Reader(body).vector(3)), []
    while read.data:
        chain.append(read.vector(3))
    out = {"certificates": len(chain)}
    said = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-text", "-nameopt", "RFC2253"], input=chain[0], capture_output=True).stdout.decode("latin-1")
    def find(pattern):
        found = re.search(pattern, said, re.M)
        return found[1].strip() if found else None
    out["cert_not_before"], out["cert_not_after"] = day(find(r"Not Before: (.*)")), day(find(r"Not After : (.*)"))
    out["cert_subject"], out["cert_issuer"] = find(r"^ +Subject: (.*)"), find(r"^ +Issuer: (.*)")
    out["cert_signature"] = find(r"^ +Signature Algorithm: (\S+)")
    kind, bits = find(r"Public Key Algorithm: (\S+)"), find(r"Public-Key: \((\d+) bit")
    out["cert_key"] = f"{kind} {bits}" if bits else kind
    out["cert_self_signed"] = out["cert_subject"] == out["cert_issuer"]
    return {k: v for k, v in out.items() if v is not None}


def day(said):
    """2026-11-23, of openssl's Nov 23 10:00:00 2026 GMT."""
    found = re.fullmatch(r"(\w{3}) +(\d+) [\d:.]+ (\d+) GMT", said or "")
    if not found:
        return None
    month = "JanFebMarAprMayJunJulAugSepOctNovDec".index(found[1]) // 3 + 1
    return f"{int(found[3]):04}-{month:02}-{int(found[2]):02}"


def agree(told, seen):
    """Complaints where a case says something else than the bytes show."""
    return [f"tls.{key} is {seen.get(key)!r} in the bytes, not {value!r}" for key, value in told.items()
            if key in seen and seen[key] != value]


# --- tshark, as another opinion ------------------------------------------------------------------------

def tshark_ja3(path):
    """{(source, port, destination, port): JA3 of its first ClientHello} as tshark sees a capture."""
    fields = ["ip.src", "ipv6.src", "ip.dst", "ipv6.dst", "tcp.srcport", "udp.srcport", "tcp.dstport", "udp.dstport",
              "tls.handshake.ja3", "dtls.handshake.ja3"]
    said = subprocess.run(["tshark", "-r", str(path), "-Y", "tls.handshake.ja3 or dtls.handshake.ja3", "-T", "fields",
                           "-E", "occurrence=l", *[x for f in fields for x in ("-e", f)]],
                          capture_output=True, text=True).stdout
    out = {}
    for line in said.splitlines():
        src4, src6, dst4, dst6, tsport, usport, tdport, udport, *ja3 = line.split("\t")
        out.setdefault((src6 or src4, int(tsport or usport), dst6 or dst4, int(tdport or udport)), "".join(ja3))
    return out
