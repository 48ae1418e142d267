"""Chat: XMPP (Prosody, slixmpp) and IRC (ngIRCd)."""

import shape
from lab import Cases

APT = ["prosody", "ngircd"]
PIP = ["slixmpp"]
cases = Cases()


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    where = f"port {flow['client_port']}"
    if flow["origin"] == "start" and (flow.get("upgrade") is not None) != (b"\x16\x03" in c2s + s2c):
        yield f"{where}: upgrade is {flow.get('upgrade')}"


def flow(lab, app, **facts):
    return lab.flow(**{"server_port": {"xmpp": 5222, "irc": 6667}[app], "app": app, "outcome": "established",
                       "confidence": "both_sides", **facts})


def plain(lab, app, reason, **facts):
    return flow(lab, app, **{"encryption": "plaintext", "plaintext_reason": reason, **facts})


# --- XMPP ----------------------------------------------------------------------------

def prosody(lab, tls=True, mechanisms="PLAIN"):
    home = lab.directory("prosody", "prosody")
    crt, key = lab.certs.server()
    for path in (crt, key):
        lab.server.run(["install", "-o", "prosody", "-m", "600", str(path), str(home)])
    user, password = lab.canary("user"), lab.canary("pass")
    disabled = {"PLAIN": '"SCRAM-SHA-1", "SCRAM-SHA-256"', "SCRAM-SHA-1": '"PLAIN"'}[mechanisms]
    secure = f'ssl = {{ certificate = "{home / crt.name}"; key = "{home / key.name}" }}' if tls else ""
    (home / "prosody.cfg.lua").write_text(f"""daemonize = false
pidfile = "{home}/pid"
data_path = "{home}"
log = {{ error = "*console" }}
interfaces = {{ "0.0.0.0" }}
modules_enabled = {{ "saslauth"{', "tls"' if tls else ""}, "roster" }}
modules_disabled = {{ "s2s", "offline" }}
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
disable_sasl_mechanisms = {{ {disabled} }}
authentication = "internal_plain"
{secure}
VirtualHost "lab.internal"
""")
    lab.server.run(["chown", "-R", "prosody", str(home)])
    lab.server.run(["prosodyctl", "--config", str(home / "prosody.cfg.lua"), "register", user, "lab.internal", password])
    process = lab.server.start(["prosody", "--config", str(home / "prosody.cfg.lua"), "-F"], log=lab.log("prosody"), user="prosody")
    lab.server.wait_port(5222, process)
    lab.versions(server="Prosody 0.12")
    return user, password


def talk(address, user, password, tls, text):
    """Log in and send a message to oneself."""
    import asyncio

    import slixmpp

    class Client(slixmpp.ClientXMPP):
        def __init__(self):
            super().__init__(f"{user}@lab.internal", password)
            self.add_event_handler("session_start", self.start)
            self.add_event_handler("failed_all_auth", lambda _: self.abort())
            self.add_event_handler("message", lambda _: self.disconnect())

        async def start(self, _):
            self.send_presence()
            self.send_message(mto=f"{user}@lab.internal", mbody=text, mtype="chat")

    async def run():
        client = Client()
        client.enable_starttls = tls
        client.enable_direct_tls = False
        client.enable_plaintext = True
        client["feature_mechanisms"].unencrypted_plain = True
        client["feature_mechanisms"].unencrypted_scram = True
        client.ssl_context.check_hostname = False
        import ssl
        client.ssl_context.verify_mode = ssl.CERT_NONE
        try:
            client.connect(address, 5222)
        except TypeError:
            client.connect((address, 5222))
        try:
            await asyncio.wait_for(client.disconnected, 8)
        except asyncio.TimeoutError:
            client.abort()
    asyncio.run(run())
    return slixmpp.__version__


def xmpp(lab, user, password, tls=False):
    lab.versions(client="slixmpp " + lab.client.call(talk, lab.server.v4, user, password, tls, lab.canary("text")))


