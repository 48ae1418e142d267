"""Older ways to watch a host: NRPE without TLS, Ganglia, finger."""

import glob
import re
import socket
import time

from lab import Cases

APT = ["nagios-nrpe-server", "nagios-nrpe-plugin", "ganglia-monitor", "fingerd", "finger", "socat"]
cases = Cases()
CLEAR = {"encryption": "plaintext", "plaintext_reason": "no_in_band_upgrade", "outcome": "established",
         "confidence": "both_sides"}


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    shown = {"nrpe": c2s[0] == 0 and c2s[1] in (2, 3, 4), "ganglia": 128 <= int.from_bytes(c2s[:4], "big") <= 135,
             "finger": s2c.startswith((b"Login", b"No one")), None: True}
    if not shown[flow.get("app")]:
        yield f"port {flow['client_port']}: begins {c2s[:8]!r} and {s2c[:8]!r}"


def version(lab, package):
    said = lab.server.run(["dpkg-query", "-W", "-f", "${Version}", package]).stdout
    return re.match(r"(?:\d:)?([\d.]+)", said).group(1)


def nrpe(lab, *options):
    home = lab.directory("nrpe")
    (home / "conf").write_text(f"server_port=5666\nserver_address={lab.server.v4}\nallowed_hosts=10.77.0.0/16\n"
                               f"nrpe_user=nobody\nnrpe_group=nogroup\npid_file={home}/pid\ndont_blame_nrpe=0\n"
                               f"command[check_lab]=/bin/echo {lab.canary('text')}\n")
    process = lab.server.start(["nrpe", "-n", "-f", "-c", str(home / "conf")], log=lab.log("nrpe"))
    lab.server.wait_port(5666, process)
    lab.client.run(["/usr/lib/nagios/plugins/check_nrpe", "-n", *options, "-H", lab.server.v4, "-c", "check_lab"])
    lab.versions(server="nrpe " + version(lab, "nagios-nrpe-server"),
                 client="check_nrpe " + version(lab, "nagios-nrpe-plugin"))
    return [lab.flow(server_port=5666, app="nrpe", **CLEAR)]


@cases.case("nrpe-v4", "a check with packets of version 4, or what the plugin takes by itself")
def _(lab):
    return nrpe(lab)


@cases.case("nrpe-v2", "a check with packets of version 2")
def _(lab):
    return nrpe(lab, "-2")


@cases.case("ganglia", "gmond sends metrics to one host")
def _(lab):
    home, module = lab.directory("ganglia"), glob.glob("/usr/lib/*/ganglia/modload.so")[0]
    (home / "conf").write_text(f"""globals {{ daemonize = no setuid = no debug_level = 0 mute = no deaf = yes
 send_metadata_interval = 2 override_hostname = "{lab.canary('host')}" }}
cluster {{ name = "lab" }}
udp_send_channel {{ host = {lab.server.v4} port = 8649 ttl = 1 }}
modules {{ module {{ name = "core_metrics" }} module {{ name = "load_module" path = "{module}" }} }}
collection_group {{ collect_every = 1 time_threshold = 1 metric {{ name = "load_one" }} metric {{ name = "load_five" }} }}
""")

    def sink(address):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.bind((address, 8649))
            receiver.settimeout(9)
            while receiver.recv(65536):
                pass

    lab.server.spawn(sink, lab.server.v4)
    lab.server.wait_port(8649, kind="udp")
    process = lab.client.start(["gmond", "-f", "-c", str(home / "conf")], log=lab.log("gmond"))
    time.sleep(4)
    lab.client.stop(process)
    lab.versions(client="gmond " + version(lab, "ganglia-monitor"), server="a socket")
    return [lab.flow(transport="udp", server_port=8649, app="ganglia", **{**CLEAR, "confidence": "one_side"})]


@cases.case("finger", "who is root")
def _(lab):
    process = lab.server.start(["socat", f"TCP-LISTEN:79,bind={lab.server.v4},reuseaddr,fork",
                                "EXEC:/usr/sbin/in.fingerd -u"], log=lab.log("fingerd"))
    lab.server.wait_port(79, process)
    lab.client.run(["finger", f"root@{lab.server.v4}"])
    lab.versions(server="fingerd " + version(lab, "fingerd"), client="finger " + version(lab, "finger"))
    return [lab.flow(server_port=79, app="finger", **CLEAR)]
