"""Telnet: inetutils' server behind a small inetd, with a client that types a password."""

import time

import http_servers as web
from lab import Cases

APT = ["inetutils-telnetd", "telnet"]
cases = Cases()


def check(flow, c2s, s2c):
    if s2c and s2c[:1] != b"\xff" and c2s[:1] != b"\xff":
        yield f"port {flow['client_port']}: no negotiation"


def flow(lab, **facts):
    return lab.flow(**{"server_port": 23, "encryption": "plaintext", "app": "telnet", "outcome": "established",
                       "confidence": "both_sides", "plaintext_reason": "no_in_band_upgrade", **facts})


def inetd(address, port, command):
    """Runs in the server's namespace: one connection for one program."""
    import socket
    import subprocess
    with socket.create_server((address, port)) as server:
        connection, _ = server.accept()
        with connection:
            subprocess.run(command, stdin=connection, stdout=connection, stderr=subprocess.DEVNULL, check=False)


LOGIN = """#!/bin/sh
printf 'login: '; read user; printf 'Password: '; stty -echo; read word; stty echo; echo; echo "$user welcome"; read line
"""


def serve(lab):
    home = lab.directory("telnet")
    (home / "login").write_text(LOGIN)
    (home / "login").chmod(0o755)
    serving = lab.server.spawn(inetd, lab.server.v4, 23, ["/usr/sbin/telnetd", "-h", "-E", str(home / "login")])
    time.sleep(0.5)
    lab.versions(server="inetutils " + web.version(["dpkg-query", "-W", "inetutils-telnetd"], r"\t\d*:?(\d[\d.]+)"),
                 client="scripted")
    return serving


def type_in(address, lines):
    """Runs in the client's namespace: answers options as Linux' telnet does, and types at the prompts."""
    import socket
    with socket.create_connection((address, 23), timeout=10) as sock:
        text, lines = b"", list(lines)
        while True:
            try:
                data = sock.recv(4096)
            except TimeoutError:
                return
            if not data:
                return
            answer, at = b"", 0
            while at < len(data):
                if data[at] != 255:
                    text += data[at:at + 1]
                    at += 1
                elif data[at + 1] == 250:
                    end = data.index(b"\xff\xf0", at)
                    if data[at + 2:at + 4] == b"\x18\x01":
                        answer += b"\xff\xfa\x18\x00XTERM\xff\xf0"
                    elif data[at + 3] == 1:
                        answer += data[at:at + 3] + b"\x00\xff\xf0"
                    at = end + 2
                else:
                    verb, option = data[at + 1:at + 3]
                    if verb == 253:
                        answer += bytes([255, 251 if option in (24, 39) else 252, option])
                    elif verb == 251:
                        answer += bytes([255, 253 if option in (1, 3) else 254, option])
                    at += 3
            if answer:
                sock.sendall(answer)
            if lines and text.rstrip().endswith((b":", b"welcome")):
                text = b""
                sock.sendall(lines.pop(0).encode() + b"\r\0")


@cases.case("login", "a login: user and password can be read as they are typed")
def _(lab):
    serving = serve(lab)
    lab.client.call(type_in, lab.server.v4, [lab.canary("user"), lab.canary("pass"), ""])
    serving.result()
    return [flow(lab, credentials=["password_cleartext"])]


@cases.case("no-login", "negotiations, and the client goes away at the prompt")
def _(lab):
    serving = serve(lab)
    def look(address):
        import socket
        with socket.create_connection((address, 23), timeout=10) as sock:
            sock.sendall(b"\xff\xfb\x18\xff\xfc\x20\xff\xfc\x23\xff\xfc\x27")
            sock.recv(4096)
    lab.client.call(look, lab.server.v4)
    serving.result()
    return [flow(lab)]
