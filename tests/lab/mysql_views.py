"""MySQL: the same sessions elsewhere, over IPv6, byte by byte, from one side, late, twice, with loss and cut short."""

import byte_relay
import shape
from mysql_server import CLEAR, HASH, cases
from mysql_sessions import connector_session

MIDSTREAM = {"origin": "midstream", "confidence": "midstream", "credentials": []}
BOTH = ["client", "server"]


def many(db, count):
    """`count` statements, each with a canary of its own."""
    return [db.query(f"literal{number}") for number in range(count)]


def nth(count, test):
    """True from the count-th packet on for which `test` is true."""
    seen = []

    def first(packet):
        seen.extend([1] if test(packet) else [])
        return len(seen) >= count
    return first


def query(packet):
    return packet.dport == 3306 and packet.payload[3:5] == b"\0\3"


def record(packet):
    return packet.payload[:3] == b"\x17\3\3"


# --- other ports, IPv6 ---------------------------------------------------------

@cases.case("port-443-plain", "a plaintext MySQL on port 443")
def _(lab):
    lab.state.serve(port=443)
    lab.state.cli()
    return [lab.state.plain()]


@cases.case("port-443-tls", "MySQL with TLS on port 443: a greeting in clear first")
def _(lab):
    lab.state.serve(port=443)
    return [lab.state.tls(lab.state.cli(options=["--ssl"]))]


@cases.case("port-5432-plain", "a plaintext MySQL on the port of PostgreSQL")
def _(lab):
    lab.state.serve(port=5432, ssl=False)
    lab.state.cli()
    return [lab.state.plain("server_refused")]


@cases.case("port-6379-tls", "MySQL with TLS on the port of Redis")
def _(lab):
    lab.state.serve(port=6379)
    return [lab.state.tls(lab.state.cli(options=["--ssl"]))]


@cases.case("ipv6-plain", "a plaintext session over IPv6")
def _(lab):
    lab.state.serve()
    lab.state.cli(at=lab.server.v6)
    return [lab.state.plain(v6=True)]


@cases.case("ipv6-tls", "a TLS session over IPv6")
def _(lab):
    lab.state.serve()
    return [lab.state.tls(lab.state.cli(at=lab.server.v6, options=["--ssl"]), v6=True)]


# --- byte by byte -----------------------------------------------------------------

def split(lab, up, down, **more):
    """The mariadb client through relays on both hosts: the first bytes of each side go one to a segment."""
    db, options = lab.state, more.pop("options", ["--skip-ssl"])
    user = more.pop("user", None)
    db.serve(port=3307, **more)
    done = byte_relay.between(lab, 3306, 3307, up, down)
    said = db.cli(at="127.0.0.1", port=3306, options=options, user=user)
    done()
    return said


@cases.case("byte-by-byte-plain", "one byte per segment from both sides: the greeting and the start of the login")
def _(lab):
    split(lab, 70, 100)
    return [lab.state.plain(server_port=3306)]


@cases.case("byte-by-byte-clear-password",
            "one byte per segment: greeting, start of the login, the switch to a clear password")
def _(lab):
    split(lab, 40, 126, user=lab.state.pam, pam_use_cleartext_plugin="ON")
    return [lab.state.plain(server_port=3306, credentials=[HASH, CLEAR])]


@cases.case("byte-by-byte-tls", "one byte per segment: greeting, SSLRequest, the start of both hellos")
def _(lab):
    said = split(lab, 46, 112, options=["--ssl"])
    return [lab.state.tls(said, server_port=3306)]


# --- one direction ----------------------------------------------------------------

@cases.case("client-side-only-plain", "only what the client sends: a login without SSLRequest, queries",
            mirror=["server:in"])
def _(lab):
    lab.state.serve()
    lab.state.cli()
    return [lab.state.plain("client_never_asked", confidence="one_side",
                            why="the offer in the greeting is not in this view")]


@cases.case("client-side-only-tls", "only what the client sends: SSLRequest, ClientHello, records",
            mirror=["server:in"])
def _(lab):
    lab.state.serve()
    lab.state.cli(options=["--ssl"])
    return [lab.state.tls(confidence="one_side")]


@cases.case("server-side-only-plain", "only what the server sends: a greeting that offers TLS, then a plaintext OK",
            mirror=["server:out"])
def _(lab):
    lab.state.serve()
    lab.state.cli()
    return [lab.state.plain(confidence="one_side", credentials=[],
                            why="the client's answer to the challenge is not in this view")]


@cases.case("server-side-only-clear-password", "only what the server sends: it asks for a clear password, then OK",
            mirror=["server:out"])
def _(lab):
    db = lab.state
    db.serve(ssl=False, pam_use_cleartext_plugin="ON")
    db.cli(user=db.pam)
    return [db.plain("server_refused", confidence="one_side", credentials=[CLEAR],
                     why="the password itself is in the direction that is not mirrored")]


@cases.case("server-side-only-tls",
            "only what the server sends: a greeting, ServerHello, records", mirror=["server:out"])
def _(lab):
    lab.state.serve()
    return [lab.state.tls(lab.state.cli(options=["--ssl"]), confidence="one_side")]


# --- late start ----------------------------------------------------------------------

@cases.case("late-plain", "the recording starts in the middle of a plaintext session, at a query",
            shape=[shape.late(nth(4, query))])
