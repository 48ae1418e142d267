"""NetBIOS name service: Samba's nmbd asked by nmblookup."""

import http_servers as web
import shape
from lab import Cases

APT = ["samba", "smbclient"]
cases = Cases()


def ours(packet):
    """Not the announcements of the server to its network."""
    return "10.77.1.10" in (packet.src, packet.dst)


def flow(lab, **facts):
    return lab.flow(**{"transport": "udp", "server_port": 137, "encryption": "plaintext", "app": "nbns",
                       "confidence": "both_sides", "plaintext_reason": "no_in_band_upgrade",
                       "outcome": "established", **facts})


def serve(lab):
    home = lab.directory("nmbd")
    for name in ("state", "run", "private"):
        (home / name).mkdir()
    dirs = "\n".join(f"{key} = {home}/{value}" for key, value in {
        "private dir": "private", "state directory": "state", "cache directory": "state", "lock directory": "run",
        "pid directory": "run", "log file": "log"}.items())
    (home / "smb.conf").write_text(f"[global]\nworkgroup = LAB\nnetbios name = LABSERVER\ndomain master = no\n"
                                   f"local master = no\npreferred master = no\n{dirs}\n")
    process = lab.server.start(["/usr/sbin/nmbd", "-F", "--no-process-group", "-s", str(home / "smb.conf"),
                                "--debug-stdout"], log=lab.log("nmbd"))
    lab.server.wait_port(137, process, kind="udp")
    version = web.version(["/usr/sbin/nmbd", "--version"], r"Version (\S+?)-")
    lab.versions(server=f"Samba {version}", client=f"nmblookup {version}")


@cases.case("name", "a name asked of its owner", shape=[shape.keep(ours)])
def _(lab):
    serve(lab)
    lab.client.run(["nmblookup", "-U", lab.server.v4, "LABSERVER"])
    return [flow(lab)]


@cases.case("status", "the names of a node", shape=[shape.keep(ours)])
def _(lab):
    serve(lab)
    lab.client.run(["nmblookup", "-A", lab.server.v4])
    return [flow(lab)]
