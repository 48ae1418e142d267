"""CQL: DataStax's driver against a scripted server (Cassandra is neither in Debian nor on PyPI)."""

import socket

import shape
from lab import Cases

PIP = ["cassandra-driver"]
cases = Cases()

ERROR, READY, AUTHENTICATE, SUPPORTED, AUTH_SUCCESS = 0, 2, 3, 6, 0x10
OPTIONS, STARTUP, AUTH_RESPONSE = 5, 1, 0x0f


def string(text):
    return len(text).to_bytes(2, "big") + text.encode()


def serve(address, version, refuse):
    """One connection that logs in, or is refused, and gets an error for each query."""
    import cassandra.segment as segments
    with socket.create_server((address, 9042)) as waiting:
        connection, _ = waiting.accept()
    with connection, connection.makefile("rb") as wire:
        one(connection, wire, version, refuse, segments)


def one(connection, wire, version, refuse, segments):
    framed = False
    while True:
        if framed:
            size = int.from_bytes(wire.read(6)[:3], "little") & 0x1ffff
            frame = wire.read(size)
            wire.read(4)
        else:
            frame = wire.read(9)
            frame += wire.read(int.from_bytes(frame[5:], "big")) if len(frame) == 9 else b""
        if len(frame) < 9:
            return
        opcode, body = answer(frame[4], frame[0] & 0x7f, version, refuse)
        reply = bytes([0x80 | min(frame[0] & 0x7f, version), 0]) + frame[2:4] + bytes([opcode]) + len(body).to_bytes(4, "big") + body
        if framed:
            header = (len(reply) | 1 << 17).to_bytes(3, "little")
            head = header + segments.compute_crc24(int.from_bytes(header, "little"), 3).to_bytes(3, "little")
            reply = head + reply + segments.compute_crc32(reply, segments.CRC32_INITIAL).to_bytes(4, "little")
        connection.sendall(reply)
        framed = framed or version == 5 and frame[4] == STARTUP


def answer(opcode, asked, version, refuse):
    if asked > version:
        return ERROR, (0x0a).to_bytes(4, "big") + string("Invalid or unsupported protocol version")
    if opcode == OPTIONS:
        return SUPPORTED, b"\0\2" + string("COMPRESSION") + b"\0\0" + string("CQL_VERSION") + b"\0\1" + string("3.4.5")
    if opcode == STARTUP:
        return AUTHENTICATE, string("org.apache.cassandra.auth.PasswordAuthenticator")
    if opcode == AUTH_RESPONSE and refuse:
        return ERROR, (0x0100).to_bytes(4, "big") + string("Provided username and/or password are incorrect")
    if opcode == AUTH_RESPONSE:
        return AUTH_SUCCESS, b"\xff\xff\xff\xff"
    return ERROR, (0x1001).to_bytes(4, "big") + string("The node is overloaded")


def run(lab, version, refuse=False):
    password, user = lab.canary("password"), lab.canary("user")
    lab.server.spawn(serve, lab.server.v4, version, refuse)
    lab.server.wait_port(9042)

    def client(address):
        import cassandra
        from cassandra.auth import PlainTextAuthProvider
        from cassandra.cluster import Cluster, NoHostAvailable
        cluster = Cluster([address], protocol_version=version, auth_provider=PlainTextAuthProvider(user, password),
                          connect_timeout=3)
        try:
            cluster.connect()
        except NoHostAvailable:
            pass
        cluster.shutdown()
        return cassandra.__version__
    lab.versions(server="scripted", client="cassandra-driver " + lab.client.call(client, lab.server.v4))


def plain(lab, **facts):
    return lab.flow(**{"server_port": 9042, "encryption": "plaintext", "app": "cassandra", "outcome": "established",
                       "plaintext_reason": "no_in_band_upgrade", "confidence": "both_sides", "credentials": ["sasl_plain"],
                       **facts})


@cases.case("login-v4", "protocol 4: the password in AUTH_RESPONSE")
def _(lab):
    run(lab, 4)
    return [plain(lab)]


@cases.case("login-v5", "protocol 5: the password in a segment")
def _(lab):
    run(lab, 5)
    return [plain(lab)]


@cases.case("wrong-password", "a refused login")
def _(lab):
    run(lab, 4, refuse=True)
    return [plain(lab, outcome="refused")]


@cases.case("late-v5", "protocol 5, joined at a segment",
            shape=[shape.late(lambda packet: packet.dport == 9042 and packet.payload[2:3] == b"\x02")])
def _(lab):
    run(lab, 5)
    return [plain(lab, confidence="midstream", origin="midstream", credentials=["sasl_plain"])]
