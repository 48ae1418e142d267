"""PostgreSQL: the same sessions seen badly, twice, late, elsewhere, over IPv6 and in two VPCs at once."""

import signal
import time

import shape
from postgresql_server import Postgres, cases

SSLREQUEST = "postgresql-sslrequest"
MIDSTREAM = {"origin": "midstream", "confidence": "midstream", "upgrade": None}


def many(pg, count):
    """`count` statements, each with a canary of its own."""
    return [pg.query(f"literal{number}") for number in range(count)]


def nth(count, test):
    """True from the count-th packet on for which `test` is true."""
    seen = []

    def first(packet):
        seen.extend([1] if test(packet) else [])
        return len(seen) >= count
    return first


# --- other ports, IPv6 ---------------------------------------------------------

@cases.case("port-443-plain", "a plaintext PostgreSQL on port 443")
def _(lab):
    pg = lab.state
    pg.serve(port=443)
    pg.psql("disable")
    return [pg.plain()]


@cases.case("port-443-tls", "PostgreSQL with TLS on port 443")
def _(lab):
    pg = lab.state
    pg.serve(port=443)
    return [pg.tls(pg.psql("require"))]


@cases.case("port-6379-plain", "a plaintext PostgreSQL on the port of Redis")
def _(lab):
    pg = lab.state
    pg.serve(port=6379, ssl=False)
    pg.psql("prefer")
    return [pg.plain("server_refused", upgrade=SSLREQUEST)]


@cases.case("ipv6-plain", "a plaintext session over IPv6")
def _(lab):
    pg = lab.state
    pg.serve(hba="host all all all password")
    pg.psql("disable", v6=True, password=pg.secret())
    return [pg.plain(v6=True, credentials=["password_cleartext"])]


@cases.case("ipv6-tls", "a TLS session over IPv6")
def _(lab):
    pg = lab.state
    pg.serve()
    return [pg.tls(pg.psql("require", v6=True), v6=True)]


# --- one direction ----------------------------------------------------------------

@cases.case("client-side-only-plain", "only what the client sends: a refused SSLRequest and the session after it",
            mirror=["server:in"])
def _(lab):
    pg = lab.state
    pg.serve(ssl=False, hba="host all all all password")
    pg.psql("prefer", password=pg.secret())
    return [pg.plain("server_refused", upgrade=SSLREQUEST, confidence="one_side", credentials=["password_cleartext"])]


@cases.case("client-side-only-never-asked", "only what the client sends: a session that never asked",
            mirror=["server:in"])
def _(lab):
    pg = lab.state
    pg.serve()
    pg.psql("disable")
    return [pg.plain(confidence="one_side")]


@cases.case("server-side-only-plain", "only what the server sends: a session that never asked for TLS",
            mirror=["server:out"])
def _(lab):
    pg = lab.state
    pg.serve()
    pg.psql("disable")
    return [pg.plain(confidence="one_side")]


@cases.case("server-side-only-refused", "only what the server sends: N, then a plaintext session",
            mirror=["server:out"])
def _(lab):
    pg = lab.state
    pg.serve(ssl=False)
    pg.psql("prefer")
    return [pg.plain("server_refused", upgrade=SSLREQUEST, confidence="one_side")]


@cases.case("client-side-only-tls", "only what the client sends: SSLRequest, ClientHello, records",
            mirror=["server:in"])
def _(lab):
    pg = lab.state
    pg.serve()
    pg.psql("require", name="db.lab.internal")
    return [pg.tls(confidence="one_side", sni="db.lab.internal")]


@cases.case("server-side-only-tls", "only what the server sends: S, ServerHello, records", mirror=["server:out"])
def _(lab):
    pg = lab.state
    pg.serve()
    return [pg.tls(pg.psql("require"), confidence="one_side")]


# --- late start ----------------------------------------------------------------------

@cases.case("late-plain", "the recording starts in the middle of a plaintext session, at a query",
            shape=[shape.late(nth(3, lambda p: p.payload[:1] == b"Q"))])
def _(lab):
    pg = lab.state
    pg.serve()
    pg.psql("disable", *many(pg, 8))
    return [pg.plain(None, **MIDSTREAM)]


@cases.case("late-plain-server-first", "the recording starts with a server's answer in a plaintext session",
            shape=[shape.late(nth(3, lambda p: p.payload[:1] == b"T"))])
def _(lab):
    pg = lab.state
    pg.serve()
    pg.psql("disable", *many(pg, 8))
    return [pg.plain(None, **MIDSTREAM)]


@cases.case("late-plain-extended", "the recording starts in the middle of a session of prepared statements",
            shape=[shape.late(nth(4, lambda p: p.payload[:1] == b"B"))])
