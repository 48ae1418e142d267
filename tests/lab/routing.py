"""Routers: RIP, BFD and LDP with FRRouting, flow samples with pmacct."""

import re
import shutil
import subprocess
import time

import shape
from lab import Cases

APT = ["frr", "pmacct"]
cases = Cases()
CLEAR = {"encryption": "plaintext", "plaintext_reason": "no_in_band_upgrade"}
FRR = "/usr/lib/frr"


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    begins = {"rip": (b"\1\2", b"\2\2"), "ldp": (b"\0\1", b"\0\1"), "bfd": (b"\x20", b""), "sflow": (b"\0\0\0\5", b"")}
    for said, begin in zip((c2s, s2c), begins.get(flow["app"], ()), strict=False):
        at = said[:2] if flow["app"] == "rip" else said
        if said and not at.startswith(begin) and at not in (b"\2\2", b"\1\1", b"\2\1"):
            yield f"port {flow['client_port']}: begins {said[:8]!r}"


def version(package):
    said = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True).stdout
    return re.match(r"(?:\d+:)?([\w.]+)", said).group(1)


def frr(lab, config, *daemons, seconds):
    """FRRouting on the client and the server, with these daemons."""
    for host in (lab.server, lab.client):
        home = lab.directory(f"frr-{host.role}", user="frr")
        peer = lab.client if host is lab.server else lab.server
        (home / "conf").write_text(config(host, peer))
        for daemon in ("zebra", *daemons):
            where = ["-i", f"{home}/{daemon}.pid", "-z", f"{home}/zserv", "--vty_socket", str(home), "-P", "0"]
            if daemon == "ldpd":
                (home / "ldp").mkdir(mode=0o777)
                shutil.chown(home / "ldp", "frr", "frr")
                where += ["--ctl_socket", f"{home}/ldp"]
            if daemon == "bfdd":
                where += ["--bfdctl", f"{home}/bfd"]
            process = host.start([f"{FRR}/{daemon}", "-f", str(home / "conf"), "--log", "stdout", *where],
                                 log=lab.log(f"{daemon}-{host.role}"))
            time.sleep(0.5)
            assert process.poll() is None, lab.log(f"{daemon}-{host.role}").read_text()
    time.sleep(seconds)
    software = f"FRRouting {version('frr')}"
    lab.versions(server=software, client=software)


def group(lab, host, address, port, app, **facts):
    """What a host says to a multicast group."""
    return lab.flow(client=host, server=address, **{"transport": "udp", "server_port": port, "app": app,
                                                    "outcome": "attempt", "confidence": "one_side", **CLEAR, **facts})


def rip(lab, interface="", keys=""):
    for host in (lab.server, lab.client):
        host.run(["ip", "addr", "replace", f"10.99.{host.v4.split('.')[2]}.1/24", "dev", "lo"])
    frr(lab, lambda host, peer: f"{keys}interface eth0\n {interface}exit\nrouter rip\n network eth0\n"
                                " redistribute connected\n timers basic 5 15 10\n", "ripd", seconds=9)


@cases.case("rip", "RIP: routers ask and answer, unauthenticated")
def _(lab):
    rip(lab, "no ip rip authentication mode\n")
    # The router that starts last is answered by the other alone.
    return [*(group(lab, host, "224.0.0.9", 520, "rip") for host in (lab.server, lab.client)),
            group(lab, lab.server, lab.client.v4, 520, "rip")]


@cases.case("rip-password", "RIP: the password of the routers can be read")
def _(lab):
    secret = lab.canary("p")[:16]
    lab.canaries[:] = [secret]
    rip(lab, f"ip rip authentication mode text\n ip rip authentication string {secret}\n")
    return [group(lab, host, "224.0.0.9", 520, "rip", credentials=["password_cleartext"])
            for host in (lab.server, lab.client)]


@cases.case("rip-md5", "RIP: the routers sign with a key")
def _(lab):
    rip(lab, "ip rip authentication mode md5\n ip rip authentication key-chain lab\n",
        keys=f"key chain lab\n key 1\n  key-string {lab.canary('p')[:16]}\nexit\n")
    return [group(lab, host, "224.0.0.9", 520, "rip", credentials=["password_hash_challenge"])
            for host in (lab.server, lab.client)]


def link_local(host):
    octets = host.v4.split(".")
    return f"fe80::77:ff:fe00:{int(octets[2]):x}{int(octets[3]):02x}"


@cases.case("ripng", "RIPng: routers ask and answer")
def _(lab):
    frr(lab, lambda host, peer: "router ripng\n network eth0\n", "ripngd", seconds=4)
    # The router that starts last is answered by the other alone.
    return [*(group(lab, link_local(host), "ff02::9", 521, "rip") for host in (lab.server, lab.client)),
            group(lab, link_local(lab.server), link_local(lab.client), 521, "rip")]


@cases.case("bfd", "BFD: two routers watch each other", shape=[shape.first(24)])
def _(lab):
    frr(lab, lambda host, peer: f"bfd\n peer {peer.v4} interface eth0\n  no shutdown\n", "bfdd", seconds=5)
    return [lab.flow(client=a, server=b, transport="udp", server_port=3784, app="bfd", outcome="attempt",
                     confidence="one_side", **CLEAR) for a, b in ((lab.client, lab.server), (lab.server, lab.client))]


@cases.case("ldp", "LDP: hellos to all routers, then a session")
def _(lab):
    frr(lab, lambda host, peer: f"""mpls ldp
 router-id {host.v4}
 address-family ipv4
  discovery transport-address {host.v4}
  interface eth0
  exit
 exit-address-family
exit
""", "ldpd", seconds=12)
    # The router with the greater address connects (RFC 5036 section 2.5.2).
    return [*(group(lab, host, "224.0.0.2", 646, "ldp") for host in (lab.server, lab.client)),
            lab.flow(client=lab.server, server=lab.client, server_port=646, app="ldp", outcome="established",
                     confidence="both_sides", **CLEAR)]


@cases.case("sflow", "sFlow: a probe sends samples to its collector")
def _(lab):
    def listen(address):
        import socket
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind((address, 6343))
            time.sleep(60)

    def chat(text):
        import socket
        with socket.socket(type=socket.SOCK_DGRAM) as sock, socket.socket(type=socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 9999))
            for _ in range(60):
                sock.sendto(text.encode(), ("127.0.0.1", 9999))
                time.sleep(0.05)
    home = lab.directory("pmacct")
    (home / "conf").write_text(f"daemonize: false\npcap_interface: lo\nplugins: sfprobe[lab]\n"
                               f"sfprobe_receiver: {lab.server.v4}:6343\nsfprobe_agentip: {lab.client.v4}\n"
                               f"sampling_rate: 10\n")
    lab.server.spawn(listen, lab.server.v4)
    lab.server.wait_port(6343, kind="udp")
    lab.client.start(["pmacctd", "-f", str(home / "conf")], log=lab.log("pmacct"))
    time.sleep(2)
    lab.client.call(chat, lab.canary("sampled"))
    time.sleep(3)
    lab.versions(client=f"pmacct {version('pmacct')}")
    return [lab.flow(transport="udp", server_port=6343, app="sflow", outcome="attempt", confidence="one_side", **CLEAR)]
