"""TLS: the same sessions in odd pieces, on other ports, over IPv6, seen in part, late, twice or with losses."""

import shape
from tls_server import NAME, PORT, WEAK, cases

MIDSTREAM = {"origin": "midstream", "confidence": "midstream"}
SMALL = {"ciphers": "ECDHE-ECDSA-AES128-GCM-SHA256", "most": "1.2", "tickets": False}  # a ClientHello of 120 bytes


def nth(count, test):
    """True from the count-th packet on for which `test` is true."""
    seen = []

    def first(packet):
        seen.extend([1] if test(packet) else [])
        return len(seen) >= count
    return first


def chunks(data, size):
    return [data[at:at + size] for at in range(0, len(data), size)]


def in_records(data, *sizes):
    """The handshake message of one record in several records, of these sizes (the last one again and again)."""
    head, body, out, sizes = data[:3], data[5:], b"", list(sizes)
    while body:
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        out += head + len(body[:size]).to_bytes(2, "big") + body[:size]
        body = body[size:]
    return out


def session(name, proves, serve=(), v6=False, port=PORT, facts=None, mirror=("server",), shapes=(), holes=False,
            accept=None, keep=True, **talk):
    """A case: Python against s_server. With `keep` the flow says version, cipher and SNI."""
    @cases.case(name, proves, mirror=mirror, shape=shapes, holes=holes)
    def _(lab):
        tls = lab.state
        tls.serve(*serve, v6=v6, port=port)
        said = tls.talk(**{"name": NAME, "v6": v6, **talk})
        assert said["error"] is None, said
        given = {"v6": v6, **(facts or {})}
        if accept:
            given["accept"] = accept
        if not keep:
            return [tls.flow(**given)]
        return [tls.flow(said, **{"sni": talk.get("name", NAME), **given})]


# --- the ClientHello in pieces -------------------------------------------------------------

session("hello-in-segments-tls12", "the ClientHello comes in segments of 40 bytes", ["-tls1_2"],
        pieces=lambda data: chunks(data, 40), pause=0.005)
session("hello-in-segments-tls13", "a TLS 1.3 ClientHello comes in segments of 100 bytes", ["-tls1_3"],
        pieces=lambda data: chunks(data, 100), pause=0.005)
session("hello-byte-by-byte", "every byte of the ClientHello is a segment of its own", ["-tls1_2"],
        pieces=lambda data: chunks(data, 1), **SMALL)
session("hello-first-byte-alone", "the first byte of the ClientHello comes alone, the rest later",
        pieces=lambda data: [data[:1], data[1:]], pause=0.2)
session("hello-header-alone", "the five bytes of the record header come alone, the rest later",
        pieces=lambda data: [data[:5], data[5:]], pause=0.2)
session("hello-in-records", "one ClientHello in three records", ["-tls1_2"], **SMALL, holes=True,
        pieces=lambda data: [in_records(data, 60, 40, 500)])
session("hello-in-tiny-records", "one ClientHello in records of 7 bytes", holes=True,
        pieces=lambda data: [in_records(data, 7)])
session("hello-in-records-of-one-byte", "one ClientHello, every byte in a record of its own", ["-tls1_2"], **SMALL,
        holes=True, pieces=lambda data: [in_records(data, 1)])
session("hello-in-records-and-segments", "one ClientHello in records of 50 bytes, in segments of 37", holes=True,
        pieces=lambda data: chunks(in_records(data, 50), 37), pause=0.005)
session("hello-large", "a ClientHello of more than 4 KB in one record: four hundred ALPN names",
        alpn=[f"x-lab/{i:03}" for i in range(400)])
session("hello-very-large", "a ClientHello of more than 9 KB, SNI first", ["-tls1_2"],
        alpn=[f"x-lab-protocol-{i:05}" for i in range(450)])


@cases.case("hello-large-in-records", "a ClientHello of more than 4 KB in records of 512 bytes, as OpenSSL cuts it",
            holes=True)
def _(lab):
    tls = lab.state
    tls.serve("-tls1_2")
    said = tls.s_client("-max_send_frag", 512, "-alpn", ",".join(f"x-lab/{i:03}" for i in range(400)))
    return [tls.flow(said, sni=NAME)]


@cases.case("server-flight-in-records", "the server's certificate in records of 512 bytes")
def _(lab):
    tls = lab.state
    tls.serve("-tls1_2", "-max_send_frag", 512, rsa=True)
    return [tls.flow(tls.talk(name=NAME), sni=NAME)]


