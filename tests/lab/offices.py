"""What small services and printers speak: whois, rlogin, LPD, JetDirect, JSON-RPC, CORBA."""

import re
import socket
import subprocess
import time

import shape
from lab import Cases

APT = ["whois", "rsh-redone-client", "cups", "ghostscript", "openvswitch-switch", "omniorb-nameserver", "omniorb"]
cases = Cases()
CLEAR = {"encryption": "plaintext", "plaintext_reason": "no_in_band_upgrade", "outcome": "established",
         "confidence": "both_sides"}
BEGINS = {"giop": (b"GIOP\1", b"GIOP\1"), "json-rpc": (b"{", b"{"), "rlogin": (b"\0", b"\0")}


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    for said, begin in zip((c2s, s2c), BEGINS.get(flow["app"], ()), strict=False):
        if flow["origin"] == "start" and said and not said.startswith(begin):
            yield f"port {flow['client_port']}: begins {said[:16]!r}"


def version(package):
    said = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True).stdout
    return re.match(r"(?:\d+:)?([\w.]+)", said).group(1)


def plain(lab, app, port, **facts):
    return lab.flow(**{"server_port": port, "app": app, **CLEAR, **facts})


def answer(address, port, until, said, seconds=0.0):
    """One connection: read until a word came, answer, wait, close. After the manual pages."""
    with socket.create_server((address, port)) as listener:
        connection, _ = listener.accept()
        with connection:
            data = b""
            while until not in data:
                more = connection.recv(4096)
                if not more:
                    return
                data += more
            connection.sendall(said)
            time.sleep(seconds)


# --- whois ----------------------------------------------------------------------------------------------------------

@cases.case("whois", "whois: who owns an address")
def _(lab):
    said = (f"% This is the RIPE Database query service.\n% The objects are in RPSL format.\n\n"
            f"inetnum:        10.77.0.0 - 10.77.255.255\n"
            f"netname:        LAB\nperson:         {lab.canary('person')}\nsource:         LAB\n\n")
    serving = lab.server.spawn(answer, lab.server.v4, 43, b"\n", said.encode())
    lab.server.wait_port(43)
    lab.client.run(["whois", "-h", lab.server.v4, "10.77.0.0"])
    serving.result()
    lab.versions(server="scripted after RFC 3912 and the RIPE database", client=f"whois {version('whois')}")
    return [plain(lab, "whois", 43)]


# --- rlogin ---------------------------------------------------------------------------------------------------------

@cases.case("rlogin", "rlogin: who comes from where")
def _(lab):
    serving = lab.server.spawn(answer, lab.server.v4, 513, b"/", b"\0Password: ", 1.0)
    lab.server.wait_port(513)
    lab.client.run(["script", "-qec", f"timeout 3 rsh-redone-rlogin -l {lab.canary('user')} {lab.server.v4}",
                    "/dev/null"],
                   check=False, env={"TERM": "xterm"})
    serving.result()
    lab.versions(server="scripted after rlogind(8)", client=f"rsh-redone {version('rsh-redone-client')}")
    return [plain(lab, "rlogin", 513)]


# --- printers -------------------------------------------------------------------------------------------------------

def printed(lab, device):
    home = lab.directory("print")
    (home / "text.ps").write_text(f"%!PS\n/Courier findfont 12 scalefont setfont 72 720 moveto "
                                  f"({lab.canary('text')}) show showpage\n")
    lab.client.run(["gs", "-q", "-dNOPAUSE", "-dBATCH", f"-sDEVICE={device}", "-r75", f"-sOutputFile={home}/job",
                    str(home / "text.ps")])
    lab.canaries.clear()  # it is pixels now
    return str(home / "job")


