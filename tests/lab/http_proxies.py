"""HTTP/1.x: forward proxies (CONNECT and absolute URLs) and load balancers."""

import byte_relay
import http_servers as web
from http_servers import cases, curl, nginx, plain, python_server, text, tinyproxy, tls, url

CONNECT = "http-connect"


def through(lab, *args, auth="", check=True, port=8888):
    return curl(lab, "-x", f"http://{auth}{lab.middle.v4}:{port}", *args, check=check)


def secure(lab):
    return url(lab, scheme="https", host="server.lab.internal")


def leg(lab, **facts):
    """The leg from the client to the proxy, in a tunnel."""
    return {"server": lab.middle, "server_port": 8888, "upgrade": CONNECT, **facts}


SNI = "server.lab.internal"


@cases.case("connect-tls", "CONNECT through tinyproxy, TLS inside", mirror=["client"])
def _(lab):
    nginx(lab, listen="443 ssl", port=443)
    tinyproxy(lab)
    said = through(lab, "-k", secure(lab))
    return [tls(lab, said, sni=SNI, **leg(lab))]


@cases.case("connect-tls-both-legs", "CONNECT seen at the proxy: TLS in a tunnel, and the same TLS on its own",
            mirror=["middle"])
def _(lab):
    nginx(lab, listen="443 ssl", port=443)
    tinyproxy(lab)
    said = through(lab, "-k", secure(lab))
    return [tls(lab, said, sni=SNI, **leg(lab)), tls(lab, said, sni=SNI, client=lab.middle)]


@cases.case("connect-plain", "CONNECT with plain HTTP inside", mirror=["client"])
def _(lab):
    nginx(lab)
    tinyproxy(lab)
    through(lab, "-p", url(lab))
    return [plain(lab, **leg(lab))]


@cases.case("connect-refused", "CONNECT to a port the proxy does not allow: 403", mirror=["client"])
def _(lab):
    tinyproxy(lab, "ConnectPort 444")
    said = through(lab, "-k", secure(lab), check=False)
    assert "403" in said, said
    return [plain(lab, server=lab.middle, server_port=8888, outcome="established",
                  why="the tunnel is refused, the conversation with the proxy is HTTP")]


@cases.case("connect-proxy-password", "CONNECT with Proxy-Authorization, TLS inside", mirror=["client"])
def _(lab):
    user, password = lab.canary("user"), lab.canary("pass")
    nginx(lab, listen="443 ssl", port=443)
    tinyproxy(lab, f"BasicAuth {user} {password}")
    said = through(lab, "-k", secure(lab), auth=f"{user}:{password}@")
    return [tls(lab, said, sni=SNI, credentials=["basic_auth"], **leg(lab),
                why="what is inside the tunnel is TLS, the proxy's password before it is not")]


@cases.case("connect-after-407", "CONNECT answered 407, then again with the password; TLS inside", mirror=["client"])
def _(lab):
    user, password = lab.canary("user"), lab.canary("pass")
    nginx(lab, listen="443 ssl", port=443)
    tinyproxy(lab, f"BasicAuth {user} {password}")
    said = through(lab, "-k", "--proxy-anyauth", secure(lab), auth=f"{user}:{password}@")
    assert "407" in said
    return [plain(lab, server=lab.middle, server_port=8888, why="tinyproxy closes after 407; curl comes back"),
            tls(lab, said, sni=SNI, credentials=["basic_auth"], **leg(lab))]


@cases.case("connect-squid", "CONNECT through Squid, TLS inside", mirror=["client"])
def _(lab):
    nginx(lab, listen="443 ssl", port=443)
    home = lab.directory("squid", "proxy")
    (home / "conf").write_text("http_port 8888\nhttp_access allow all\ncache deny all\ncache_log /dev/null\n"
                               "access_log none\nshutdown_lifetime 0 seconds\npinger_enable off\n"
                               f"pid_filename none\ncoredump_dir {home}\nmax_filedescriptors 1024\n")
    process = lab.middle.start(["/usr/sbin/squid", "-N", "-f", str(home / "conf")], log=lab.log("squid"))
    lab.middle.wait_port(8888, process)
    said = through(lab, "-k", secure(lab))
    lab.versions(middle="Squid " + web.version(["/usr/sbin/squid", "-v"], r"Version (\S+)"))
    return [tls(lab, said, sni=SNI, **leg(lab))]


@cases.case("connect-redis", "CONNECT with plaintext Redis inside", mirror=["client"])
def _(lab):
    password = lab.canary("pass")
    process = lab.server.start(["redis-server", "--bind", lab.server.v4, "--requirepass", password, "--save", ""],
                               log=lab.log("redis"))
    lab.server.wait_port(6379, process)
    tinyproxy(lab)
    tunnel = lab.client.start(["socat", "TCP-LISTEN:6379,bind=127.0.0.1",
                               f"PROXY:{lab.middle.v4}:{lab.server.v4}:6379,proxyport=8888"], log=lab.log("socat"))
    lab.client.wait_port(6379, tunnel)
    lab.client.run(["redis-cli", "-h", "127.0.0.1", "--no-auth-warning", "-a", password, "set", lab.canary("key"),
                    lab.canary("value")])
    used = web.version(["redis-server", "--version"], r"v=(\S+)")
    lab.versions(server=f"Redis {used}", client=f"redis-cli {used} and socat")
    return [lab.flow(encryption="plaintext", app="redis", outcome="established", confidence="both_sides",
                     plaintext_reason="no_in_band_upgrade", credentials=["password_cleartext"], **leg(lab))]


