"""SOCKS 4, 4a and 5: MicroSocks and Dante with PySocks; what runs inside, logins, refusals."""

import http_servers as web
from lab import Cases

APT = [*web.APT, "microsocks", "dante-server"]
PIP = ["PySocks"]
cases = Cases()
CLEAR = "password_cleartext"


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    if c2s[:1] not in (b"\x04", b"\x05") or s2c[:1] not in (b"\0", b"\x05"):
        yield f"not SOCKS: {c2s[:4]!r} {s2c[:4]!r}"


def origin(lab, tls=False):
    """A small web server behind the proxy (loopback of the server)."""
    text = lab.canary("text")
    crt, key = lab.certs.server()

    def serve():
        import http.server
        import ssl

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass
        server = http.server.HTTPServer(("127.0.0.1", 8080), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(crt, key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.timeout = 5
        server.handle_request()
    running = lab.server.spawn(serve)
    lab.server.wait_port(8080)
    return running


def micro(lab, *options):
    process = lab.server.start(["/usr/bin/microsocks", "-p", "1080", *options], log=lab.log("microsocks"))
    lab.server.wait_port(1080, process)
    lab.versions(server="MicroSocks 1.0.3", client="PySocks")


def dante(lab):
    home = lab.directory("dante")
    (home / "conf").write_text("""internal: 0.0.0.0 port = 1080
external: lo
socksmethod: none
clientmethod: none
user.privileged: root
user.unprivileged: root
client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
socks pass { from: 0.0.0.0/0 to: 127.0.0.0/8 }
socks block { from: 0.0.0.0/0 to: 0.0.0.0/0 }
""")
    process = lab.server.start(["/usr/sbin/danted", "-f", str(home / "conf"), "-p", str(home / "pid")],
                               log=lab.log("dante"))
    lab.server.wait_port(1080, process)
    lab.versions(server="Dante 1.4.2", client="PySocks")


def fetch(lab, version=5, tls=False, target="127.0.0.1", port=8080, remote=True, **login):
    address = lab.server.v4

    def client():
        import ssl

        import socks
        peer = socks.socksocket()
        peer.settimeout(5)
        peer.set_proxy({4: socks.SOCKS4, 5: socks.SOCKS5}[version], address, 1080, rdns=remote, **login)
        try:
            peer.connect((target, port))
        except (socks.ProxyError, OSError):
            return
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            peer = context.wrap_socket(peer)
        peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while peer.recv(1000):
            pass
        peer.close()
    lab.client.call(client)


def plain(lab, **facts):
    return lab.flow(**{"server_port": 1080, "encryption": "plaintext", "app": "socks", "outcome": "established",
                       "plaintext_reason": "no_in_band_upgrade", "confidence": "both_sides", **facts})


def tls(lab, **facts):
    return lab.flow(**{"server_port": 1080, "encryption": "tls", "app": "socks", "upgrade": "socks",
                       "outcome": "established", "confidence": "both_sides", "tls_version": "TLSv1.3", **facts})


@cases.case("v5-http", "HTTP through SOCKS 5")
def _(lab):
    running = origin(lab)
    micro(lab)
    fetch(lab)
    running.result()
    return [plain(lab)]


@cases.case("v5-login-tls", "TLS through SOCKS 5, after a password in clear")
def _(lab):
    running = origin(lab, tls=True)
    user, password = lab.canary("user"), lab.canary("pass")
    micro(lab, "-u", user, "-P", password)
    fetch(lab, tls=True, username=user, password=password)
    running.result()
    lab.canaries.clear()  # the data is encrypted; the login is not
    return [tls(lab, credentials=[CLEAR])]


@cases.case("v5-wrong-password", "a wrong password: refused")
def _(lab):
    user, password = lab.canary("user"), lab.canary("wrong")
    micro(lab, "-u", user, "-P", "right")
    fetch(lab, username=user, password=password)
    return [plain(lab, app="socks", outcome="refused", credentials=[CLEAR])]


@cases.case("v5-no-route", "a connection the proxy cannot make")
def _(lab):
    micro(lab)
    fetch(lab, port=9)
    return [plain(lab, app="socks", outcome="refused")]


@cases.case("v4-tls", "TLS through SOCKS 4")
def _(lab):
    running = origin(lab, tls=True)
    dante(lab)
    fetch(lab, version=4, tls=True, remote=False)
    running.result()
    lab.canaries.clear()
    return [tls(lab)]


@cases.case("v4-blocked", "SOCKS 4: the request is rejected")
def _(lab):
    dante(lab)
    fetch(lab, version=4, target="10.99.0.1", remote=False)
    return [plain(lab, app="socks", outcome="refused")]
