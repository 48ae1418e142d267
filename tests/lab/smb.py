"""SMB: Samba's server and client; dialects, signing, encryption, refusals, views."""

import http_servers as web
import shape
from lab import Cases

APT = ["samba", "smbclient"]
cases = Cases()
HASH = ["password_hash_challenge"]


def check(flow, c2s, s2c):
    """Whether there are transform headers on both sides is what the class rests on."""
    sealed = b"\xfdSMB" in c2s or b"\xfdSMB" in s2c
    if sealed != (flow["encryption"] == "other-encrypted"):
        yield f"port {flow['client_port']}: sealed is {sealed}"


def flow(lab, **facts):
    return lab.flow(**{"server_port": 445, "encryption": "plaintext", "app": "smb", "outcome": "established",
                       "confidence": "both_sides", "credentials": HASH, **facts})


def serve(lab, options="", port=445, share=""):
    home = lab.directory("samba")
    for name in ("share", "private", "state", "run"):
        (home / name).mkdir()
    (home / "share").chmod(0o777)
    (home / "share" / lab.canary("file")).write_text(lab.canary("content"))
    dirs = "\n".join(f"{key} = {home}/{value}" for key, value in {
        "private dir": "private", "state directory": "state", "cache directory": "state", "lock directory": "run",
        "pid directory": "run", "ncalrpc dir": "run", "log file": "log"}.items())
    (home / "smb.conf").write_text(f"""[global]
workgroup = LAB
server role = standalone server
disable spoolss = yes
server min protocol = NT1
ntlm auth = yes
map to guest = never
smb ports = {port}
{dirs}
{options}
[share]
path = {home}/share
read only = no
force user = root
{share}
""")
    lab.server.run(["smbpasswd", "-c", str(home / "smb.conf"), "-s", "-a", "root"], input="secret\nsecret\n")
    process = lab.server.start(["/usr/sbin/smbd", "-F", "--no-process-group", "-s", str(home / "smb.conf"),
                                "--debug-stdout"], log=lab.log("smbd"))
    lab.server.wait_port(port, process)
    version = web.version(["/usr/sbin/smbd", "--version"], r"Version (\S+?)-")
    lab.versions(server=f"Samba {version}", client=f"smbclient {version}")


def client(lab, *options, password="secret", dialect="SMB3", check=True, command="get FILE /dev/null"):
    home = lab.directory("smbclient")
    (home / "smb.conf").write_text("[global]\nclient min protocol = CORE\nworkgroup = LAB\n")
    lab.client.run(["smbclient", "-s", str(home / "smb.conf"), f"//{lab.server.v4}/share", "-U", f"root%{password}",
                    "-m", dialect, *options, "-c", command.replace("FILE", lab.canary("file"))], check=check)


@cases.case("smb1", "SMB 1: a file is read in clear, the login is NTLM")
def _(lab):
    serve(lab)
    client(lab, dialect="NT1", command="get FILE /dev/null")
    return [flow(lab, plaintext_reason="no_in_band_upgrade")]


@cases.case("smb2", "SMB 2.1 knows no encryption")
def _(lab):
    serve(lab, "server max protocol = SMB2_10")
    client(lab, dialect="SMB2_10")
    return [flow(lab, plaintext_reason="server_refused")]


@cases.case("smb3-declined", "SMB 3.1.1: both could encrypt, neither asks for it")
def _(lab):
    serve(lab)
    client(lab)
    return [flow(lab, plaintext_reason="client_declined")]


@cases.case("smb3-signed", "SMB 3.1.1 signed: still readable")
def _(lab):
    serve(lab, "server signing = mandatory")
    client(lab, "--option=client signing=required")
    return [flow(lab, plaintext_reason="client_declined")]


@cases.case("smb3-off", "SMB 3.0.2 with a server that does not encrypt")
def _(lab):
    serve(lab, "server max protocol = SMB3_02\nserver smb encrypt = off")
    client(lab, dialect="SMB3_02")
    return [flow(lab, plaintext_reason="server_refused")]


@cases.case("smb3-required", "the server requires encryption of the session")
def _(lab):
    serve(lab, "server smb encrypt = required")
    client(lab)
    lab.canaries.clear()
    return [flow(lab, encryption="other-encrypted")]


@cases.case("smb3-share", "one share requires encryption: its tree connection is yet clear")
def _(lab):
    serve(lab, share="smb encrypt = required")
    client(lab)
    lab.canaries.clear()
    return [flow(lab, encryption="other-encrypted")]


@cases.case("netbios", "on port 139 a NetBIOS session comes first")
def _(lab):
    serve(lab, port=139)
    client(lab, "-p", "139")
    return [flow(lab, server_port=139, plaintext_reason="client_declined")]


@cases.case("wrong-password", "a wrong password")
def _(lab):
    serve(lab)
    client(lab, password="wrong", check=False)
    lab.canaries.clear()
    return [flow(lab, outcome="refused", plaintext_reason="server_refused")]


@cases.case("client-only", "only what the client sends was mirrored", mirror=("server:in",))
def _(lab):
    serve(lab)
    client(lab)
    return [flow(lab, plaintext_reason="client_never_asked", confidence="one_side", outcome="established")]


@cases.case("server-only", "only what the server sends was mirrored", mirror=("server:out",))
def _(lab):
    serve(lab)
    client(lab)
    return [flow(lab, plaintext_reason="client_declined", confidence="one_side", credentials=[])]


def joined_at(magic, skip):
    """Start at a message with this magic, some packets in."""
    seen = []
    def first(packet):
        seen.append(0)
        return len(seen) > skip and packet.payload[4:8] == magic
    return shape.late(first)


@cases.case("late-clear", "joined late: headers of SMB 2", shape=[joined_at(b"\xfeSMB", 22)])
def _(lab):
    serve(lab)
    client(lab, command="ls; get FILE /dev/null")
    return [flow(lab, origin="midstream", confidence="midstream", credentials=[], plaintext_reason="client_never_asked")]


@cases.case("late-sealed", "joined late: transform headers", shape=[joined_at(b"\xfdSMB", 16)])
def _(lab):
    serve(lab, "server smb encrypt = required")
    client(lab)
    lab.canaries.clear()
    return [flow(lab, origin="midstream", confidence="midstream", credentials=[], encryption="other-encrypted")]
