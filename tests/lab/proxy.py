"""The PROXY protocol, versions 1 and 2, as HAProxy and nginx send it, before HTTP, TLS and databases."""

import time

import byte_relay
import http_check
import http_programs
import http_servers as web
from http_servers import curl, nginx, plain, url
from lab import Cases
from postgresql_server import Postgres

APT = [*web.APT, "postgresql", "postgresql-client", "mariadb-server", "mariadb-client", "redis-server", "redis-tools"]
cases = Cases()
V1, V2 = "proxy-v1", "proxy-v2"


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    if flow.get("app") in (None, "http"):
        yield from http_check.http(flow, c2s, s2c)
        return
    found, inner = http_check.strip_proxy(c2s)
    if found is None or flow.get("upgrade") not in (found, "postgresql-sslrequest"):
        yield f"port {flow['client_port']}: {found}, but upgrade is {flow.get('upgrade')}"
    first = {"postgresql": (b"\0\0\0",), "redis": (b"*",), "mysql": (),
             "http2": (b"PRI * HTTP/2.0",)}[flow["app"]]
    if first and not inner.startswith(first):
        yield f"port {flow['client_port']}: {flow['app']} after the header begins {inner[:8]!r}"
    if flow["app"] == "mysql" and s2c[4:5] != b"\x0a":
        yield f"port {flow['client_port']}: no MySQL greeting: {s2c[:8]!r}"


def sender(lab, option, port=80, to=80, mode="http", bind="", host=None, more="", address=None, check=""):
    """HAProxy on the middle host, which sends the PROXY header to the server."""
    return web.haproxy(lab, f"listen l\n  mode {mode}\n  bind {bind or f':{port}'}\n{more}"
                            f"  server s {address or lab.server.v4}:{to} {option} {check}\n", port, host=host)


def front(lab, **more):
    """nginx that expects the PROXY header."""
    return nginx(lab, listen="80 proxy_protocol", **more)


def front_tls(lab):
    return nginx(lab, listen="443 ssl proxy_protocol", port=443)


def at_middle(lab, scheme="http", **more):
    return url(lab, scheme=scheme, host="middle.lab.internal", **more)


def behind(lab, upgrade, **facts):
    """The leg from the middle host to the server."""
    return plain(lab, **{"client": lab.middle, "upgrade": upgrade, **facts})


def behind_tls(lab, said, upgrade, **facts):
    return web.tls(lab, said, **{"client": lab.middle, "upgrade": upgrade, "sni": "middle.lab.internal", **facts})


# --- HTTP and TLS -----------------------------------------------------------------

@cases.case("v1-http", "version 1 (text) before HTTP")
def _(lab):
    front(lab)
    sender(lab, "send-proxy")
    curl(lab, at_middle(lab))
    return [behind(lab, V1)]


@cases.case("v2-http", "version 2 (binary) before HTTP, with Basic credentials")
def _(lab):
    front(lab)
    sender(lab, "send-proxy-v2")
    curl(lab, "-u", f"{lab.canary('user')}:{lab.canary('pass')}", at_middle(lab))
    return [behind(lab, V2, credentials=["basic_auth"])]


@cases.case("v1-tls", "version 1 before a ClientHello")
def _(lab):
    front_tls(lab)
    sender(lab, "send-proxy", port=443, to=443, mode="tcp")
    return [behind_tls(lab, curl(lab, "-k", at_middle(lab, "https")), V1)]


@cases.case("v2-tls", "version 2 before a ClientHello")
def _(lab):
    front_tls(lab)
    sender(lab, "send-proxy-v2", port=443, to=443, mode="tcp")
    return [behind_tls(lab, curl(lab, "-k", at_middle(lab, "https")), V2)]


@cases.case("v1-tls12", "version 1 before TLS 1.2")
def _(lab):
    front_tls(lab)
    sender(lab, "send-proxy", port=443, to=443, mode="tcp")
    said = curl(lab, "-k", "--tls-max", "1.2", at_middle(lab, "https"))
    return [behind_tls(lab, said, V1, alpn="http/1.1")]


