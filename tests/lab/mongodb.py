"""MongoDB: PyMongo at a scripted server (Debian has no server, nor has PyPI)."""

import pathlib
import struct
import sys

import shape
from lab import Cases

PIP = ["pymongo"]
cases = Cases()
PORT = 27017
SCRIPT = pathlib.Path(__file__).with_name("mongodb_scripted.py")


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    if flow.get("app") != "mongodb" or flow["origin"] != "start":
        return
    for said in filter(None, (c2s, s2c)):
        if struct.unpack("<i", said[12:16])[0] not in (1, 2004, 2013):
            yield f"port {flow['client_port']}: opcode in {said[:16]!r}"
    if ("sasl_plain" in flow["credentials"]) != (b"mechanism\0\x06\0\0\0PLAIN\0" in c2s):
        yield f"port {flow['client_port']}: PLAIN or not?"


def plain(lab, **facts):
    return lab.flow(**{"server_port": PORT, "encryption": "plaintext", "app": "mongodb", "outcome": "established",
                       "plaintext_reason": "no_in_band_upgrade", "confidence": "both_sides", **facts})


def serve(lab, mode="open", *more):
    server = lab.server.start([sys.executable, str(SCRIPT), lab.server.v4, str(PORT), mode, *map(str, more)],
                              log=lab.log("scripted"))
    lab.server.wait_port(PORT, server)


def mongo(lab, commands, **options):
    """Send commands on one connection, without the driver's monitors (each of which has its own)."""
    address = lab.server.v4

    def client():
        import contextlib

        from pymongo import MongoClient
        from pymongo.errors import PyMongoError
        connection = MongoClient(address, PORT, directConnection=True, serverSelectionTimeoutMS=3000,
                                 heartbeatFrequencyMS=100_000, serverMonitoringMode="poll", retryReads=False,
                                 retryWrites=False, **options)
        with contextlib.suppress(PyMongoError), connection:
            for command in commands:
                connection["shop"].command(command)

    def version():
        import pymongo
        return pymongo.version
    lab.client.call(client)
    lab.versions(server="scripted server", client="PyMongo " + lab.client.call(version))


def insert_and_find(lab):
    value = lab.canary("value")
    return [{"insert": "things", "documents": [{"name": value}]}, {"find": "things", "filter": {"name": value}}]


def login(lab, mechanism, **options):
    return {"username": lab.canary("user"), "password": lab.canary("pass"), "authMechanism": mechanism, **options}


@cases.case("insert-find", "PyMongo without a login: a monitor's connection and one with data")
def _(lab):
    serve(lab)
    mongo(lab, insert_and_find(lab))
    return [plain(lab), plain(lab)]


@cases.case("login-plain", "a login by PLAIN (LDAP): the password can be read")
def _(lab):
    serve(lab, "login", lab.canary("pass"))
    mongo(lab, insert_and_find(lab), **login(lab, "PLAIN", authSource="$external"))
    return [plain(lab), plain(lab, credentials=["sasl_plain"])]


@cases.case("login-scram", "a login by SCRAM-SHA-256: proofs, no password")
def _(lab):
    serve(lab, "login", lab.canary("pass"))
    mongo(lab, insert_and_find(lab), **login(lab, "SCRAM-SHA-256"))
    lab.canaries.remove(lab.canary("pass"))
    return [plain(lab), plain(lab, credentials=["password_hash_challenge"])]


@cases.case("login-wrong", "a wrong password by PLAIN")
def _(lab):
    serve(lab, "denied")
    mongo(lab, insert_and_find(lab), **login(lab, "PLAIN", authSource="$external"))
    lab.canaries.remove(lab.canary("value"))
    return [plain(lab), plain(lab, credentials=["sasl_plain"], outcome="refused")]


@cases.case("create-user", "a new user's password in a command")
def _(lab):
    serve(lab)
    mongo(lab, [{"createUser": lab.canary("user"), "pwd": lab.canary("pass"), "roles": []}])
    return [plain(lab), plain(lab, credentials=["password_cleartext"])]


@cases.case("client-side-only", "only what the client says is seen", mirror=("server:in",))
def _(lab):
    serve(lab)
    mongo(lab, insert_and_find(lab))
    return [plain(lab, confidence="one_side") for _ in range(2)]


@cases.case("server-side-only", "only what the server says is seen", mirror=("server:out",))
def _(lab):
    serve(lab)
    mongo(lab, insert_and_find(lab))
    return [plain(lab, confidence="one_side") for _ in range(2)]


@cases.case("late", "a session seen from its second command on",
            shape=[shape.late(lambda p: b"find\0" in p.payload),
                   shape.keep(lambda p: p.transport == "tcp" and p.payload)])
def _(lab):
    serve(lab)
    mongo(lab, insert_and_find(lab))
    return [plain(lab, origin="midstream", confidence="midstream")]


@cases.case("tls", "TLS from the first byte: nothing says MongoDB")
def _(lab):
    serve(lab, "open", "", *lab.certs.server())
    mongo(lab, [{"ping": 1}], tls=True, tlsCAFile=str(lab.certs.ca), tlsAllowInvalidHostnames=True)
    return [lab.flow(server_port=PORT, encryption="tls", outcome="established", confidence="both_sides")
            for _ in range(2)]
