"""DNS: BIND, dnsmasq and Unbound over UDP, TCP and TLS; transfers, updates, views."""

import signal
import struct
import time

import byte_relay
import http_check
import http_servers as web
import shape
from lab import Cases

APT = [*web.APT, "bind9", "bind9-utils", "bind9-dnsutils", "dnsmasq-base", "unbound", "knot-dnsutils"]
cases = Cases()
MIDSTREAM = {"origin": "midstream", "confidence": "midstream"}


def messages(data, transport):
    """Split what one side sent over TCP; over UDP it is not split."""
    if transport == "udp":
        return [data] if data else []
    out = []
    while len(data) > 2:
        size = int.from_bytes(data[:2], "big")
        out.append(data[2:2 + size])
        data = data[2 + size:]
    return out


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    where = f"{flow['transport']} port {flow['client_port']}"
    if flow["encryption"] == "tls" or flow.get("app") == "http":
        yield from http_check.http({**flow, "app": flow.get("app")}, c2s, s2c)
        return
    if flow.get("app") != "dns":
        return
    for said, answers in ((c2s, False), (s2c, True)):
        for message in messages(said, flow["transport"])[:3]:
            _id, flags, questions = struct.unpack(">HHH", message[:6])
            if bool(flags & 0x8000) != answers or questions > 1 or flags & 0x40:
                yield f"{where}: not a {'answer' if answers else 'query'}: {message[:12]!r}"
    if (flow["outcome"] == "attempt") != (not s2c) and flow.get("confidence") == "both_sides":
        yield f"{where}: {flow['outcome']}, and the server sent {len(s2c)} bytes"


def plain(lab, transport="udp", **facts):
    return lab.flow(**{"transport": transport, "server_port": 53, "encryption": "plaintext", "app": "dns",
                       "outcome": "established", "plaintext_reason": "no_in_band_upgrade",
                       "confidence": "both_sides", **facts})


# --- servers and clients ------------------------------------------------------------

def named(lab, port=53, tls="", zone="", options=""):
    """BIND with the zones lab.internal (every name exists) and few.internal (next to none does)."""
    home = lab.directory("bind")
    long = " ".join('"' + lab.canary("long") + "x" * 200 + '"' for _ in range(14))
    head = "$TTL 60\n@ SOA ns.lab.internal. root.lab.internal. 1 60 60 60 60\n@ NS ns.lab.internal.\n"
    (home / "lab").write_text(head + "ns A 10.77.2.20\n* A 10.77.2.20\n* AAAA fd77::2:20\n"
                              f'* TXT "{lab.canary("text")}"\n* SRV 0 0 5432 ns\n{lab.canary("big")} TXT {long}\n'
                              f"{zone}\n")
    (home / "few").write_text(head)
    crt, key = lab.certs.server()
    (home / "conf").write_text(f"""options {{ directory "{home}"; pid-file none; recursion no; dnssec-validation no;
  listen-on port {port} {{ any; }}; listen-on-v6 port {port} {{ any; }}; {tls.replace("TLS", "lab")}
  allow-transfer {{ any; }}; session-keyfile none; notify no; empty-zones-enable no; {options} }};
controls {{ }};
tls lab {{ cert-file "{crt}"; key-file "{key}"; PROTOCOLS }};
zone "lab.internal" {{ type primary; file "lab"; allow-update {{ any; }}; }};
zone "few.internal" {{ type primary; file "few"; }};
""".replace("PROTOCOLS", 'protocols { TLSv1.2; }; ciphers "ECDHE+AESGCM";' if "12" in tls else "").replace(" #12", ""))
    process = lab.server.start(["/usr/sbin/named", "-g", "-n", "1", "-c", str(home / "conf")], log=lab.log("named"))
    lab.server.wait_port(port, process)
    lab.versions(server="BIND " + web.version(["/usr/sbin/named", "-v"], r"BIND (\S+?)-"))
    return process


def name(lab, kind="name", zone="lab.internal"):
    return f"{lab.canary(kind)}.{zone}"


