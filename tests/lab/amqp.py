"""AMQP 0-9-1 and 1.0: RabbitMQ with Pika and Qpid Proton; logins, refusals, TLS, views."""

import shape
from lab import Cases
from rabbit_server import Rabbit

APT = ["rabbitmq-server"]
PIP = ["pika", "python-qpid-proton"]
cases = Cases()


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    if flow.get("app") != "amqp" or flow["origin"] == "midstream":
        return
    if c2s and c2s[:4] != b"AMQP":
        yield "the client does not begin with a protocol header"
    if s2c and not (s2c.startswith((b"AMQP", b"\x01\0\0"))):
        yield "the server begins otherwise"


def setup(lab):
    lab.state = Rabbit(lab)


def pika(lab, port=5672, tls=False, password=None, external=False, rounds=1):
    """Publish and get with Pika."""
    address, (user, right) = lab.server.v4, lab.state.login()
    queue, text, password = lab.canary("queue"), lab.canary("text"), password or right

    def client():
        import ssl

        import pika
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        options = {"ssl_options": pika.SSLOptions(context)} if tls else {}
        try:
            connection = pika.BlockingConnection(pika.ConnectionParameters(
                address, port, credentials=pika.PlainCredentials(user, password), **options))
        except Exception:  # noqa: BLE001 (a refusal)
            return pika.__version__
        channel = connection.channel()
        channel.queue_declare(queue, auto_delete=True)
        for _ in range(rounds):
            channel.basic_publish("", queue, text.encode())
            channel.basic_get(queue, auto_ack=True)
        connection.close()
        return pika.__version__
    lab.versions(server="RabbitMQ 3.10.8", client="Pika " + lab.client.call(client))


def proton(lab, mechanism="PLAIN"):
    """Send over AMQP 1.0 with Qpid Proton."""
    address, (user, password) = lab.server.v4, lab.state.login()
    text = lab.canary("text")

    def client():
        import proton
        from proton.utils import BlockingConnection
        options = {"user": user, "password": password} if mechanism == "PLAIN" else {}
        try:
            connection = BlockingConnection(f"amqp://{address}:5672", timeout=5, allow_insecure_mechs=True,
                                            allowed_mechs=mechanism, **options)
            connection.create_sender("/queue/lab").send(proton.Message(body=text))
            connection.close()
        except Exception as error:  # noqa: BLE001 (a refusal)
            return str(error)
    return lab.client.call(client)


def plain(lab, **facts):
    return lab.flow(**{"server_port": 5672, "encryption": "plaintext", "app": "amqp", "outcome": "established",
                       "plaintext_reason": "no_in_band_upgrade", "confidence": "both_sides", **facts})


@cases.case("plain-login", "AMQP 0-9-1 with SASL PLAIN in clear")
def _(lab):
    pika(lab)
    return [plain(lab, credentials=["sasl_plain"])]


@cases.case("refused", "a wrong password: Connection.Close")
def _(lab):
    pika(lab, password=lab.canary("wrong"))
    lab.canaries[:] = [lab.state.user, lab.canary("wrong")]
    return [plain(lab, outcome="refused", credentials=["sasl_plain"])]


@cases.case("tls", "AMQP inside TLS from the first byte")
def _(lab):
    pika(lab, 5671, tls=True)
    lab.canaries.clear()
    return [lab.flow(server_port=5671, encryption="tls", outcome="established", confidence="both_sides",
                     tls_version="TLSv1.3")]


@cases.case("v1-plain", "AMQP 1.0 with SASL PLAIN in clear")
def _(lab):
    proton(lab)
    lab.versions(server="RabbitMQ 3.10.8 (AMQP 1.0)", client="Qpid Proton")
    return [plain(lab, credentials=["sasl_plain"], plaintext_reason="client_never_asked")]


@cases.case("v1-unknown-version", "a version the server does not speak: it answers with its own header")
def _(lab):
    address = lab.server.v4

    def client():
        import socket
        with socket.create_connection((address, 5672)) as connection:
            connection.sendall(b"AMQP\x01\x01\x00\x0a")
            try:
                connection.recv(100)
                connection.recv(100)
            except ConnectionResetError:
                pass
    lab.client.call(client)
    lab.versions(server="RabbitMQ 3.10.8", client="a socket")
    return [plain(lab, outcome="refused")]


@cases.case("v1-tls-refused", "AMQP 1.0 asks for TLS and is answered with another header")
def _(lab):
    address = lab.server.v4

    def client():
        import socket
        with socket.create_connection((address, 5672)) as connection:
            connection.sendall(b"AMQP\x02\x01\x00\x00")
            try:
                connection.recv(100)
                connection.recv(100)
            except ConnectionResetError:
                pass
    lab.client.call(client)
    lab.versions(server="RabbitMQ 3.10.8 (AMQP 1.0)", client="a socket")
    return [plain(lab, outcome="refused", plaintext_reason="server_refused")]


@cases.case("client-side-only", "only what the client sends is mirrored", mirror=("server:in",))
def _(lab):
    pika(lab)
    return [plain(lab, confidence="one_side", credentials=["sasl_plain"])]


@cases.case("server-side-only", "only what the server sends is mirrored", mirror=("server:out",))
def _(lab):
    pika(lab)
    lab.canaries[:] = [lab.canary("queue"), lab.canary("text")]
    return [plain(lab, confidence="one_side")]


@cases.case("late", "the sensor joins after the login", shape=[shape.skip(16)])
def _(lab):
    pika(lab, rounds=4)
    lab.canaries[:] = [lab.canary("queue"), lab.canary("text")]
    return [plain(lab, origin="midstream", confidence="midstream", plaintext_reason=None)]
