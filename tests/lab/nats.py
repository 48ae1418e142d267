"""NATS: nats-server and nats-py; logins, TLS behind the greeting, refusals, views."""

import shape
from lab import Cases

APT = ["nats-server"]
PIP = ["nats-py"]
cases = Cases()


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    if flow["origin"] == "midstream":
        return
    if s2c and not s2c.startswith(b"INFO {"):
        yield "the server does not greet"
    start = b"\x16\x03" if flow["encryption"] == "tls" else b"CONNECT {"
    if c2s and not c2s.startswith(start):
        yield f"the client does not begin with {start!r}"


def serve(lab, settings="", tls=False):
    home = lab.directory("nats")
    crt, key = lab.certs.server()
    tls = f'tls {{ cert_file: "{crt}", key_file: "{key}" }}' if tls else ""
    (home / "conf").write_text(f"listen: 0.0.0.0:4222\nserver_name: lab\n{settings}\n{tls}\n")
    process = lab.server.start(["/usr/sbin/nats-server", "-c", str(home / "conf")], log=lab.log("nats"))
    lab.server.wait_port(4222, process)
    lab.versions(server="nats-server 2.9.10", client="nats-py")


def talk(lab, tls=False, rounds=1, **options):
    """Subscribe, publish and receive; a refusal ends it."""
    address, subject, text = lab.server.v4, lab.canary("subject"), lab.canary("text")

    def client():
        import asyncio
        import ssl

        import nats

        async def quiet(_):
            pass

        async def go():
            context = None
            if tls:
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            try:
                peer = await nats.connect(f"nats://{address}:4222", tls=context, allow_reconnect=False,
                                          connect_timeout=3, error_cb=quiet, max_reconnect_attempts=0, **options)
            except Exception:  # noqa: BLE001 (the refusal is what the case wants)
                return
            inbox = await peer.subscribe(subject)
            for _ in range(rounds):
                await peer.publish(subject, text.encode())
                await inbox.next_msg(timeout=3)
            await peer.close()
        asyncio.run(go())
    lab.client.call(client)


def plain(lab, **facts):
    return lab.flow(**{"server_port": 4222, "encryption": "plaintext", "app": "nats", "outcome": "established",
                       "plaintext_reason": "server_refused", "confidence": "both_sides", **facts})


@cases.case("plain", "a server without TLS and without a login")
def _(lab):
    serve(lab)
    talk(lab)
    return [plain(lab)]


@cases.case("password", "user and password in CONNECT")
def _(lab):
    serve(lab, f"authorization {{ user: {lab.canary('user')}, password: {lab.canary('pass')} }}")
    talk(lab, user=lab.canary("user"), password=lab.canary("pass"))
    return [plain(lab, credentials=["password_cleartext"])]


@cases.case("token", "a token in CONNECT")
def _(lab):
    serve(lab, f"authorization {{ token: {lab.canary('token')} }}")
    talk(lab, token=lab.canary("token"))
    return [plain(lab, credentials=["bearer_token"])]


@cases.case("refused", "a wrong password: -ERR")
def _(lab):
    serve(lab, "authorization { user: someone, password: right }")
    talk(lab, user="someone", password=lab.canary("wrong"))
    lab.canaries[:] = [lab.canary("wrong")]
    return [plain(lab, outcome="refused", credentials=["password_cleartext"])]


@cases.case("tls", "the server greets and wants TLS; the client's hello is its answer")
def _(lab):
    serve(lab, tls=True)
    talk(lab, tls=True)
    lab.canaries.clear()
    return [lab.flow(server_port=4222, encryption="tls", app="nats", upgrade="nats-tls", outcome="established",
                     confidence="both_sides", tls_version="TLSv1.3")]


@cases.case("client-side-only", "only what the client sends is mirrored", mirror=("server:in",))
def _(lab):
    serve(lab)
    talk(lab)
    return [plain(lab, confidence="one_side", plaintext_reason="client_never_asked")]


@cases.case("server-side-only", "only what the server sends is mirrored", mirror=("server:out",))
def _(lab):
    serve(lab)
    talk(lab)
    return [plain(lab, confidence="one_side")]


@cases.case("late", "the sensor joins after the greeting", shape=[shape.skip(9)])
def _(lab):
    serve(lab)
    talk(lab, rounds=4)
    return [plain(lab, origin="midstream", confidence="midstream", plaintext_reason=None)]
