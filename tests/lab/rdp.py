"""RDP: xrdp with TLS and with standard security; freerdp, and scripted clients where it refuses."""

import http_servers as web
from lab import Cases

APT = ["xrdp", "freerdp2-x11", "tigervnc-standalone-server"]
cases = Cases()
PORT = 3389


def check(flow, c2s, s2c):
    if any(said and said[:2] != b"\x03\x00" for said in (c2s, s2c)):
        yield f"port {flow['client_port']}: no TPKT"


def flow(lab, **facts):
    return lab.flow(**{"server_port": PORT, "encryption": "tls", "app": "rdp", "outcome": "established",
                       "confidence": "both_sides", **facts})


def serve(lab, layer, level="high"):
    home = lab.directory("xrdp")
    crt, key = lab.certs.server(rsa=True)
    (home / "xrdp.ini").write_text(f"""[Globals]
ini_version=1
fork=false
port=tcp://{lab.server.v4}:{PORT}
security_layer={layer}
crypt_level={level}
certificate={crt}
key_file={key}
ssl_protocols=TLSv1.2, TLSv1.3
max_bpp=16
[Logging]
LogFile={home}/log
LogLevel=INFO
EnableSyslog=false
[Xorg]
name=Xorg
lib=libxup.so
username=ask
password=ask
port=-1
""")
    process = lab.server.start(["/usr/sbin/xrdp", "--nodaemon", "--config", str(home / "xrdp.ini")], log=lab.log("xrdp"))
    lab.server.wait_port(PORT, process)
    lab.versions(server="xrdp " + web.version(["dpkg-query", "-W", "xrdp"], r"\t(\d[\d.]+)"))


def connect(lab, *options):
    home = lab.directory("freerdp")
    screen = lab.client.start(["Xtigervnc", ":9", "-rfbport", "5909", "-SecurityTypes", "None", "-ac", "-listen", "tcp",
                               "-nolisten", "unix", "-nolisten", "local"], log=lab.log("screen"))
    lab.client.wait_port(6009, screen)
    lab.client.run(["timeout", "3", "xfreerdp", f"/v:{lab.server.v4}", "/cert:ignore", "/u:bob",
                    "/p:secret", "/size:160x120", "/bpp:8", *options], check=False, env={"HOME": str(home), "PATH": "/usr/bin:/bin", "DISPLAY": f"{lab.client.v4}:9"})
    lab.versions(client="FreeRDP " + web.version(["dpkg-query", "-W", "freerdp2-x11"], r"\t(\d[\d.]+)"))


def negotiate(address, protocols, hello=False):
    """Runs in the client's namespace: the connection request and its answer, and perhaps TLS."""
    import socket
    import ssl
    with socket.create_connection((address, PORT), timeout=5) as sock:
        variable = b"Cookie: mstshash=bob\r\n"
        if protocols is not None:
            variable += b"\x01\x00\x08\x00" + protocols.to_bytes(4, "little")
        length = len(variable) + 6
        sock.sendall(bytes([3, 0, 0, length + 5, length, 0xe0, 0, 0, 0, 0, 0]) + variable)
        sock.recv(100)
        if hello:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.wrap_socket(sock, server_hostname="db.lab.internal").close()


TLS = {"upgrade": "rdp-negotiation", "tls_version": "TLSv1.2", "sni": "db.lab.internal"}


@cases.case("tls", "the negotiation leads to TLS")
def _(lab):
    serve(lab, "tls")
    lab.versions(client="scripted")
    lab.client.call(negotiate, lab.server.v4, 1, True)
    return [flow(lab, **TLS)]


@cases.case("tls-client-only", "only what the client sends was mirrored: the hello follows its request", mirror=("server:in",))
def _(lab):
    serve(lab, "tls")
    lab.versions(client="scripted")
    lab.client.call(negotiate, lab.server.v4, 1, True)
    return [flow(lab, confidence="one_side", outcome="unknown", upgrade="rdp-negotiation", sni="db.lab.internal")]


@cases.case("standard-high", "standard RDP security, level High: RC4 on both sides")
def _(lab):
    serve(lab, "rdp")
    connect(lab, "/sec:rdp")
    return [flow(lab, encryption="other-encrypted")]


@cases.case("standard-low", "standard RDP security, level Low: what the server sends is clear")
def _(lab):
    serve(lab, "rdp", "low")
    connect(lab, "/sec:rdp")
    return [flow(lab, encryption="partial", plaintext_reason=None)]


@cases.case("standard-none", "standard RDP security, level None: the password can be read")
def _(lab):
    serve(lab, "rdp", "none")
    connect(lab, "/sec:rdp")
    return [flow(lab, encryption="plaintext", plaintext_reason="client_never_asked", credentials=["password_cleartext"])]
