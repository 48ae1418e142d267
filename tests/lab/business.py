"""Money and messages: FIX with simplefix, SMPP with smpplib, both with scripted servers."""

import socket
import struct

import http_servers as web
import shape
from lab import Cases

PIP = ["simplefix", "smpplib"]
cases = Cases()
CLEAR = {"encryption": "plaintext", "plaintext_reason": "no_in_band_upgrade", "confidence": "both_sides",
         "outcome": "established", "credentials": ["password_cleartext"]}


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    begin = {"fix": b"8=FIX", "smpp": b"\0\0\0"}[flow["app"]]
    for said in filter(None, (c2s, s2c)):
        if not said.startswith(begin):
            yield f"port {flow['client_port']}: begins {said[:12]!r}"
    if flow["credentials"] and flow["app"] == "fix" and b"\x01554=" not in c2s:
        yield f"port {flow['client_port']}: no password in the logon"


def fix_message(kind, number, *fields):
    import simplefix
    message = simplefix.FixMessage()
    for tag, value in (("8", "FIX.4.4"), ("35", kind), ("49", "SHOP"), ("56", "BANK"), ("34", number),
                       ("52", "20260101-00:00:00"), *fields):
        message.append_pair(tag, value)
    return message.encode()


def exchange(address, answers):
    """Answer each message with the next of `answers`."""
    with socket.create_server((address, 9878)) as listener:
        connection, _ = listener.accept()
        with connection:
            for answer in answers:
                if not connection.recv(4096):
                    return
                connection.sendall(answer)
            connection.recv(4096)


def trade(lab, answers, messages, **facts):
    lab.server.spawn(exchange, lab.server.v4, answers)
    lab.server.wait_port(9878)

    def client(address):
        with socket.create_connection((address, 9878), timeout=5) as connection:
            for message in messages:
                connection.sendall(message)
                connection.recv(4096)

    lab.client.call(client, lab.server.v4)
    lab.versions(server="scripted with simplefix", client="scripted with simplefix")
    return [lab.flow(**{"server_port": 9878, "app": "fix", **CLEAR, **facts})]


@cases.case("fix-logon", "a logon with a password, then an order")
def _(lab):
    logon = [("98", 0), ("108", 30)]
    order = fix_message("D", 2, ("11", lab.canary("order")), ("55", "XYZ"), ("54", 1), ("38", 100), ("40", 1))
    return trade(lab, [fix_message("A", 1, *logon), fix_message("8", 2, ("37", 1), ("39", 0))],
                 [fix_message("A", 1, *logon, ("553", lab.canary("user")), ("554", lab.canary("password"))), order])


@cases.case("fix-logout", "a logon that is answered with a logout")
def _(lab):
    return trade(lab, [fix_message("5", 1, ("58", "who are you"))],
                 [fix_message("A", 1, ("98", 0), ("108", 30))], outcome="refused", credentials=[])


@cases.case("fix-client-only", "only what the client sends", mirror=["server:in"])
def _(lab):
    return trade(lab, [fix_message("A", 1, ("98", 0), ("108", 30))],
                 [fix_message("A", 1, ("98", 0), ("108", 30), ("554", lab.canary("password")))], confidence="one_side")


@cases.case("fix-late", "the recording starts with an order in the middle of a session",
            shape=[shape.late(web.nth(3, lambda p: p.payload and p.dport == 9878))])
def _(lab):
    order = [fix_message("D", n, ("11", lab.canary(f"order{n}")), ("55", "XYZ"), ("54", 1)) for n in range(2, 6)]
    logon = fix_message("A", 1, ("98", 0), ("108", 30), ("554", lab.canary("password")))
    report = [fix_message("8", n, ("37", n), ("39", 0)) for n in range(2, 6)]
    return trade(lab, [logon, *report], [logon, *order], credentials=[], origin="midstream", confidence="midstream")


def centre(address, status):
    """Answers every request with its response."""
    with socket.create_server((address, 2775)) as listener:
        connection, _ = listener.accept()
        with connection:
            while True:
                head = connection.recv(4, socket.MSG_WAITALL)
                if len(head) < 4:
                    return
                rest = connection.recv(struct.unpack(">I", head)[0] - 4, socket.MSG_WAITALL)
                command, _status, number = struct.unpack(">III", rest[:12])
                body = b"" if command in (6, 0x15) else b"smsc\0"
                connection.sendall(struct.pack(">IIII", 16 + len(body), command | 1 << 31, status, number) + body)


def message(lab, status, **facts):
    user, password, text = lab.canary("u"), lab.canary("p"), lab.canary("text")
    lab.server.spawn(centre, lab.server.v4, status)
    lab.server.wait_port(2775)

    def client(address):
        import smpplib.client
        import smpplib.exceptions
        sender = smpplib.client.Client(address, 2775, timeout=5)
        sender.connect()
        try:
            sender.bind_transceiver(system_id=user, password=password)
            sender.send_message(source_addr="1", destination_addr="2", short_message=text.encode())
            sender.read_once()
            sender.unbind()
        except smpplib.exceptions.PDUError:
            pass
        sender.disconnect()

    lab.client.call(client, lab.server.v4)
    lab.versions(server="scripted", client="smpplib 2.2")
    return [lab.flow(**{"server_port": 2775, "app": "smpp", **CLEAR, **facts})]


@cases.case("smpp-bind", "a bind with a password, a message")
def _(lab):
    return message(lab, 0)


@cases.case("smpp-bind-refused", "a bind with the wrong password")
def _(lab):
    return message(lab, 0x0E, outcome="refused")
