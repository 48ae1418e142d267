"""Mail: SMTP and LMTP (aiosmtpd), IMAP, POP3 and ManageSieve (Dovecot), with and without TLS on the way."""

import re

import mail_programs
import shape
from lab import Cases

APT = ["dovecot-imapd", "dovecot-pop3d"]
PIP = ["aiosmtpd"]
cases = Cases()
UPGRADES = {"smtp": "smtp-starttls", "lmtp": "lmtp-starttls", "imap": "imap-starttls", "pop3": "pop3-stls"}
PORTS = {"smtp": 25, "lmtp": 24, "imap": 143, "pop3": 110}
GREETINGS = {"smtp": b"220 ", "lmtp": b"220 ", "imap": b"* ", "pop3": b"+OK"}
CLEAR, SASL, HASH = "password_cleartext", "sasl_plain", "password_hash_challenge"


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    where = f"port {flow['client_port']}"
    if flow.get("app") in GREETINGS and flow["origin"] == "start":
        if s2c and not s2c.startswith(GREETINGS[flow["app"]]) and flow["outcome"] != "refused":
            yield f"{where}: the server greets with {s2c[:8]!r}"
        if (flow.get("upgrade") is not None) != (b"\x16\x03" in c2s + s2c):
            yield f"{where}: upgrade is {flow.get('upgrade')}"
        offered = re.search(rb"STARTTLS|STLS", s2c)
        if offered and flow.get("plaintext_reason") == "client_never_asked":
            yield f"{where}: there was an offer"


def plain(lab, app, reason, **facts):
    return lab.flow(**{"server_port": PORTS[app], "encryption": "plaintext", "app": app, "outcome": "established",
                       "plaintext_reason": reason, "confidence": "both_sides", **facts})


def upgraded(lab, app, **facts):
    return lab.flow(**{"server_port": PORTS[app], "encryption": "tls", "app": app, "upgrade": UPGRADES[app],
                       "outcome": "established", "tls_version": "TLSv1.3", "confidence": "both_sides", **facts})


# --- SMTP and LMTP ------------------------------------------------------------------

def smtpd(lab, kind="smtp", tls=True, require=False):
    certificate = [str(path) for path in lab.certs.server()] if tls else None
    user, password = lab.canary("user"), lab.canary("pass")
    mail_programs.start(lab, "smtp", PORTS[kind], program=kind, port=PORTS[kind], certificate=certificate, user=user,
                        password=password, require_tls=require)
    import aiosmtpd
    lab.versions(server=f"aiosmtpd {aiosmtpd.__version__}", client="Python smtplib")
    return user, password


def send(address, port, text, tls, user, password, mechanism, kind="smtp", ehlo=True):
    """Send one mail."""
    import smtplib
    import ssl
    context = ssl._create_unverified_context()
    connection = (smtplib.LMTP if kind == "lmtp" else smtplib.SMTP)(address, port, local_hostname="client.lab.internal")
    try:
        if tls:
            connection.starttls(context=context)
        if user:
            connection.ehlo_or_helo_if_needed()
            connection.user, connection.password = user, password
            method = {"PLAIN": connection.auth_plain, "LOGIN": connection.auth_login}[mechanism]
            connection.auth(mechanism, method, initial_response_ok=mechanism == "PLAIN")
        if not ehlo:
            connection.helo()
        connection.sendmail("a@lab.internal", ["b@lab.internal"], f"Subject: lab\r\n\r\n{text}\r\n")
        connection.quit()
    except smtplib.SMTPException as error:
        connection.close()
        return repr(error)


def mail(lab, tls=False, user=None, password=None, mechanism="PLAIN", kind="smtp", ehlo=True):
    return lab.client.call(send, lab.server.v4, PORTS[kind], lab.canary("text"), tls, user, password, mechanism, kind,
                           ehlo)


@cases.case("smtp-declined", "STARTTLS is offered and not taken: the mail can be read")
def _(lab):
    smtpd(lab)
    assert mail(lab) is None
    return [plain(lab, "smtp", "client_declined")]


@cases.case("smtp-no-offer", "a server without STARTTLS")
def _(lab):
    smtpd(lab, tls=False)
    assert mail(lab) is None
    return [plain(lab, "smtp", "server_refused")]


@cases.case("smtp-helo", "a client that says HELO: whether the server has STARTTLS is not said")
def _(lab):
    def work(address, port, text):
        import smtplib
        connection = smtplib.SMTP(address, port)
        connection.helo("client.lab.internal")
        connection.mail("a@lab.internal")
        connection.rcpt("b@lab.internal")
        connection.data(text)
        connection.quit()
    smtpd(lab)
    lab.client.call(work, lab.server.v4, 25, lab.canary("text"))
    return [plain(lab, "smtp", "client_never_asked")]


@cases.case("smtp-starttls", "STARTTLS: login and mail are inside TLS")
def _(lab):
    user, password = smtpd(lab)
    assert mail(lab, True, user, password) is None
    return [upgraded(lab, "smtp")]


