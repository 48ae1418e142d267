"""Bolt: Neo4j's own driver against a scripted server (Neo4j is neither in Debian nor on PyPI)."""

import socket

from lab import Cases

PIP = ["neo4j"]
cases = Cases()


def text(word):
    data = word.encode()
    return (bytes([0x80 | len(data)]) if len(data) < 16 else bytes([0xd0, len(data)])) + data


def message(signature, fields):
    pairs = b"".join(text(k) + v for k, v in fields.items())
    body = bytes([0xb1, signature, 0xa0 | len(fields)]) + pairs
    return len(body).to_bytes(2, "big") + body + b"\0\0"


SUCCESS, RECORD, FAILURE = 0x70, 0x71, 0x7f


def serve(address, version, refuse):
    """One connection: picks `version`, takes or refuses the login, answers each query with one row."""
    with socket.create_server((address, 7687)) as waiting:
        connection, _ = waiting.accept()
    with connection, connection.makefile("rb") as wire:
        wire.read(20)
        connection.sendall(bytes([0, 0, version[1], version[0]]))
        while True:
            body = b""
            while size := int.from_bytes(wire.read(2) or b"\0\0", "big"):
                body += wire.read(size)
            if not body or body[1] == 0x02:
                return
            login = body[1] == (0x6a if version >= (5, 1) else 0x01)
            if login and refuse:
                code = {"code": text("Neo.ClientError.Security.Unauthorized"), "message": text("denied")}
                connection.sendall(message(FAILURE, code))
            elif body[1] == 0x01:
                connection.sendall(message(SUCCESS, {"server": text("Neo4j/5.4.0"), "connection_id": text("bolt-1")}))
            elif body[1] == 0x10:
                connection.sendall(message(SUCCESS, {"fields": b"\x91" + text("n")}))
            elif body[1] == 0x3f:
                connection.sendall(b"\0\4\xb1\x71\x91\x01\0\0" + message(SUCCESS, {"type": text("r")}))
            else:
                connection.sendall(message(SUCCESS, {}))


def run(lab, version, refuse=False):
    password, user, literal = lab.canary("password"), lab.canary("user"), lab.canary("literal")
    lab.server.spawn(serve, lab.server.v4, version, refuse)
    lab.server.wait_port(7687)

    def client(address):
        import neo4j
        with neo4j.GraphDatabase.driver(f"bolt://{address}:7687", auth=(user, password), max_transaction_retry_time=0) as driver:
            try:
                with driver.session() as session:
                    list(session.run(f"RETURN '{literal}'"))
            except neo4j.exceptions.Neo4jError:
                assert refuse
        return neo4j.__version__
    lab.versions(server="scripted", client="neo4j " + lab.client.call(client, lab.server.v4))
    if refuse:
        lab.canaries.remove(literal)
    outcome = "refused" if refuse else "established"
    return [lab.flow(server_port=7687, encryption="plaintext", app="bolt", outcome=outcome, confidence="both_sides",
                     plaintext_reason="no_in_band_upgrade", credentials=["password_cleartext"])]


@cases.case("login-4", "Bolt 4.4: HELLO carries the password")
def _(lab):
    return run(lab, (4, 4))


@cases.case("login-5", "Bolt 5.4: LOGON carries the password")
def _(lab):
    return run(lab, (5, 4))


@cases.case("wrong-password", "a refused LOGON")
def _(lab):
    return run(lab, (5, 4), refuse=True)
