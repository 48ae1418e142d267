"""X Protocol: MySQL's connector against a scripted server (no MySQL 8 is in Debian or on PyPI)."""

import socket
import ssl

from lab import Cases

PIP = ["mysqlx-connector-python"]
cases = Cases()
OK, ERROR, CAPABILITIES, CONTINUE, DONE = 0, 1, 2, 3, 4


def serve(address, offers, refuse, crt, key):
    """One connection that may go to TLS, logs in, and answers whatever else with OK."""
    with socket.create_server((address, 33060)) as waiting:
        connection, _ = waiting.accept()
    wire = connection

    def exactly(count):
        data = b""
        while len(data) < count:
            more = wire.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def send(kind, body=b""):
        wire.sendall((len(body) + 1).to_bytes(4, "little") + bytes([kind]) + body)

    denied = b"\x08\x01\x10\x95\x08\x22\x0528000\x1a\x06Denied"
    try:
        while True:
            size = int.from_bytes(exactly(4), "little")
            body = exactly(size)
            if body[0] == 1:
                tls = b"\x0a\x0f\x0a\x03tls\x12\x08\x08\1\x12\4\x08\7\x40\0"
                other = b"\x0a\x15\x0a\x09node_type\x12\x08\x08\1\x12\4\x08\7\x40\0"
                send(CAPABILITIES, (tls if offers else b"") + other)
            elif body[0] == 2 and b"\x03tls" in body:
                if not offers:
                    send(ERROR, b"\x08\0\x10\x8a\x27\x22\x05HY000\x1a\x0cno such here")
                    continue
                send(OK)
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.maximum_version = ssl.TLSVersion.TLSv1_2
                context.load_cert_chain(crt, key)
                wire = context.wrap_socket(connection, server_side=True)
            elif body[0] == 4 and b"PLAIN" not in body:
                send(CONTINUE, b"\x0a\x14" + bytes(range(65, 85)))
            elif body[0] in (4, 5):
                send(ERROR, denied) if refuse else send(DONE)
            else:
                send(OK)
    except (EOFError, OSError):
        wire.close()


def run(lab, offers=True, refuse=False, **options):
    password, user = lab.canary("password"), lab.canary("user")
    crt, key = lab.certs.server()
    lab.server.spawn(serve, lab.server.v4, offers, refuse, str(crt), str(key))
    lab.server.wait_port(33060)

    def client(address):
        import from_pypi
        from_pypi.prefer("mysqlx")
        import mysqlx
        from importlib.metadata import version
        try:
            session = mysqlx.get_session(host=address, port=33060, user=user, password=password, connect_timeout=3000, **options)
            session.close()
        except Exception as error:  # noqa: BLE001 (its errors are not of one family)
            assert refuse or "closed" in str(error).lower(), repr(error)
        return version("mysqlx-connector-python")
    lab.versions(server="scripted", client="mysqlx-connector-python " + lab.client.call(client, lab.server.v4, timeout=20))
    lab.canaries.remove(password)


def flow(lab, **facts):
    return lab.flow(**{"server_port": 33060, "app": "mysqlx", "outcome": "established", "confidence": "both_sides", **facts})


@cases.case("tls", "the tls capability is set: TLS")
def _(lab):
    run(lab)
    return [flow(lab, encryption="tls", upgrade="mysqlx-capabilities-tls", tls_version="TLSv1.2")]


@cases.case("clear", "a client told not to use TLS logs in by a challenge")
def _(lab):
    run(lab, ssl_mode="disabled")
    return [flow(lab, encryption="plaintext", plaintext_reason="client_declined", credentials=["password_hash_challenge"])]


@cases.case("wrong-password", "a login that is refused")
def _(lab):
    run(lab, refuse=True, ssl_mode="disabled")
    return [flow(lab, encryption="plaintext", plaintext_reason="client_declined", outcome="refused",
                 credentials=["password_hash_challenge"])]


@cases.case("no-offer", "a server without TLS")
def _(lab):
    run(lab, offers=False, ssl_mode="disabled")
    return [flow(lab, encryption="plaintext", plaintext_reason="client_never_asked", credentials=["password_hash_challenge"])]