def browser(url, resolve):
    """An HTTPS request with the TLS library and the ClientHello of a browser."""
    import importlib.metadata

    import curl_cffi
    from curl_cffi import requests
    requests.get(url, impersonate="chrome", verify=False, timeout=10,
                 curl_options={curl_cffi.CurlOpt.RESOLVE: [resolve]})
    return importlib.metadata.version("curl_cffi")


def as_chrome(lab, version):
    tls = lab.state
    tls.nginx(f"ssl_protocols TLSv{version};", "ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256;",
              "ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256;", http2=True)
    number = lab.client.call(browser, f"https://{NAME}:{tls.port}/{lab.canary('path')}",
                             f"{NAME}:{tls.port}:{tls.server.v4}")
    lab.versions(client=f"curl_cffi {number} (BoringSSL, as Chrome)")
    return tls


@cases.case("browser-hello-tls13", "the ClientHello of a browser: GREASE, a post-quantum key share, two segments")
def _(lab):
    tls = as_chrome(lab, "1.3")
    return [tls.flow(sni=NAME, tls_version="TLSv1.3", tls_cipher="TLS_CHACHA20_POLY1305_SHA256")]


@cases.case("browser-hello-tls12", "the ClientHello of a browser, answered with TLS 1.2 and h2")
def _(lab):
    tls = as_chrome(lab, "1.2")
    return [tls.flow(sni=NAME, tls_version="TLSv1.2", tls_cipher="TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", alpn="h2")]


# --- other ports, IPv6 ------------------------------------------------------------------------

session("port-6379-tls13", "TLS on the port of Redis", ["-tls1_3"], port=6379)
session("port-6379-tls12", "TLS 1.2 on the port of Redis", ["-tls1_2"], port=6379)
session("port-5432-tls13", "TLS at once on the port of PostgreSQL, without its SSLRequest", ["-tls1_3"], port=5432)
session("port-80-tls12", "TLS on the port of plaintext HTTP", ["-tls1_2"], port=80)
session("ipv6-tls12", "TLS 1.2 over IPv6", ["-tls1_2"], v6=True)
session("ipv6-tls13", "TLS 1.3 over IPv6", ["-tls1_3"], v6=True)

# --- one direction -----------------------------------------------------------------------------

ONE = {"confidence": "one_side"}
session("client-side-only-tls12", "only what the client sends, TLS 1.2", ["-tls1_2"], mirror=["server:in"],
        keep=False, facts={**ONE, "sni": NAME})
session("client-side-only-tls13", "only what the client sends, TLS 1.3", ["-tls1_3"], mirror=["server:in"],
        keep=False, facts={**ONE, "sni": NAME})
session("server-side-only-tls12", "only what the server sends, TLS 1.2", ["-tls1_2"], mirror=["server:out"],
        facts={**ONE, "sni": None})
session("server-side-only-tls13", "only what the server sends, TLS 1.3", ["-tls1_3"], mirror=["server:out"],
        facts={**ONE, "sni": None})


@cases.case("server-side-only-null", "only what the server sends: it chose a NULL cipher", mirror=["server:out"])
def _(lab):
    tls = lab.state
    tls.serve("-tls1_2", "-cipher", f"NULL-SHA256:{WEAK}", rsa=True)
    return [tls.null(tls.talk(name=NAME, most="1.2", ciphers=f"NULL-SHA256:{WEAK}"), **ONE)]


# --- late start ----------------------------------------------------------------------------------

def sealed(count, back=False):
    """From the count-th segment on that begins with an application data record."""
    return shape.late(nth(count, lambda p: p.payload[:1] == b"\x17" and (p.sport if back else p.dport) == PORT))


session("late-tls12", "from the middle of a TLS 1.2 session on: application data only", ["-tls1_2"], rounds=6,
        shapes=[sealed(3)], keep=False, facts=MIDSTREAM)
session("late-tls13", "from the middle of a TLS 1.3 session on: application data only", ["-tls1_3"], rounds=6,
        shapes=[sealed(4)], keep=False, facts=MIDSTREAM)
session("late-server-first", "from the middle on, and the first to be heard is the server", ["-tls1_3"], rounds=6,
        shapes=[sealed(4, back=True)], keep=False, facts=MIDSTREAM)
session("late-client-side-only", "from the middle on, and only what the client sends", ["-tls1_2"], rounds=6,
        mirror=["server:in"], shapes=[sealed(3)], keep=False, facts=MIDSTREAM)
