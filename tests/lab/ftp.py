"""FTP: pyftpdlib, vsftpd, ftplib; logins, AUTH TLS, data connections, views."""

import mail_programs
import shape
from lab import Cases

APT = ["vsftpd"]
PIP = ["pyftpdlib", "pyOpenSSL"]
cases = Cases()
CLEAR = "password_cleartext"
DATA = 2100


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    where = f"port {flow['client_port']}"
    if flow.get("app") == "ftp" and flow["origin"] == "start":
        if s2c and not s2c.startswith(b"220"):
            yield f"{where}: the server greets with {s2c[:8]!r}"
        if (flow.get("upgrade") is not None) != (b"\x16\x03" in c2s + s2c):
            yield f"{where}: upgrade is {flow.get('upgrade')}"


def plain(lab, reason="client_never_asked", **facts):
    return lab.flow(**{"server_port": 21, "encryption": "plaintext", "app": "ftp", "outcome": "established",
                       "plaintext_reason": reason, "confidence": "both_sides", **facts})


def data(lab, port=DATA):
    return lab.flow(server_port=port, encryption="unknown", outcome="unknown", accept=["plaintext"],
                    why="a file or a listing, in no protocol of its own")


def ftpd(lab, tls=False, required=False):
    home = lab.directory("ftp")
    (home / "file").write_text(f"{lab.canary('text')}\n")
    certificate = [str(path) for path in lab.certs.server()] if tls else None
    user, password = lab.canary("user"), lab.canary("pass")
    mail_programs.start(lab, "ftp", 21, home=str(home), user=user, password=password, certificate=certificate,
                        required=required, passive_port=DATA)
    import pyftpdlib
    lab.versions(server=f"pyftpdlib {pyftpdlib.__ver__}", client="Python ftplib")
    return user, password


def fetch(address, user, password, tls, protect, download):
    """Log in, and perhaps fetch a file."""
    import ftplib
    import ssl
    connection = ftplib.FTP_TLS(context=ssl._create_unverified_context()) if tls else ftplib.FTP()
    connection.connect(address)
    try:
        connection.login(user, password)
        if protect:
            connection.prot_p()
        connection.pwd()
        if download:
            connection.retrbinary("RETR file", lambda _: None)
        connection.quit()
    except (ftplib.Error, EOFError) as error:
        connection.close()
        return repr(error)


def ftp(lab, user, password, tls=False, protect=False, download=False):
    return lab.client.call(fetch, lab.server.v4, user, password, tls, protect, download)


@cases.case("login-and-fetch", "USER and PASS in clear, and a file on a data connection")
def _(lab):
    user, password = ftpd(lab)
    assert ftp(lab, user, password, download=True) is None
    return [plain(lab, credentials=[CLEAR]), data(lab)]


@cases.case("anonymous", "an anonymous login: no secret")
def _(lab):
    ftpd(lab)
    lab.canaries.clear()
    assert ftp(lab, "anonymous", "guest@lab.internal") is None
    return [plain(lab)]


@cases.case("wrong-password", "a wrong password: 530")
def _(lab):
    user, _right = ftpd(lab)
    assert "530" in ftp(lab, user, lab.canary("wrong"))
    return [plain(lab, outcome="refused", credentials=[CLEAR])]


@cases.case("auth-tls", "AUTH TLS, then the login inside TLS")
def _(lab):
    user, password = ftpd(lab, tls=True)
    assert ftp(lab, user, password, tls=True) is None
    return [lab.flow(server_port=21, encryption="tls", app="ftp", upgrade="ftp-auth-tls", outcome="established",
                     tls_version="TLSv1.3", confidence="both_sides")]


@cases.case("auth-tls-refused", "AUTH TLS on a server without it: refused, and the client leaves")
def _(lab):
    user, password = ftpd(lab)
    lab.canaries.clear()
    assert ftp(lab, user, password, tls=True)
    return [plain(lab, "server_refused", outcome="refused")]


@cases.case("offer-declined", "FEAT shows AUTH TLS, and the client logs in without")
def _(lab):
    def work(address, user, password):
        import ftplib
        connection = ftplib.FTP(address)
        connection.sendcmd("FEAT")
        connection.login(user, password)
        connection.quit()
    user, password = ftpd(lab, tls=True)
    lab.client.call(work, lab.server.v4, user, password)
    return [plain(lab, "client_declined", credentials=[CLEAR])]


@cases.case("tls-required", "the server wants AUTH TLS before USER")
def _(lab):
    user, password = ftpd(lab, tls=True, required=True)
    lab.canaries.clear()
    lab.plant(user)
    assert ftp(lab, user, password)
    return [plain(lab, outcome="refused")]


@cases.case("vsftpd-anonymous", "vsftpd, whose greeting has its name")
def _(lab):
    home = lab.directory("vsftpd")
    home.chmod(0o755)
    (home / "conf").write_text(f"listen=YES\nanonymous_enable=YES\nanon_root={home}\nbackground=NO\n"
                               "seccomp_sandbox=NO\nsecure_chroot_dir=/var/empty\nrun_as_launching_user=NO\n")
    lab.server.run(["mkdir", "-p", "/var/empty"])
    process = lab.server.start(["/usr/sbin/vsftpd", str(home / "conf")], log=lab.log("vsftpd"))
    lab.server.wait_port(21, process)
    lab.versions(server="vsftpd 3.0.3", client="Python ftplib")
    assert ftp(lab, "anonymous", "guest@lab.internal") is None
    return [plain(lab)]


@cases.case("client-side-only", "only what the client sends", mirror=["server:in"])
def _(lab):
    user, password = ftpd(lab)
    assert ftp(lab, user, password) is None
    return [plain(lab, confidence="one_side", credentials=[CLEAR])]


@cases.case("server-side-only", "only what the server sends", mirror=["server:out"])
def _(lab):
    user, password = ftpd(lab)
    assert ftp(lab, user, password) is None
    return [plain(lab, confidence="one_side")]


@cases.case("late", "the recording starts with the answer to PASV", shape=[shape.late(
    lambda p: p.payload[:3] in (b"227", b"229"))])
def _(lab):
    user, password = ftpd(lab)
    lab.canaries.clear()
    lab.canary("text")
    assert ftp(lab, user, password, download=True) is None
    return [plain(lab, None, origin="midstream", confidence="midstream"), data(lab)]
