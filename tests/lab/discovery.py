"""Who is there? SSDP, WS-Discovery, NetBIOS datagrams, DHCPv6, XDMCP, BJNP."""

import re
import subprocess
import time

import shape
from lab import Cases

APT = ["minissdpd", "miniupnpc", "gupnp-tools", "wsdd", "samba", "isc-dhcp-client", "isc-dhcp-server", "xdm", "xvfb",
       "cups-backend-bjnp"]
cases = Cases()
CLEAR = {"encryption": "plaintext", "plaintext_reason": "no_in_band_upgrade"}
BEGINS = {"ssdp": (b"M-SEARCH * HTTP/1.1", b"HTTP/1.1 200 OK"), "wsd": (b"<?xml", b"<?xml"), "bjnp": (b"BJNP", b"BJNP"),
          "xdmcp": (b"\0\1\0", b"\0\1\0"), "nbdgm": (b"\x11", b"\x11")}


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    for said, begin in zip((c2s, s2c), BEGINS.get(flow["app"], ()), strict=False):
        if said and not said.startswith((begin, b"NOTIFY ", b"<soap:")):
            yield f"port {flow['client_port']}: begins {said[:16]!r}"


def version(package):
    said = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True).stdout
    return re.match(r"(?:\d+:)?([\w.]+)", said).group(1)


def group(lab, host, address, port, app, **facts):
    """What a host says to a multicast group or to everybody."""
    return lab.flow(client=host, server=address, **{"transport": "udp", "server_port": port, "app": app,
                                                    "outcome": "attempt", "confidence": "one_side", **CLEAR, **facts})


def link_local(host):
    octets = host.v4.split(".")
    return f"fe80::77:ff:fe00:{int(octets[2]):x}{int(octets[3]):02x}"


def no_igmp(packets):
    return [p for p in packets if p.transport]


@cases.case("ssdp", "SSDP: a control point searches for devices", shape=[no_igmp])
def _(lab):
    lab.client.run(["upnpc", "-m", lab.client.v4, "-l"], check=False)
    lab.versions(client=f"miniupnpc {version('miniupnpc')}")
    return [group(lab, lab.client, "239.255.255.250", 1900, "ssdp")]


@cases.case("wsd", "WS-Discovery: a host says hello and is probed", shape=[no_igmp])
def _(lab):
    for host in (lab.server, lab.client):
        host.start(["wsdd", "-4", "-i", "eth0", "-n", lab.canary("host") + host.role[0]], log=lab.log("wsdd"))
        time.sleep(2)
    time.sleep(2)
    software = f"wsdd {version('wsdd')}"
    lab.versions(server=software, client=software)
    return [group(lab, host, "239.255.255.250", 3702, "wsd") for host in (lab.server, lab.client)]


@cases.case("nbdgm", "NetBIOS: a host announces itself to everybody", shape=[no_igmp])
def _(lab):
    home = lab.directory("nmbd")
    (home / "conf").write_text(f"[global]\nworkgroup = LAB\nnetbios name = {lab.canary('h')[:15]}\ninterfaces = eth0\n"
                               f"bind interfaces only = yes\nlock directory = {home}\nstate directory = {home}\n"
                               f"cache directory = {home}\npid directory = {home}\nprivate dir = {home}\n"
                               f"ncalrpc dir = {home}\nlog level = 0\n")
    lab.client.start(["nmbd", "-F", "--no-process-group", "-s", str(home / "conf"), "--debug-stdout"],
                     log=lab.log("nmbd"))
    time.sleep(14)
    lab.canaries.clear()  # NetBIOS names are in capital letters
    lab.versions(client=f"Samba {version('samba')}")
    return [group(lab, lab.client, "10.77.255.255", 137, "nbns"), group(lab, lab.client, "10.77.255.255", 138, "nbdgm")]


@cases.case("dhcpv6", "DHCPv6: a client is given an address")
def _(lab):
    home = lab.directory("dhcpd", user="root")
    (home / "conf").write_text(f"default-lease-time 600;\nsubnet6 fd77::/64 {{ range6 fd77::100 fd77::1ff;\n"
                               f"option dhcp6.domain-search \"{lab.canary('zone')}.internal\"; }}\n")
    (home / "leases").write_text("")
    (home / "client.conf").write_text("")
    process = lab.server.start(["dhcpd", "-6", "-f", "-d", "-cf", str(home / "conf"), "-lf", str(home / "leases"),
                                "-pf", str(home / "pid"), "-user", "root", "-group", "root", "eth0"],
                               log=lab.log("dhcpd"))
    lab.server.wait_port(547, process, kind="udp")
    time.sleep(2)  # until the link-local address is known to be free
    lab.client.run(["dhclient", "-6", "-1", "-v", "-cf", str(home / "client.conf"), "-lf", str(home / "client-leases"),
                    "-pf", str(home / "client-pid"), "-sf", "/bin/true", "eth0"], timeout=40)
    lab.canaries.clear()  # labels of DNS
    software = f"ISC DHCP {version('isc-dhcp-server')}"
    lab.versions(server=software, client=software)
    client, server = link_local(lab.client), link_local(lab.server)
    return [group(lab, client, "ff02::1:2", 547, "dhcpv6"),
            lab.flow(client=client, server=server, transport="udp", server_port=547, app="dhcpv6",
                     outcome="established", confidence="one_side", **CLEAR)]


@cases.case("xdmcp", "XDMCP: a terminal asks for a session",
            shape=[shape.keep(lambda p: p.transport == "udp"), shape.first(12)])
def _(lab):
    home = lab.directory("xdm")
    (home / "access").write_text("*\n")
    (home / "servers").write_text("")
    (home / "conf").write_text(f"DisplayManager.errorLogFile: {home}/log\nDisplayManager.pidFile: {home}/pid\n"
                               f"DisplayManager.keyFile: {home}/keys\nDisplayManager.servers: {home}/servers\n"
                               f"DisplayManager.accessFile: {home}/access\nDisplayManager.requestPort: 177\n"
                               f"DisplayManager.willing: echo {lab.canary('status')}\nDisplayManager.authDir: {home}\n"
                               f"DisplayManager*authorize: true\nDisplayManager*setup: /bin/true\n")
    (home / "keys").write_text("")
    process = lab.server.start(["xdm", "-nodaemon", "-config", str(home / "conf")], log=lab.log("xdm"))
    lab.server.wait_port(177, process, kind="udp")
    lab.client.start(["Xvfb", ":77", "-query", lab.server.v4, "-from", lab.client.v4, "-listen", "tcp", "-once"],
                     log=lab.log("xvfb"))
    time.sleep(4)
    lab.versions(server=f"xdm {version('xdm')}", client=f"Xvfb {version('xvfb')}")
    return [lab.flow(transport="udp", server_port=177, app="xdmcp", outcome="established", confidence="both_sides",
                     credentials=["session_secret"], **CLEAR)]


@cases.case("bjnp", "BJNP: a print server searches for Canon's printers", shape=[no_igmp])
def _(lab):
    lab.client.run(["/usr/lib/cups/backend/bjnp"], check=False)
    lab.versions(client=f"cups-backend-bjnp {version('cups-backend-bjnp')}")
    return [group(lab, lab.client.v6, "ff02::1", 8611, "bjnp")]