def _(lab):
    pg = lab.state
    pg.serve(ssl=False)
    values = [lab.canary(f"value{i}") for i in range(12)]

    def work(connection):
        for value in values:
            connection.execute("SELECT %s::text", (value,), prepare=True).fetchone()
    pg.psycopg("disable", work)
    return [pg.plain(None, **MIDSTREAM)]


@cases.case("late-after-refusal", "the recording starts with the StartupMessage; the refused SSLRequest is not in it",
            shape=[shape.late(lambda p: p.payload[4:8] == b"\0\3\0\0")])
def _(lab):
    pg = lab.state
    pg.serve(ssl=False)
    pg.psql("prefer")
    return [pg.plain(None, **MIDSTREAM, why="a StartupMessage at the first byte seen, but not the start of the flow")]


@cases.case("late-tls", "the recording starts in the middle of a TLS session",
            shape=[shape.late(nth(4, lambda p: p.payload[:3] == b"\x17\3\3" and p.dport == 5432))])
def _(lab):
    pg = lab.state
    pg.serve()
    pg.psql("require", *many(pg, 8))
    return [pg.tls(**MIDSTREAM, app=None)]


@cases.case("late-tls-at-client-hello", "the recording starts with the ClientHello; the SSLRequest is not in it",
            shape=[shape.late(lambda p: p.payload[:2] == b"\x16\3")])
def _(lab):
    pg = lab.state
    pg.serve()
    said = pg.psql("require")
    return [pg.tls(said, **{**MIDSTREAM, "confidence": "both_sides"}, app=None)]


@cases.case("late-client-side-only-plain", "from the middle on and only what the client sends: queries",
            mirror=["server:in"], shape=[shape.late(nth(3, lambda p: p.payload[:1] == b"Q"))])
def _(lab):
    pg = lab.state
    pg.serve()
    pg.psql("disable", *many(pg, 8))
    return [pg.plain(None, **MIDSTREAM)]


@cases.case("late-server-side-only-plain", "from the middle on and only what the server sends: rows",
            mirror=["server:out"], shape=[shape.late(nth(3, lambda p: p.payload[:1] == b"T"))])
def _(lab):
    pg = lab.state
    pg.serve()
    pg.psql("disable", *many(pg, 8))
    return [pg.plain(None, **MIDSTREAM)]


@cases.case("late-client-side-only-tls", "from the middle on and only what the client sends: TLS records",
            mirror=["server:in"], shape=[shape.late(nth(4, lambda p: p.payload[:3] == b"\x17\3\3"))])
def _(lab):
    pg = lab.state
    pg.serve()
    pg.psql("require", *many(pg, 8))
    return [pg.tls(**MIDSTREAM, app=None)]


# --- lost pieces and silent servers ----------------------------------------------------

def without(test):
    """Lose the first packet for which `test` is true."""
    def lose(packets):
        gone = next(i for i, p in enumerate(packets) if test(p))
        return packets[:gone] + packets[gone + 1:]
    return lose


@cases.case("gap-startup-lost", "the copy of the StartupMessage was lost: the server's answers and the query show it",
            shape=[without(lambda p: p.payload[4:8] == b"\0\3\0\0")], holes=True)
def _(lab):
    pg = lab.state
    pg.serve()
    pg.psql("disable", *many(pg, 4))
    return [pg.plain(confidence=None, why="the server's first byte is R, so the client did not ask for TLS")]


@cases.case("gap-client-hello-lost", "the copy of the ClientHello was lost: SSLRequest, S and the server's hello remain",
            shape=[without(lambda p: p.payload[:2] == b"\x16\3" and p.dport == 5432)], holes=True)
def _(lab):
    pg = lab.state
    pg.serve(ssl_max_protocol_version="TLSv1.2")
    return [pg.tls(pg.psql("require", name="db.lab.internal"), confidence=None)]


@cases.case("gap-server-hello-lost", "the copy of the ServerHello was lost: SSLRequest, S and the client's hello remain",
            shape=[without(lambda p: p.payload[:2] == b"\x16\3" and p.sport == 5432)], holes=True)
def _(lab):
    pg = lab.state
    pg.serve(ssl_max_protocol_version="TLSv1.2")
    pg.psql("require", name="db.lab.internal")
    return [pg.tls(sni="db.lab.internal", confidence=None)]


@cases.case("gap-answer-lost", "the copy of the server's N was lost: the client's StartupMessage after it shows it",
            shape=[without(lambda p: p.payload == b"N")], holes=True)
def _(lab):
    pg = lab.state
    pg.serve(ssl=False)
    pg.psql("prefer")
    return [pg.plain("server_refused", upgrade=SSLREQUEST, confidence=None,
                     why="after SSLRequest only a refusal lets a client go on with a StartupMessage")]


def silent(lab, sslmode):
    """psql to a server that takes the connection and never answers."""
    pg = lab.state
    pg.serve()
    pg.process.send_signal(signal.SIGSTOP)
    try:
        pg.psql(sslmode, check=False, connect_timeout=2)
    finally:
        time.sleep(0.2)
        lab.net.mirror()  # what it says when it wakes up is too late to matter
        pg.process.send_signal(signal.SIGCONT)


