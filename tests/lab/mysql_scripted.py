"""A scripted server that logs a client in as MySQL 8 does (caching_sha2_password) and answers SELECT 'text'.

No MySQL 8 is packaged in Debian or on PyPI; MariaDB has no such login.
"""

import hashlib
import os
import re
import socket
import ssl

CAPABILITIES = 0x0008a20d | 0x00080000  # 4.1 protocol, transactions, secure connection, with db, plugin auth
CLIENT_SSL = 0x800


def serve_sha2(address, port, password, known, clear, crt, key):
    """Serve one connection.

    known: the server has the password's hash at hand (fast); else it wants the password itself,
    under its RSA key, or inside TLS when crt is given. clear: it asks for mysql_clear_password.
    """
    with socket.create_server((address, port)) as waiting:
        connection, _ = waiting.accept()
    wire, nonce = Wire(connection), bytes(33 + b % 94 for b in os.urandom(20))
    capabilities = CAPABILITIES | (CLIENT_SSL if crt else 0)
    wire.send(b"\x0a8.0.36\0" + (11).to_bytes(4, "little") + nonce[:8] + b"\0" + capabilities.to_bytes(4, "little")[:2]
              + b"\xff\x02\0" + capabilities.to_bytes(4, "little")[2:] + b"\x15" + bytes(10) + nonce[8:] + b"\0"
              + b"caching_sha2_password\0")
    response = wire.receive()
    if len(response) == 32:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(crt, key)
        wire.socket = context.wrap_socket(connection, server_side=True)
        response = wire.receive()
    secret = password.encode()
    if clear:
        wire.send(b"\xfemysql_clear_password\0")
        good = wire.receive() == secret + b"\0"
    elif known:
        good = fast_answer(secret, nonce) in response
        wire.send(b"\1\3")
    else:
        good = full(wire, secret, nonce, bool(crt))
    if not good:
        wire.send(b"\xff\x15\x04#28000Access denied")
        return
    wire.send(b"\0\0\0\2\0\0\0")
    answer(wire)


def fast_answer(secret, nonce):
    once = hashlib.sha256(secret).digest()
    mask = hashlib.sha256(hashlib.sha256(once).digest() + nonce).digest()
    return bytes(a ^ b for a, b in zip(once, mask, strict=True))


def full(wire, secret, nonce, tls):
    """The full login; says whether the password was right."""
    wire.send(b"\1\4")
    said = wire.receive()
    if tls:
        return said == secret + b"\0"
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert said == b"\2", said
    wire.send(b"\1" + key.public_key().public_bytes(serialization.Encoding.PEM,
                                                     serialization.PublicFormat.SubjectPublicKeyInfo))
    plain = key.decrypt(wire.receive(), padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None))
    return bytes(b ^ nonce[i % 20] for i, b in enumerate(plain)) == secret + b"\0"


def answer(wire):
    """Answer commands until the client leaves."""
    while True:
        wire.sequence = 0
        command = wire.receive()
        if command[:1] in (b"", b"\1"):
            return
        text = re.match(rb"\x03SELECT '(.*)'", command)
        if not text:
            wire.send(b"\0\0\0\2\0\0\0")
            continue
        column = b"".join(bytes([len(t)]) + t for t in (b"def", b"", b"", b"", b"x", b""))
        wire.send(b"\1")
        wire.send(column + b"\x0c\xff\0\xff\0\0\0\xfd\1\0\0\0\0")
        wire.send(b"\xfe\0\0\2\0")
        wire.send(bytes([len(text[1])]) + text[1])
        wire.send(b"\xfe\0\0\2\0")


class Wire:
    """MySQL packets over a socket."""

    def __init__(self, connection):
        self.socket, self.sequence = connection, 0

    def send(self, payload):
        self.socket.sendall(len(payload).to_bytes(3, "little") + bytes([self.sequence]) + payload)
        self.sequence += 1

    def receive(self):
        head = self._exactly(4)
        if not head:
            return b""
        self.sequence = head[3] + 1
        return self._exactly(int.from_bytes(head[:3], "little"))

    def _exactly(self, size):
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                return b""
            data += more
        return data
