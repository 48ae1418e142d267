"""ZeroMQ: libzmq by pyzmq with its NULL, PLAIN and CURVE mechanisms."""

from lab import Cases

PIP = ["pyzmq"]
cases = Cases()
PORT = 5555


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    mechanism = b"CURVE" if flow["encryption"] == "other-encrypted" else b"PLAIN" if flow["credentials"] else b"NULL"
    for said in filter(None, (c2s, s2c)):
        if said[:1] != b"\xff" or said[9:10] != b"\x7f" or not said[12:].startswith(mechanism + b"\0"):
            yield f"no greeting with {mechanism!r}: {said[:20]!r}"


def talk(lab, mechanism="NULL", wrong=False):
    """A request and a reply between two processes."""
    address, text = lab.server.v4, lab.canary("text")
    user, password = lab.canary("user"), lab.canary("pass")
    if mechanism != "PLAIN":
        lab.canaries.remove(user)
        lab.canaries.remove(password)

    def keys():
        import zmq
        return [k.decode() for k in (*zmq.curve_keypair(), *zmq.curve_keypair())]
    public, secret, own, own_secret = lab.client.call(keys)

    def server():
        import zmq
        from zmq.auth.thread import ThreadAuthenticator
        context = zmq.Context()
        guard = ThreadAuthenticator(context)
        guard.start()
        guard.configure_plain(domain="*", passwords={user: "other" if wrong else password})
        guard.configure_curve(domain="*", location=zmq.auth.CURVE_ALLOW_ANY)
        socket = context.socket(zmq.REP)
        if mechanism == "PLAIN":
            socket.plain_server = True
        if mechanism == "CURVE":
            socket.curve_server, socket.curve_secretkey, socket.curve_publickey = True, secret.encode(), public.encode()
        socket.bind(f"tcp://*:{PORT}")
        if socket.poll(2000 if wrong else 5000):
            socket.send(socket.recv())
            socket.poll(300)
        guard.stop()
        context.destroy(linger=200)

    def client():
        import zmq
        context = zmq.Context()
        socket = context.socket(zmq.REQ)
        socket.reconnect_ivl = -1
        if mechanism == "PLAIN":
            socket.plain_username, socket.plain_password = user.encode(), password.encode()
        if mechanism == "CURVE":
            socket.curve_serverkey, socket.curve_publickey = public.encode(), own.encode()
            socket.curve_secretkey = own_secret.encode()
        socket.connect(f"tcp://{address}:{PORT}")
        socket.send(text.encode())
        socket.poll(1000 if wrong else 3000)
        context.destroy(linger=0)
        return zmq.zmq_version()

    running = lab.server.spawn(server)
    lab.server.wait_port(PORT)
    lab.versions(server="libzmq", client="libzmq " + lab.client.call(client))
    running.result()


def plain(lab, **facts):
    return lab.flow(**{"server_port": PORT, "encryption": "plaintext", "app": "zmtp", "outcome": "established",
                       "plaintext_reason": "no_in_band_upgrade", "confidence": "both_sides", **facts})


@cases.case("null", "NULL mechanism: all in clear")
def _(lab):
    talk(lab)
    return [plain(lab)]


@cases.case("plain", "PLAIN mechanism: user and password in clear")
def _(lab):
    talk(lab, "PLAIN")
    return [plain(lab, credentials=["password_cleartext"])]


@cases.case("plain-refused", "PLAIN mechanism, a wrong password")
def _(lab):
    talk(lab, "PLAIN", wrong=True)
    lab.canaries[:] = [c for c in lab.canaries if "text" not in c]
    return [plain(lab, outcome="refused", credentials=["password_cleartext"])]


@cases.case("curve", "CURVE mechanism: encrypted by other means than TLS")
def _(lab):
    talk(lab, "CURVE")
    lab.canaries.clear()
    return [plain(lab, encryption="other-encrypted", plaintext_reason=None)]
