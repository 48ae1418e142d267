"""NBD: nbd-server in clear and with TLS; the client is scripted (the kernel's needs a module)."""

import http_servers as web
import shape
from lab import Cases

APT = ["nbd-server"]
cases = Cases()
PORT = 10809


def check(flow, c2s, s2c):
    if s2c and flow["origin"] == "start" and not s2c.startswith(b"NBDMAGICIHAVEOPT"):
        yield f"port {flow['client_port']}: no magic"


def flow(lab, **facts):
    return lab.flow(**{"server_port": PORT, "encryption": "plaintext", "app": "nbd", "outcome": "established",
                       "confidence": "both_sides", **facts})


def serve(lab, options=""):
    home = lab.directory("nbd")
    (home / "disk").write_bytes((lab.canary("data") * 1000).encode()[:16384].ljust(65536, b"\0"))
    (home / "conf").write_text(f"[generic]\nuser = root\ngroup = root\nlistenaddr = {lab.server.v4}\nallowlist = true\n"
                               f"{options}\n[disk]\nexportname = {home}/disk\nreadonly = true\n")
    process = lab.server.start(["nbd-server", "-d", "-C", str(home / "conf")], log=lab.log("nbd"))
    lab.server.wait_port(PORT, process)
    lab.versions(server="nbd-server " + web.version(["dpkg-query", "-W", "nbd-server"], r"\t1?:?(\d[\d.]+)"),
                 client="scripted")


def read_block(address, tls=None, refused=False, old=False):
    """Runs in the client's namespace: negotiate, read 512 bytes twice, disconnect."""
    import socket
    import ssl
    import struct
    sock = socket.create_connection((address, PORT), timeout=20)
    def read(count):
        data = b""
        while len(data) < count:
            piece = sock.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data
    def option(number, body=b""):
        sock.sendall(b"IHAVEOPT" + struct.pack(">II", number, len(body)) + body)
    def reply():
        _magic, _option, kind, length = struct.unpack(">QIII", read(20))
        read(length)
        return kind
    read(18)
    sock.sendall(struct.pack(">I", 3))
    if tls is not None:
        option(5)
        if reply() == 1:
            context = ssl.create_default_context(cafile=tls)
            sock = context.wrap_socket(sock, server_hostname="db.lab.internal")
    if old:
        option(1, b"disk")
        read(10)
    else:
        option(7, struct.pack(">I", 4) + b"disk" + struct.pack(">H", 0))
        while (kind := reply()) == 3:
            pass
        if kind != 1:
            sock.close()
            return
    for offset in (0, 512):
        sock.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, offset + 1, offset, 512))
        read(16 + 512)
    sock.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 2, 9, 0, 0))
    sock.close()


def tls(lab, forced=True):
    crt, key = lab.certs.server(rsa=True)
    return f"certfile = {crt}\nkeyfile = {key}\ncacertfile = {lab.certs.ca}\nforce_tls = {str(forced).lower()}"


@cases.case("go", "NBD_OPT_GO without TLS: the blocks can be read")
def _(lab):
    serve(lab)
    lab.client.call(read_block, lab.server.v4)
    return [flow(lab, plaintext_reason="client_never_asked")]


@cases.case("export-name", "NBD_OPT_EXPORT_NAME, the old way")
def _(lab):
    serve(lab)
    lab.client.call(read_block, lab.server.v4, None, False, True)
    return [flow(lab, plaintext_reason="client_never_asked")]


@cases.case("starttls-refused", "the client asks for TLS, the server has none, the client goes on")
def _(lab):
    serve(lab)
    lab.client.call(read_block, lab.server.v4, str(lab.certs.ca))
    return [flow(lab, plaintext_reason="server_refused")]


@cases.case("tls-required", "the server requires TLS of a client that does not ask for it")
def _(lab):
    serve(lab, tls(lab))
    lab.canaries.clear()
    lab.client.call(read_block, lab.server.v4)
    return [flow(lab, plaintext_reason="client_never_asked", outcome="refused")]


@cases.case("late", "joined in the middle: magic numbers of requests and replies",
            shape=[shape.late(lambda p: p.payload[:4] == b"\x25\x60\x95\x13")])
def _(lab):
    serve(lab)
    lab.client.call(read_block, lab.server.v4)
    return [flow(lab, plaintext_reason="client_never_asked", origin="midstream", confidence="midstream")]
