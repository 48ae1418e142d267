"""SSH: OpenSSH, Paramiko and AsyncSSH; logins, silent and foreign clients, views."""

import pathlib
import re

import byte_relay
import http_check
import http_programs
import http_servers as web
import shape
from lab import Cases
from net import sh

APT = [*web.APT, "openssh-server", "openssh-client", "sshpass", "tinyproxy", "socat"]
PIP = ["paramiko", "asyncssh"]
cases = Cases()
BANNER = re.compile(rb"SSH-(2\.0|1\.99)-[^\r\n]+\r?\n")


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    where = f"port {flow['client_port']}"
    if flow["encryption"] != "ssh":
        yield from http_check.http(flow, c2s, s2c)
        return
    if flow["origin"] == "midstream":
        return
    _tunnel, client, server = http_check.strip_connect(c2s, s2c)
    for said, who in ((client, "client"), (server, "server")):
        if said and not BANNER.match(said) and flow["outcome"] != "refused":
            yield f"{where}: the {who} does not begin with a banner: {said[:20]!r}"
    spoke = bool(c2s) + bool(s2c)
    if (flow["outcome"] == "attempt") != (spoke == 1) and flow.get("confidence") == "both_sides":
        yield f"{where}: {flow['outcome']}, and {spoke} sides spoke"


def secure(lab, **facts):
    return lab.flow(**{"server_port": 22, "encryption": "ssh", "app": "ssh", "outcome": "established",
                       "confidence": "both_sides", **facts})


def setup(lab):
    """Keys of the host and of a user, made once."""
    home = lab.directory("ssh")
    for name in ("host", "user"):
        sh(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(home / name)])
    pathlib.Path("/run/sshd").mkdir(exist_ok=True)
    lab.state = home


def sshd(lab, port=22, **settings):
    home = lab.state
    values = {"Port": port, "HostKey": home / "host", "AuthorizedKeysFile": home / "user.pub", "StrictModes": "no",
              "PermitRootLogin": "yes", "UsePAM": "no", "PidFile": "none", "UseDNS": "no", "LogLevel": "ERROR",
              "Subsystem": "sftp internal-sftp", **settings}
    (home / "conf").write_text("".join(f"{k} {v}\n" for k, v in values.items()))
    process = lab.server.start(["/usr/sbin/sshd", "-D", "-e", "-f", str(home / "conf")], log=lab.log("sshd"))
    lab.server.wait_port(port, process)
    lab.versions(server="OpenSSH " + web.version(["ssh", "-V"], r"OpenSSH_(\S+)"))
    return process


