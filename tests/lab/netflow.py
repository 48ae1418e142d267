"""NetFlow and IPFIX: softflowd exports the flows of another capture."""

import pathlib

from lab import Cases

APT = ["netcat-traditional", "softflowd"]
cases = Cases()
SOURCE = pathlib.Path(__file__).parents[2] / "captures" / "demo.pcap"


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    version = {"netflow": (5, 9), "ipfix": (10,)}[flow["app"]]
    if int.from_bytes(c2s[:2], "big") not in version:
        yield f"another version: {c2s[:4]!r}"


def export(lab, version, app):
    collector = lab.server.start(["nc", "-u", "-l", "-p", "2055"], log=lab.log("collector"))
    lab.server.wait_port(2055, collector, kind="udp")
    # It exports what it was told to read as the name of an interface: no path of the machine that made this.
    lab.client.run(["softflowd", "-r", SOURCE.name, "-v", str(version), "-n", f"{lab.server.v4}:2055"], check=False, cwd=SOURCE.parent)
    lab.versions(client="softflowd 1.1.0")
    return [lab.flow(transport="udp", server_port=2055, encryption="plaintext", app=app, outcome="attempt",
                     plaintext_reason="no_in_band_upgrade", confidence="one_side")]


for _version, _app in ((5, "netflow"), (9, "netflow"), (10, "ipfix")):
    cases.case(f"softflowd-{_version}", f"export of version {_version}: a collector never answers")(
        lambda lab, v=_version, a=_app: export(lab, v, a))
