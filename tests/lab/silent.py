"""Clients whose server no registry has, before something that takes their words and does not answer.

Of these protocols only what the client says first is proven here.
"""

import importlib.metadata
import time

from lab import Cases

PIP = ["pulsar-client", "hazelcast-python-client", "rethinkdb", "aerospike", "amazon-dax-client", "pylogbeat",
       "influxdb", "gnsq", "pymonetdb"]
cases = Cases()
CLEAR = {"encryption": "plaintext", "plaintext_reason": "no_in_band_upgrade"}
BEGINS = {"hazelcast": b"CP2", "pulsar": b"\0\0", "rethinkdb": b"\xc3\xbd\xc2\x34", "lumberjack": b"2",
          "aerospike": b"\2"}


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    if not c2s.startswith(BEGINS.get(flow["app"], b"")):
        yield f"port {flow['client_port']}: begins {c2s[:16]!r}"
    if s2c and flow["outcome"] == "attempt":
        yield f"port {flow['client_port']}: something answered"


def sink(address, port):
    """Takes what comes, a second of it, and closes."""
    import socket
    with socket.create_server((address, port)) as listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(1)
                try:
                    while connection.recv(65536):
                        pass
                except OSError:
                    pass


def tell(lab, port, client, package, *arguments):
    """Run a client, whatever becomes of it."""
    lab.server.spawn(sink, lab.server.v4, port)
    lab.server.wait_port(port)
    try:
        lab.client.call(client, lab.server.v4, *arguments, timeout=6)
    except (RuntimeError, TimeoutError):
        pass
    lab.versions(client=f"{package} {importlib.metadata.version(package)}")


def first_connection(packets):
    """Clients try again and again."""
    port = next(p.sport for p in packets if p.syn)
    return [p for p in packets if port in (p.sport, p.dport)]


def said(lab, app, port, **facts):
    return lab.flow(**{"server_port": port, "app": app, "outcome": "attempt", "confidence": "one_side", **CLEAR,
                       **facts})


@cases.case("pulsar", "Pulsar: a client's connect command with a token", shape=[first_connection])
def _(lab):
    def client(address, token):
        import pulsar
        pulsar.Client(f"pulsar://{address}:6650", authentication=pulsar.AuthenticationToken(token),
                      operation_timeout_seconds=1, connection_timeout_ms=1500).create_producer("lab")
    tell(lab, 6650, client, "pulsar-client", lab.canary("token"))
    return [said(lab, "pulsar", 6650, credentials=["bearer_token"])]


@cases.case("hazelcast", "Hazelcast: a client's protocol header and login")
def _(lab):
    def client(address, user, password):
        import hazelcast
        hazelcast.HazelcastClient(cluster_members=[f"{address}:5701"], cluster_connect_timeout=0.5, creds_username=user,
                                  creds_password=password)
    tell(lab, 5701, client, "hazelcast-python-client", lab.canary("user"), lab.canary("pass"))
    return [said(lab, "hazelcast", 5701)]


@cases.case("rethinkdb", "RethinkDB: a client's version and SCRAM")
def _(lab):
    def client(address, user, password):
        from rethinkdb import r
        r.connect(address, 28015, user=user, password=password, timeout=2)
    tell(lab, 28015, client, "rethinkdb", lab.canary("user"), lab.canary("pass"))
    return [said(lab, "rethinkdb", 28015, credentials=["password_hash_challenge"])]


@cases.case("aerospike", "Aerospike: a client's first questions")
def _(lab):
    def client(address):
        import aerospike
        aerospike.client({"hosts": [(address, 3000)], "policies": {"timeout": 1000}}).connect()
    tell(lab, 3000, client, "aerospike")
    return [said(lab, "aerospike", 3000)]


@cases.case("dax", "DAX: a client's opening")
def _(lab):
    def client(address):
        import os
        os.environ.update(AWS_ACCESS_KEY_ID="AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY="secret")
        import amazondax
        amazondax.AmazonDaxClient(endpoint_url=f"{address}:8111", region_name="eu-west-1")
    tell(lab, 8111, client, "amazon-dax-client")
    return [said(lab, "dax", 8111)]


@cases.case("lumberjack", "Lumberjack: a window and an event, as Beats send them")
def _(lab):
    def client(address, text):
        import pylogbeat
        with pylogbeat.PyLogBeatClient(address, 5044, ssl_enable=False, timeout=1) as beat:
            beat.send([{"@timestamp": "2026-01-01T00:00:00Z", "message": text}])
    tell(lab, 5044, client, "pylogbeat", lab.canary("message"))
    return [said(lab, "lumberjack", 5044)]


@cases.case("monetdb", "MonetDB: the server's challenge after its documentation, and the client's login")
def _(lab):
    def serve(address):
        import socket
        with socket.create_server((address, 50000)) as listener:
            connection, _ = listener.accept()
            with connection:
                challenge = b"2Qd4vJ9kX:mserver:9:RIPEMD160,SHA512,SHA384,SHA256,SHA224,SHA1:LIT:SHA512:"
                connection.sendall((len(challenge) << 1 | 1).to_bytes(2, "little") + challenge)
                said = b""
                while not said.strip(b"\0"):  # empty blocks come first
                    said += connection.recv(4096)
                connection.sendall(b"\1\0")  # an empty block: welcome
                connection.recv(4096)

    def client(address, user, password):
        import pymonetdb
        pymonetdb.connect("lab", hostname=address, port=50000, username=user, password=password)
    lab.server.spawn(serve, lab.server.v4)
    lab.server.wait_port(50000)
    try:
        lab.client.call(client, lab.server.v4, lab.canary("user"), lab.canary("pass"), timeout=6)
    except RuntimeError:
        pass
    lab.versions(server="scripted", client=f"pymonetdb {importlib.metadata.version('pymonetdb')}")
    return [said(lab, "monetdb", 50000, outcome="established", confidence="both_sides",
                 credentials=["password_hash_challenge"])]


@cases.case("influx-line", "InfluxDB line protocol in datagrams")
def _(lab):
    def receive(address):
        import socket
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind((address, 8089))
            time.sleep(10)

    def client(address, host):
        from influxdb import InfluxDBClient
        influx = InfluxDBClient(address, use_udp=True, udp_port=8089)
        for value in range(3):
            influx.write_points([{"measurement": "cpu_load", "tags": {"host": host}, "fields": {"value": float(value)},
                                  "time": "2026-01-01T00:00:00Z"}])
    lab.server.spawn(receive, lab.server.v4)
    lab.server.wait_port(8089, kind="udp")
    lab.client.call(client, lab.server.v4, lab.canary("host"))
    lab.versions(client=f"influxdb {importlib.metadata.version('influxdb')}")
    return [said(lab, "influx-line", 8089, transport="udp", outcome="established")]


@cases.case("nsq", "NSQ: a client's magic and identification")
def _(lab):
    def client(address):
        import gnsq
        gnsq.Producer(f"{address}:4150").start()
    tell(lab, 4150, client, "gnsq")
    return [said(lab, "nsq", 4150, plaintext_reason="client_never_asked")]
