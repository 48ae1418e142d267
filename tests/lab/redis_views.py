"""Redis: servers among themselves, a proxy, other ports, IPv6, byte by byte, and poor views."""

import os
import struct
import time

import byte_relay
import shape
from redis_server import CIPHER13, CLEAR, cases

MIDSTREAM = {"origin": "midstream", "confidence": "midstream", "plaintext_reason": None}
BOTH = ["client", "server"]


# --- servers among themselves ----------------------------------------------------------

@cases.case("replication", "a replica logs in, asks for everything (PSYNC) and follows")
def _(lab):
    r = lab.state
    password = lab.canary("pass")
    r.serve(requirepass=password, repl_diskless_sync_delay=0, repl_ping_replica_period=1)
    r.serve(host=lab.middle, name="replica", masterauth=password, replicaof=f"{lab.server.v4} 6379")
    time.sleep(1.5)
    r.cli("SET", r.key(), r.key("value"), options=["-a", password], at="127.0.0.1", host=lab.server)
    time.sleep(1.5)
    lab.versions(client=f"Redis {r.version} (replica)")
    return [r.plain(client=lab.middle, credentials=[CLEAR])]


@cases.case("replication-tls", "a replica over TLS")
def _(lab):
    r = lab.state
    r.serve(port=0, tls_port=6379, repl_diskless_sync_delay=0)
    r.serve(host=lab.middle, name="replica", port=0, tls_port=6379, tls_replication="yes",
            replicaof=f"{lab.server.v4} 6379")
    time.sleep(2)
    lab.versions(client=f"Redis {r.version} (replica)")
    return [r.tls(client=lab.middle)]


def other_kernel(packets):
    """INFO tells which kernel the lab ran on: put another name of the same length there."""
    real = os.uname().release.encode()
    name = (b"6.1.0-lab" * len(real))[:len(real)]
    return [shape.Packet(p.seconds, p.micros, checksummed(p.frame.replace(real, name))).decode()
            if real in p.payload else p for p in packets]


def checksummed(frame):
    """The frame with the checksum of its inner TCP segment made right (IPv4 without options, inside and outside)."""
    frame, ip = bytearray(frame), 64
    segment = ip + 20
    end = ip + int.from_bytes(frame[ip + 2:ip + 4], "big")
    frame[segment + 16:segment + 18] = b"\0\0"
    data = bytes(frame[ip + 12:ip + 20]) + struct.pack(">HH", 6, end - segment) + bytes(frame[segment:end])
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    frame[segment + 16:segment + 18] = struct.pack(">H", ~total & 0xffff)
    return bytes(frame)


@cases.case("sentinel", "a sentinel watches a server on two connections; a client asks it where the server is",
            mirror=["middle"], shape=[other_kernel])
def _(lab):
    r, master = lab.state, lab.canary("master")
    r.serve()
    path = lab.directory("sentinel") / "sentinel.conf"
    path.write_text(f"port 26379\nprotected-mode no\nsentinel monitor {master} {lab.server.v4} 6379 1\n")
    process = lab.middle.start(["redis-sentinel", str(path)], log=lab.log("sentinel"))
    lab.middle.wait_port(26379, process)
    time.sleep(2.5)
    r.cli("SENTINEL", "get-master-addr-by-name", master, at=lab.middle.v4, port=26379)
    lab.middle.stop(process)
    return [r.plain(client=lab.middle), r.plain(client=lab.middle), r.plain(server=lab.middle, server_port=26379)]


@cases.case("cluster-bus", "two cluster nodes meet: gossip on port 16379, one connection each way")
def _(lab):
    r = lab.state
    r.serve(cluster_enabled="yes")
    r.serve(host=lab.middle, name="other", cluster_enabled="yes")
    r.cli("CLUSTER", "MEET", lab.middle.v4, "6379", at="127.0.0.1", host=lab.server)
    time.sleep(3)
    lab.versions(client=f"Redis {r.version}")
    bus = {"server_port": 16379, "app_optional": True, "why": "Redis' own protocol between cluster nodes (RCmb)"}
    return [r.plain(client=lab.server, server=lab.middle, **bus), r.plain(client=lab.middle, **bus)]


@cases.case("cluster-redirect", "a cluster node redirects: MOVED and CLUSTERDOWN answers in plaintext")
def _(lab):
    r = lab.state
    r.serve(cluster_enabled="yes")
    r.script("CLUSTER INFO", f"GET {r.key()}")
    return [r.plain()]


@cases.case("migrate-auth", "MIGRATE with a password: in the command, and in the AUTH that the server then sends",
            mirror=["server"])
