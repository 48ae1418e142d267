"""SNMP: net-snmp's agent asked with each version and security level, and traps."""

import http_servers as web
from lab import Cases

APT = ["snmpd", "snmp"]
cases = Cases()
OID = "1.3.6.1.2.1.1.5.0"
SECRET = "community_string"


def flow(lab, **facts):
    return lab.flow(**{"transport": "udp", "server_port": 161, "encryption": "plaintext", "app": "snmp",
                       "outcome": "established", "confidence": "both_sides",
                       "plaintext_reason": "no_in_band_upgrade", **facts})


def check(flow, c2s, s2c):
    """The message is a sequence, and version 3 says whether its data is encrypted."""
    where = f"port {flow['client_port']}"
    if (c2s or s2c)[:1] != b"\x30":
        yield f"{where}: not a sequence"
    sealed = any(b"\x04\x01" + bytes([flags]) + b"\x02\x01\x03" in c2s for flags in (3, 7))
    if sealed != (flow["encryption"] == "other-encrypted"):
        yield f"{where}: privacy is {sealed}"


def agent(lab, config):
    home = lab.directory("snmp")
    (home / "snmpd.conf").write_text(f"agentaddress udp:{lab.server.v4}:161\nsysName {lab.canary('name')}\n{config}\n")
    process = lab.server.start(["/usr/sbin/snmpd", "-f", "-Lo", "-C", "-c", str(home / "snmpd.conf"),
                                "-p", str(home / "pid")], log=lab.log("snmpd"), env={"SNMP_PERSISTENT_DIR": str(home),
                                                                                    "PATH": "/usr/bin:/bin"})
    lab.server.wait_port(161, process, kind="udp")
    version = web.version(["/usr/sbin/snmpd", "-v"], r"version:\s+(\S+)")
    lab.versions(server=f"net-snmp {version}", client=f"net-snmp {version}")


def ask(lab, *options, program="snmpget", oid=OID, check=True):
    home = lab.directory("snmp-client")
    return lab.client.run([program, "-r", "0", "-t", "2", *options, lab.server.v4, oid], check=check,
                          env={"SNMP_PERSISTENT_DIR": str(home), "PATH": "/usr/bin:/bin", "MIBS": ""})


@cases.case("v1-get", "SNMPv1: the community and the value can be read")
def _(lab):
    agent(lab, f"rocommunity {lab.canary('community')}")
    ask(lab, "-v1", "-c", lab.canary("community"))
    return [flow(lab, credentials=[SECRET])]


@cases.case("v2c-walk", "SNMPv2c: a walk")
def _(lab):
    agent(lab, f"rocommunity {lab.canary('community')}")
    ask(lab, "-v2c", "-c", lab.canary("community"), program="snmpbulkwalk", oid="1.3.6.1.2.1.1")
    return [flow(lab, credentials=[SECRET])]


@cases.case("v2c-refused", "a community that the agent does not know: it does not answer")
def _(lab):
    agent(lab, "rocommunity other")
    lab.canaries.clear()
    ask(lab, "-v2c", "-c", lab.canary("community"), check=False)
    return [flow(lab, credentials=[SECRET], outcome="attempt", confidence="one_side")]


USER = "createUser bob SHA {0} AES {0}\nrouser bob {1}"


@cases.case("v3-noauth", "SNMPv3 without authentication: discovery, then data in clear")
def _(lab):
    agent(lab, "createUser bob\nrouser bob noauth")
    ask(lab, "-v3", "-u", "bob", "-l", "noAuthNoPriv")
    return [flow(lab)]


@cases.case("v3-auth", "SNMPv3 authenticated: the data is clear")
def _(lab):
    agent(lab, USER.format("secretsecret", "auth"))
    ask(lab, "-v3", "-u", "bob", "-l", "authNoPriv", "-a", "SHA", "-A", "secretsecret")
    return [flow(lab)]


@cases.case("v3-priv", "SNMPv3 encrypted: only the discovery is clear")
def _(lab):
    agent(lab, USER.format("secretsecret", "priv"))
    ask(lab, "-v3", "-u", "bob", "-l", "authPriv", "-a", "SHA", "-A", "secretsecret", "-x", "AES", "-X", "secretsecret")
    lab.canaries.clear()
    return [flow(lab, encryption="other-encrypted", plaintext_reason=None)]


@cases.case("v2c-trap", "an agent's trap: nobody answers it")
def _(lab):
    def listen(address):
        import socket
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((address, 162))
            sock.settimeout(10)
            sock.recv(2000)
    waiting = lab.server.spawn(listen, lab.server.v4)
    lab.server.wait_port(162, kind="udp")
    lab.client.run(["snmptrap", "-v2c", "-c", lab.canary("community"), lab.server.v4, "", "1.3.6.1.6.3.1.1.5.1"],
                   env={"SNMP_PERSISTENT_DIR": str(lab.directory("snmp-client")), "PATH": "/usr/bin:/bin", "MIBS": ""})
    waiting.result()
    lab.versions(client="net-snmp " + web.version(["/usr/sbin/snmpd", "-v"], r"version:\s+(\S+)"))
    return [flow(lab, server_port=162, credentials=[SECRET], outcome="attempt", confidence="one_side")]


@cases.case("v2c-answers-only", "only what the agent sends was mirrored", mirror=("server:out",))
def _(lab):
    agent(lab, f"rocommunity {lab.canary('community')}")
    ask(lab, "-v2c", "-c", lab.canary("community"))
    return [flow(lab, credentials=[SECRET], confidence="one_side")]