@cases.case("jetdirect", "raw printing: Ghostscript's PCL goes to a printer's port")
def _(lab):
    def serve(address):
        with socket.create_server((address, 9100)) as listener:
            connection, _ = listener.accept()
            with connection:
                while connection.recv(65536):
                    pass
    job = printed(lab, "ljet4")
    lab.server.spawn(serve, lab.server.v4)
    lab.server.wait_port(9100)
    with open(job, "rb") as file:
        pages = b"\x1b%-12345X@PJL JOB\r\n@PJL ENTER LANGUAGE=PCL\r\n" + file.read() + b"\x1b%-12345X"

    def send(address):
        with socket.create_connection((address, 9100)) as connection:
            connection.sendall(pages)
    lab.client.call(send, lab.server.v4)
    lab.versions(server="scripted", client=f"Ghostscript {version('ghostscript')}")
    return [plain(lab, "jetdirect", 9100, confidence="one_side")]


@cases.case("lpd", "LPD: CUPS sends a job to a queue")
def _(lab):
    def serve(address):
        with socket.create_server((address, 515)) as listener:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(2)
                try:
                    while connection.recv(65536):
                        connection.sendall(b"\0")
                except TimeoutError:
                    pass
    job = printed(lab, "ljet4")
    lab.server.spawn(serve, lab.server.v4)
    lab.server.wait_port(515)
    lab.client.run(["/usr/lib/cups/backend/lpd", "1", "alice", lab.canary("title"), "1", "", job], check=False,
                   env={"DEVICE_URI": f"lpd://{lab.server.v4}/queue?reserve=none&timeout=5"})
    lab.versions(server="scripted after RFC 1179", client=f"CUPS {version('cups')}")
    return [plain(lab, "lpd", 515)]


# --- JSON-RPC -------------------------------------------------------------------------------------------------------

def ovsdb(lab, *command, remote="ptcp:6640"):
    home = lab.directory("ovs")
    lab.server.run(["ovsdb-tool", "create", str(home / "db"), "/usr/share/openvswitch/vswitch.ovsschema"])
    process = lab.server.start(["ovsdb-server", str(home / "db"), f"--remote={remote}:{lab.server.v4}",
                                f"--unixctl={home}/ctl"], log=lab.log("ovsdb"))
    lab.server.wait_port(6640, process)
    lab.client.run(["ovs-vsctl", "--no-wait", f"--db=tcp:{lab.server.v4}:6640", "br-set-external-id", "x", "y"],
                   check=False)
    lab.client.run(["ovsdb-client", "transact", f"tcp:{lab.server.v4}:6640",
                    f'["Open_vSwitch",{{"op":"insert","table":"Bridge","row":{{"name":"{lab.canary("bridge")}"}}}}]'])
    software = f"Open vSwitch {version('openvswitch-switch')}"
    lab.versions(server=software, client=software)


@cases.case("json-rpc", "JSON-RPC: a bridge is entered in a switch's database", shape=[shape.first(60)])
def _(lab):
    ovsdb(lab)
    return [plain(lab, "json-rpc", 6640), plain(lab, "json-rpc", 6640)]


# --- CORBA ----------------------------------------------------------------------------------------------------------

def corba(lab):
    home, name = lab.directory("omninames"), lab.canary("name")
    process = lab.server.start(["omniNames", "-start", "2809", "-always", "-logdir", str(home), "-ORBendPoint",
                                f"giop:tcp:{lab.server.v4}:2809"], log=lab.log("omninames"))
    lab.server.wait_port(2809, process)
    where = ["-ORBInitRef", f"NameService=corbaname::{lab.server.v4}:2809"]
    lab.client.run(["nameclt", *where, "bind_new_context", name])
    lab.client.run(["nameclt", *where, "list"])
    software = f"omniORB {version('omniorb-nameserver')}"
    lab.versions(server=software, client=software)


@cases.case("giop", "CORBA: names are entered and listed")
def _(lab):
    corba(lab)
    return [plain(lab, "giop", 2809) for _ in range(3)]


@cases.case("giop-server-side-only", "CORBA: only the answers are seen", mirror=("server:out",))
def _(lab):
    corba(lab)
    return [plain(lab, "giop", 2809, confidence="one_side") for _ in range(3)]