def _(lab):
    r, password, key = lab.state, lab.canary("pass"), lab.canary("key")
    r.serve(host=lab.middle, name="other", requirepass=password)
    r.serve()
    r.script(f"SET {key} {r.key('value')}", f"MIGRATE {lab.middle.v4} 6379 {key} 0 1000 AUTH {password}")
    return [r.plain(credentials=[CLEAR]), r.plain(client=lab.server, server=lab.middle, credentials=[CLEAR])]


@cases.case("tls-ends-at-proxy", "HAProxy ends TLS: the client's leg is TLS, the server's leg is plaintext",
            mirror=["middle"])
def _(lab):
    r = lab.state
    r.serve()
    crt, key = lab.certs.server()
    (lab.work / "both.pem").write_text(crt.read_text() + key.read_text())
    path = lab.work / "haproxy.cfg"
    path.write_text("defaults\nmode tcp\ntimeout connect 5s\ntimeout client 10s\ntimeout server 10s\n"
                    f"listen redis\nbind :6379 ssl crt {lab.work}/both.pem ciphersuites {CIPHER13}\n"
                    f"server one {lab.server.v4}:6379\n")
    process = lab.middle.start(["haproxy", "-db", "-f", str(path)], log=lab.log("haproxy"))
    lab.middle.wait_port(6379, process)
    r.cli("GET", r.key(), options=["--tls", "--cacert", str(lab.certs.ca)], at=lab.middle.v4)
    return [r.tls(server=lab.middle), r.plain(client=lab.middle)]


# --- other ports, IPv6, byte by byte -------------------------------------------------------

@cases.case("port-443-plain", "a plaintext Redis on port 443")
def _(lab):
    r = lab.state
    r.serve(port=443)
    r.cli("GET", r.key())
    return [r.plain()]


@cases.case("port-5432-plain", "a plaintext Redis on the port of PostgreSQL")
def _(lab):
    r = lab.state
    r.serve(port=5432, requirepass=lab.canary("pass"))
    r.cli("GET", r.key(), options=["-a", lab.canary("pass")])
    return [r.plain(credentials=[CLEAR])]


@cases.case("ipv6-plain", "a plaintext session over IPv6")
def _(lab):
    r = lab.state
    r.serve()
    r.cli("GET", r.key(), at=lab.server.v6)
    return [r.plain(v6=True)]


@cases.case("ipv6-tls", "a TLS session over IPv6")
def _(lab):
    r = lab.state
    r.serve(port=0, tls_port=6379)
    r.cli("GET", r.key(), at=lab.server.v6, options=["--tls", "--cacert", str(lab.certs.ca)])
    return [r.tls(v6=True)]


@cases.case("byte-by-byte-plain", "one byte per segment from both sides: AUTH and SET")
def _(lab):
    r = lab.state
    r.serve(port=6378, requirepass=lab.canary("pass"))
    done = byte_relay.between(lab, 6379, 6378, 130, 60)
    r.cli("SET", r.key(), r.key("value"), options=["-a", lab.canary("pass")], at="127.0.0.1", port=6379)
    done()
    return [r.plain(server_port=6379, credentials=[CLEAR])]


@cases.case("byte-by-byte-tls", "one byte per segment: the start of both hellos")
def _(lab):
    r = lab.state
    r.serve(port=0, tls_port=6378)
    done = byte_relay.between(lab, 6379, 6378, 80, 80)
    r.cli("GET", r.key(), options=["--tls", "--cacert", str(lab.certs.ca)], at="127.0.0.1", port=6379)
    done()
    return [r.tls(server_port=6379)]


# --- one direction, late, twice, with loss, cut short -----------------------------------------

def session(lab, count=6):
    """A plaintext session of `count` SET and GET."""
    r = lab.state
    r.serve()
    r.script(*(line for i in range(count) for line in (f"SET {r.key(f'key{i}')} {r.key(f'value{i}')}",
                                                      f"GET {r.key(f'key{i}')}")))
    return r


def tls_session(lab, count=6):
    r = lab.state
    r.serve(port=0, tls_port=6379)
    r.script(*(f"GET {r.key(f'key{i}')}" for i in range(count)), ssl=True, ssl_ca_certs=str(lab.certs.ca))
    return r


@cases.case("client-side-only-plain", "only what the client sends", mirror=["server:in"])
def _(lab):
    r = lab.state
    r.serve(requirepass=lab.canary("pass"))
    r.cli("GET", r.key(), options=["-a", lab.canary("pass")])
    return [r.plain(confidence="one_side", credentials=[CLEAR])]


@cases.case("server-side-only-plain", "only what the server sends: answers, the first one names Redis",
            mirror=["server:out"])