def dig(lab, *args, at=None, check=True):
    """Run dig on the client; returns what it printed."""
    lab.versions(client="dig " + web.version(["dig", "-v"], r"DiG (\S+?)-"))
    return lab.client.run(["dig", f"@{at or lab.server.v4}", "+tries=1", "+timeout=3", *args], check=check).stdout


def kdig(lab, *args, check=True):
    lab.versions(client="kdig " + web.version(["kdig", "-V"], r"Knot DNS\), version (\S+)"))
    return lab.client.run(["kdig", "-d", f"@{lab.server.v4}", "+timeout=3", "+retry=0", *args], check=check).stdout


# --- UDP --------------------------------------------------------------------------------

@cases.case("udp-a", "A over UDP")
def _(lab):
    named(lab)
    assert "10.77.2.20" in dig(lab, name(lab), "A")
    return [plain(lab)]


@cases.case("udp-types", "AAAA, TXT, SRV, ANY and NS, each from a port of its own")
def _(lab):
    named(lab)
    for kind in ("AAAA", "TXT", "SRV", "ANY"):
        dig(lab, "+notcp", name(lab, kind.lower()), kind)
    dig(lab, "lab.internal", "NS")
    return [plain(lab) for _ in range(5)]


@cases.case("udp-no-edns", "a query without EDNS and without recursion desired")
def _(lab):
    named(lab)
    dig(lab, "+noedns", "+norecurse", name(lab), "A")
    return [plain(lab)]


@cases.case("udp-edns-options", "EDNS with DNSSEC OK, a cookie, a client subnet, NSID and padding")
def _(lab):
    named(lab)
    dig(lab, "+dnssec", "+cookie", "+subnet=10.77.1.0/24", "+nsid", "+padding=128", name(lab), "A")
    return [plain(lab)]


@cases.case("udp-nxdomain", "a name that does not exist")
def _(lab):
    named(lab)
    assert "NXDOMAIN" in dig(lab, name(lab, zone="few.internal"), "A")
    return [plain(lab)]


@cases.case("udp-refused", "a name the server is not responsible for: REFUSED")
def _(lab):
    named(lab)
    assert "REFUSED" in dig(lab, name(lab, zone="example"), "A")
    return [plain(lab, why="the answer refuses, the conversation is DNS")]


@cases.case("udp-dnsmasq", "dnsmasq as the server, two queries")
def _(lab):
    at = name(lab)
    process = lab.server.start(["dnsmasq", "-k", "-C", "/dev/null", "-h", "-R", "--user=root", "--pid-file=",
                                f"--address=/{at}/10.77.2.20", f"--txt-record={at},{lab.canary('text')}"],
                               log=lab.log("dnsmasq"))
    lab.server.wait_port(53, process, kind="udp")
    dig(lab, at, "A")
    dig(lab, at, "TXT")
    lab.versions(server="dnsmasq " + web.version(["dnsmasq", "-v"], r"version (\S+)"))
    return [plain(lab), plain(lab)]


@cases.case("udp-ipv6", "DNS over IPv6")
def _(lab):
    named(lab)
    dig(lab, name(lab), "AAAA", at=lab.server.v6)
    return [plain(lab, v6=True)]


@cases.case("udp-no-answer", "a query nobody answers")
def _(lab):
    process = named(lab)
    process.send_signal(signal.SIGSTOP)
    try:
        dig(lab, "+timeout=1", name(lab), "A", check=False)
    finally:
        time.sleep(0.2)
        lab.net.mirror()  # what it says when it wakes up is too late to matter
        process.send_signal(signal.SIGCONT)
    return [plain(lab, outcome="attempt", confidence="one_side")]


@cases.case("udp-query-only", "only what the client sends", mirror=["server:in"])
def _(lab):
    named(lab)
    dig(lab, name(lab), "A")
    return [plain(lab, confidence="one_side", outcome="attempt",
                  why="an answer was sent, but is not in this view")]


@cases.case("udp-answer-only", "only what the server sends", mirror=["server:out"])
def _(lab):
    named(lab)
    dig(lab, name(lab), "TXT")
    return [plain(lab, confidence="one_side")]


