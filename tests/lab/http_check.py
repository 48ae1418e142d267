"""Decodes recorded HTTP/1 flows, without help from what made them, and compares them with their truth."""

import re

REQUEST = re.compile(rb"([A-Za-z-]+) (\S+) HTTP/1\.[01]\r?\n")
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
PROXY_V2 = b"\r\n\r\n\0\r\nQUIT\n"
TOKENS = (b"x-api-key", b"x-auth-token", b"private-token")
SESSION = (b"cookie", b"set-cookie", b"x-amz-security-token")
SCHEMES = {b"basic": "basic_auth", b"bearer": "bearer_token", b"digest": "password_hash_challenge"}


def strip_proxy(c2s):
    """(the PROXY version or None, the rest)."""
    if c2s.startswith(b"PROXY "):
        return "proxy-v1", c2s[c2s.index(b"\r\n") + 2:]
    if c2s.startswith(PROXY_V2):
        return "proxy-v2", c2s[16 + int.from_bytes(c2s[14:16], "big"):]
    return None, c2s


def strip_connect(c2s, s2c):
    """(whether a CONNECT was accepted, what both sides said after it)."""
    at = answer = 0
    while (found := REQUEST.match(c2s, at)) and found[1] == b"CONNECT":
        at = c2s.index(b"\r\n\r\n", at) + 4
        code = STATUS.match(s2c, answer)
        if code and code[1][:1] == b"2":
            return True, c2s[at:], s2c[s2c.index(b"\r\n\r\n", answer) + 4:]
        if not s2c and not REQUEST.match(c2s, at):
            return True, c2s[at:], s2c
        answer = s2c.find(b"HTTP/1.", answer + 1)
    if not c2s and STATUS.match(s2c) and re.match(rb"HTTP/1\.[01] 200 Connection established", s2c, re.I):
        return True, c2s, s2c[s2c.index(b"\r\n\r\n") + 4:]
    return False, c2s, s2c


def credentials(c2s, s2c):
    """Kinds of credentials in all that can be read."""
    kinds = set()
    for data in (c2s, s2c):
        for name, value in re.findall(rb"\r\n([A-Za-z-]+): *([^\r\n]*)", data):
            name = name.lower()
            if name in (b"authorization", b"proxy-authorization"):
                kinds.add(SCHEMES.get(value.split(b" ")[0].lower()))
            elif name in TOKENS:
                kinds.add("bearer_token")
            elif name in SESSION:
                kinds.add("session_secret")
    for method, target in re.findall(rb"([A-Z]+) (\S+) HTTP/1\.[01]\r\n", c2s):
        if re.search(rb"[?&]access_token=", target):
            kinds.add("bearer_token")
    if re.search(rb"(\r\n\r\n|&)password=", c2s):
        kinds.add("password_cleartext")
    return kinds - {None}


def http(flow, c2s, s2c):
    """Complaints about a flow whose app is http, or TLS reached through HTTP or PROXY."""
    where = f"port {flow['client_port']}"
    wanted = set(flow["credentials"])
    proxy, inner = strip_proxy(c2s)
    if (flow.get("upgrade") == proxy) != (proxy is not None) and (proxy or str(flow.get("upgrade"))[:5] == "proxy"):
        yield f"{where}: the client began with {proxy}, upgrade is {flow.get('upgrade')}"
    tunnel, inside, answers = strip_connect(inner, s2c)
    if flow["origin"] == "start" and tunnel != (flow.get("upgrade") == "http-connect"):
        yield f"{where}: tunnel {tunnel}, upgrade is {flow.get('upgrade')}"
    if flow["encryption"] == "tls":
        if inside and inside[:2] != b"\x16\x03":
            yield f"{where}: the client does not speak TLS"
        if flow["outcome"] == "established" and answers and answers[:2] != b"\x16\x03":
            yield f"{where}: the server does not speak TLS"
        known = credentials(inner[:len(inner) - len(inside)], b"") if tunnel else set()
        if known != wanted:
            yield f"{where}: credentials {flow['credentials']}, the bytes show {sorted(known)}"
        return
    if flow.get("app") != "http":
        return
    if flow["origin"] == "start" and "_holes" not in flow:
        if inside and not REQUEST.match(inside.lstrip(b"\r\n")):
            yield f"{where}: no request line: {inside[:20]!r}"
        if flow["outcome"] == "established" and answers and not STATUS.match(answers):
            yield f"{where}: no status line: {answers[:20]!r}"
        if (flow["outcome"] == "attempt") != (not s2c) and flow.get("confidence") == "both_sides":
            yield f"{where}: {flow['outcome']}, and the server sent {len(s2c)} bytes"
    known = credentials(inner, s2c)
    if known != wanted:
        yield f"{where}: credentials {flow['credentials']}, the bytes show {sorted(known)}"