@cases.case("smtp-auth-plain", "AUTH PLAIN in clear")
def _(lab):
    user, password = smtpd(lab)
    assert mail(lab, False, user, password) is None
    return [plain(lab, "smtp", "client_declined", credentials=[SASL])]


@cases.case("smtp-auth-login", "AUTH LOGIN in clear: name and password in lines of their own")
def _(lab):
    user, password = smtpd(lab)
    assert mail(lab, False, user, password, "LOGIN") is None
    return [plain(lab, "smtp", "client_declined", credentials=[SASL])]


@cases.case("smtp-wrong-password", "AUTH PLAIN with a wrong password: 535")
def _(lab):
    user, _right = smtpd(lab)
    assert "535" in mail(lab, False, user, lab.canary("wrong"))
    return [plain(lab, "smtp", "client_declined", outcome="refused", credentials=[SASL])]


@cases.case("smtp-tls-required", "the server takes no mail without STARTTLS: 530")
def _(lab):
    smtpd(lab, require=True)
    assert "530" in mail(lab)
    return [plain(lab, "smtp", "client_declined", outcome="refused")]


@cases.case("smtp-client-side-only", "only what the client sends", mirror=["server:in"])
def _(lab):
    user, password = smtpd(lab)
    assert mail(lab, False, user, password) is None
    return [plain(lab, "smtp", "client_never_asked", confidence="one_side", credentials=[SASL])]


@cases.case("smtp-server-side-only", "only what the server sends", mirror=["server:out"])
def _(lab):
    smtpd(lab)
    assert mail(lab) is None
    return [plain(lab, "smtp", "client_declined", confidence="one_side")]


@cases.case("smtp-starttls-server-side-only", "STARTTLS, and only what the server sends", mirror=["server:out"])
def _(lab):
    user, password = smtpd(lab)
    assert mail(lab, True, user, password) is None
    return [upgraded(lab, "smtp", confidence="one_side")]


@cases.case("smtp-starttls-client-side-only", "STARTTLS, and only what the client sends", mirror=["server:in"])
def _(lab):
    user, password = smtpd(lab)
    assert mail(lab, True, user, password) is None
    return [upgraded(lab, "smtp", tls_version=None, confidence="one_side")]


@cases.case("smtp-late", "the recording starts with the recipient", shape=[shape.late(
    lambda p: p.payload.lower().startswith(b"rcpt to"))])
def _(lab):
    smtpd(lab)
    assert mail(lab) is None
    return [plain(lab, "smtp", None, origin="midstream", confidence="midstream")]


@cases.case("smtp-banner", "a check that reads the greeting and leaves")
def _(lab):
    def work(address):
        import socket
        with socket.create_connection((address, 25)) as connection:
            connection.recv(100)
    smtpd(lab)
    lab.client.call(work, lab.server.v4)
    lab.versions(client="a Python socket")
    return [plain(lab, "smtp", "client_never_asked", outcome="attempt", confidence="one_side")]


@cases.case("lmtp", "a local delivery over LMTP")
def _(lab):
    smtpd(lab, "lmtp", tls=False)
    assert mail(lab, kind="lmtp") is None
    return [plain(lab, "lmtp", "server_refused")]


# --- IMAP and POP3 ------------------------------------------------------------------

def dovecot(lab, tls=True):
    """Dovecot without users of the system: one user, any process as itself."""
    home = lab.directory("dovecot")
    home.chmod(0o755)
    crt, key = lab.certs.server()
    user, password = lab.canary("user"), lab.canary("pass")
    (home / "users").write_text(f"{user}:{{PLAIN}}{password}:65534:65534::{home}/mail::\n")
    (home / "mail").mkdir(mode=0o777)
    (home / "mail").chmod(0o777)
    (home / "users").chmod(0o644)
    (home / "conf").write_text(f"""protocols = imap pop3
listen = 0.0.0.0
base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/log
ssl = {"yes" if tls else "no"}
ssl_cert = <{crt}
ssl_key = <{key}
disable_plaintext_auth = no
auth_mechanisms = plain login cram-md5 apop scram-sha-256
first_valid_uid = 1
mail_location = maildir:{home}/mail
passdb {{
  driver = passwd-file
  args = scheme=plain {home}/users
}}
userdb {{
  driver = passwd-file
  args = {home}/users
}}
service imap-login {{
  chroot =
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  chroot =
  inet_listener pop3s {{
    port = 0
  }}
}}
""")
    process = lab.server.start(["/usr/sbin/dovecot", "-F", "-c", str(home / "conf")], log=lab.log("dovecot"))
    lab.server.wait_port(143, process)
    lab.server.wait_port(110, process)
    lab.versions(server="Dovecot " + lab.server.run(["/usr/sbin/dovecot", "--version"]).stdout.split()[0])
    return user, password


def read_imap(address, user, password, tls, mechanism):
    """Log in and look at the inbox."""
    import imaplib
    import ssl
    connection = imaplib.IMAP4(address)
    if tls:
        connection.starttls(ssl._create_unverified_context())
    try:
        if mechanism == "LOGIN":
            connection.login(user, password)
        elif mechanism == "CRAM-MD5":
            connection.login_cram_md5(user, password)
        else:
            connection.authenticate("PLAIN", lambda _: f"\0{user}\0{password}".encode())
        connection.select()
        connection.search(None, "ALL")
    except imaplib.IMAP4.error as error:
        connection.logout()
        return repr(error)
    connection.logout()


