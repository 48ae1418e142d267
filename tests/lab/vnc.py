"""VNC: TigerVNC's server, and a client that speaks the handshake of each security type."""

import http_servers as web
from lab import Cases

APT = ["tigervnc-standalone-server"]
PIP = ["cryptography"]
cases = Cases()
PORT = 5907
HASH = "password_hash_challenge"


def check(flow, c2s, s2c):
    if any(said and not said.startswith(b"RFB 003.") for said in (c2s, s2c)):
        yield f"port {flow['client_port']}: no version"


def flow(lab, **facts):
    return lab.flow(**{"server_port": PORT, "encryption": "plaintext", "app": "vnc", "outcome": "established",
                       "confidence": "both_sides", **facts})


def serve(lab, types, *options):
    home = lab.directory("vnc")
    (home / "passwd").write_bytes(obfuscated(b"secret12"))
    crt, key = lab.certs.server(rsa=True)
    process = lab.server.start(
        ["Xtigervnc", ":7", "-rfbport", str(PORT), "-geometry", "64x64", "-depth", "16", "-SecurityTypes", types,
         "-PasswordFile", str(home / "passwd"), "-PlainUsers", "*", "-X509Cert", str(crt), "-X509Key", str(key),
         "-listen", "tcp", "-nolisten", "unix", "-nolisten", "local", "-ac", *options], log=lab.log("vnc"), env={"HOME": str(home), "PATH": "/usr/bin:/bin"})
    lab.server.wait_port(PORT, process)
    lab.versions(server="TigerVNC " + web.version(["dpkg-query", "-W", "tigervnc-standalone-server"], r"\t(\d[\d.]+)"),
                 client="scripted")


def des(key, block):
    """DES with the bits of the key's bytes reversed, as VNC has it."""
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    from cryptography.hazmat.primitives.ciphers import Cipher, modes
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in key.ljust(8, b"\0")[:8])
    encryptor = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()
    return encryptor.update(block) + encryptor.finalize()


def obfuscated(password):
    """A password file: DES under a key that everyone knows."""
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    from cryptography.hazmat.primitives.ciphers import Cipher, modes
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in (23, 82, 107, 6, 35, 78, 88, 7))
    encryptor = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()
    return encryptor.update(password.ljust(8, b"\0")) + encryptor.finalize()


def connect(address, kind=1, subtype=None, version=b"RFB 003.008\n", password=b"secret12", ca=None):
    """Runs in the client's namespace: the handshake up to the server's name."""
    import socket
    import ssl
    import struct
    with socket.create_connection((address, PORT), timeout=20) as sock:
        def read(count):
            data = b""
            while len(data) < count:
                piece = sock.recv(count - len(data))
                if not piece:
                    raise EOFError
                data += piece
            return data
        read(12)
        sock.sendall(version)
        if version < b"RFB 003.007":
            kind = struct.unpack(">I", read(4))[0]
        else:
            read(read(1)[0])
            sock.sendall(bytes([kind]))
        if kind == 19:
            read(2)
            sock.sendall(b"\x00\x02")
            read(1)
            read(4 * read(1)[0])
            sock.sendall(struct.pack(">I", subtype))
            if subtype > 256:
                read(1)
                context = ssl.create_default_context(cafile=ca)
                context.check_hostname = False
                sock = context.wrap_socket(sock, server_hostname="db.lab.internal")
        if kind == 2 or subtype == 261:
            sock.sendall(des(password, read(16)))
        if version >= b"RFB 003.008" or kind != 1:
            if struct.unpack(">I", read(4))[0]:
                return
        sock.sendall(b"\x01")
        read(24)


@cases.case("none", "no authentication: anyone may look")
def _(lab):
    serve(lab, "None")
    lab.client.call(connect, lab.server.v4)
    return [flow(lab, plaintext_reason="server_refused")]


@cases.case("password", "VNC authentication: a DES challenge, then clear")
def _(lab):
    serve(lab, "VncAuth")
    lab.client.call(connect, lab.server.v4, 2)
    return [flow(lab, plaintext_reason="server_refused", credentials=[HASH])]


@cases.case("declined", "the server offers TLS, the client takes VNC authentication")
def _(lab):
    serve(lab, "X509Vnc,VncAuth")
    lab.client.call(connect, lab.server.v4, 2)
    return [flow(lab, plaintext_reason="client_declined", credentials=[HASH])]


@cases.case("version-3", "protocol 3.3: the server says what it is to be")
def _(lab):
    serve(lab, "VncAuth")
    lab.client.call(connect, lab.server.v4, 2, None, b"RFB 003.003\n")
    return [flow(lab, plaintext_reason="server_refused", credentials=[HASH])]


@cases.case("wrong-password", "a wrong password")
def _(lab):
    serve(lab, "VncAuth")
    lab.client.call(connect, lab.server.v4, 2, None, b"RFB 003.008\n", b"wrong")
    return [flow(lab, plaintext_reason="server_refused", credentials=[HASH], outcome="refused")]


@cases.case("vencrypt-x509", "VeNCrypt with a certificate: TLS, and the challenge within it")
def _(lab):
    serve(lab, "X509Vnc")
    lab.client.call(connect, lab.server.v4, 19, 261, b"RFB 003.008\n", b"secret12", str(lab.certs.ca))
    return [flow(lab, encryption="tls", upgrade="vnc-vencrypt", sni="db.lab.internal", tls_version="TLSv1.3")]


@cases.case("client-only", "only what the client sends was mirrored", mirror=("server:in",))
def _(lab):
    serve(lab, "VncAuth")
    lab.client.call(connect, lab.server.v4, 2)
    return [flow(lab, plaintext_reason="client_never_asked", credentials=[HASH], confidence="one_side")]


@cases.case("server-only", "only what the server sends was mirrored", mirror=("server:out",))
def _(lab):
    serve(lab, "None,VncAuth")
    lab.client.call(connect, lab.server.v4, 1)
    return [flow(lab, plaintext_reason="server_refused", confidence="one_side")]
