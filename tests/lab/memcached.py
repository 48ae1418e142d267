"""memcached: text, meta and binary commands, SASL, UDP, one side only, joined late."""

import socket
import time

import shape
from lab import Cases

APT = ["memcached"]
cases = Cases()
NONE = "no_in_band_upgrade"


def serve(lab, *options, env=None):
    server = lab.server.start(["memcached", "-u", "root", "-l", lab.server.v4, *options], log=lab.log("memcached"), env=env)
    lab.server.wait_port(11211, server)
    version = lab.server.run(["memcached", "-V"]).stdout.split()[-1]
    lab.versions(server=f"memcached {version}", client="Python socket")


def talk(lab, *lines, port=11211):
    """Say each line, wait for what comes back."""
    def client(address):
        with socket.create_connection((address, port)) as connection:
            connection.settimeout(2)
            for line in lines:
                connection.sendall(line)
                connection.recv(4096)
    lab.client.call(client, lab.server.v4)


def plain(lab, **facts):
    return lab.flow(**{"server_port": 11211, "encryption": "plaintext", "app": "memcached", "outcome": "established",
                       "plaintext_reason": NONE, "confidence": "both_sides", **facts})


def store(lab):
    key, value = lab.canary("key").encode(), lab.canary("value").encode()
    return b"set %s 0 60 %d\r\n%s\r\n" % (key, len(value), value), b"get %s\r\n" % key


def packet(opcode, key=b"", extras=b"", value=b""):
    length = len(key) + len(extras) + len(value)
    return (bytes([0x80, opcode]) + len(key).to_bytes(2, "big") + bytes([len(extras), 0, 0, 0]) + length.to_bytes(4, "big")
            + bytes(12) + extras + key + value)


@cases.case("text", "a value is stored and read in text")
def _(lab):
    serve(lab)
    talk(lab, *store(lab))
    return [plain(lab)]


@cases.case("text-get-miss", "a lone get and its END")
def _(lab):
    serve(lab)
    talk(lab, store(lab)[1])
    return [plain(lab)]


@cases.case("text-stats", "stats: what monitoring asks")
def _(lab):
    serve(lab)
    talk(lab, b"stats\r\n")
    return [plain(lab)]


@cases.case("meta", "meta commands")
def _(lab):
    serve(lab)
    key, value = lab.canary("key").encode(), lab.canary("value").encode()
    talk(lab, b"ms %s %d T60\r\n%s\r\n" % (key, len(value), value), b"mg %s v t\r\n" % key)
    return [plain(lab)]


@cases.case("binary", "a value is stored and read in binary")
def _(lab):
    serve(lab, "-B", "binary")
    key = lab.canary("key").encode()
    talk(lab, packet(1, key, bytes(8), lab.canary("value").encode()), packet(0, key))
    return [plain(lab)]


@cases.case("text-auth-wrong", "the password of a text login (-Y), and its refusal")
def _(lab):
    file = lab.directory("memcached") / "auth"
    file.write_text("user:right\n")
    serve(lab, "-Y", str(file), "-U", "0")
    login = b"user " + lab.canary("password").encode()
    talk(lab, b"set auth 0 0 %d\r\n%s\r\n" % (len(login), login))
    return [plain(lab, outcome="refused", credentials=["password_cleartext"])]


@cases.case("udp-stats", "stats over UDP: a command in a frame")
def _(lab):
    serve(lab, "-U", "11211")
    def client(address):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
            connection.settimeout(2)
            connection.sendto(b"\x12\x34\0\0\0\1\0\0stats\r\n", (address, 11211))
            connection.recv(4096)
    lab.client.call(client, lab.server.v4)
    time.sleep(0.2)
    flow = plain(lab)
    flow["transport"] = "udp"
    return [flow]


@cases.case("client-side-only", "only what the client says is mirrored", mirror=("client:out",))
def _(lab):
    serve(lab)
    talk(lab, *store(lab))
    return [plain(lab, confidence="one_side", outcome="established")]


@cases.case("server-side-only", "only what the server says is mirrored", mirror=("server:out",))
def _(lab):
    serve(lab)
    set_, get = store(lab)
    talk(lab, set_, get)
    return [plain(lab, confidence="one_side", outcome="established")]


@cases.case("late", "joined at a value: its data is as long as it says",
            shape=[shape.late(lambda packet: packet.payload[:6] == b"VALUE ")])
def _(lab):
    serve(lab)
    set_, get = store(lab)
    talk(lab, set_, get, get)
    return [plain(lab, confidence="midstream", origin="midstream")]