@cases.case("udp-odd-port", "DNS on port 1234")
def _(lab):
    named(lab, 1234)
    dig(lab, "-p", "1234", name(lab), "A")
    return [plain(lab, server_port=1234)]


@cases.case("udp-both-ends", "both ends are mirrored: one flow, every packet twice", mirror=["client", "server"])
def _(lab):
    named(lab)
    dig(lab, name(lab), "TXT")
    return [plain(lab)]


@cases.case("udp-truncated-64", "copies cut to 64 bytes: the DNS header is left", shape=[shape.truncate(64)])
def _(lab):
    named(lab)
    dig(lab, name(lab), "TXT")
    return [plain(lab, accept=["unknown"], app_optional=True, why="twelve bytes of header and a part of the question")]


@cases.case("update", "a dynamic update over UDP (nsupdate)")
def _(lab):
    named(lab)
    text = (f"server {lab.server.v4}\nzone lab.internal\n"
            f"update add {name(lab)} 60 TXT \"{lab.canary('value')}\"\nsend\n")
    lab.client.run(["nsupdate"], input=text)
    lab.versions(client="nsupdate " + web.version(["nsupdate", "-V"], r"nsupdate (\S+?)-"))
    return [plain(lab)]


# --- TCP -----------------------------------------------------------------------------------

@cases.case("tcp-a", "A over TCP")
def _(lab):
    named(lab)
    dig(lab, "+tcp", name(lab), "A")
    return [plain(lab, "tcp")]


@cases.case("tcp-keep-open", "five queries on one connection")
def _(lab):
    named(lab)
    dig(lab, "+tcp", "+keepopen", *(name(lab, f"name{i}") for i in range(5)))
    return [plain(lab, "tcp")]


@cases.case("truncated-then-tcp", "an answer too long for UDP: TC, then the same question over TCP")
def _(lab):
    named(lab)
    dig(lab, "+bufsize=1232", name(lab, "big"), "TXT")
    return [plain(lab), plain(lab, "tcp")]


@cases.case("tcp-large-answer", "an answer of 3 KB over TCP")
def _(lab):
    named(lab)
    dig(lab, "+tcp", name(lab, "big"), "TXT")
    return [plain(lab, "tcp")]


@cases.case("axfr", "a zone transfer over TCP")
def _(lab):
    zone = "\n".join(f"{lab.canary(f'host{i}')} A 10.77.9.{i}" for i in range(60))
    named(lab, zone=zone)
    assert lab.canary("host7") in dig(lab, "lab.internal", "AXFR")
    return [plain(lab, "tcp")]


@cases.case("tcp-unbound", "Unbound as the server")
def _(lab):
    home = lab.directory("unbound")
    at = name(lab)
    (home / "conf").write_text(f"""server:
  interface: 0.0.0.0
  access-control: 0.0.0.0/0 allow
  do-daemonize: no
  use-syslog: no
  chroot: ""
  username: ""
  directory: "{home}"
  pidfile: "{home}/pid"
  module-config: "iterator"
  local-zone: "lab.internal" static
  local-data: "{at} A 10.77.2.20"
remote-control:
  control-enable: no
""")
    process = lab.server.start(["unbound", "-d", "-c", str(home / "conf")], log=lab.log("unbound"))
    lab.server.wait_port(53, process)
    assert "10.77.2.20" in dig(lab, "+tcp", at, "A")
    lab.versions(server="Unbound " + web.version(["unbound", "-V"], r"Version (\S+)"))
    return [plain(lab, "tcp")]


@cases.case("tcp-port-443", "DNS over TCP on port 443")
def _(lab):
    named(lab, 443)
    dig(lab, "+tcp", "-p", "443", name(lab), "A")
    return [plain(lab, "tcp", server_port=443)]


@cases.case("tcp-client-side-only", "only what the client sends", mirror=["server:in"])
def _(lab):
    named(lab)
    dig(lab, "+tcp", "+keepopen", *(name(lab, f"name{i}") for i in range(3)))
    return [plain(lab, "tcp", confidence="one_side")]


