"""NFS: a scripted server and client (the kernel's need modules): NULL calls, RPC with TLS, and its refusal."""

import time

from lab import Cases

cases = Cases()
PORT = 2049
UPGRADE = "rpc-auth-tls"


def check(flow, c2s, s2c):
    if c2s and c2s[8:20] != b"\0\0\0\0\0\0\0\2\0\1\x86\xa3":
        yield f"port {flow['client_port']}: no call"
    if (b"STARTTLS" in s2c) != (flow.get("upgrade") == UPGRADE and bool(s2c)):
        yield f"port {flow['client_port']}: STARTTLS"


def flow(lab, **facts):
    return lab.flow(**{"server_port": PORT, "encryption": "plaintext", "app": "nfs", "outcome": "established",
                       "confidence": "both_sides", **facts})


def record(*words, tail=b""):
    """A message of 32-bit words behind its record mark."""
    import struct
    body = b"".join(struct.pack(">I", word) for word in words) + tail
    return struct.pack(">I", 1 << 31 | len(body)) + body


def read_record(sock):
    data = b""
    while len(data) < 4 or len(data) < 4 + int.from_bytes(data[1:4], "big"):
        piece = sock.recv(4096)
        if not piece:
            return None
        data += piece
    return data[4:]


def serve(address, pair):
    """Runs in the server's namespace: answers calls of one connection; with a certificate it takes AUTH_TLS."""
    import socket
    import ssl
    import struct
    with socket.create_server((address, PORT)) as server:
        sock, _ = server.accept()
        while call := read_record(sock):
            number, flavor = struct.unpack(">I20xI", call[:28])
            if flavor == 7 and pair:
                sock.sendall(record(number, 1, 0, 0, 8, tail=b"STARTTLS\0\0\0\0"))
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*pair)
                context.set_alpn_protocols(["sunrpc"])
                sock = context.wrap_socket(sock, server_side=True)
            elif flavor == 7:
                sock.sendall(record(number, 1, 1, 1, 2))
            else:
                sock.sendall(record(number, 1, 0, 0, 0, 0, 0, 1, 2, tail=b"attributes 0"))
        sock.close()


def ask(address, ca, name):
    """Runs in the client's namespace: AUTH_TLS first with a CA, then LOOKUP of a name."""
    import socket
    import ssl
    sock = socket.create_connection((address, PORT), timeout=5)
    if ca:
        sock.sendall(record(7, 0, 2, 100003, 3, 0, 7, 0, 0, 0))
        if read_record(sock).endswith(b"STARTTLS\0\0\0\0"):
            context = ssl.create_default_context(cafile=ca)
            context.set_alpn_protocols(["sunrpc"])
            sock = context.wrap_socket(sock, server_hostname="server.lab.internal")
    else:
        sock.sendall(record(8, 0, 2, 100003, 3, 0, 0, 0, 0, 0))
        read_record(sock)
    credential = (1, 20, 0, 0, 1000, 1000, 0)
    sock.sendall(record(9, 0, 2, 100003, 3, 3, *credential, 0, 0, 4, 1, len(name), tail=name.ljust(32, b"\0")))
    read_record(sock)
    sock.close()


def run(lab, ca=None, pair=None):
    serving = lab.server.spawn(serve, lab.server.v4, pair)
    time.sleep(0.4)
    lab.client.call(ask, lab.server.v4, ca, lab.canary("name").encode())
    serving.result()
    lab.versions(server="scripted after RFC 1813 and RFC 9289", client="scripted after RFC 1813 and RFC 9289")


@cases.case("sys", "AUTH_SYS: a name is looked up in clear")
def _(lab):
    run(lab)
    return [flow(lab, plaintext_reason="client_never_asked")]


@cases.case("tls", "RPC with TLS: AUTH_TLS, STARTTLS, and a handshake")
def _(lab):
    run(lab, str(lab.certs.ca), tuple(map(str, lab.certs.server(rsa=True))))
    return [flow(lab, encryption="tls", upgrade=UPGRADE, sni="server.lab.internal", tls_version="TLSv1.3")]


@cases.case("tls-refused", "the server knows no AUTH_TLS, and the client goes on in clear")
def _(lab):
    run(lab, str(lab.certs.ca))
    return [flow(lab, plaintext_reason="server_refused")]


@cases.case("tls-client-only", "only what the client sends was mirrored", mirror=("server:in",))
def _(lab):
    run(lab, str(lab.certs.ca), tuple(map(str, lab.certs.server(rsa=True))))
    return [flow(lab, encryption="tls", upgrade=UPGRADE, sni="server.lab.internal", confidence="one_side",
                 outcome="unknown")]


@cases.case("client-only", "only what the client sends was mirrored: the program is named", mirror=("server:in",))
def _(lab):
    run(lab)
    return [flow(lab, plaintext_reason="client_never_asked", confidence="one_side")]


@cases.case("server-only", "only the answers were mirrored: some program of ONC RPC", mirror=("server:out",))
def _(lab):
    run(lab)
    return [flow(lab, app="sunrpc", plaintext_reason="client_never_asked", confidence="one_side")]
