"""SIP with SIPp: a call and registrations over UDP and TCP; media gateway control with osmo-mgw."""

import re
import subprocess
import time

import shape
from lab import Cases

APT = ["sip-tester", "osmo-mgw"]
cases = Cases()
CLEAR = {"encryption": "plaintext", "plaintext_reason": "no_in_band_upgrade", "confidence": "both_sides",
         "outcome": "established"}
REGISTRAR = """<?xml version="1.0"?><scenario name="registrar">
<recv request="REGISTER"/>
<send><![CDATA[SIP/2.0 401 Unauthorized
[last_Via:]
[last_From:]
[last_To:];tag=[call_number]
[last_Call-ID:]
[last_CSeq:]
WWW-Authenticate: Digest realm="lab.internal", nonce="47364c23432d2e131a5fb210812c"
Content-Length: 0

]]></send>
<recv request="REGISTER"/>
<send><![CDATA[SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=[call_number]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send></scenario>
"""
REGISTER = """<send retrans="500"><![CDATA[REGISTER sip:[remote_ip] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:USER@[remote_ip]>;tag=[call_number]
To: <sip:USER@[remote_ip]>
Call-ID: [call_id]
CSeq: NUMBER REGISTER
Contact: <sip:USER@[local_ip]:[local_port]>
Expires: 60
CREDENTIALS
Content-Length: 0

]]></send>"""


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    if flow["encryption"] != "plaintext" or flow["origin"] == "midstream":
        return
    begins = {"sip": (rb"(INVITE|REGISTER) sip:", rb"SIP/2\.0 \d{3} "), "mgcp": (rb"[A-Z]{4} \d+ ", rb"\d{3} \d+ ")}
    for said, begin in zip((c2s, s2c), begins[flow["app"]], strict=True):
        if said and not re.match(begin, said):
            yield f"port {flow['client_port']}: begins {said[:16]!r}"
    if bool(flow["credentials"]) != (b"Authorization: Digest" in c2s):
        yield f"port {flow['client_port']}: {flow['credentials']}"


def version(package):
    said = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True).stdout
    return re.match(r"(?:\d+:)?([\w.]+)", said).group(1)


def sipp(lab, kind, server, client):
    """One call or registration; `kind` is u1 (UDP) or t1 (TCP). Debian's SIPp has no TLS."""
    home = lab.directory("sipp")
    common = ["-t", kind, "-nostdin", "-m", "1"]
    process = lab.server.start(["sipp", *server(home), "-i", lab.server.v4, "-p", "5060", *common],
                               log=lab.log("sipp-server"), env={"TERM": "dumb"}, cwd=home)
    lab.server.wait_port(5060, process, kind="udp" if kind == "u1" else "tcp")
    lab.client.run(["sipp", *client(home), f"{lab.server.v4}:5060", "-i", lab.client.v4, "-p", "6060", *common],
                   env={"TERM": "dumb"}, cwd=home, timeout=20)
    process.wait(10)
    lab.versions(server=f"SIPp {version('sip-tester')}", client=f"SIPp {version('sip-tester')}")


def call(lab, kind):
    user = lab.canary("user")
    sipp(lab, kind, lambda _: ["-sn", "uas"], lambda _: ["-sn", "uac", "-s", user, "-d", "100"])


def register(lab, kind):
    user, password = lab.canary("user"), lab.canary("pass")

    def server(home):
        (home / "registrar.xml").write_text(REGISTRAR)
        return ["-sf", str(home / "registrar.xml")]

    def client(home):
        send = REGISTER.replace("USER", user)
        (home / "register.xml").write_text(
            '<?xml version="1.0"?><scenario name="register">\n'
            + send.replace("NUMBER", "1").replace("CREDENTIALS\n", "") + '<recv response="401" auth="true"/>'
            + send.replace("NUMBER", "2").replace(
                "CREDENTIALS", f"[authentication username={user} password={password}]")
            + '<recv response="200"/></scenario>\n')
        return ["-sf", str(home / "register.xml")]
    sipp(lab, kind, server, client)


def sip(lab, transport="udp", **facts):
    return lab.flow(**{"transport": transport, "server_port": 5060, "app": "sip", **CLEAR, **facts})


@cases.case("sip-call", "a call over UDP: who calls whom can be read")
def _(lab):
    call(lab, "u1")
    return [sip(lab)]


@cases.case("sip-call-tcp", "a call over TCP")
def _(lab):
    call(lab, "t1")
    return [sip(lab, "tcp")]


@cases.case("sip-register", "a registration with a digest")
def _(lab):
    register(lab, "u1")
    return [sip(lab, credentials=["password_hash_challenge"])]


@cases.case("sip-register-tcp", "a registration with a digest over TCP")
def _(lab):
    register(lab, "t1")
    return [sip(lab, "tcp", credentials=["password_hash_challenge"])]


@cases.case("sip-server-side-only", "a call of which only the answers are seen", mirror=("server:out",))
def _(lab):
    call(lab, "u1")
    return [sip(lab, confidence="one_side")]


@cases.case("sip-late", "a call over TCP, recorded from its end", shape=[
    shape.late(lambda p: p.payload.startswith(b"BYE "))])
def _(lab):
    call(lab, "t1")
    return [sip(lab, "tcp", origin="midstream", confidence="midstream")]


@cases.case("mgcp", "a media gateway is asked and makes a connection")
def _(lab):
    home = lab.directory("mgw")
    (home / "conf").write_text(f"mgcp\n bind ip {lab.server.v4}\n bind port 2427\n number endpoints 4\n"
                               f" rtp port-range 4002 4020\n rtp bind-ip {lab.server.v4}\n")
    process = lab.server.start(["osmo-mgw", "-c", str(home / "conf")], log=lab.log("mgw"))
    lab.server.wait_port(2427, process, kind="udp")

    def agent(address, call_id):
        import socket
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("", 2727))
            sock.settimeout(5)
            sock.connect((address, 2427))
            for request in ("AUEP 1 rtpbridge/1@mgw MGCP 1.0\r\n",
                            f"CRCX 2 rtpbridge/1@mgw MGCP 1.0\r\nC: {call_id}\r\nL: p:20, a:PCMU\r\nM: recvonly\r\n",
                            f"DLCX 3 rtpbridge/1@mgw MGCP 1.0\r\nC: {call_id}\r\n"):
                sock.send(request.encode())
                assert sock.recv(4096)
    lab.client.call(agent, lab.server.v4, lab.canary("call"))
    time.sleep(0.2)
    lab.versions(server=f"osmo-mgw {version('osmo-mgw')}", client="scripted")
    return [lab.flow(transport="udp", server_port=2427, app="mgcp", **CLEAR)]
