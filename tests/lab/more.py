"""More of the network: Diameter with freeDiameter, DDS with Cyclone, ManageSieve with Dovecot."""

import importlib.metadata
import re
import socket
import subprocess
import time

import shape
from lab import Cases

APT = ["freediameterd", "dovecot-managesieved"]
PIP = ["cyclonedds"]
cases = Cases()
CLEAR = {"encryption": "plaintext", "plaintext_reason": "no_in_band_upgrade"}


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    begins = {"diameter": (b"\1", b"\1"), "rtps": (b"RTPS", b"RTPS"), "sieve": (b"", b'"IMPLEMENTATION"')}
    for said, begin in zip((c2s, s2c), begins.get(flow["app"], ()), strict=False):
        if said and not said.startswith(begin):
            yield f"port {flow['client_port']}: begins {said[:16]!r}"


def version(package):
    said = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True).stdout
    return re.match(r"(?:\d+:)?([\w.]+)", said).group(1)


@cases.case("diameter", "Diameter: two peers exchange capabilities, and one goes away")
def _(lab):
    for host, peer in ((lab.server, lab.client), (lab.client, lab.server)):
        home = lab.directory(f"fd-{host.role}")
        crt, private = lab.certs.server()
        connect = f'ConnectTo = "{peer.v4}"; No_TLS; No_SCTP; Port = 3868;' if host is lab.client else \
            'ConnectTo = "127.0.0.1"; No_TLS; No_SCTP; Port = 1;'
        (home / "conf").write_text(f"""Identity = "{host.name}";
Realm = "lab.internal";
Port = 3868;
SecPort = 0;
No_SCTP;
No_IPv6;
ListenOn = "{host.v4}";
TLS_Cred = "{crt}", "{private}";
TLS_CA = "{lab.certs.ca}";
ConnectPeer = "{peer.name}" {{ {connect} }};
""")
        process = host.start(["freeDiameterd", "-c", str(home / "conf")], log=lab.log(f"fd-{host.role}"))
        host.wait_port(3868, process)
    time.sleep(3)
    for host in (lab.client, lab.server):
        host.stop_all()
    software = f"freeDiameter {version('freediameterd')}"
    lab.versions(server=software, client=software)
    return [lab.flow(server_port=3868, app="diameter", confidence="both_sides", outcome="established",
                     **CLEAR)]


def sieve(lab, *turns, **facts):
    home, user, password = lab.directory("dovecot"), lab.canary("user"), lab.canary("pass")
    crt, private = lab.certs.server()
    home.chmod(0o777)
    (home / "users").write_text(f"{user}:{{PLAIN}}{password}:1000:1000::{home}\n")
    (home / "conf").write_text(f"""protocols = sieve
base_dir = {home}/run
state_dir = {home}/state
log_path = /dev/stderr
listen = {lab.server.v4}
ssl = yes
ssl_cert = <{crt}
ssl_key = <{private}
disable_plaintext_auth = no
mail_location = maildir:{home}/mail
passdb {{
  driver = passwd-file
  args = {home}/users
}}
userdb {{
  driver = passwd-file
  args = {home}/users
}}
service managesieve-login {{
  inet_listener sieve {{
    port = 4190
  }}
}}
""")
    process = lab.server.start(["dovecot", "-F", "-c", str(home / "conf")], log=lab.log("dovecot"))
    lab.server.wait_port(4190, process)

    def client(address, user, password):
        import base64
        import ssl
        sock = socket.create_connection((address, 4190), timeout=8)
        login = base64.b64encode(f"\0{user}\0{password}".encode()).decode()

        def until(word):
            data = b""
            while word not in data:
                more = sock.recv(4096)
                if not more:
                    return
                data += more
        until(b'OK "')
        for turn in turns:
            sock.sendall(turn.replace("LOGIN", login).encode())
            until(b"\r\n")
            if turn.startswith("STARTTLS"):
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                sock = context.wrap_socket(sock)
                until(b'OK "')
        sock.close()
    lab.client.call(client, lab.server.v4, user, password)
    lab.versions(server=f"Dovecot {version('dovecot-core')}", client="scripted")
    return [lab.flow(**{"server_port": 4190, "app": "sieve", "confidence": "both_sides", "outcome": "established",
                        **CLEAR, **facts})]


@cases.case("sieve-plain", "ManageSieve: a login in clear though TLS was offered")
def _(lab):
    return sieve(lab, 'AUTHENTICATE "PLAIN" "LOGIN"\r\n',
                 plaintext_reason="client_declined", credentials=["sasl_plain"])


@cases.case("sieve-starttls", "ManageSieve: TLS is asked for, then a login")
def _(lab):
    flows = sieve(lab, "STARTTLS\r\n", 'AUTHENTICATE "PLAIN" "LOGIN"\r\n', "LOGOUT\r\n", encryption="tls",
                  plaintext_reason=None, upgrade="sieve-starttls")
    return flows


@cases.case("rtps", "DDS: a participant announces itself and its topic", mirror=("client:out",),
            shape=[shape.keep(lambda p: p.transport), shape.first(20)])
def _(lab):
    def write(text):
        import os
        os.environ["CYCLONEDDS_URI"] = "<General><Interfaces><NetworkInterface name='eth0'/></Interfaces></General>"
        from dataclasses import dataclass

        from cyclonedds.domain import DomainParticipant
        from cyclonedds.idl import IdlStruct
        from cyclonedds.pub import DataWriter
        from cyclonedds.topic import Topic

        @dataclass
        class Reading(IdlStruct):
            text: str
        participant = DomainParticipant(0)
        writer = DataWriter(participant, Topic(participant, text, Reading))
        for _ in range(3):
            writer.write(Reading(text))
            time.sleep(0.5)
    lab.client.run(["ip", "route", "replace", "224.0.0.0/4", "dev", "eth0"])
    lab.client.call(write, lab.canary("topic"))
    lab.versions(client=f"Cyclone DDS {importlib.metadata.version('cyclonedds')}")
    return [lab.flow(client=lab.client, server="239.255.0.1", transport="udp", server_port=7400, app="rtps",
                     outcome="attempt", confidence="one_side", **CLEAR)]
