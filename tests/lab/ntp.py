"""NTP: ntpsec's server asked for the time, and for its variables."""

import http_servers as web
from lab import Cases

APT = ["ntpsec", "ntpsec-ntpdate"]
cases = Cases()


def flow(lab, **facts):
    return lab.flow(**{"transport": "udp", "server_port": 123, "encryption": "plaintext", "app": "ntp",
                       "confidence": "both_sides", "plaintext_reason": "no_in_band_upgrade",
                       "outcome": "established", **facts})


def serve(lab):
    home = lab.directory("ntp")
    (home / "conf").write_text("server 127.127.1.0 prefer\nfudge 127.127.1.0 stratum 3\nunrestrict default noquery limited kod\n"
                               f"driftfile {home}/drift\n")
    process = lab.server.start(["/usr/sbin/ntpd", "-n", "-g", "-x", "-c", str(home / "conf")], log=lab.log("ntp"))
    lab.server.wait_port(123, process, kind="udp")
    lab.versions(server="ntpsec " + web.version(["dpkg-query", "-W", "ntpsec"], r"\t(\d[\d.]+)"), client="scripted")


def ask(address, request, port=123):
    """Runs in the client's namespace."""
    import socket
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(3)
        sock.sendto(request, (address, port))
        try:
            sock.recv(2000)
        except TimeoutError:
            pass


@cases.case("time", "a client's request and the answer")
def _(lab):
    serve(lab)
    lab.client.call(ask, lab.server.v4, bytes([0x23]) + bytes(39) + b"\x12\x34\x56\x78\x9a\xbc\xde\xf0")
    return [flow(lab)]


@cases.case("control", "mode 6: the variables of the server")
def _(lab):
    serve(lab)
    lab.client.run(["ntpq", "-n", "-c", "rv", lab.server.v4])
    return [flow(lab)]


@cases.case("answer-only", "only what the server sends was mirrored", mirror=("server:out",))
def _(lab):
    serve(lab)
    lab.client.call(ask, lab.server.v4, bytes([0x23]) + bytes(39) + b"\x12\x34\x56\x78\x9a\xbc\xde\xf0")
    return [flow(lab, confidence="one_side")]