OPTIONS = ["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]


def ssh(lab, *args, address=None, port=22, check=True, user="root"):
    """Log in with the key and say something."""
    lab.versions(client="OpenSSH " + web.version(["ssh", "-V"], r"OpenSSH_(\S+)"))
    return lab.client.run(["ssh", *OPTIONS, "-p", str(port), "-i", str(lab.state / "user"), *args,
                           f"{user}@{address or lab.server.v4}", f"echo {lab.canary('said')}"], check=check)


# --- sessions ---------------------------------------------------------------------

@cases.case("key-login", "OpenSSH: login with a key, one command")
def _(lab):
    sshd(lab)
    ssh(lab)
    return [secure(lab)]


@cases.case("wrong-password", "OpenSSH: wrong passwords; the refusal is inside the encryption")
def _(lab):
    sshd(lab)
    done = lab.client.run(["sshpass", "-p", lab.canary("wrong"), "ssh", *OPTIONS, "-o", "PubkeyAuthentication=no",
                           "-o", "NumberOfPasswordPrompts=1", f"{lab.canary('user')}@{lab.server.v4}"], check=False)
    assert "denied" in done.stderr, done.stderr
    lab.versions(client="OpenSSH " + web.version(["ssh", "-V"], r"OpenSSH_(\S+)"))
    return [secure(lab)]


@cases.case("sftp", "a file copied with scp")
def _(lab):
    sshd(lab)
    path, target = lab.work / "upload", lab.work / "uploaded"
    path.write_text(web.text(lab, 3000))
    lab.client.run(["scp", *OPTIONS, "-i", str(lab.state / "user"), str(path), f"root@{lab.server.v4}:{target}"])
    lab.versions(client="OpenSSH " + web.version(["ssh", "-V"], r"OpenSSH_(\S+)"))
    return [secure(lab)]


@cases.case("keyscan", "ssh-keyscan: banners and key exchange, then the client leaves")
def _(lab):
    sshd(lab)
    lab.client.run(["ssh-keyscan", "-t", "ed25519", lab.server.v4])
    lab.versions(client="OpenSSH ssh-keyscan")
    return [secure(lab)]


@cases.case("paramiko", "Paramiko as the client")
def _(lab):
    def work(address, key, text):
        import paramiko
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(address, username="root", key_filename=key, allow_agent=False, look_for_keys=False)
        client.exec_command(f"echo {text}")[1].read()
        client.close()
        return paramiko.__version__
    sshd(lab)
    used = lab.client.call(work, lab.server.v4, str(lab.state / "user"), lab.canary("said"))
    lab.versions(client=f"Paramiko {used}")
    return [secure(lab)]


@cases.case("asyncssh-password", "AsyncSSH at both ends: login with a password, which is inside the encryption")
def _(lab):
    def work(address, user, password):
        import asyncio

        import asyncssh

        async def run():
            async with asyncssh.connect(address, username=user, password=password, known_hosts=None, config=None,
                                        client_keys=None, agent_path=None) as connection:
                await connection.run("hello", check=False)
        asyncio.run(run())
        return asyncssh.__version__
    user, password = lab.canary("user"), lab.canary("pass")
    http_programs.start(lab, lab.server, 22, "ssh", lab.server.v4, 22, user, password, str(lab.state / "host"))
    used = lab.client.call(work, lab.server.v4, user, password)
    lab.versions(client=f"AsyncSSH {used}", server=f"AsyncSSH {used}")
    return [secure(lab)]


@cases.case("through-connect", "SSH through an HTTP CONNECT tunnel", mirror=["client"])
def _(lab):
    sshd(lab)
    web.tinyproxy(lab)
    ssh(lab, "-o", f"ProxyCommand=socat - PROXY:{lab.middle.v4}:%h:%p,proxyport=8888")
    return [secure(lab, server=lab.middle, server_port=8888, upgrade="http-connect")]


# --- who does not speak SSH --------------------------------------------------------------

def mute(address, port, seconds=0.4):
    import socket
    import time
    with socket.create_connection((address, port)) as connection:
        said = connection.recv(100)
        time.sleep(seconds)
    return said


@cases.case("banner-only", "the server's banner, and a client that says nothing")
def _(lab):
    sshd(lab)
    lab.client.call(mute, lab.server.v4, 22)
    lab.versions(client="a Python socket")
    return [secure(lab, outcome="attempt", confidence="one_side")]


@cases.case("too-many", "sshd with too many clients: text instead of a banner for the second one")
def _(lab):
    sshd(lab, MaxStartups="1:100:1")
    first = lab.client.spawn(mute, lab.server.v4, 22, 2)
    import time
    time.sleep(0.4)
    done = ssh(lab, check=False)
    first.result()
    assert done.returncode == 255
    return [secure(lab, outcome="attempt", confidence="one_side"), secure(lab, outcome="refused", confidence=None)]


@cases.case("http-to-ssh", "HTTP to an SSH port: the banner and a refusal come back")
def _(lab):
    sshd(lab)
    lab.client.call(web.talk, lab.server.v4, 22, [web.request(lab)])
    lab.versions(client="a Python socket")
    return [web.plain(lab, server_port=22, outcome="refused", confidence=None)]


@cases.case("tls-to-ssh", "a ClientHello to an SSH port: the banner and a refusal come back")
def _(lab):
    sshd(lab)
    web.curl(lab, "-k", web.url(lab, scheme="https", host="server.lab.internal", port=22), check=False)
    return [web.tls(lab, server_port=22, sni="server.lab.internal", outcome="refused", confidence=None)]


@cases.case("ssh-to-http", "an SSH client on an HTTP port: the server answers in HTTP")
def _(lab):
    web.nginx(lab)
    ssh(lab, port=80, check=False)
    return [secure(lab, server_port=80, outcome="refused", confidence=None)]


# --- ports and views ----------------------------------------------------------------------

@cases.case("port-443", "SSH on port 443")
def _(lab):
    sshd(lab, 443)
    ssh(lab, port=443)
    return [secure(lab, server_port=443)]


@cases.case("ipv6", "SSH over IPv6")
def _(lab):
    sshd(lab)
    ssh(lab, address=lab.server.v6)
    return [secure(lab, v6=True)]


@cases.case("client-side-only", "only what the client sends", mirror=["server:in"])
def _(lab):
    sshd(lab)
    ssh(lab)
    return [secure(lab, confidence="one_side")]


@cases.case("server-side-only", "only what the server sends", mirror=["server:out"])
def _(lab):
    sshd(lab)
    ssh(lab)
    return [secure(lab, confidence="one_side")]


@cases.case("late-after-banners", "the recording starts with KEXINIT; the banners are not in it",
            shape=[shape.late(lambda p: p.payload[5:6] == b"\x14")])
def _(lab):
    sshd(lab)
    ssh(lab)
    return [secure(lab, origin="midstream", confidence="midstream", accept=["unknown"],
                   why="KEXINIT is in clear, but the banners are gone")]


@cases.case("late", "the recording starts inside the encrypted part", shape=[shape.late(web.nth(6, lambda p: (
    p.payload and p.dport == 22)))])
def _(lab):
    sshd(lab)
    ssh(lab)
    return [lab.flow(server_port=22, encryption="unknown", outcome="unknown", origin="midstream", accept=["ssh"],
                     why="nothing in clear is left")]


@cases.case("both-ends", "both ends are mirrored: one flow, every packet twice", mirror=["client", "server"])
def _(lab):
    sshd(lab)
    ssh(lab)
    return [secure(lab)]


@cases.case("truncated-128", "copies cut to 128 bytes", shape=[shape.truncate(128)])
def _(lab):
    sshd(lab)
    ssh(lab)
    return [secure(lab)]


@cases.case("byte-by-byte", "one byte per segment: both banners and the start of KEXINIT")
def _(lab):
    sshd(lab, 2222)
    done = byte_relay.between(lab, 22, 2222, up=70, down=70)
    ssh(lab, address="127.0.0.1")
    done()
    return [secure(lab)]