def _(lab):
    return [session(lab).plain(confidence="one_side")]


@cases.case("server-side-only-ok", "only what the server sends: +OK and nothing else", mirror=["server:out"])
def _(lab):
    r = lab.state
    r.serve()
    r.cli("SET", r.key(), r.key("value"))
    return [r.plain(confidence="one_side", app_optional=True, accept=["unknown"],
                    why="one line that says +OK; other protocols say so too")]


@cases.case("server-side-only-bulk", "only what the server sends: one bulk string", mirror=["server:out"])
def _(lab):
    r = lab.state
    r.serve()
    r.cli("SET", r.key(), r.key("value"), at="127.0.0.1", host=lab.server)
    r.cli("GET", r.key())
    return [r.plain(confidence="one_side", app_optional=True, accept=["unknown"], why="a single short answer")]


@cases.case("client-side-only-tls", "only what the client sends: ClientHello, records", mirror=["server:in"])
def _(lab):
    return [tls_session(lab).tls(None, confidence="one_side")]


@cases.case("server-side-only-tls", "only what the server sends: ServerHello, records", mirror=["server:out"])
def _(lab):
    return [tls_session(lab).tls(confidence="one_side")]


def nth(count, test):
    """True from the count-th packet on for which `test` is true."""
    seen = []

    def first(packet):
        seen.extend([1] if test(packet) else [])
        return len(seen) >= count
    return first


@cases.case("late-plain", "the recording starts at a command in the middle of a session",
            shape=[shape.late(nth(5, lambda p: p.dport == 6379 and p.payload[:1] == b"*"))])
def _(lab):
    return [session(lab).plain(**MIDSTREAM)]


@cases.case("late-plain-server-first", "the recording starts at an answer in the middle of a session",
            shape=[shape.late(nth(3, lambda p: p.sport == 6379 and p.payload[:1] == b"$"))])
def _(lab):
    return [session(lab).plain(**MIDSTREAM)]


@cases.case("late-nil", "the recording starts at the answer to the last command: five bytes",
            shape=[shape.late(lambda p: p.payload == b"$-1\r\n")])
def _(lab):
    r = lab.state
    r.serve()
    r.cli("GET", r.key())
    return [r.plain(**MIDSTREAM, app_optional=True, accept=["unknown"], why="one nil answer is all there is")]


@cases.case("late-subscriber", "the recording starts within a subscription: only messages from the server",
            shape=[shape.late(nth(2, lambda p: b"message" in p.payload and p.sport == 6379)),
                   shape.keep(lambda p: b"PUBLISH" not in p.payload)], mirror=["client:in"])
def _(lab):
    r = lab.state
    r.serve()
    channel, text = lab.canary("channel"), lab.canary("message")

    def listen(connection):
        subscription = connection.pubsub()
        subscription.subscribe(channel)
        for count, _ in enumerate(subscription.listen()):
            if count == 6:
                return
    subscriber = r.py(listen, wait=False, protocol=2)
    time.sleep(0.7)
    for _ in range(6):
        r.cli("PUBLISH", channel, text, host=lab.server, at="127.0.0.1")
    subscriber.result()
    return [r.plain(**MIDSTREAM)]


@cases.case("late-tls", "the recording starts in the middle of a TLS session",
            shape=[shape.late(nth(6, lambda p: p.payload[:3] == b"\x17\3\3"))])
def _(lab):
    return [tls_session(lab).tls(None, origin="midstream", confidence="midstream")]


@cases.case("both-ends-plain", "both ends are mirrored: one plaintext flow, every packet twice", mirror=BOTH)
def _(lab):
    return [session(lab).plain()]


@cases.case("both-ends-tls", "both ends are mirrored: one TLS flow, every packet twice", mirror=BOTH)
def _(lab):
    return [tls_session(lab).tls()]


@cases.case("both-ends-one-lossy-plain", "both ends are mirrored, 5 % of the server's copies are lost", mirror=BOTH,
            shape=[shape.loss(0.05, vni=1001)])
def _(lab):
    return [session(lab, 14).plain()]


@cases.case("truncated-64", "copies cut to 64 bytes: no payload is left", shape=[shape.truncate(64)])
def _(lab):
    return [session(lab).plain(encryption="unknown", app=None, outcome="unknown", confidence=None,
                               plaintext_reason=None, why="a plaintext session, but PacketLength left nothing of it")]


@cases.case("truncated-96-plain", "copies cut to 96 bytes: the first words of every command",
            shape=[shape.truncate(96)])
def _(lab):
    return [session(lab).plain(why="PacketLength cut off keys and values")]