@cases.case("v2-tlvs-http", "TLS ends at the proxy: version 2 with TLVs about it, then plain HTTP")
def _(lab):
    front(lab)
    sender(lab, "send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher,crc32c,unique-id,authority", port=443,
           bind=":443 ssl crt PEM", more="  unique-id-format lab-%pid\n")
    curl(lab, "-k", "-H", f"Authorization: Bearer {lab.canary('token')}", at_middle(lab, "https"))
    return [behind(lab, V2, credentials=["bearer_token"], why="what was TLS up to the proxy is plaintext behind it")]


@cases.case("v2-tlvs-tls", "version 2 with TLVs before a ClientHello")
def _(lab):
    front_tls(lab)
    sender(lab, "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority", port=443, to=443, mode="tcp",
           more="  unique-id-format lab-%pid\n")
    return [behind_tls(lab, curl(lab, "-k", at_middle(lab, "https")), V2)]


@cases.case("v1-nginx-stream", "nginx's stream proxy sends version 1; HTTP")
def _(lab):
    front(lab)
    nginx(lab, host=lab.middle, stream=f"server {{ listen 80; proxy_pass {lab.server.v4}:80; proxy_protocol on; }}")
    curl(lab, at_middle(lab))
    return [behind(lab, V1)]


@cases.case("v1-nginx-stream-tls", "nginx's stream proxy sends version 1, then speaks TLS to the server itself")
def _(lab):
    front_tls(lab)
    nginx(lab, host=lab.middle, stream=f"server {{ listen 80; proxy_pass {lab.server.v4}:443; proxy_protocol on; "
                                       "proxy_ssl on; proxy_ssl_protocols TLSv1.3; }")
    curl(lab, at_middle(lab))
    return [behind_tls(lab, "", V1, sni=None, tls_version="TLSv1.3")]


@cases.case("v1-unknown", "version 1 with UNKNOWN, because the client came over a Unix socket")
def _(lab):
    front(lab)
    socket = lab.directory("socket") / "s"
    sender(lab, "send-proxy", bind=f":80\n  bind unix@{socket} mode 666")
    curl(lab, "--unix-socket", socket, at_middle(lab), host=lab.middle)
    return [behind(lab, V1)]


@cases.case("v2-local-unix", "version 2 with LOCAL and no addresses, because the client came over a Unix socket")
def _(lab):
    front(lab)
    socket = lab.directory("socket") / "s"
    sender(lab, "send-proxy-v2", bind=f":80\n  bind unix@{socket} mode 666")
    curl(lab, "--unix-socket", socket, at_middle(lab), host=lab.middle)
    return [behind(lab, V2)]


@cases.case("v2-local", "version 2 with LOCAL: the proxy's own health checks over HTTP")
def _(lab):
    front(lab)
    path = lab.canary("health")
    sender(lab, "send-proxy-v2", check="check check-send-proxy inter 700",
           more=f"  option httpchk GET /{path}\n")
    time.sleep(1.1)
    lab.net.mirror()
    lab.versions(client="HAProxy's checks")
    return [behind(lab, V2), behind(lab, V2)]


@cases.case("v1-ipv6", "version 1 with IPv6 addresses (TCP6), over IPv6")
def _(lab):
    nginx(lab, listen="80 proxy_protocol")
    sender(lab, "send-proxy", bind=f"[{lab.middle.v6}]:80", address=f"[{lab.server.v6}]")
    curl(lab, url(lab, host=lab.middle.v6))
    return [behind(lab, V1, v6=True)]


@cases.case("v2-ipv6-tls", "version 2 with IPv6 addresses before TLS, over IPv4")
def _(lab):
    front_tls(lab)
    sender(lab, "send-proxy-v2", port=443, to=443, mode="tcp", bind=f"[{lab.middle.v6}]:443")
    said = curl(lab, "-k", url(lab, scheme="https", host="middle6.lab.internal"))
    return [behind_tls(lab, said, V2, sni="middle6.lab.internal")]