@cases.case("connect-client-side-only", "only what the client sends through its tunnel", mirror=["client:out"])
def _(lab):
    nginx(lab, listen="443 ssl", port=443)
    tinyproxy(lab)
    through(lab, "-k", secure(lab))
    return [tls(lab, sni=SNI, confidence="one_side", **leg(lab))]


@cases.case("connect-server-side-only", "only what comes back through the tunnel", mirror=["client:in"])
def _(lab):
    nginx(lab, listen="443 ssl", port=443)
    tinyproxy(lab)
    said = through(lab, "-k", secure(lab))
    return [tls(lab, said, confidence="one_side", **leg(lab))]


@cases.case("connect-byte-by-byte", "CONNECT, the answer and the start of TLS one byte per segment")
def _(lab):
    # the proxy listens on the server's host here, behind the relay
    home = lab.directory("tinyproxy-server")
    (home / "conf").write_text(f"User root\nGroup root\nPort 8889\nListen {lab.server.v4}\nLogLevel Critical\n")
    web.nginx(lab, listen="443 ssl", port=443, host=lab.middle)
    process = lab.server.start(["/usr/bin/tinyproxy", "-d", "-c", str(home / "conf")], log=lab.log("tinyproxy"))
    lab.server.wait_port(8889, process)
    lab.net.mirror("client")
    done = byte_relay.between(lab, 8888, 8889, up=110, down=90)
    said = curl(lab, "-k", "-A", "", "--proxy-header", "Proxy-Connection:", "-x", "http://127.0.0.1:8888",
                url(lab, scheme="https", host="middle.lab.internal"))
    done()
    lab.versions(server="tinyproxy " + web.version(["/usr/bin/tinyproxy", "-v"], r"tinyproxy (\S+)"))
    return [tls(lab, said, server_port=8888, upgrade=CONNECT, sni="middle.lab.internal")]


@cases.case("proxy-absolute-url", "a forward proxy: the request has an absolute URL; both legs", mirror=["middle"])
def _(lab):
    nginx(lab)
    tinyproxy(lab)
    through(lab, url(lab))
    return [plain(lab, server=lab.middle, server_port=8888), plain(lab, client=lab.middle)]


@cases.case("proxy-password", "a forward proxy with a password: 407, then Proxy-Authorization", mirror=["client"])
def _(lab):
    user, password = lab.canary("user"), lab.canary("pass")
    nginx(lab)
    tinyproxy(lab, f"BasicAuth {user} {password}")
    said = through(lab, "--proxy-anyauth", url(lab), auth=f"{user}:{password}@")
    assert "407" in said
    where = {"server": lab.middle, "server_port": 8888}
    return [plain(lab, **where), plain(lab, **where, credentials=["basic_auth"])]


# --- load balancers ---------------------------------------------------------------------

BALANCER = """frontend f
  bind :80
  bind :443 ssl crt PEM
  option forwardfor
  http-request set-header X-Forwarded-Proto https if { ssl_fc }
  http-request set-header X-Forwarded-Port %[dst_port]
  http-request set-header X-Amzn-Trace-Id Root=1-67891233-abcdef012345678912345678
  default_backend b
backend b
"""


@cases.case("balancer-tls-then-plain", "a load balancer ends TLS and goes on in plaintext: both legs",
            mirror=["middle"])
def _(lab):
    nginx(lab)
    web.haproxy(lab, BALANCER + f"  server s {lab.server.v4}:80\n", 443)
    said = curl(lab, "-k", "-H", f"Authorization: Bearer {lab.canary('token')}",
                url(lab, scheme="https", host="middle.lab.internal"))
    return [tls(lab, said, server=lab.middle, sni="middle.lab.internal"),
            plain(lab, client=lab.middle, credentials=["bearer_token"])]


@cases.case("balancer-server-leg", "behind a load balancer: X-Forwarded headers, two clients on one connection")
def _(lab):
    python_server(lab, text(lab))
    web.haproxy(lab, BALANCER + f"  http-reuse always\n  server s {lab.server.v4}:80\n", 443)
    for kind in ("one", "two"):
        curl(lab, url(lab, kind, host="middle.lab.internal"))
    return [plain(lab, client=lab.middle)]


@cases.case("balancer-client-leg", "in front of a load balancer: plaintext", mirror=["client"])
def _(lab):
    python_server(lab, text(lab))
    web.haproxy(lab, BALANCER + f"  server s {lab.server.v4}:80\n", 443)
    curl(lab, url(lab, host="middle.lab.internal"))
    return [plain(lab, server=lab.middle)]


@cases.case("balancer-plain-then-tls", "a load balancer that takes plaintext and speaks TLS to its server",
            mirror=["middle"])
def _(lab):
    nginx(lab, listen="443 ssl", port=443)
    web.haproxy(lab, BALANCER + f"  server s {lab.server.v4}:443 ssl verify none\n", 443)
    curl(lab, url(lab, host="middle.lab.internal"))
    return [plain(lab, server=lab.middle), tls(lab, client=lab.middle, tls_version="TLSv1.3")]


@cases.case("health-checks", "health checks as a load balancer of AWS names itself: nothing of a user in them")
def _(lab):
    import time
    python_server(lab, text(lab))
    path = lab.canary("health")
    web.haproxy(lab, f"backend b\n  option httpchk\n  http-check send meth GET uri /{path} ver HTTP/1.1 hdr Host "
                     f"{lab.server.v4} hdr User-Agent ELB-HealthChecker/2.0 hdr Connection close\n"
                     f"  default-server inter 800 fastinter 800\n  server s {lab.server.v4}:80 check\n"
                     "frontend f\n  bind :80\n  default_backend b\n", 80)
    time.sleep(1.3)
    lab.net.mirror()
    lab.versions(client="HAProxy's checks")
    return [plain(lab, client=lab.middle), plain(lab, client=lab.middle)]
