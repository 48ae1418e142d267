"""X11 over TCP: Xvnc as the server, xdpyinfo as the client."""

import http_servers as web
from lab import Cases

APT = ["tigervnc-standalone-server", "x11-utils", "xauth"]
cases = Cases()
PORT = 6008


def check(flow, c2s, s2c):
    if c2s and c2s[:1] not in b"lB":
        yield f"port {flow['client_port']}: no byte order"
    if ("session_secret" in flow["credentials"]) != (b"MIT-MAGIC-COOKIE-1" in c2s):
        yield f"port {flow['client_port']}: cookie"


def flow(lab, **facts):
    return lab.flow(**{"server_port": PORT, "encryption": "plaintext", "app": "x11", "outcome": "established",
                       "confidence": "both_sides", "plaintext_reason": "no_in_band_upgrade", **facts})


def serve(lab, *options):
    home = lab.directory("x11")
    process = lab.server.start(["Xtigervnc", ":8", "-rfbport", "5908", "-SecurityTypes", "None", "-geometry", "64x64",
                                "-listen", "tcp", "-nolisten", "unix", "-nolisten", "local", *options],
                               log=lab.log("x11"), env={"HOME": str(home), "PATH": "/usr/bin:/bin"})
    lab.server.wait_port(PORT, process)
    lab.versions(server="Xtigervnc " + web.version(["dpkg-query", "-W", "tigervnc-standalone-server"], r"\t(\d[\d.]+)"),
                 client="xlsatoms")
    return home


def look(lab, authority="/dev/null", check=True):
    lab.client.run(["xlsatoms", "-display", f"{lab.server.v4}:8", "-range", "1-3"], check=check,
                   env={"XAUTHORITY": str(authority), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"})


def cookie(lab, home, name):
    path = home / name
    lab.server.run(["xauth", "-f", str(path), "add", f"{lab.server.v4}:8", ".", (b"%016d" % len(name)).hex()])
    return path


@cases.case("open", "no access control")
def _(lab):
    serve(lab, "-ac")
    look(lab)
    return [flow(lab)]


@cases.case("cookie", "a cookie in clear")
def _(lab):
    path = cookie(lab, lab.directory("x11-auth"), "server")
    serve(lab, "-auth", str(path))
    look(lab, path)
    return [flow(lab, credentials=["session_secret"])]


@cases.case("refused", "a client without the cookie")
def _(lab):
    path = cookie(lab, lab.directory("x11-auth"), "server")
    serve(lab, "-auth", str(path))
    look(lab, check=False)
    return [flow(lab, outcome="refused")]
