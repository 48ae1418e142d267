"""rsh: after the manual pages; no server of Debian runs without inetd and PAM."""

import time

from lab import Cases

cases = Cases()


def check(flow, c2s, s2c):
    if c2s and c2s.count(b"\0") < 4:
        yield f"port {flow['client_port']}: {c2s[:40]!r}"


def flow(lab, **facts):
    return lab.flow(**{"server_port": 514, "encryption": "plaintext", "app": "rsh", "outcome": "established",
                       "confidence": "both_sides", "plaintext_reason": "no_in_band_upgrade", **facts})


def shell(address, answer):
    """Runs in the server's namespace: reads a request and answers without a second connection."""
    import socket
    with socket.create_server((address, 514)) as server:
        connection, _ = server.accept()
        with connection:
            data = b""
            while data.count(b"\0") < 4:
                data += connection.recv(1000)
            connection.sendall(answer)


def ask(address, command):
    """Runs in the client's namespace."""
    import socket
    with socket.create_connection((address, 514), timeout=5) as sock:
        sock.sendall(b"0\0alice\0bob\0" + command.encode() + b"\0")
        while sock.recv(1000):
            pass


def run(lab, answer):
    serving = lab.server.spawn(shell, lab.server.v4, answer)
    time.sleep(0.3)
    lab.client.call(ask, lab.server.v4, "cat " + lab.canary("file"))
    serving.result()
    lab.versions(server="scripted after rshd(8)", client="scripted after rcmd(3)")
    return lab


@cases.case("command", "a command and its output")
def _(lab):
    run(lab, b"\0" + lab.canary("content").encode() + b"\n")
    return [flow(lab)]


@cases.case("denied", "permission denied")
def _(lab):
    run(lab, b"\x01Permission denied.\n")
    return [flow(lab, outcome="refused")]
