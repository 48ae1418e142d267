"""Tunnels: WireGuard, IKE with ESP in UDP, tinc, PPTP."""

import os
import re
import socket
import subprocess
import time

import http_servers as web
import shape
from lab import Cases

APT = ["wireguard-tools", "wireguard-go", "strongswan-charon", "strongswan-swanctl", "libcharon-extra-plugins",
       "libstrongswan-extra-plugins", "tinc", "pptpd", "pptp-linux"]
cases = Cases()


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    where = f"port {flow['client_port']}"
    start = b"\0\x9c\0\1\x1a\x2b\x3c\x4d"
    begins = {"wireguard": ((b"\1\0\0\0", b"\4\0\0\0"), (b"\2\0\0\0", b"\4\0\0\0")), "pptp": (start, start),
              "tinc": (b"0 ", b"0 ")}
    for said, begin in zip((c2s, s2c), begins.get(flow["app"], ()), strict=False):
        if said and not said.startswith(begin):
            yield f"{where}: begins with {said[:8]!r}"
    if flow["app"] == "ike" and flow["server_port"] == 500 and c2s[16:18] not in (b"\x21\x20", b"\x01\x10"):
        yield f"{where}: no IKE header: {c2s[:20]!r}"


def version(package):
    said = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True).stdout
    return re.match(r"(?:\d+:)?([\w.]+)", said).group(1)


def echo(address, count):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind((address, 7))
        for _ in range(count):
            data, whence = sock.recvfrom(2048)
            sock.sendto(data, whence)


def talk(lab, text, count, answered=True):
    """What is said inside a tunnel."""
    def say(address):
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("10.88.0.2", 0))
            sock.settimeout(5 if answered else 0.2)
            for _ in range(count):
                sock.sendto(text.encode(), (address, 7))
                try:
                    sock.recv(2048)
                except TimeoutError:
                    assert not answered
    if answered:
        lab.server.spawn(echo, "10.88.0.1", count)
        lab.server.wait_port(7, kind="udp")
    lab.client.call(say, "10.88.0.1")


# --- WireGuard ------------------------------------------------------------------------------------------------------

PORT = 51820


def key(*command, given=None):
    return subprocess.run(["wg", *command], input=given, capture_output=True, text=True, check=True).stdout.strip()


def wireguard(lab, count=3, serve=True):
    """The lab's client talks with its server through a tunnel of user space."""
    private = {role: key("genkey") for role in ("client", "server")}
    public = {role: key("pubkey", given=k) for role, k in private.items()}
    shared = key("genpsk")
    for host, peer, inner in ((lab.server, lab.client, "10.88.0.1"), (lab.client, lab.server, "10.88.0.2")):
        if host is lab.server and not serve:
            continue
        # The control socket is in the file system, which all namespaces share.
        name = f"wg{host.role[0]}{os.getpid()}"
        config = lab.directory(f"wg-{host.role}") / "conf"
        endpoint = f"Endpoint = {peer.v4}:{PORT}\nPersistentKeepalive = 1\n" if host is lab.client else ""
        port = f"ListenPort = {PORT}\n" if host is lab.server else ""
        config.write_text(f"[Interface]\nPrivateKey = {private[host.role]}\n{port}[Peer]\n"
                          f"PublicKey = {public[peer.role]}\nPresharedKey = {shared}\nAllowedIPs = 10.88.0.0/24\n"
                          f"{endpoint}")
        process = host.start(["wireguard-go", "-f", name], log=lab.log(f"wg-{host.role}"))
        for _ in range(50):
            if os.path.exists(f"/var/run/wireguard/{name}.sock"):
                break
            assert process.poll() is None, lab.log(f"wg-{host.role}").read_text()
            time.sleep(0.1)
        host.run(["wg", "setconf", name, str(config)])
        host.run(["ip", "addr", "add", f"{inner}/24", "dev", name])
        host.run(["ip", "link", "set", name, "up"])
    talk(lab, lab.canary("inside"), count, answered=serve)
    if not serve:
        time.sleep(4)
    software = f"wireguard-go {version('wireguard-go')}"
    lab.versions(server=software, client=software)


def tunnel(lab, **facts):
    return lab.flow(**{"transport": "udp", "server_port": PORT, "encryption": "wireguard", "app": "wireguard",
                       "outcome": "established", "confidence": "both_sides", **facts})


@cases.case("wireguard", "WireGuard: a handshake with a preshared key and three datagrams each way")
def _(lab):
    wireguard(lab)
    return [tunnel(lab)]


@cases.case("wireguard-late", "WireGuard: the recording begins after the handshake",
            shape=[shape.late(web.nth(2, lambda p: p.payload[:1] == b"\4"))])
