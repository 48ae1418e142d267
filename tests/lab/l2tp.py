"""L2TP with xl2tpd: a tunnel set up in clear, a server that does not answer."""

import time

from lab import Cases

APT = ["xl2tpd"]
cases = Cases()
PORT = 1701


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    where = f"port {flow['client_port']}"
    for said in (c2s, s2c):
        if said and said[:2] != b"\xc8\x02":
            yield f"{where}: not a control message of version 2: {said[:8]!r}"
    if (flow["outcome"] == "attempt") != (not s2c):
        yield f"{where}: {flow['outcome']}, and the server sent {len(s2c)} bytes"


def daemon(lab, host, role, lines):
    home = lab.directory(role)
    (home / "secrets").write_text("")
    (home / "ppp").write_text("noauth\n")
    address = host.v4
    (home / "conf").write_text(f"[global]\nlisten-addr = {address}\nport = {PORT}\nauth file = {home}/secrets\n{lines}")
    return home, host.start(["/usr/sbin/xl2tpd", "-D", "-c", str(home / "conf"), "-s", str(home / "secrets"), "-p",
                             str(home / "pid"), "-C", str(home / "control")], log=lab.log(role))


def connect(lab, serve=True):
    if serve:
        ppp = lab.directory("lns") / "ppp"
        daemon(lab, lab.server, "lns", f"[lns default]\nip range = 10.99.0.2-10.99.0.9\nlocal ip = 10.99.0.1\n"
                                       f"require authentication = no\nhostname = {lab.canary('host')}\n"
                                       f"pppoptfile = {ppp}\n")
        lab.server.wait_port(PORT, kind="udp")
    ppp = lab.directory("lac") / "ppp"
    home, _ = daemon(lab, lab.client, "lac", f"[lac lab]\nlns = {lab.server.v4}\nrequire authentication = no\n"
                                             f"hostname = {lab.canary('host')}\npppoptfile = {ppp}\n")
    lab.client.wait_port(PORT, kind="udp")
    (home / "control").write_text("c lab\n")
    time.sleep(2)
    lab.versions(server="xl2tpd 1.3", client="xl2tpd 1.3")


def tunnel(lab, **facts):
    return lab.flow(**{"transport": "udp", "server_port": PORT, "encryption": "plaintext", "app": "l2tp",
                       "outcome": "established", "plaintext_reason": "no_in_band_upgrade",
                       "confidence": "both_sides", **facts})


@cases.case("tunnel", "a tunnel is set up in clear: the names of both hosts can be read")
def _(lab):
    connect(lab)
    return [tunnel(lab)]


@cases.case("no-answer", "nobody answers")
def _(lab):
    connect(lab, serve=False)
    return [tunnel(lab, outcome="attempt", confidence="one_side")]