def imap(lab, tls=False, mechanism="LOGIN", user=None, password=None):
    lab.versions(client="Python imaplib")
    return lab.client.call(read_imap, lab.server.v4, user, password, tls, mechanism)


@cases.case("imap-login", "LOGIN in clear, though STARTTLS is offered")
def _(lab):
    user, password = dovecot(lab)
    assert imap(lab, user=user, password=password) is None
    return [plain(lab, "imap", "client_declined", credentials=[CLEAR])]


@cases.case("imap-no-offer", "AUTHENTICATE PLAIN on a server without STARTTLS")
def _(lab):
    user, password = dovecot(lab, tls=False)
    assert imap(lab, mechanism="PLAIN", user=user, password=password) is None
    return [plain(lab, "imap", "server_refused", credentials=[SASL])]


@cases.case("imap-cram-md5", "AUTHENTICATE CRAM-MD5")
def _(lab):
    user, password = dovecot(lab)
    assert imap(lab, mechanism="CRAM-MD5", user=user, password=password) is None
    return [plain(lab, "imap", "client_declined", credentials=[HASH])]


@cases.case("imap-wrong-password", "LOGIN with a wrong password")
def _(lab):
    user, _right = dovecot(lab)
    assert "AUTHENTICATIONFAILED" in imap(lab, user=user, password=lab.canary("wrong"))
    return [plain(lab, "imap", "client_declined", outcome="refused", credentials=[CLEAR])]


@cases.case("imap-starttls", "STARTTLS, then LOGIN inside TLS")
def _(lab):
    user, password = dovecot(lab)
    assert imap(lab, True, user=user, password=password) is None
    return [upgraded(lab, "imap")]


@cases.case("imap-client-side-only", "only what the client sends", mirror=["server:in"])
def _(lab):
    user, password = dovecot(lab)
    assert imap(lab, user=user, password=password) is None
    return [plain(lab, "imap", "client_never_asked", confidence="one_side", credentials=[CLEAR])]


@cases.case("imap-server-side-only", "only what the server sends", mirror=["server:out"])
def _(lab):
    user, password = dovecot(lab)
    assert imap(lab, user=user, password=password) is None
    return [plain(lab, "imap", "client_declined", confidence="one_side")]


@cases.case("imap-late", "the recording starts with the answer to SELECT", shape=[shape.late(
    lambda p: b"* FLAGS" in p.payload)])
def _(lab):
    user, password = dovecot(lab)
    assert imap(lab, user=user, password=password) is None
    return [plain(lab, "imap", None, origin="midstream", confidence="midstream")]


def read_pop3(address, user, password, tls, apop):
    """Log in and count the mails."""
    import poplib
    import ssl
    connection = poplib.POP3(address)
    connection.capa()
    try:
        if tls:
            connection.stls(ssl._create_unverified_context())
        if apop:
            connection.apop(user, password)
        else:
            connection.user(user)
            connection.pass_(password)
        connection.stat()
        connection.quit()
    except poplib.error_proto as error:
        connection.quit()
        return repr(error)


def pop3(lab, user, password, tls=False, apop=False):
    lab.versions(client="Python poplib")
    return lab.client.call(read_pop3, lab.server.v4, user, password, tls, apop)


@cases.case("pop3-login", "USER and PASS in clear, though STLS is offered")
def _(lab):
    user, password = dovecot(lab)
    assert pop3(lab, user, password) is None
    return [plain(lab, "pop3", "client_declined", credentials=[CLEAR])]


@cases.case("pop3-no-offer", "USER and PASS on a server without STLS")
def _(lab):
    user, password = dovecot(lab, tls=False)
    assert pop3(lab, user, password) is None
    return [plain(lab, "pop3", "server_refused", credentials=[CLEAR])]


@cases.case("pop3-apop", "APOP")
def _(lab):
    user, password = dovecot(lab)
    assert pop3(lab, user, password, apop=True) is None
    return [plain(lab, "pop3", "client_declined", credentials=[HASH])]


@cases.case("pop3-wrong-password", "PASS with a wrong password")
def _(lab):
    user, _right = dovecot(lab)
    assert pop3(lab, user, lab.canary("wrong"))
    return [plain(lab, "pop3", "client_declined", outcome="refused", credentials=[CLEAR])]


@cases.case("pop3-stls", "STLS, then USER and PASS inside TLS")
def _(lab):
    user, password = dovecot(lab)
    assert pop3(lab, user, password, tls=True) is None
    return [upgraded(lab, "pop3")]


@cases.case("pop3-client-side-only", "only what the client sends", mirror=["server:in"])
def _(lab):
    user, password = dovecot(lab)
    assert pop3(lab, user, password) is None
    return [plain(lab, "pop3", "client_never_asked", confidence="one_side", credentials=[CLEAR])]
