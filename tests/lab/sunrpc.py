"""ONC RPC: rpcbind over TCP and UDP."""

import http_servers as web
from lab import Cases

APT = ["rpcbind"]
cases = Cases()


def check(flow, c2s, s2c):
    at = 4 if flow["transport"] == "tcp" else 0
    if c2s and c2s[at + 4:at + 12] != b"\0\0\0\0\0\0\0\2":
        yield f"port {flow['client_port']}: no call"
    if s2c and s2c[at + 4:at + 8] != b"\0\0\0\1":
        yield f"port {flow['client_port']}: no reply"


def flow(lab, transport="tcp", **facts):
    reason = "client_never_asked" if transport == "tcp" else "no_in_band_upgrade"
    return lab.flow(**{"transport": transport, "server_port": 111, "encryption": "plaintext", "app": "sunrpc",
                       "outcome": "established", "confidence": "both_sides", "plaintext_reason": reason, **facts})


def serve(lab):
    process = lab.server.start(["/sbin/rpcbind", "-f", "-h", lab.server.v4], log=lab.log("rpcbind"))
    lab.server.wait_port(111, process)
    lab.versions(server="rpcbind " + web.version(["dpkg-query", "-W", "rpcbind"], r"\t(\d[\d.]+)"), client="rpcinfo")


@cases.case("dump", "the list of programs over TCP")
def _(lab):
    serve(lab)
    lab.client.run(["rpcinfo", "-p", lab.server.v4])
    return [flow(lab), flow(lab)]


@cases.case("null-udp", "a NULL call over UDP")
def _(lab):
    serve(lab)
    lab.client.run(["rpcinfo", "-n", "111", "-u", lab.server.v4, "100000", "2"])
    return [flow(lab, "udp")]


@cases.case("replies-only", "only what the server sends was mirrored", mirror=("server:out",))
def _(lab):
    serve(lab)
    lab.client.run(["rpcinfo", "-p", lab.server.v4])
    return [flow(lab, confidence="one_side"), flow(lab, confidence="one_side")]


def ask_tls(address):
    """Runs in the client's namespace: AUTH_TLS, and on in clear when the server knows nothing of it."""
    import socket
    import struct
    with socket.create_connection((address, 111), timeout=5) as sock:
        for flavor, procedure in ((7, 0), (0, 4)):
            call = struct.pack(">10I", 7 + flavor, 0, 2, 100000, 2, procedure, flavor, 0, 0, 0)
            sock.sendall(struct.pack(">I", 1 << 31 | len(call)) + call)
            sock.recv(4000)


@cases.case("tls-refused", "AUTH_TLS is refused, and the client goes on in clear")
def _(lab):
    serve(lab)
    lab.client.call(ask_tls, lab.server.v4)
    return [flow(lab, plaintext_reason="server_refused")]