@cases.case("tcp-server-side-only", "only what the server sends", mirror=["server:out"])
def _(lab):
    named(lab)
    dig(lab, "+tcp", "+keepopen", *(name(lab, f"name{i}") for i in range(3)))
    return [plain(lab, "tcp", confidence="one_side")]


@cases.case("tcp-late", "the recording starts with the third query of a connection",
            shape=[shape.late(web.nth(3, lambda p: p.payload and p.dport == 53))])
def _(lab):
    named(lab)
    dig(lab, "+tcp", "+keepopen", *(name(lab, f"name{i}") for i in range(8)))
    return [plain(lab, "tcp", **MIDSTREAM, accept=["unknown"], why="binary, without a start")]


@cases.case("tcp-byte-by-byte", "one byte per segment from both sides")
def _(lab):
    named(lab, 5353)
    done = byte_relay.between(lab, 53, 5353, up=100, down=120)
    dig(lab, "+tcp", name(lab), "A", at="127.0.0.1")
    done()
    return [plain(lab, "tcp")]


@cases.case("http-to-dns", "HTTP to the TCP port of a DNS server: no answer")
def _(lab):
    named(lab)
    lab.client.call(web.talk, lab.server.v4, 53, [web.request(lab)], 0.05, b"", 0.6)
    lab.versions(client="a Python socket")
    return [web.plain(lab, server_port=53, outcome="attempt", confidence="one_side")]


# --- TLS -------------------------------------------------------------------------------------

DOT = "listen-on port 853 tls TLS { any; };"


def tls(lab, said="", **facts):
    return web.tls(lab, "", **{"server_port": 853, "app": "dns", "app_optional": True, "tls_version": "TLSv1.3",
                               **facts})


@cases.case("dot-kdig", "DNS over TLS with kdig, which offers ALPN dot")
def _(lab):
    named(lab, tls=DOT)
    assert "10.77.2.20" in kdig(lab, "+tls", "-p", "853", name(lab), "A")
    return [tls(lab, why="only the ALPN the client offers tells the application")]


@cases.case("dot-tls12", "DNS over TLS 1.2: the server chooses ALPN dot in clear")
def _(lab):
    named(lab, tls=DOT + " #12")
    kdig(lab, "+tls", "+tls-sni=server.lab.internal", "-p", "853", name(lab), "A")
    return [tls(lab, sni="server.lab.internal", tls_version="TLSv1.2", alpn="dot")]


@cases.case("dot-dig", "DNS over TLS with dig")
def _(lab):
    named(lab, tls=DOT)
    dig(lab, "+tls", name(lab), "A")
    return [tls(lab, why="only the ALPN the client offers tells the application")]


@cases.case("dot-no-alpn", "DNS over TLS from a client without ALPN: nothing tells the application")
def _(lab):
    def ask(address, question):
        import socket
        import ssl
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        labels = b"".join(bytes([len(part)]) + part.encode() for part in question.split("."))
        query = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"
        with socket.create_connection((address, 853), timeout=5) as plain_socket:
            with context.wrap_socket(plain_socket) as connection:
                connection.sendall(len(query).to_bytes(2, "big") + query)
                return connection.recv(1000)
    named(lab, tls=DOT)
    assert lab.client.call(ask, lab.server.v4, name(lab))[4:6] == b"\x85\x00"
    lab.versions(client="Python ssl")
    return [tls(lab, app=None, app_optional=None)]


@cases.case("doh", "DNS over HTTPS with kdig and BIND: TLS, and no more")
def _(lab):
    named(lab, tls="listen-on port 443 tls TLS http default { any; };")
    kdig(lab, "+https", name(lab), "A")
    return [tls(lab, server_port=443, app="http2", why="only the ALPN the client offers (h2) tells the application")]


@cases.case("plain-to-dot", "plaintext DNS over TCP to the port of DNS over TLS: closed without an answer")
def _(lab):
    named(lab, tls=DOT)
    dig(lab, "+tcp", "-p", "853", name(lab), "A", check=False)
    return [plain(lab, "tcp", server_port=853, outcome="attempt", confidence="one_side")]
