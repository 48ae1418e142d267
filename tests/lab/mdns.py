"""Multicast DNS and LLMNR: python-zeroconf, and datagrams by hand."""

import struct
import time

from lab import Cases

PIP = ["zeroconf"]
cases = Cases()
GROUP = "224.0.0.251"


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    if flow.get("app") == "mdns" and c2s[:2] != b"\0\0":
        yield f"id is not 0: {c2s[:12]!r}"


def plain(lab, app, port, **facts):
    return lab.flow(**{"transport": "udp", "server_port": port, "encryption": "plaintext", "app": app,
                       "outcome": "attempt", "plaintext_reason": "no_in_band_upgrade", "confidence": "one_side",
                       **facts})


@cases.case("announce-browse", "a host announces a service and another browses: both to the group", mirror=("server",))
def _(lab):
    instance = lab.canary("host")

    def announce(address, name):
        import socket
        import zeroconf
        z = zeroconf.Zeroconf(interfaces=[address], ip_version=zeroconf.IPVersion.V4Only)
        z.register_service(zeroconf.ServiceInfo("_http._tcp.local.", f"{name}._http._tcp.local.", 80, server=f"{name}.local.",
                                                addresses=[socket.inet_aton(address)]))
        z.close()
    for host in (lab.server, lab.client):
        host.run(["ip", "route", "replace", "224.0.0.0/4", "dev", "eth0"], check=False)
    lab.server.call(announce, lab.server.v4, instance)
    time.sleep(0.3)
    lab.versions(server="python-zeroconf")
    return [plain(lab, "mdns", 5353, client=lab.server.v4, server=GROUP, client_port=5353)]


@cases.case("llmnr", "a name asked and answered by LLMNR, scripted from the specification")
def _(lab):
    name = lab.canary("host")[:15]
    question = bytes([len(name)]) + name.encode() + b"\0\0\1\0\1"

    def answer(address, question):
        import socket
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind((address, 5355))
            s.settimeout(5)
            query, client = s.recvfrom(512)
            record = b"\xc0\x0c\0\1\0\1\0\0\0\x1e\0\4" + socket.inet_aton(address)
            s.sendto(query[:2] + struct.pack(">5H", 0x8000, 1, 1, 0, 0) + question + record, client)

    def ask(address, question):
        import socket
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(5)
            s.sendto(b"\x5a\x17" + struct.pack(">5H", 0, 1, 0, 0, 0) + question, (address, 5355))
            return s.recv(512)
    lab.server.spawn(lambda: answer(lab.server.v4, question))
    time.sleep(0.3)
    assert lab.client.call(ask, lab.server.v4, question)[:2] == b"\x5a\x17"
    lab.versions(client="a Python socket", server="a Python socket")
    return [plain(lab, "llmnr", 5355, outcome="established", confidence="both_sides")]
