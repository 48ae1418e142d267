"""Kafka: librdkafka and its mock cluster; logins at a scripted broker (none is packaged in Debian or on PyPI)."""

import contextlib
import struct
import sys
import time

import kafka_scripted
import shape
from lab import Cases

APT = ["socat"]
PIP = ["confluent-kafka"]
cases = Cases()
PORT = 9092
LATE = {"origin": "midstream", "confidence": "midstream"}


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    if flow.get("app") != "kafka" or flow["origin"] != "start":
        return
    where = f"port {flow['client_port']}"
    if c2s and struct.unpack(">hh", c2s[4:8])[0] != 18:
        yield f"{where}: the client does not begin with ApiVersions: {c2s[:8]!r}"
    if c2s and s2c and c2s[8:12] != s2c[4:8]:
        yield f"{where}: the first answer has another correlation id"
    if ("sasl_plain" in flow["credentials"]) != (b"\0\x05PLAIN" in c2s):
        yield f"{where}: SASL PLAIN or not?"


def plain(lab, **facts):
    return lab.flow(**{"server_port": PORT, "encryption": "plaintext", "app": "kafka", "outcome": "established",
                       "plaintext_reason": "no_in_band_upgrade", "confidence": "both_sides", **facts})


# --- the mock cluster: it listens on 127.0.0.1, so relays carry it over the network -----------------------------

MOCK = """
import sys, time
from confluent_kafka import Producer
mock = Producer({"test.mock.num.brokers": 1})
mock.produce("warm", b"up")
mock.flush()
print(mock.list_topics().brokers[1].port, flush=True)
time.sleep(600)
"""


def cluster(lab):
    log = lab.log("mock")
    log.write_text("")
    lab.server.start([sys.executable, "-c", MOCK], log=log)
    for _ in range(100):
        last = log.read_text().strip().rpartition("\n")[2]
        if last.isdigit():
            break
        time.sleep(0.1)
    port = int(last)
    lab.server.start(["socat", f"TCP-LISTEN:{port},bind={lab.server.v4},fork", f"TCP:127.0.0.1:{port}"],
                     log=lab.log("far"))
    lab.client.start(["socat", f"TCP-LISTEN:{port},bind=127.0.0.1,fork", f"TCP:{lab.server.v4}:{port}"],
                     log=lab.log("near"))
    lab.client.wait_port(port)
    lab.versions(server="librdkafka mock cluster", client="librdkafka " + lab.client.call(version))
    return port


def version():
    import confluent_kafka
    return confluent_kafka.libversion()[0]


def produce(port, topic, values):
    """Produce: one connection for the list of brokers, one to the broker."""
    from confluent_kafka import Producer
    producer = Producer({"bootstrap.servers": f"127.0.0.1:{port}", "linger.ms": 0})
    for value in values:
        producer.produce(topic, value)
        producer.flush(10)


def consume(port, topic):
    from confluent_kafka import Consumer
    consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{port}", "group.id": "lab",
                         "auto.offset.reset": "earliest", "fetch.wait.max.ms": 100})
    consumer.subscribe([topic])
    assert consumer.poll(15)
    consumer.close()


def values(lab, count=3):
    return lab.canary("topic"), [lab.canary(f"value{n}") for n in range(count)]


@cases.case("produce", "a producer without TLS")
def _(lab):
    port = cluster(lab)
    lab.client.call(produce, port, *values(lab))
    return [plain(lab, server_port=port) for _ in range(2)]


@cases.case("consume", "a consumer of a group: a connection more, to the group's coordinator")
def _(lab):
    port = cluster(lab)
    topic, sent = values(lab, 1)
    lab.server.call(produce, port, topic, sent)
    lab.client.call(consume, port, topic)
    return [plain(lab, server_port=port) for _ in range(3)]


@cases.case("client-side-only", "only what the producer says is seen", mirror=("server:in",))
def _(lab):
    port = cluster(lab)
    lab.client.call(produce, port, *values(lab))
    return [plain(lab, server_port=port, confidence="one_side") for _ in range(2)]


@cases.case("server-side-only", "only what the broker says is seen", mirror=("server:out",))
def _(lab):
    port = cluster(lab)
    lab.client.call(produce, port, *values(lab))
    for canary in list(lab.canaries):
        if "value" in canary:
            lab.canaries.remove(canary)  # they are never sent back
    return [plain(lab, server_port=port, confidence="one_side") for _ in range(2)]


@cases.case("late", "a producer seen from its second record on",
            shape=[shape.late(lambda p: b"cnryvalue1" in p.payload)])
def _(lab):
    port = cluster(lab)
    lab.client.call(produce, port, *values(lab))
    lab.canaries.remove(lab.canary("value0"))
    return [plain(lab, server_port=port, **LATE)]


# --- logins -------------------------------------------------------------------------------------------------------

def login(lab, mechanism, protocol="SASL_PLAINTEXT", wrong=False, **options):
    user, password = lab.canary("user"), lab.canary("pass")
    tls = list(map(str, lab.certs.server())) if "SSL" in protocol else []
    server = lab.server.start([sys.executable, kafka_scripted.__file__, lab.server.v4, str(PORT), mechanism, user,
                               "wrong" if wrong else password, *tls], log=lab.log("scripted"))
    lab.server.wait_port(PORT, server)
    settings = {"bootstrap.servers": f"{lab.server.v4}:{PORT}", "security.protocol": protocol,
                "sasl.mechanism": mechanism, "reconnect.backoff.ms": 10_000, "reconnect.backoff.max.ms": 10_000,
                "sasl.username": user, "sasl.password": password, **options}

    def client():
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient
        admin = AdminClient(settings, logger=None)
        with contextlib.suppress(KafkaException):  # there are no topics
            admin.list_topics(timeout=0.8)  # before a second attempt
    lab.client.call(client)
    lab.versions(server="scripted broker", client="librdkafka " + lab.client.call(version))


@cases.case("sasl-plain", "a login by SASL PLAIN: the password can be read")
def _(lab):
    login(lab, "PLAIN")
    return [plain(lab, credentials=["sasl_plain"])]


@cases.case("sasl-plain-wrong", "a wrong password by SASL PLAIN")
def _(lab):
    login(lab, "PLAIN", wrong=True)
    return [plain(lab, credentials=["sasl_plain"], outcome="refused")]


@cases.case("sasl-scram", "a login by SCRAM-SHA-256: proofs, no password")
def _(lab):
    login(lab, "SCRAM-SHA-256")
    lab.canaries.remove(lab.canary("pass"))
    return [plain(lab, credentials=["password_hash_challenge"])]


@cases.case("sasl-oauthbearer", "a login by OAUTHBEARER: the token can be read")
def _(lab):
    login(lab, "OAUTHBEARER", **{"enable.sasl.oauthbearer.unsecure.jwt": "true",
                                 "sasl.oauthbearer.config": f"principal={lab.canary('user')}"})
    lab.canaries.clear()  # the token is in base64
    return [plain(lab, credentials=["bearer_token"])]


@cases.case("sasl-tls", "a login inside TLS: nothing says Kafka")
def _(lab):
    login(lab, "PLAIN", protocol="SASL_SSL", **{"ssl.ca.location": str(lab.certs.ca),
                                                "ssl.endpoint.identification.algorithm": "none"})
    return [lab.flow(server_port=PORT, encryption="tls", outcome="established", confidence="both_sides")]