@cases.case("v1-http2", "version 1 before HTTP/2 in clear")
def _(lab):
    nginx(lab, listen="80 http2 proxy_protocol")
    sender(lab, "send-proxy proto h2")
    curl(lab, at_middle(lab))
    return [behind(lab, V1, app="http2")]


# --- databases ----------------------------------------------------------------------

def accept(lab, port, inner):
    """HAProxy on the server which takes the header off for a program on the loopback."""
    web.haproxy(lab, f"listen l\n  mode tcp\n  bind :{port} accept-proxy\n  server s 127.0.0.1:{inner}\n", port,
                host=lab.server)


def postgres(lab, option, sslmode, **settings):
    pg = Postgres(lab)
    pg.serve(port=5433, **settings)
    accept(lab, 5432, 5433)
    sender(lab, option, port=5432, to=5432, mode="tcp")
    said = pg.psql(sslmode, at=lab.middle.v4, port=5432, password=pg.secret())
    return pg, said


@cases.case("v1-postgresql", "version 1 before PostgreSQL with a password in plaintext")
def _(lab):
    pg, _said = postgres(lab, "send-proxy", "disable", hba="host all all all password")
    return [pg.plain(client=lab.middle, server_port=5432, upgrade=V1, credentials=["password_cleartext"])]


@cases.case("v2-postgresql-tls", "version 2 before PostgreSQL with SSLRequest and TLS")
def _(lab):
    pg, said = postgres(lab, "send-proxy-v2", "require")
    return [pg.tls(said, client=lab.middle, server_port=5432,
                   why="upgrade names what led to TLS; before it is PROXY v2")]


@cases.case("v1-redis", "version 1 before Redis with a password")
def _(lab):
    password, key = lab.canary("pass"), lab.canary("key")
    process = lab.server.start(["redis-server", "--bind", "127.0.0.1", "--port", "6380", "--requirepass", password,
                                "--save", ""], log=lab.log("redis"))
    lab.server.wait_port(6380, process)
    accept(lab, 6379, 6380)
    sender(lab, "send-proxy", port=6379, to=6379, mode="tcp")
    lab.client.run(["redis-cli", "-h", lab.middle.v4, "--no-auth-warning", "-a", password, "set", key,
                    lab.canary("value")])
    used = web.version(["redis-server", "--version"], r"v=(\S+)")
    lab.versions(server=f"HAProxy, Redis {used}", client=f"redis-cli {used}")
    return [lab.flow(client=lab.middle, server_port=6379, encryption="plaintext", app="redis", outcome="established",
                     upgrade=V1, plaintext_reason="no_in_band_upgrade", credentials=["password_cleartext"],
                     confidence="both_sides")]


@cases.case("v2-mariadb", "version 2 before MariaDB without TLS: the server's greeting comes after the client's header")
def _(lab):
    user, password, database = lab.canary("user"), lab.canary("pass"), lab.canary("db")
    home = lab.directory("mariadb", "mysql")
    lab.server.run(["mariadb-install-db", "--no-defaults", f"--datadir={home}/data", "--user=mysql",
                    "--auth-root-authentication-method=normal"])
    (home / "init").write_text(f"CREATE DATABASE {database};\nCREATE USER '{user}'@'%' IDENTIFIED BY '{password}';\n"
                               f"GRANT ALL ON *.* TO '{user}'@'%';\n")
    process = lab.server.start(["mariadbd", "--no-defaults", f"--datadir={home}/data", "--user=mysql", "--skip-ssl",
                                f"--socket={home}/s", f"--init-file={home}/init", "--skip-name-resolve",
                                "--proxy-protocol-networks=*"], log=lab.log("mariadb"))
    lab.server.wait_port(3306, process)
    sender(lab, "send-proxy-v2", port=3306, to=3306, mode="tcp")
    lab.client.run(["mariadb", "--no-defaults", "-h", lab.middle.v4, "-u", user, f"-p{password}", database, "-e",
                    f"SELECT '{lab.canary('literal')}'"])
    lab.versions(server="MariaDB " + web.version(["mariadbd", "--version"], r"Ver (\S+?)-"),
                 client="mariadb " + web.version(["mariadb", "--version"], r"Distrib (\S+?)-"))
    return [lab.flow(client=lab.middle, server_port=3306, encryption="plaintext", app="mysql", outcome="established",
                     upgrade=V2, plaintext_reason="server_refused", credentials=["password_hash_challenge"],
                     confidence="both_sides", why="the greeting does not offer TLS")]