def _(lab):
    wireguard(lab, count=5)
    return [tunnel(lab)]


@cases.case("wireguard-server-side-only", "WireGuard: only what the server sends", mirror=("server:out",))
def _(lab):
    wireguard(lab)
    return [tunnel(lab, confidence="one_side")]


@cases.case("wireguard-no-answer", "WireGuard: nobody answers the handshake", mirror=("client:out",))
def _(lab):
    wireguard(lab, count=1, serve=False)
    return [tunnel(lab, outcome="attempt", confidence="one_side")]


# --- IKE ------------------------------------------------------------------------------------------------------------

def charon(lab, host, peer, secret, proposal, ike):
    """strongSwan in user space (ESP always in UDP), with a /run of its own."""
    home = lab.directory(f"ike-{host.role}")
    (home / "strongswan.conf").write_text(f"""charon {{
  load = random nonce aes sha1 sha2 hmac kdf gmp curve25519 openssl socket-default kernel-libipsec kernel-netlink vici \
eap-identity eap-mschapv2 md4 xauth-generic resolve updown
  plugins {{ vici {{ socket = unix://{home}/vici }} kernel-libipsec {{ allow_peer_ts = yes }} }}
  filelog {{ stderr {{ default = 1 }} }} }}""")
    inner = {"client": "10.88.0.2", "server": "10.88.0.1"}
    (home / "swanctl.conf").write_text(f"""connections {{ lab {{
  version = {ike}
  local_addrs = {host.v4}
  remote_addrs = {peer.v4}
  proposals = {proposal}
  local {{
    auth = psk
    id = {host.role}@lab.internal
  }}
  remote {{
    auth = psk
    id = {peer.role}@lab.internal
  }}
  children {{ net {{
    local_ts = {inner[host.role]}/32
    remote_ts = {inner[peer.role]}/32
    esp_proposals = aes128-sha256
  }} }}
}} }}
secrets {{ ike-1 {{
  secret = "{secret}"
}} }}
""")
    host.run(["ip", "addr", "replace", f"{inner[host.role]}/32", "dev", "lo"])
    # Both daemons have the same compiled-in place for their pid.
    process = host.start(["sh", "-c", "mount -t tmpfs tmpfs /run && exec /usr/lib/ipsec/charon"],
                         log=lab.log(f"charon-{host.role}"), env={"STRONGSWAN_CONF": str(home / "strongswan.conf")})
    host.wait_port(4500, process, kind="udp")
    where = ["--uri", f"unix://{home}/vici"]
    host.run(["swanctl", "--load-all", *where, "--file", str(home / "swanctl.conf")])
    return where


def ike(lab, ike=2, wrong=False, proposal="aes128-sha256-x25519"):
    secret = lab.canary("psk")
    charon(lab, lab.server, lab.client, lab.canary("other") if wrong else secret, proposal, ike)
    where = charon(lab, lab.client, lab.server, secret, proposal, ike)
    done = lab.client.run(["swanctl", "--initiate", *where, "--child", "net"], check=False)
    assert ("completed successfully" in done.stdout) != wrong, done.stdout + done.stderr
    if not wrong:
        talk(lab, lab.canary("inside"), 3)
        lab.client.run(["swanctl", "--terminate", *where, "--ike", "lab"], check=False)
    software = f"strongSwan {version('strongswan-charon')}"
    lab.versions(server=software, client=software)


def ipsec(lab, port, **facts):
    return lab.flow(**{"transport": "udp", "server_port": port, "encryption": "ipsec", "app": "ike",
                       "outcome": "established", "confidence": "both_sides", **facts})


@cases.case("ikev2", "IKEv2 with a shared key, then ESP in UDP on port 4500")
def _(lab):
    ike(lab)
    return [ipsec(lab, 500), ipsec(lab, 4500)]


@cases.case("ikev1", "IKEv1 in main mode, then ESP in UDP on port 4500")
def _(lab):
    ike(lab, ike=1)
    return [ipsec(lab, 500), ipsec(lab, 4500)]


@cases.case("ikev2-wrong-key", "IKEv2: the keys differ")
def _(lab):
    ike(lab, wrong=True)
    return [ipsec(lab, 500), ipsec(lab, 4500)]


@cases.case("esp-in-udp-late", "ESP in UDP: the recording begins when the tunnel is up",
            shape=[shape.late(lambda p: p.dport == 4500 and p.payload[:4] not in (b"", b"\0\0\0\0", b"\xff"))])
def _(lab):
    ike(lab)
    return [ipsec(lab, 4500)]
