"""DHCP: the ISC server asked for options by a client that has its address (DHCPINFORM)."""

import http_servers as web
from lab import Cases

APT = ["isc-dhcp-server"]
cases = Cases()


def flow(lab, **facts):
    return lab.flow(**{"transport": "udp", "server_port": 67, "encryption": "plaintext", "app": "dhcp",
                       "confidence": "both_sides", "plaintext_reason": "no_in_band_upgrade",
                       "outcome": "established", **facts})


def serve(lab):
    home = lab.directory("dhcp")
    (home / "leases").write_text("")
    (home / "conf").write_text("authoritative;\nsubnet 10.77.2.0 netmask 255.255.255.0 { }\n"
                               "subnet 10.77.1.0 netmask 255.255.255.0 "
                               f'{{ option domain-name "{lab.canary("domain")}"; }}\n')
    process = lab.server.start(["/usr/sbin/dhcpd", "-4", "-f", "-d", "-user", "root", "-group", "root", "-cf",
                                str(home / "conf"), "-lf", str(home / "leases"), "-pf", str(home / "pid")],
                               log=lab.log("dhcpd"))
    lab.server.wait_port(67, process, kind="udp")
    lab.versions(server="ISC DHCP " + web.version(["dpkg-query", "-W", "isc-dhcp-server"], r"\t(\d[\d.]+)"),
                 client="scripted")


def inform(address, own):
    """Runs in the client's namespace."""
    import socket
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((own, 68))
        sock.settimeout(5)
        head = b"\x01\x01\x06\0\x12\x34\x56\x78" + bytes(4) + socket.inet_aton(own) + bytes(12) + b"\x02" + bytes(15)
        sock.sendto(head.ljust(236, b"\0") + b"\x63\x82\x53\x63\x35\x01\x08\x37\x02\x0f\x06\xff", (address, 67))
        sock.recv(2000)


@cases.case("inform", "a client with an address asks for options")
def _(lab):
    serve(lab)
    lab.client.call(inform, lab.server.v4, lab.client.v4)
    return [flow(lab)]
