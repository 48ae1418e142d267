"""The .toml beside a capture: filled in from the recording, checked against it, written.

A case says what each flow is; ports and packet counts come from the recording. A flow
in the recording that no case spoke of, or the other way round, is an error. A flow with
`_holes` (set for a case with holes, not written) lacks packets: what its streams begin with is not checked.
"""

import re

import shape
import tls_facts

FLOW_KEYS = (
    "transport", "client", "client_port", "server", "server_port", "vni", "encryption", "app", "app_optional",
    "upgrade", "outcome", "plaintext_reason", "credentials", "confidence", "tls_version", "tls_cipher", "sni",
    "alpn", "packets_c2s", "packets_s2c", "origin", "accept", "why",
)
VALUES = {
    "encryption": {"tls", "dtls", "quic", "ssh", "wireguard", "ipsec", "other-encrypted", "partial", "plaintext",
                   "unknown"},
    "outcome": {"established", "refused", "attempt", "unknown"},
    "plaintext_reason": {"server_refused", "client_declined", "client_never_asked", "no_in_band_upgrade",
                         "null_cipher"},
    "confidence": {"both_sides", "one_side", "midstream"},
    "origin": {"start", "midstream"},
    "transport": {"tcp", "udp"},
}
CREDENTIALS = {"password_cleartext", "password_hash_challenge", "basic_auth", "bearer_token", "session_secret",
               "sasl_plain", "community_string"}


def fill(flows, packets):
    """Give each flow its client port and packet counts.

    Flows are taken in the order of their first packet: the first flow declared for a pair
    of addresses and a server port is the first one seen.
    """
    seen = {}  # (vni group, transport, client, client port, server, server port): None, in order
    declared = {(f["transport"], f["client"], f["server"], f["server_port"]) for f in flows}
    by_vni = any("vni" in f for f in flows)
    for p in packets:
        if not p.transport:
            continue
        group = p.vni if by_vni else 0
        forward = (group, p.transport, p.src, p.sport, p.dst, p.dport)
        backward = (group, p.transport, p.dst, p.dport, p.src, p.sport)
        if forward in seen or backward in seen:
            continue
        if (p.transport, p.src, p.dst, p.dport) in declared:
            seen[forward] = None
        elif (p.transport, p.dst, p.src, p.sport) in declared:
            seen[backward] = None
        else:
            raise ValueError(f"a flow nobody declared: {forward[1:]}")
    for flow in flows:
        for key in seen:
            group, transport, client, client_port, server, server_port = key
            if ((transport, client, server, server_port)
                    == (flow["transport"], flow["client"], flow["server"], flow["server_port"])
                    and flow.get("client_port", client_port) == client_port
                    and (not by_vni or flow.get("vni") == group)):
                break
        else:
            raise ValueError(f"a declared flow is not in the recording: {flow}")
        del seen[key]
        flow["client_port"] = client_port
        for name, ends in (("packets_c2s", (client, client_port, server, server_port)),
                           ("packets_s2c", (server, server_port, client, client_port))):
            counts = {}
            for p in packets:
                if p.transport == transport and (p.src, p.sport, p.dst, p.dport) == ends and group in (0, p.vni):
                    counts[p.vni] = counts.get(p.vni, 0) + 1
            flow[name] = max(counts.values(), default=0)
    if seen:
        raise ValueError(f"flows nobody declared: {[k[1:] for k in seen]}")


def streams(flow, packets):
    """(client bytes, server bytes) of a TCP flow; datagrams one after another for UDP."""
    if "vni" in flow:
        packets = [p for p in packets if p.vni == flow["vni"]]
    c, s = (flow["client"], flow["client_port"]), (flow["server"], flow["server_port"])
    if flow["transport"] == "tcp":
        return shape.stream(packets, *c, *s), shape.stream(packets, *s, *c)
    return tuple(b"".join(p.payload for p in packets if (p.src, p.sport, p.dst, p.dport) == (*a, *b))
                 for a, b in ((c, s), (s, c)))


def add_tls(flows, packets):
    """Give each encrypted flow its `tls` table; returns where a case says something else than the bytes.

    Nothing is read from a stream with holes: what was lost is not known.
    """
    wrong = []
    for flow in flows:
        if "_holes" in flow or not (flow["encryption"] in ("tls", "dtls", "quic")
                                    or flow.get("plaintext_reason") == "null_cipher"):
            continue
        seen = tls_facts.facts(flow, packets, streams(flow, packets)) or {}
        told = flow.get("tls", {})
        wrong += [f"port {flow['client_port']}: {w}" for w in tls_facts.agree(told, seen)]
        both = {**told, **seen}
        if both:
            flow["tls"] = {key: both[key] for key in (*tls_facts.KEYS, *both) if key in both}
    return wrong


