"""Oracle Net: Oracle's thin driver against a scripted listener (no server is in Debian or on PyPI)."""

import socket

from lab import Cases

PIP = ["oracledb"]
cases = Cases()


def packet(kind, body):
    return (len(body) + 8).to_bytes(2, "big") + b"\0\0" + bytes([kind, 0, 0, 0]) + body


REFUSAL = b"(DESCRIPTION=(TMP=)(VSNNUM=352321536)(ERR=12514)(ERROR_STACK=(ERROR=(CODE=12514)(EMFI=4))))"
# Version 319, the connect data's length and place, 32-bit data units.
ACCEPT = b"\x01\x3f\0\1\x20\0\xff\xff\1\0\0\0\0\x2d\x41\0" + bytes(8) + b"\0\0\x20\0\0\0\x20\0" + b"\0\0\0\0\1" + bytes(8)


def serve(address, refuse):
    with socket.create_server((address, 1521)) as waiting:
        connection, _ = waiting.accept()
    with connection:
        connection.recv(4096)
        if refuse:
            connection.sendall(packet(4, b"\x22\0" + len(REFUSAL).to_bytes(2, "big") + REFUSAL))
            return
        connection.sendall(packet(2, ACCEPT))
        heard = b""
        while b"python-oracledb" not in heard:
            heard += connection.recv(4096)
        # The beginning of a protocol message, then the end.
        connection.sendall(b"\0\0\0\x1b\6\0\0\0\0\0\1\6\0scripted/1.0.0\0")


def run(lab, refuse):
    password, user, service = lab.canary("password"), lab.canary("user"), lab.canary("service")
    lab.server.spawn(serve, lab.server.v4, refuse)
    lab.server.wait_port(1521)

    def client(address):
        import oracledb
        try:
            oracledb.connect(user=user, password=password, tcp_connect_timeout=3, retry_count=0, disable_oob=True,
                             dsn=f"(DESCRIPTION=(ADDRESS=(PROTOCOL=tcp)(HOST={address})(PORT=1521))"
                                 f"(CONNECT_DATA=(SERVICE_NAME={service})))")
        except Exception as error:  # noqa: BLE001 (half an answer is no error of its own)
            return f"{oracledb.__version__} {error}"
        raise AssertionError("nobody can log in here")
    told = lab.client.call(client, lab.server.v4)
    lab.versions(server="scripted", client="oracledb " + told.split()[0])
    lab.canaries.remove(password)


def plain(lab, **facts):
    return lab.flow(**{"server_port": 1521, "encryption": "plaintext", "app": "oracle", "confidence": "both_sides",
                       "plaintext_reason": "client_never_asked", **facts})


@cases.case("refused", "a listener that does not know the service")
def _(lab):
    run(lab, refuse=True)
    lab.canaries.remove(lab.canary("user"))
    return [plain(lab, outcome="refused")]


@cases.case("clear", "an accepted connection without native encryption: the driver goes on in clear")
def _(lab):
    run(lab, refuse=False)
    return [plain(lab, outcome="established")]