session("late-cbc-tls10", "from the middle of a TLS 1.0 session on: two records for each write",
        ["-tls1", "-cipher", f"ALL:{WEAK}"], rounds=6, least="1.0", most="1.0", ciphers=f"ALL:{WEAK}",
        shapes=[sealed(3)], keep=False, facts=MIDSTREAM)
session("late-at-server-hello", "the recording starts with the ServerHello", ["-tls1_2"],
        shapes=[shape.late(lambda p: p.payload[:1] == b"\x16" and p.sport == PORT)],
        facts={"origin": "midstream", "confidence": None, "sni": None})
session("late-at-client-hello", "the recording starts with the ClientHello: no SYN", ["-tls1_3"],
        shapes=[shape.late(lambda p: p.payload[:1] == b"\x16")], facts={"origin": "midstream"})


@cases.case("late-inside-a-record", "the recording starts within a long record: no header to see at first",
            shape=[shape.late(nth(4, lambda p: len(p.payload) > 1000 and p.payload[:1] != b"\x17"))])
def _(lab):
    tls = lab.state
    tls.nginx("ssl_protocols TLSv1.3;", files={"long": "all the same " * 2400})
    tls.curl(path="long")
    return [tls.flow(**MIDSTREAM, accept=["unknown"],
                     why="the next record header is not at the start of a segment")]


# --- lost pieces ------------------------------------------------------------------------------------

def without(test):
    """Lose every packet for which `test` is true."""
    return shape.keep(lambda p: not test(p))


def is_hello(packet, back):
    return packet.payload[:1] == b"\x16" and packet.payload[5:6] == (b"\2" if back else b"\1")


session("gap-client-hello-tls12", "the copy of the ClientHello was lost", ["-tls1_2"], holes=True,
        shapes=[without(lambda p: is_hello(p, False))], facts={"sni": None, "confidence": None})
session("gap-server-hello-tls12", "the copy of the ServerHello was lost", ["-tls1_2"], holes=True,
        shapes=[without(lambda p: is_hello(p, True))], keep=False, facts={"sni": NAME, "confidence": None})
session("gap-server-hello-tls13", "the copy of the ServerHello was lost: version and cipher are not known",
        ["-tls1_3"], holes=True, shapes=[without(lambda p: is_hello(p, True))], keep=False,
        facts={"sni": NAME, "confidence": None})
session("lossy-tls12", "5 % of the copies are lost, and there is one vantage", ["-tls1_2"], rounds=25, holes=True,
        shapes=[shape.loss(0.05, seed=3)], facts={"confidence": None})
session("lossy-tls13", "5 % of the copies are lost, and there is one vantage", ["-tls1_3"], rounds=25, holes=True,
        shapes=[shape.loss(0.05, seed=3)], facts={"confidence": None})

# --- both ends, order, truncation ----------------------------------------------------------------------

BOTH = ["client", "server"]
session("both-ends-tls12", "both ends are mirrored: one flow, every packet twice", ["-tls1_2"], mirror=BOTH)
session("both-ends-tls13", "both ends are mirrored: one flow, every packet twice", ["-tls1_3"], mirror=BOTH)
session("both-ends-one-lossy", "both ends are mirrored, 5 % of the client's copies are lost", ["-tls1_3"], mirror=BOTH,
        rounds=15, shapes=[shape.loss(0.05, vni=1002, seed=5)])
session("one-direction-from-each-end", "the client's copies have what it sends, the server's what it sends",
        ["-tls1_2"], mirror=["client:out", "server:out"])
session("reordered", "copies that overtake one another", ["-tls1_2"], rounds=4, shapes=[shape.swap_neighbours()])
session("truncated-128-tls12", "copies cut to 128 bytes: the start of every segment", ["-tls1_2"], holes=True,
        shapes=[shape.truncate(128)], keep=False,
        facts={"why": "SNI is cut off; version and cipher may be seen or not"})
session("truncated-128-tls13", "copies cut to 128 bytes: the start of every segment", ["-tls1_3"], holes=True,
        shapes=[shape.truncate(128)], keep=False, facts={"why": "SNI, version and cipher are cut off", "outcome": "unknown"})
session("truncated-256-tls13", "copies cut to 256 bytes: ServerHello is whole, ClientHello up to the SNI", ["-tls1_3"],
        holes=True, shapes=[shape.truncate(256)], keep=False,
        facts={"tls_version": "TLSv1.3", "tls_cipher": "TLS_AES_256_GCM_SHA384", "sni": NAME})
