"""A relay that lets the first bytes of each side go one to a segment."""

import contextlib
import selectors
import socket
import time


def relay(listen, port, target, target_port, up, down):
    """Carry one connection; the first `up` bytes to the target and `down` bytes back go one to a segment."""
    waiting = socket.create_server((listen, port))
    near, _ = waiting.accept()
    waiting.close()
    far = socket.create_connection((target, target_port))
    ways = {near: [far, up], far: [near, down]}
    chosen = selectors.DefaultSelector()
    for each in ways:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        chosen.register(each, selectors.EVENT_READ)
    while chosen.get_map():
        for key, _ in chosen.select():
            _carry(key.fileobj, ways[key.fileobj], chosen)
    near.close()
    far.close()


def _carry(source, way, chosen):
    try:
        data = source.recv(65536)
    except ConnectionResetError:
        data = b""
    if not data:
        chosen.unregister(source)
        with contextlib.suppress(OSError):  # both may close at once
            way[0].shutdown(socket.SHUT_WR)
        return
    single, way[1] = data[:way[1]], max(0, way[1] - len(data))
    for byte in single:
        way[0].sendall(bytes([byte]))
        time.sleep(0.002)  # or the kernel puts them together again
    if data[len(single):]:
        way[0].sendall(data[len(single):])


def between(lab, port, behind, up, down):
    """Relays on both hosts: the client talks to 127.0.0.1:port, the network sees server:port, `behind` is the server's.

    Returns what to call when the client is done.
    """
    far = lab.server.spawn(relay, lab.server.v4, port, lab.server.v4, behind, 0, down)
    lab.server.wait_port(port)
    near = lab.client.spawn(relay, "127.0.0.1", port, lab.server.v4, port, up, 0)
    lab.client.wait_port(port)

    def done():
        near.result()
        far.result()
    return done
