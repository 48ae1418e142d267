"""OpenVPN over UDP and TCP: plain, tls-auth, tls-crypt, tls-crypt-v2, a server that does not answer."""

import re
import subprocess

from lab import Cases

APT = ["openvpn"]
cases = Cases()
PORT = 1194


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    where = f"{flow['transport']} port {flow['client_port']}"
    head = 2 if flow["transport"] == "tcp" else 0
    if c2s and c2s[head] not in (0x38, 0x50):
        yield f"{where}: the client does not begin with a hard reset: {c2s[:8]!r}"
    if s2c and s2c[head] != 0x40:
        yield f"{where}: the server does not begin with a hard reset: {s2c[:8]!r}"


def connect(lab, *options, proto="udp", key=None, serve=True):
    """A tunnel without an interface, up for a moment."""
    crt, private = lab.certs.server()
    own, own_key = lab.certs.pair("client")
    ca = str(lab.certs.ca)
    common = ["openvpn", "--dev", "null", "--ca", ca, "--verb", "3", "--ifconfig-noexec", "--route-noexec",
              "--data-ciphers", "AES-256-GCM", *options]
    secret = lambda side: key(side) if key else []
    if serve:
        server = lab.server.start([*common, "--tls-server", "--dh", "none", "--cert", str(crt), "--key", str(private),
                                   "--proto", proto.replace("tcp", "tcp-server"), "--local", lab.server.v4,
                                   "--port", str(PORT), *secret("server")], log=lab.log("openvpn"))
        lab.server.wait_port(PORT, server, kind=proto)
    command = [*common, "--tls-client", "--cert", str(own), "--key", str(own_key), "--proto",
               proto.replace("tcp", "tcp-client"), "--remote", lab.server.v4, str(PORT), "--nobind",
               "--inactive", "2", "--ping", "1", "--connect-retry-max", "1", "--server-poll-timeout", "3",
               *secret("client")]
    said = lab.client.run(["timeout", "5", *command], check=False).stdout
    assert ("Initialization Sequence Completed" in said) == serve, said
    version = re.search(r"OpenVPN (\S+)", subprocess.run(["openvpn", "--version"], capture_output=True,
                                                         text=True).stdout)[1]
    lab.versions(server=f"OpenVPN {version}", client=f"OpenVPN {version}")


def tunnel(lab, **facts):
    return lab.flow(**{"transport": "udp", "server_port": PORT, "encryption": "other-encrypted", "app": "openvpn",
                       "outcome": "established", "confidence": "both_sides", **facts})


def static_key(lab):
    path = lab.directory("keys") / "static.key"
    subprocess.run(["openvpn", "--genkey", "secret", str(path)], check=True)
    return path


@cases.case("udp", "a tunnel over UDP: the resets are in clear")
def _(lab):
    connect(lab)
    return [tunnel(lab)]


@cases.case("tcp", "a tunnel over TCP: each packet behind its length")
def _(lab):
    connect(lab, proto="tcp")
    return [tunnel(lab, transport="tcp")]


@cases.case("tls-auth", "the resets carry a HMAC")
def _(lab):
    path = static_key(lab)
    connect(lab, "--auth", "SHA256", key=lambda side: ["--tls-auth", str(path), "0" if side == "server" else "1"])
    return [tunnel(lab)]


@cases.case("tls-auth-tcp", "the resets carry a HMAC of SHA-1, over TCP")
def _(lab):
    path = static_key(lab)
    connect(lab, "--auth", "SHA1", proto="tcp",
            key=lambda side: ["--tls-auth", str(path), "0" if side == "server" else "1"])
    return [tunnel(lab, transport="tcp")]


@cases.case("tls-crypt", "what follows the session ID is sealed")
def _(lab):
    path = static_key(lab)
    connect(lab, key=lambda side: ["--tls-crypt", str(path)])
    return [tunnel(lab)]


@cases.case("tls-crypt-v2", "the client's own key comes wrapped with its reset")
def _(lab):
    home = lab.directory("keys")
    subprocess.run(["openvpn", "--genkey", "tls-crypt-v2-server", str(home / "server.key")], check=True)
    subprocess.run(["openvpn", "--tls-crypt-v2", str(home / "server.key"), "--genkey", "tls-crypt-v2-client",
                    str(home / "client.key")], check=True)
    connect(lab, key=lambda side: ["--tls-crypt-v2", str(home / f"{side}.key")])
    return [tunnel(lab)]


@cases.case("no-answer", "nobody answers the client's resets")
def _(lab):
    connect(lab, serve=False)
    return [tunnel(lab, outcome="attempt", confidence="one_side")]
