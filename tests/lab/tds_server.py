"""A scripted SQL Server: PRELOGIN, a TLS handshake inside packets, a login, one row for each request."""

import socket
import ssl

OFF, ON, NOT_SUPPORTED, REQUIRED = 0, 1, 2, 3
PRELOGIN, RESPONSE, LOGIN7 = 0x12, 0x04, 0x10
COLLATION = b"\x09\x04\xd0\x00\x34"


def utf16(text):
    return bytes([len(text)]) + text.encode("utf-16-le")


def done(rows=0, error=False):
    status = 0x02 if error else 0x10
    return b"\xfd" + status.to_bytes(2, "little") + b"\xc1\0" + rows.to_bytes(8, "little")


def token(kind, body):
    return bytes([kind]) + len(body).to_bytes(2, "little") + body


def acknowledge():
    size = token(0xe3, b"\x04" + utf16("4096") + utf16("4096"))
    collation = token(0xe3, b"\x07\x05" + COLLATION + b"\0")
    return size + collation + token(0xad, b"\x01\x74\0\0\4" + utf16("Microsoft SQL Server") + b"\x10\0\x07\xd0") + done()


def denial():
    text = "Login failed."
    body = (18456).to_bytes(4, "little") + b"\x01\x0e" + len(text).to_bytes(2, "little") + text.encode("utf-16-le")
    return token(0xaa, body + utf16("server") + b"\0" + (1).to_bytes(4, "little")) + done(error=True)


def row(text):
    data = text.encode("utf-16-le")
    column = bytes(4) + b"\x09\0\xe7\x90\x01" + COLLATION + b"\0"
    return b"\x81\x01\0" + column + b"\xd1" + len(data).to_bytes(2, "little") + data + done(1)


class Wire:
    """Packets over a socket, or inside TLS once there is one."""

    def __init__(self, connection):
        self.connection, self.tls, self.buffer = connection, None, b""
        self.inside, self.outside = ssl.MemoryBIO(), ssl.MemoryBIO()

    def more(self):
        data = self.connection.recv(65536)
        if not data:
            raise EOFError
        return data

    def take(self, count):
        while len(self.buffer) < count:
            if self.tls is None:
                self.buffer += self.more()
                continue
            try:
                self.buffer += self.tls.read(65536)
            except ssl.SSLWantReadError:
                self.inside.write(self.more())
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def receive(self):
        body, last = b"", False
        while not last:
            header = self.take(8)
            last = header[1] & 1
            body += self.take(int.from_bytes(header[2:4], "big") - 8)
        return header[0], body

    def send(self, kind, body):
        packet = bytes([kind, 1]) + (len(body) + 8).to_bytes(2, "big") + b"\0\x33\1\0" + body
        if self.tls:
            self.tls.write(packet)
            packet = self.outside.read()
        self.connection.sendall(packet)

    def handshake(self, context):
        tls = context.wrap_bio(self.inside, self.outside, server_side=True)
        while True:
            try:
                tls.do_handshake()
                finished = True
            except ssl.SSLWantReadError:
                finished = False
            if data := self.outside.read():
                self.send(PRELOGIN, data)
            if finished:
                break
            self.inside.write(self.receive()[1])
        self.tls = tls


def serve(address, encryption, text, crt, key, refuse):
    with socket.create_server((address, 1433)) as waiting:
        connection, _ = waiting.accept()
    wire = Wire(connection)
    try:
        wire.receive()
        wire.send(RESPONSE, b"\0\0\x0b\0\x06\x01\0\x11\0\x01\xff\x10\0\x07\xd0\0\0" + bytes([encryption]))
        if encryption != NOT_SUPPORTED:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(crt, key)
            wire.handshake(context)
        wire.receive()
        if encryption == OFF:
            wire.tls = None
        wire.send(RESPONSE, denial() if refuse else acknowledge())
        while not refuse:
            wire.receive()
            wire.send(RESPONSE, row(text))
    except (EOFError, OSError):
        pass
    connection.close()
