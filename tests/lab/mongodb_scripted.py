"""A scripted MongoDB server: greeting, logins, one collection's worth of answers."""

import base64
import hashlib
import hmac
import os
import socket
import ssl
import struct
import sys

import bson


def serve(address, port, mode, password="", crt=None, key=None):
    """Serve connections one after the other until killed. mode: "open", "login", "denied"; with `crt` inside TLS."""
    waiting = socket.create_server((address, port))
    while True:
        connection, _ = waiting.accept()
        if crt:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(crt, key)
            connection = context.wrap_socket(connection, server_side=True)
        if os.fork() == 0:
            try:
                answer(connection, mode, password)
            except (OSError, EOFError):
                pass
            os._exit(0)
        connection.close()


def answer(connection, mode, password):
    scram, logged_in = None, mode == "open"
    while True:
        size, request, _, opcode = struct.unpack("<4i", exactly(connection, 16))
        body = exactly(connection, size - 16)
        at = body.index(0, 4) + 9 if opcode == 2004 else 5
        command = bson.decode(body[at:at + struct.unpack("<i", body[at:at + 4])[0]])
        name = next(iter(command))
        if name.lower() in ("ismaster", "hello"):
            reply = {"ismaster": True, "helloOk": True, "maxBsonObjectSize": 16777216, "maxMessageSizeBytes": 48000000,
                     "maxWriteBatchSize": 100000, "minWireVersion": 0, "maxWireVersion": 21, "readOnly": False}
        elif name == "saslStart" and command["mechanism"] == "PLAIN":
            logged_in = command["payload"].rpartition(b"\0")[2].decode() == password and mode != "denied"
            reply = {"conversationId": 1, "done": True, "payload": b""} if logged_in else FAILED
        elif name == "saslStart":
            scram = Scram(password)
            reply = {"conversationId": 1, "done": False, "payload": scram.begin(command["payload"])}
        elif name == "saslContinue":
            last = scram.end(command["payload"])
            logged_in = last is not None and mode != "denied"
            reply = {"conversationId": 1, "done": True, "payload": last} if logged_in else FAILED
        elif not logged_in:
            reply = {"ok": 0.0, "errmsg": f"Command {name} requires authentication", "code": 13,
                     "codeName": "Unauthorized"}
        elif name == "insert":
            reply = {"n": 1}
        elif name == "find":
            found = [{"_id": 1, **command["filter"]}]
            reply = {"cursor": {"firstBatch": found, "id": 0, "ns": f"{command['$db']}.{command['find']}"}}
        else:
            reply = {}
        document = bson.encode({"ok": 1.0, **reply})
        if opcode == 2004:
            payload, opcode = struct.pack("<iqii", 8, 0, 0, 1) + document, 1
        else:
            payload = bytes(5) + document
        connection.sendall(struct.pack("<4i", len(payload) + 16, 1, request, opcode) + payload)


FAILED = {"ok": 0.0, "errmsg": "Authentication failed.", "code": 18, "codeName": "AuthenticationFailed"}


class Scram:
    """SCRAM-SHA-256 without channel binding (the password needs no preparation)."""

    def __init__(self, password):
        self.salt = os.urandom(28)
        self.salted = hashlib.pbkdf2_hmac("sha256", password.encode(), self.salt, 15000)

    def begin(self, message):
        self.bare = message.decode().split(",", 2)[2]
        nonce = self.bare.split("r=")[1] + base64.b64encode(os.urandom(18)).decode()
        self.first = f"r={nonce},s={base64.b64encode(self.salt).decode()},i=15000"
        return self.first.encode()

    def end(self, message):
        without, proof = message.decode().rsplit(",p=", 1)
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