def _(lab):
    lab.state.serve()
    lab.state.cli(*many(lab.state, 10))
    return [lab.state.plain(None, **MIDSTREAM)]


@cases.case("late-plain-server-first", "the recording starts with a result in a plaintext session",
            shape=[shape.late(nth(4, lambda p: p.sport == 3306 and p.payload[3:4] == b"\1"))])
def _(lab):
    lab.state.serve()
    lab.state.cli(*many(lab.state, 10))
    return [lab.state.plain(None, **MIDSTREAM)]


@cases.case("late-plain-after-greeting", "the recording starts with the client's login: the greeting is not in it",
            shape=[shape.late(lambda p: p.dport == 3306 and p.payload)])
def _(lab):
    lab.state.serve()
    lab.state.cli(*many(lab.state, 3))
    return [lab.state.plain(None, **{**MIDSTREAM, "credentials": [HASH]})]


@cases.case("late-prepared", "the recording starts in the middle of a session of prepared statements",
            shape=[shape.late(nth(4, lambda p: p.dport == 3306 and p.payload[3:5] == b"\0\x17"))])
def _(lab):
    values = [lab.canary(f"value{i}") for i in range(10)]

    def work(connection):
        cursor = connection.cursor(prepared=True)
        for value in values:
            cursor.execute("SELECT ?, 1", (value,))
            cursor.fetchall()
    lab.state.serve()
    connector_session(lab, work)
    return [lab.state.plain(None, **MIDSTREAM)]


@cases.case("late-compressed", "the recording starts in the middle of a compressed session",
            shape=[shape.late(nth(5, lambda p: p.dport == 3306 and p.payload))])
def _(lab):
    db = lab.state
    db.serve()
    db.cli(*many(db, 8), f"SELECT REPEAT('{lab.canary('row')}', 100)", options=["--skip-ssl", "--compress"])
    return [db.plain(None, **MIDSTREAM, app_optional=True, accept=["unknown"],
                     why="short statements in clear behind the header of the compressed protocol, long ones in zlib")]


@cases.case("late-tls", "the recording starts in the middle of a TLS session", shape=[shape.late(nth(8, record))])
def _(lab):
    lab.state.serve()
    lab.state.cli(*many(lab.state, 10), options=["--ssl"])
    return [lab.state.tls(**MIDSTREAM, upgrade=None, app=None)]


@cases.case("late-tls-at-client-hello",
            "the recording starts with the ClientHello: greeting and SSLRequest are not in it",
            shape=[shape.late(lambda p: p.payload[:2] == b"\x16\3")])
def _(lab):
    lab.state.serve()
    said = lab.state.cli(options=["--ssl"])
    return [lab.state.tls(said, origin="midstream", upgrade=None, app=None)]


# --- both ends, loss, order, truncation --------------------------------------------------

@cases.case("both-ends-plain", "both ends are mirrored: one plaintext flow, every packet twice", mirror=BOTH)
def _(lab):
    lab.state.serve()
    lab.state.cli(*many(lab.state, 5))
    return [lab.state.plain()]


@cases.case("both-ends-tls", "both ends are mirrored: one TLS flow, every packet twice", mirror=BOTH)
def _(lab):
    lab.state.serve()
    return [lab.state.tls(lab.state.cli(options=["--ssl"]))]


@cases.case("both-ends-one-lossy-plain", "both ends are mirrored, 5 % of the client's copies are lost", mirror=BOTH,
            shape=[shape.loss(0.05, vni=1002)])
def _(lab):
    lab.state.serve()
    lab.state.cli(*many(lab.state, 25))
    return [lab.state.plain()]


@cases.case("both-ends-one-lossy-tls", "both ends are mirrored, 5 % of the server's copies are lost", mirror=BOTH,
            shape=[shape.loss(0.05, vni=1001, seed=7)])
def _(lab):
    lab.state.serve()
    lab.state.cli(*many(lab.state, 15), options=["--ssl"])
    return [lab.state.tls(tls_version="TLSv1.3")]


@cases.case("one-direction-from-each-end", "the client's copies have what it sends, the server's what it sends",
            mirror=["client:out", "server:out"])
def _(lab):
    lab.state.serve()
    lab.state.cli()
    return [lab.state.plain()]


@cases.case("reordered-plain", "copies that overtake one another", shape=[shape.swap_neighbours()])
def _(lab):
    lab.state.serve()
    lab.state.cli(*many(lab.state, 6))
    return [lab.state.plain()]


@cases.case("truncated-64", "copies cut to 64 bytes: no payload is left", shape=[shape.truncate(64)])
def _(lab):
    lab.state.serve()
    lab.state.cli()
    return [lab.state.flow(encryption="unknown", app=None, outcome="unknown", confidence=None,
                           why="a plaintext session, but PacketLength left nothing of it")]


@cases.case("truncated-128-plain", "copies cut to 128 bytes: the offer of TLS and the login can still be seen",
            shape=[shape.truncate(128)])
def _(lab):
    lab.state.serve()
    lab.state.cli()
    return [lab.state.plain(credentials=[],
                            why="PacketLength cut off the name of the login plugin and most of the answer")]


@cases.case("truncated-128-tls", "copies cut to 128 bytes: the start of every segment of a TLS session",
            shape=[shape.truncate(128)])
def _(lab):
    lab.state.serve()
    lab.state.cli(options=["--ssl"])
    return [lab.state.tls(why="version and cipher are in the parts that were cut off")]
