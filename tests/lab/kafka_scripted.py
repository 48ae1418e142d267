"""A scripted broker: it lets clients log in by SASL and tells them about itself, nothing else."""

import base64
import hashlib
import hmac
import os
import socket
import ssl
import struct
import sys

APIS = [(0, 3, 7), (1, 4, 11), (3, 0, 4), (17, 0, 1), (18, 0, 3), (36, 0, 1)]


def serve(address, port, mechanism, user, password, crt=None, key=None):
    """Serve connections one after the other until killed; with `crt` inside TLS."""
    context = None
    if crt:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(crt, key)
    waiting = socket.create_server((address, port))
    while True:
        connection, _ = waiting.accept()
        if context:
            connection = context.wrap_socket(connection, server_side=True)
        try:
            broker(connection, mechanism, user, password)
        except (OSError, EOFError):
            pass
        connection.close()


def broker(connection, mechanism, user, password):
    login = Scram(user, password) if mechanism.startswith("SCRAM") else Plain(user, password)
    while True:
        size, = struct.unpack(">i", exactly(connection, 4))
        request = exactly(connection, size)
        api, version, correlation, name = struct.unpack(">hhih", request[:10])
        body = request[10 + max(name, 0):]
        if api == 18:
            answer = versions(version)
        elif api == 17:
            known = body[2:].decode() == mechanism
            answer = struct.pack(">hi", 0 if known else 33, 1) + string(mechanism)
        elif api == 36:
            reply = login.step(body[4:])
            answer = (struct.pack(">h", 58) + string("Authentication failed") + bytes(4) if reply is None else
                      struct.pack(">hhi", 0, -1, len(reply)) + reply)
            if version >= 1:
                answer += bytes(8)
        elif api == 3:
            answer = metadata(version)
        else:
            return
        response = struct.pack(">i", correlation) + answer
        connection.sendall(struct.pack(">i", len(response)) + response)
        if api == 36 and reply is None:
            return


def versions(version):
    if version < 3:
        triples = b"".join(struct.pack(">hhh", *api) for api in APIS)
        return struct.pack(">hi", 0, len(APIS)) + triples + (bytes(4) if version else b"")
    triples = b"".join(struct.pack(">hhhb", *api, 0) for api in APIS)
    return struct.pack(">hb", 0, len(APIS) + 1) + triples + bytes(5)


def metadata(version):
    """No brokers and no topics: the client has no reason for a second connection."""
    answer = bytes(8 if version >= 3 else 4)
    if version >= 2:
        answer += string("lab")
    if version >= 1:
        answer += struct.pack(">i", 1)
    return answer + bytes(4)


def string(text):
    return struct.pack(">h", len(text)) + text.encode()


class Plain:
    """PLAIN, and OAUTHBEARER: one message."""

    def __init__(self, user, password):
        self.good = b"\0".join((b"", user.encode(), password.encode()))

    def step(self, message):
        return b"" if message == self.good or b"auth=Bearer" in message else None


class Scram:
    """SCRAM-SHA-256."""

    def __init__(self, user, password):
        self.salt, self.first = os.urandom(16), None
        self.salted = hashlib.pbkdf2_hmac("sha256", password.encode(), self.salt, 4096)

    def step(self, message):
        text = message.decode()
        if self.first is None:
            self.bare = text.split(",", 2)[2]
            nonce = self.bare.split("r=")[1] + base64.b64encode(os.urandom(12)).decode()
            self.first = f"r={nonce},s={base64.b64encode(self.salt).decode()},i=4096"
            return self.first.encode()
        without, proof = text.rsplit(",p=", 1)
        signed = ",".join((self.bare, self.first, without)).encode()

        def mac(key, data):
            return hmac.digest(key, data, "sha256")
        client = mac(self.salted, b"Client Key")
        signature = mac(hashlib.sha256(client).digest(), signed)
        if bytes(a ^ b for a, b in zip(client, signature, strict=True)) != base64.b64decode(proof):
            return None
        return b"v=" + base64.b64encode(mac(mac(self.salted, b"Server Key"), signed))


def exactly(connection, size):
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


if __name__ == "__main__":
    _, host, at, *rest = sys.argv
    serve(host, int(at), *rest)