@cases.case("no-answer-startup", "a StartupMessage that nobody answers")
def _(lab):
    silent(lab, "disable")
    return [lab.state.plain(outcome="attempt", confidence="one_side")]


@cases.case("no-answer-sslrequest", "an SSLRequest that nobody answers: neither TLS nor plaintext yet")
def _(lab):
    silent(lab, "require")
    return [lab.state.flow(encryption="unknown", upgrade=SSLREQUEST, outcome="attempt", confidence="one_side",
                           accept=["plaintext"], why="only the request for TLS, in clear, was said")]


# --- both ends, loss, order, truncation --------------------------------------------------

BOTH = ["client", "server"]


@cases.case("both-ends-plain", "both ends are mirrored: one plaintext flow, every packet twice", mirror=BOTH)
def _(lab):
    pg = lab.state
    pg.serve(ssl=False)
    pg.psql("prefer", *many(pg, 5))
    return [pg.plain("server_refused", upgrade=SSLREQUEST)]


@cases.case("both-ends-tls", "both ends are mirrored: one TLS flow, every packet twice", mirror=BOTH)
def _(lab):
    pg = lab.state
    pg.serve()
    return [pg.tls(pg.psql("require"))]


@cases.case("both-ends-one-lossy-plain", "both ends are mirrored, 5 % of the client's copies are lost", mirror=BOTH,
            shape=[shape.loss(0.05, vni=1002)])
def _(lab):
    pg = lab.state
    pg.serve()
    pg.psql("disable", *many(pg, 25))
    return [pg.plain()]


@cases.case("both-ends-one-lossy-tls", "both ends are mirrored, 5 % of the server's copies are lost", mirror=BOTH,
            shape=[shape.loss(0.05, vni=1001, seed=7)])
def _(lab):
    pg = lab.state
    pg.serve()
    return [pg.tls(pg.psql("require", "\\conninfo", *many(pg, 15)))]


@cases.case("one-direction-from-each-end", "the client's copies have what it sends, the server's what it sends",
            mirror=["client:out", "server:out"])
def _(lab):
    pg = lab.state
    pg.serve(ssl=False)
    pg.psql("prefer")
    return [pg.plain("server_refused", upgrade=SSLREQUEST)]


@cases.case("reordered-plain", "copies that overtake one another", shape=[shape.swap_neighbours()])
def _(lab):
    pg = lab.state
    pg.serve()
    pg.psql("disable", *many(pg, 6))
    return [pg.plain()]


@cases.case("truncated-64", "copies cut to 64 bytes: no payload is left", shape=[shape.truncate(64)])
def _(lab):
    pg = lab.state
    pg.serve()
    pg.psql("disable")
    return [pg.flow(encryption="unknown", app=None, outcome="unknown", confidence=None,
                    why="a plaintext session, but PacketLength left nothing of it")]


@cases.case("truncated-128-plain", "copies cut to 128 bytes: the start of every segment of a plaintext session",
            shape=[shape.truncate(128)])
def _(lab):
    pg = lab.state
    pg.serve(ssl=False)
    pg.psql("prefer")
    return [pg.plain("server_refused", upgrade=SSLREQUEST)]


@cases.case("truncated-128-tls", "copies cut to 128 bytes: the start of every segment of a TLS session",
            shape=[shape.truncate(128)])
def _(lab):
    pg = lab.state
    pg.serve()
    pg.psql("require", name="db.lab.internal")
    return [pg.tls(why="version, cipher and SNI are in the parts that were cut off")]


# --- two VPCs -----------------------------------------------------------------------------

@cases.case("two-vpcs-same-flow", "two VPCs with the same addresses and ports at the same time: one plaintext, one TLS",
            twin=True)
def _(lab):
    pg, twin = lab.state, Postgres(lab, "postgresql-twin", host=lab.twin.server)
    pg.serve()
    twin.serve()
    texts = [lab.canary(kind) for kind in ("first", "second")]

    def work(text):
        def session(connection):
            for number in range(6):
                connection.execute(f"SELECT '{text}', {number}").fetchall()
                time.sleep(0.05)
        return session
    hosts = (lab.client, lab.twin.client)
    for host in hosts:  # the same client port in both
        host.run(["sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 40000"])
    calls = [pg.psycopg("disable", work(texts[0]), wait=False, host=hosts[0]),
             twin.psycopg("require", work(texts[1]), wait=False, host=hosts[1])]
    for call in calls:
        call.result()
    for host in hosts:
        host.run(["sysctl", "-qw", "net.ipv4.ip_local_port_range=32768 60999"])
    return [pg.plain(vni=1001), twin.tls(vni=2001, tls_version="TLSv1.3")]
