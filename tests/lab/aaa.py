"""Authentication servers: FreeRADIUS with PAP, CHAP and accounting; TACACS+ with a scripted server."""

import re
import socket
import struct

from lab import Cases

APT = ["freeradius", "freeradius-utils"]
PIP = ["tacacs_plus"]
cases = Cases()
CLEAR = {"encryption": "plaintext", "plaintext_reason": "no_in_band_upgrade", "confidence": "both_sides"}


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    where = f"port {flow['client_port']}"
    if flow["app"] == "radius":
        for said in filter(None, (c2s, s2c)):
            if int.from_bytes(said[2:4], "big") > len(said):
                yield f"{where}: {said[:4]!r}"
        if (flow["outcome"] == "refused") != (s2c[:1] == b"\3"):
            yield f"{where}: {flow['outcome']} with code {s2c[:1]!r}"
    # The client does not set the flag for a body in clear; the body begins with action, privilege, type.
    if flow["app"] == "tacacs" and (c2s[12:13] == b"\1" and c2s[14] == 2) != (flow["encryption"] == "plaintext"):
        yield f"{where}: {c2s[:16]!r} and {flow['encryption']}"


def freeradius(lab):
    home = lab.directory("radius", user="freerad")
    user, password = lab.canary("user"), lab.canary("password")
    (home / "users").write_text(f'{user} Cleartext-Password := "{password}"\n'
                                f'\tReply-Message = "{lab.canary("reply")}", Service-Type = Login-User\n')
    (home / "radiusd.conf").write_text(f"""name = lab
libdir = /usr/lib/freeradius
raddbdir = {home}
run_dir = {home}
logdir = {home}
security {{ allow_core_dumps = no }}
client any {{ ipaddr = 10.77.0.0/16
 secret = testing123
 require_message_authenticator = no }}
modules {{
 pap {{ }}
 chap {{ }}
 files {{ filename = {home}/users }}
 always ok {{ rcode = ok }}
}}
server default {{
 listen {{ type = auth
  ipaddr = *
  port = 1812 }}
 listen {{ type = acct
  ipaddr = *
  port = 1813 }}
 authorize {{
  chap
  files
  pap
 }}
 authenticate {{
  Auth-Type PAP {{ pap
  }}
  Auth-Type CHAP {{ chap
  }}
 }}
 accounting {{ ok
 }}
}}
""")
    process = lab.server.start(["freeradius", "-f", "-s", "-d", str(home), "-n", "radiusd", "-l", "stdout"],
                               log=lab.log("freeradius"))
    lab.server.wait_port(1812, process, kind="udp")
    version = re.search(r"Version ([\d.]+)", lab.server.run(["freeradius", "-v"]).stdout).group(1)
    lab.versions(server=f"FreeRADIUS {version}", client=f"radclient {version}")
    return user, password


def radclient(lab, attributes, port=1812, kind="auth", check=True):
    lab.client.run(["radclient", "-r", "1", "-t", "3", f"{lab.server.v4}:{port}", kind, "testing123"],
                   input=attributes, check=check)


def radius(lab, **facts):
    return lab.flow(**{"transport": "udp", "server_port": 1812, "app": "radius", "outcome": "established",
                       "credentials": ["password_hash_challenge"], **CLEAR, **facts})


@cases.case("radius-pap", "User-Password, hidden with the shared secret: Access-Accept")
def _(lab):
    user, password = freeradius(lab)
    radclient(lab, f'User-Name="{user}",User-Password="{password}",NAS-IP-Address=10.77.1.10,NAS-Port=7\n')
    return [radius(lab)]


@cases.case("radius-chap", "CHAP-Password: Access-Accept")
def _(lab):
    user, password = freeradius(lab)
    radclient(lab, f'User-Name="{user}",CHAP-Password="{password}",NAS-Identifier=lab\n')
    return [radius(lab)]


@cases.case("radius-reject", "a wrong password: Access-Reject")
def _(lab):
    user, _password = freeradius(lab)
    radclient(lab, f'User-Name="{user}",User-Password="wrong",NAS-IP-Address=10.77.1.10\n', check=False)
    return [radius(lab, outcome="refused")]


@cases.case("radius-accounting", "Accounting-Request and an answer of nothing but a header")
def _(lab):
    user, _password = freeradius(lab)
    radclient(lab, f'User-Name="{user}",Acct-Status-Type=Start,Acct-Session-Id="1234",NAS-IP-Address=10.77.1.10\n',
              port=1813, kind="acct")
    return [radius(lab, server_port=1813, credentials=[])]


@cases.case("radius-request-only", "only what the client sends", mirror=["server:in"])
def _(lab):
    user, password = freeradius(lab)
    radclient(lab, f'User-Name="{user}",User-Password="{password}",NAS-IP-Address=10.77.1.10\n')
    return [radius(lab, outcome="attempt", confidence="one_side", why="an answer was sent, but is not in this view")]


# --- TACACS+ ---------------------------------------------------------------------------

def tacacs_server(address, secret, password, seen):
    """Authenticates PAP logins; `secret` is empty for bodies in clear."""
    from tacacs_plus.packet import crypt

    def read(connection, size):
        data = b""
        while len(data) < size:
            more = connection.recv(size - len(data))
            if not more:
                raise SystemExit
            data += more
        return data

    listener = socket.create_server((address, 49))
    for _ in range(seen):
        connection, _ = listener.accept()
        with connection:
            head = read(connection, 12)
            version, kind, sequence, flags, session, length = struct.unpack(">BBBBII", head)
            body = read(connection, length)
            if secret:
                import types
                body = crypt(types.SimpleNamespace(version=version, seq_no=sequence, session_id=session,
                                                   length=length), body, secret)
            answer = struct.pack(">BBHH", 1 if password in body else 2, 0, 0, 0)
            head = struct.pack(">BBBBII", version, kind, 2, flags, session, len(answer))
            if secret:
                answer = crypt(types.SimpleNamespace(version=version, seq_no=2, session_id=session,
                                                     length=len(answer)), answer, secret)
            connection.sendall(head + answer)


def login(address, secret, user, password):
    from tacacs_plus.client import TACACSClient
    from tacacs_plus.flags import TAC_PLUS_AUTHEN_TYPE_PAP
    client = TACACSClient(address, 49, secret, timeout=5)
    return client.authenticate(user, password, authen_type=TAC_PLUS_AUTHEN_TYPE_PAP).valid


def tacacs(lab, secret, tried, **facts):
    user, password = lab.canary("user"), lab.canary("password")
    lab.server.spawn(tacacs_server, lab.server.v4, secret, password.encode(), 1)
    lab.server.wait_port(49)
    lab.client.call(login, lab.server.v4, secret, user, tried or password)
    lab.versions(server="scripted with tacacs_plus", client="tacacs_plus 2.6")
    return [lab.flow(**{"server_port": 49, "app": "tacacs", "outcome": "established", "confidence": "both_sides",
                        **facts})]


@cases.case("tacacs-pap", "a PAP login, hidden with the shared secret")
def _(lab):
    return tacacs(lab, "testing123", None, encryption="other-encrypted")


@cases.case("tacacs-clear", "a PAP login in a session that is not hidden: the password can be read")
def _(lab):
    return tacacs(lab, None, None, credentials=["password_cleartext"], **CLEAR)


@cases.case("tacacs-clear-refused", "a wrong password in a session that is not hidden")
def _(lab):
    return tacacs(lab, None, lab.canary("wrong"), credentials=["password_cleartext"], outcome="refused", **CLEAR)