def check(flows, canaries, packets):
    """Compare what the flows claim with the bytes; returns a list of complaints."""
    wrong = []
    for flow in flows:
        where = f"{flow['client']}:{flow['client_port']}-{flow['server']}:{flow['server_port']}"
        for key, allowed in VALUES.items():
            if key in flow and flow[key] not in allowed:
                wrong.append(f"{where}: {key} = {flow[key]!r}")
        wrong += [f"{where}: unknown key {k}" for k in flow if k not in (*FLOW_KEYS, "tls", "_holes")]
        wrong += [f"{where}: unknown key tls.{k}" for k in flow.get("tls", {}) if k not in tls_facts.KEYS]
        wrong += [f"{where}: credentials {c!r}" for c in flow["credentials"] if c not in CREDENTIALS]
        # What is partly sealed may have no reason of its own.
        reason = flow["encryption"] != "partial" and flow["origin"] == "start"
        if reason and (flow["encryption"] == "plaintext") != ("plaintext_reason" in flow):
            wrong.append(f"{where}: plaintext_reason goes with plaintext")
        c2s, s2c = streams(flow, packets)
        if flow["encryption"] == "tls" and flow["origin"] == "start" and "_holes" not in flow:
            wrong += [f"{where}: {w}" for w in _check_tls(flow, c2s, s2c)]
        if (flow["encryption"] == "tls" and "password_cleartext" in flow["credentials"]
                and flow.get("upgrade") != "socks"):
            wrong.append(f"{where}: a clear password in TLS")
    if flows and all(f["encryption"] in ("tls", "ssh", "quic", "dtls", "wireguard", "ipsec") for f in flows):
        wrong += [f"canary {c} can be read though everything is encrypted" for c in canaries
                  if any(c.encode() in p.frame for p in packets)]
    if canaries and any(len(set(c)) < 6 or not c.startswith("cnry") for c in canaries):
        wrong.append("a canary must be cnry and something unique")
    return wrong


def _check_tls(flow, c2s, s2c):
    hello, answer = find_hello(c2s, 1), find_hello(s2c, 2)
    if c2s and hello is None:
        yield "no ClientHello"
    if hello and hello.get("sni") != flow.get("sni"):
        yield f"SNI is {hello.get('sni')!r}"
    if answer:
        if flow.get("tls_version", answer["version"]) != answer["version"]:
            yield f"the server chose {answer['version']}"
        if answer["version"] != "TLSv1.3" and answer.get("alpn") != flow.get("alpn"):
            yield f"the server chose ALPN {answer.get('alpn')!r}"
    elif "tls_version" in flow:
        yield "tls_version without a ServerHello"


def find_hello(data, kind):
    """The first ClientHello (1) or ServerHello (2) in a stream, decoded just enough.

    None without one, and an empty dict for one that is cut short.
    """
    found = re.search(rb"\x16\x03[\x00-\x04](..)" + bytes([kind]) + rb"\x00(..)\x03[\x00-\x03]", data, re.S)
    if not found:
        return None
    try:
        return _decode_hello(data, found, kind)
    except IndexError:
        return {}


def _decode_hello(data, found, kind):
    body = data[found.start() + 9:]
    out = {"version": {0: "SSLv3", 1: "TLSv1.0", 2: "TLSv1.1", 3: "TLSv1.2"}.get(body[1], "?")}
    at = 34
    at += 1 + body[at]
    if kind == 1:
        at += 2 + int.from_bytes(body[at:at + 2], "big")
        at += 1 + body[at]
    else:
        out["cipher"] = int.from_bytes(body[at:at + 2], "big")
        at += 3
    end = at + 2 + int.from_bytes(body[at:at + 2], "big")
    at += 2
    while at + 4 <= min(end, len(body)):
        number, size = int.from_bytes(body[at:at + 2], "big"), int.from_bytes(body[at + 2:at + 4], "big")
        value = body[at + 4:at + 4 + size]
        if number == 0 and kind == 1:
            out["sni"] = value[5:].decode("latin-1")
        elif number == 16:
            out["alpn"] = value[3:3 + value[2]].decode("latin-1")
        elif number == 43 and kind == 2 and value == b"\x03\x04":
            out["version"] = "TLSv1.3"
        at += 4 + size
    return out


def render(head, flows):
    lines = [f"{key} = {toml(value)}" for key, value in head.items()]
    for flow in flows:
        lines += ["", "[[flow]]"]
        lines += [f"{key} = {toml(flow[key])}" for key in FLOW_KEYS if key in flow]
        lines += [f"tls.{key} = {toml(value)}" for key, value in flow.get("tls", {}).items()]
    return "\n".join(lines) + "\n"


def toml(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + " }"
    text = "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}"
                   for c in value.replace("\\", "\\\\").replace('"', '\\"'))
    return f'"{text}"'
