"""STOMP: RabbitMQ's plugin with stomp.py."""

from lab import Cases
from rabbit_server import Rabbit

APT = ["rabbitmq-server"]
PIP = ["stomp.py"]
cases = Cases()


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    if not c2s.startswith((b"STOMP\n", b"CONNECT\n")) or not s2c.startswith((b"CONNECTED\n", b"ERROR\n")):
        yield "not STOMP"


def setup(lab):
    lab.state = Rabbit(lab)


def talk(lab, password=None):
    address, (user, right) = lab.server.v4, lab.state.login()
    text, password = lab.canary("text"), password or right

    def client():
        import stomp
        connection = stomp.Connection12([(address, 61613)], reconnect_attempts_max=1, heartbeats=(0, 0), vhost="/")
        try:
            connection.connect(user, password, wait=True)
            connection.send("/queue/lab", text)
            connection.disconnect()
        except Exception:  # noqa: BLE001 (a refusal)
            pass
        return ".".join(map(str, stomp.__version__))
    lab.versions(server="RabbitMQ 3.10.8 (STOMP)", client="stomp.py " + lab.client.call(client))


def plain(lab, **facts):
    return lab.flow(**{"server_port": 61613, "encryption": "plaintext", "app": "stomp", "outcome": "established",
                       "plaintext_reason": "no_in_band_upgrade", "confidence": "both_sides",
                       "credentials": ["password_cleartext"], **facts})


@cases.case("plain-login", "login and passcode in clear")
def _(lab):
    talk(lab)
    return [plain(lab)]


@cases.case("refused", "a wrong passcode: ERROR")
def _(lab):
    talk(lab, lab.canary("wrong"))
    lab.canaries[:] = [lab.state.user, lab.canary("wrong")]
    return [plain(lab, outcome="refused")]