@cases.case("xmpp-declined", "STARTTLS is offered and not taken: PLAIN in clear")
def _(lab):
    xmpp(lab, *prosody(lab))
    return [plain(lab, "xmpp", "client_declined", credentials=["sasl_plain"])]


@cases.case("xmpp-no-offer", "SCRAM on a server without STARTTLS")
def _(lab):
    xmpp(lab, *prosody(lab, tls=False, mechanisms="SCRAM-SHA-1"))
    return [plain(lab, "xmpp", "server_refused", credentials=["password_hash_challenge"])]


@cases.case("xmpp-starttls", "STARTTLS, then everything inside TLS")
def _(lab):
    xmpp(lab, *prosody(lab), tls=True)
    return [flow(lab, "xmpp", encryption="tls", upgrade="xmpp-starttls", tls_version="TLSv1.3", sni="lab.internal")]


@cases.case("xmpp-wrong-password", "PLAIN with a wrong password")
def _(lab):
    user, _right = prosody(lab)
    xmpp(lab, user, lab.canary("wrong"))
    return [plain(lab, "xmpp", "client_declined", outcome="refused", credentials=["sasl_plain"])]


@cases.case("xmpp-client-side-only", "only what the client sends", mirror=["server:in"])
def _(lab):
    xmpp(lab, *prosody(lab))
    return [plain(lab, "xmpp", "client_never_asked", confidence="one_side", credentials=["sasl_plain"])]


# --- IRC -----------------------------------------------------------------------------

def ngircd(lab, password=""):
    home = lab.directory("ngircd")
    home.chmod(0o755)
    (home / "conf").write_text(f"""[Global]
Name = irc.lab.internal
Info = lab
AdminInfo1 = lab
AdminEMail = a@lab.internal
Listen = 0.0.0.0
Ports = 6667
ServerGID = nogroup
ServerUID = nobody
Password = {password}
[Options]
DNS = no
Ident = no
PAM = no
SyslogFacility = local1
""")
    process = lab.server.start(["/usr/sbin/ngircd", "-n", "-f", str(home / "conf")], log=lab.log("ngircd"))
    lab.server.wait_port(6667, process)
    lab.versions(server="ngIRCd 26", client="a Python socket")


def chat(address, lines):
    """Say some lines, waiting for something after each group."""
    import socket
    import time
    with socket.create_connection((address, 6667)) as connection:
        connection.settimeout(0.6)
        for line in lines:
            try:
                connection.sendall(line.encode())
            except OSError:
                return
            end = time.monotonic() + 2
            try:
                while time.monotonic() < end and connection.recv(4096):
                    pass
            except OSError:
                pass


def irc(lab, *first):
    login = f"NICK lab\r\nUSER {lab.canary('user')} 0 * :lab lab\r\n"
    lab.client.call(chat, lab.server.v4, [
        "".join(first) + login, "JOIN #lab\r\n", f"PRIVMSG #lab :{lab.canary('text')}\r\n", "QUIT :done\r\n"])


@cases.case("irc", "a channel, and something said there")
def _(lab):
    ngircd(lab)
    irc(lab)
    return [plain(lab, "irc", "client_never_asked")]


@cases.case("irc-password", "PASS before the login, and CAP")
def _(lab):
    ngircd(lab, lab.canary("pass"))
    irc(lab, "CAP LS 302\r\n", f"PASS {lab.canary('pass')}\r\nCAP END\r\n")
    return [plain(lab, "irc", "server_refused", credentials=["password_cleartext"])]


@cases.case("irc-wrong-password", "a wrong PASS: the server closes the link")
def _(lab):
    ngircd(lab, "right")
    irc(lab, "CAP LS 302\r\n", f"PASS {lab.canary('wrong')}\r\nCAP END\r\n")
    return [plain(lab, "irc", "server_refused", outcome="refused", credentials=["password_cleartext"])]


@cases.case("irc-late", "the recording starts with something said", shape=[shape.late(
    lambda p: p.payload.startswith(b"PRIVMSG"))])
def _(lab):
    ngircd(lab)
    irc(lab)
    return [plain(lab, "irc", None, outcome="unknown", origin="midstream", confidence="midstream")]
