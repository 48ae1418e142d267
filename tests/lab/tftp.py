"""TFTP: tftpd-hpa; the transfer is a flow of its own."""

import http_servers as web
from lab import Cases

APT = ["tftpd-hpa", "tftp-hpa"]
cases = Cases()


def flow(lab, server_port=69, **facts):
    return lab.flow(**{"transport": "udp", "server_port": server_port, "encryption": "plaintext", "app": "tftp",
                       "confidence": "both_sides", "plaintext_reason": "no_in_band_upgrade",
                       "outcome": "established", **facts})


def serve(lab):
    home = lab.directory("tftp")
    (home / "file").write_text(lab.canary("content") * 60)
    process = lab.server.start(["/usr/sbin/in.tftpd", "-L", "-c", "-u", "root", "-R", "40000:40000", "-a",
                                f"{lab.server.v4}:69", "-s", str(home)], log=lab.log("tftp"))
    lab.server.wait_port(69, process, kind="udp")
    version = web.version(["dpkg-query", "-W", "tftpd-hpa"], r"\t(\d[\d.]+)")
    lab.versions(server=f"tftpd-hpa {version}", client=f"tftp-hpa {version}")


def asked(lab):
    return flow(lab, outcome="attempt", confidence="one_side")


@cases.case("get", "a file read: the request and the blocks are two flows")
def _(lab):
    serve(lab)
    lab.client.run(["tftp", "-m", "octet", lab.server.v4, "-c", "get", "file", "/dev/null"])
    return [asked(lab), flow(lab, 40000)]


@cases.case("put", "a file written")
def _(lab):
    serve(lab)
    source = lab.directory("tftp-client") / "new"
    source.write_text(lab.canary("upload") * 60)
    lab.client.run(["tftp", "-m", "octet", lab.server.v4, "-c", "put", str(source), "new"])
    lab.canaries.remove(lab.canary("content"))
    return [asked(lab), flow(lab, 40000)]


@cases.case("not-found", "a file that is not there: an error from another port")
def _(lab):
    serve(lab)
    lab.client.run(["tftp", lab.server.v4, "-c", "get", "nothing", "/dev/null"], check=False)
    lab.canaries.clear()
    return [asked(lab), flow(lab, 40000, outcome="refused")]
