"""STUN and TURN: coturn with aioice, over UDP and TCP; long-term logins; what shares the port."""

from lab import Cases

APT = ["coturn"]
PIP = ["aioice"]
cases = Cases()
COOKIE = b"\x21\x12\xa4\x42"


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    for said in filter(None, (c2s, s2c)):
        if said[4:8] != COOKIE:
            yield f"no magic cookie: {said[:8]!r}"


def serve(lab):
    home = lab.directory("coturn")
    process = lab.server.start(
        ["turnserver", "-n", "-L", lab.server.v4, "-p", "3478", "--lt-cred-mech", "-r", "lab.internal",
         "-u", f"{lab.canary('user')}:{lab.canary('pass')}", "--no-cli", "--no-tls", "--no-dtls", "-l", "stdout",
         "--allow-loopback-peers", "--pidfile", str(home / "pid"), "-b", str(home / "db")], log=lab.log("coturn"))
    lab.server.wait_port(3478, process, kind="udp")
    lab.versions(server="coturn 4.6.1", client="aioice")


def allocate(lab, transport="udp", password=None):
    address, user, password = lab.server.v4, lab.canary("user"), password or lab.canary("pass")

    def client():
        import asyncio

        from aioice import turn

        async def go():
            try:
                relay, _ = await turn.create_turn_endpoint(
                    asyncio.DatagramProtocol, server_addr=(address, 3478), username=user, password=password,
                    transport=transport)
                relay.close()
            except Exception:  # noqa: BLE001 (a refusal)
                pass
            await asyncio.sleep(0.3)
        asyncio.run(go())
    lab.client.call(client)
    lab.canaries[:] = [user]


def plain(lab, transport="udp", **facts):
    return lab.flow(**{"transport": transport, "server_port": 3478, "encryption": "plaintext", "app": "stun",
                       "outcome": "established", "plaintext_reason": "no_in_band_upgrade",
                       "confidence": "both_sides", **facts})


@cases.case("binding", "one request, one answer")
def _(lab):
    serve(lab)
    address = lab.server.v4

    def client():
        import socket
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.settimeout(3)
            peer.sendto(b"\0\1\0\0" + COOKIE + b"lab-lab-lab-", (address, 3478))
            peer.recv(500)
    lab.client.call(client)
    lab.canaries.clear()
    return [plain(lab)]


@cases.case("allocate-udp", "TURN over UDP with a long-term login")
def _(lab):
    serve(lab)
    allocate(lab)
    return [plain(lab, credentials=["password_hash_challenge"])]


@cases.case("allocate-tcp", "TURN over TCP with a long-term login")
def _(lab):
    serve(lab)
    allocate(lab, "tcp")
    return [plain(lab, "tcp", credentials=["password_hash_challenge"])]


@cases.case("refused", "a wrong password")
def _(lab):
    serve(lab)
    allocate(lab, password="wrong")
    return [plain(lab, outcome="refused", credentials=["password_hash_challenge"])]
