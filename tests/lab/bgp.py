"""BGP: two BIRD routers."""

import time

from lab import Cases

APT = ["bird2"]
cases = Cases()


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    for said in filter(None, (c2s, s2c)):
        if said[:16] != b"\xff" * 16:
            yield f"no marker: {said[:19]!r}"


def bird(lab, host, number, peer, peer_number, passive, extra=""):
    home = lab.directory(f"bird{number}")
    (home / "bird.conf").write_text(f"""
router id {host.v4};
protocol device {{ }}
protocol static {{ ipv4; route 192.0.2.{number % 256}/32 blackhole; }}
protocol bgp {{ local {host.v4} as {number}; neighbor {peer.v4} as {peer_number}; multihop; {passive}
  connect delay time 1; {extra} ipv4 {{ import all; export all; }}; }}
""")
    return host.start(["bird", "-f", "-c", str(home / "bird.conf"), "-s", str(home / "ctl"), "-P", str(home / "pid")],
                      log=lab.log(f"bird{number}"))


def plain(lab, **facts):
    return lab.flow(**{"server_port": 179, "encryption": "plaintext", "app": "bgp", "outcome": "established",
                       "plaintext_reason": "no_in_band_upgrade", "confidence": "both_sides", **facts})


def session(lab, number=65002):
    bird(lab, lab.server, 65001, lab.client, 65002, "passive on;", "hold time 9;")
    time.sleep(0.5)
    process = bird(lab, lab.client, number, lab.server, 65001, "")
    lab.versions(server="BIRD 2.0.12", client="BIRD 2.0.12")
    return process


@cases.case("session", "two routers open a session, exchange a route each and close it")
def _(lab):
    process = session(lab)
    time.sleep(4)
    lab.client.stop(process)
    time.sleep(0.3)
    return [plain(lab)]


@cases.case("joined-late", "a session that had begun before: keepalives and what ends it", mirror=[])
def _(lab):
    process = session(lab)
    time.sleep(4)
    lab.net.mirror("server")
    time.sleep(7)
    lab.client.stop(process)
    time.sleep(0.3)
    return [plain(lab, origin="midstream", confidence="midstream")]