# --- mistakes ---------------------------------------------------------------------------

@cases.case("not-expected", "version 1 to a server that does not expect it: HTTP 400")
def _(lab):
    nginx(lab)
    sender(lab, "send-proxy")
    said = curl(lab, at_middle(lab), check=False)
    assert "400 Bad Request" in said, said
    # The request after the header was answered, in HTTP: the server never knew that the header was one.
    return [behind(lab, V1, outcome="established")]


@cases.case("missing", "a server that expects the header gets HTTP without it, and closes")
def _(lab):
    front(lab)
    curl(lab, url(lab), check=False)
    return [plain(lab, outcome="attempt", confidence="one_side")]


# --- views --------------------------------------------------------------------------------

@cases.case("both-legs", "the client's leg has no header, the server's has", mirror=["middle"])
def _(lab):
    front(lab)
    sender(lab, "send-proxy")
    curl(lab, at_middle(lab))
    return [plain(lab, server=lab.middle), behind(lab, V1)]


@cases.case("client-leg-only", "in front of the proxy there is no header", mirror=["client"])
def _(lab):
    front(lab)
    sender(lab, "send-proxy-v2")
    curl(lab, at_middle(lab))
    return [plain(lab, server=lab.middle)]


@cases.case("v2-http-client-side-only", "only what the proxy sends", mirror=["server:in"])
def _(lab):
    front(lab)
    sender(lab, "send-proxy-v2")
    curl(lab, at_middle(lab))
    return [behind(lab, V2, confidence="one_side")]


@cases.case("v1-http-server-side-only", "only what the server sends: HTTP, and no header", mirror=["server:out"])
def _(lab):
    front(lab)
    sender(lab, "send-proxy")
    curl(lab, at_middle(lab))
    return [behind(lab, None, confidence="one_side")]


@cases.case("v1-tls-client-side-only", "only what the proxy sends: header and ClientHello", mirror=["server:in"])
def _(lab):
    front_tls(lab)
    sender(lab, "send-proxy", port=443, to=443, mode="tcp")
    curl(lab, "-k", at_middle(lab, "https"))
    return [behind_tls(lab, "", V1, confidence="one_side")]


@cases.case("port-5432-http", "version 2 and HTTP on the port of PostgreSQL")
def _(lab):
    nginx(lab, listen="5432 proxy_protocol", port=5432)
    sender(lab, "send-proxy-v2", to=5432)
    curl(lab, at_middle(lab))
    return [behind(lab, V2, server_port=5432)]


def byte_by_byte(lab, option, scheme, up, down, *args):
    """HAProxy on the client's host sends through a relay to nginx, which wants the header in one piece again."""
    port = 443 if scheme == "https" else 80
    nginx(lab, listen=f"81 {'ssl ' if scheme == 'https' else ''}proxy_protocol", port=81)
    http_programs.start(lab, lab.server, 82, "gather", lab.server.v4, 82, 81)
    done = byte_relay.between(lab, port, 82, up, down)
    sender(lab, option, port=8080, to=port, mode="tcp", host=lab.client, address="127.0.0.1")
    said = curl(lab, *args, url(lab, scheme=scheme, host="client.lab.internal", port=8080))
    done()
    return said


@cases.case("v1-http-byte-by-byte", "version 1 and HTTP, one byte per segment")
def _(lab):
    byte_by_byte(lab, "send-proxy", "http", 120, 40, "-H", "Connection: close")
    return [plain(lab, upgrade=V1)]


@cases.case("v2-tls-byte-by-byte", "version 2 and the start of both hellos, one byte per segment")
def _(lab):
    said = byte_by_byte(lab, "send-proxy-v2", "https", 110, 70, "-k")
    return [web.tls(lab, said, upgrade=V2, sni="client.lab.internal")]
