"""WebSocket joined late; seen from its beginning it is HTTP."""

import shape
from lab import Cases

PIP = ["websockets"]
cases = Cases()
PORT = 8765


def talk(lab, rounds=4):
    address, text = lab.server.v4, lab.canary("text")

    def server():
        import threading

        from websockets.sync.server import serve
        done = threading.Event()

        def echo(peer):
            for message in peer:
                peer.send('{"echo": "' + message + '"}')
            done.set()
        with serve(echo, "0.0.0.0", PORT, compression=None) as listener:
            threading.Thread(target=listener.serve_forever, daemon=True).start()
            done.wait(20)

    def client():
        import websockets
        from websockets.sync.client import connect
        with connect(f"ws://{address}:{PORT}", compression=None) as peer:
            for _ in range(rounds):
                peer.send(text + " " + text)
                peer.recv()
        return websockets.__version__
    running = lab.server.spawn(server)
    lab.server.wait_port(PORT)
    version = lab.client.call(client)
    lab.versions(server=f"websockets {version}", client=f"websockets {version}")
    running.result()


def plain(lab, **facts):
    return lab.flow(**{"server_port": PORT, "encryption": "plaintext", "outcome": "established",
                       "plaintext_reason": "no_in_band_upgrade", **facts})


@cases.case("from-start", "the upgrade request is HTTP")
def _(lab):
    talk(lab)
    return [plain(lab, app="http", confidence="both_sides")]


@cases.case("late", "frames only: the sensor joins after the upgrade", shape=[shape.skip(6)])
def _(lab):
    talk(lab, 8)
    lab.canaries[:] = []
    return [plain(lab, app="http", origin="midstream", confidence="midstream")]
