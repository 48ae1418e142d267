"""TDS: pytds against a scripted server (SQL Server is neither in Debian nor on PyPI)."""

import shape
from lab import Cases
from tds_server import OFF, ON, NOT_SUPPORTED, serve

PIP = ["python-tds", "pyOpenSSL"]
cases = Cases()


def run(lab, encryption, tls=True, login_only=False, refuse=False):
    password, user, literal = lab.canary("password"), lab.canary("user"), lab.canary("literal")
    crt, key = lab.certs.server()
    ca = str(lab.certs.ca) if tls else None
    lab.server.spawn(serve, lab.server.v4, encryption, literal, str(crt), str(key), refuse)
    lab.server.wait_port(1433)

    def client(address):
        import pytds
        try:
            with pytds.connect(dsn=address, user=user, password=password, autocommit=True, cafile=ca, validate_host=False,
                               enc_login_only=login_only, login_timeout=5, timeout=5, disable_connect_retry=True) as db:
                with db.cursor() as cursor:
                    cursor.execute(f"select '{literal}'")
                    cursor.fetchall()
        except pytds.Error:
            assert refuse
        from importlib.metadata import version
        return version("python-tds")
    lab.versions(server="scripted", client="pytds " + lab.client.call(client, lab.server.v4))
    # Text is UTF-16 here.
    lab.canaries.clear()


def flow(lab, **facts):
    return lab.flow(**{"server_port": 1433, "app": "tds", "outcome": "established", "confidence": "both_sides", **facts})


@cases.case("not-supported", "no encryption on either side: the login can be read")
def _(lab):
    run(lab, NOT_SUPPORTED, tls=False)
    return [flow(lab, encryption="plaintext", plaintext_reason="client_never_asked", credentials=["password_cleartext"])]


@cases.case("on", "encryption on: the handshake in PRELOGIN packets, then TLS")
def _(lab):
    run(lab, ON)
    return [flow(lab, encryption="tls", upgrade="tds-prelogin", tls_version="TLSv1.2",
                 sni=lab.server.v4)]


@cases.case("login-only", "encryption off: only the login is sealed")
def _(lab):
    run(lab, OFF, login_only=True)
    return [flow(lab, encryption="partial", plaintext_reason="client_declined")]


@cases.case("login-only-client-side", "encryption off, only what the client says is mirrored", mirror=("client:out",))
def _(lab):
    run(lab, OFF, login_only=True)
    return [flow(lab, encryption="partial", plaintext_reason="client_declined", confidence="one_side", outcome="established")]


@cases.case("login-only-server-side", "encryption off, only what the server says is mirrored", mirror=("server:out",))
def _(lab):
    run(lab, OFF, login_only=True)
    return [flow(lab, encryption="partial", plaintext_reason="client_declined", confidence="one_side", outcome="established")]


@cases.case("refused", "a login in clear that fails")
def _(lab):
    run(lab, NOT_SUPPORTED, tls=False, refuse=True)
    return [flow(lab, encryption="plaintext", plaintext_reason="client_never_asked", credentials=["password_cleartext"],
                 outcome="refused")]


@cases.case("late", "joined at a request",
            shape=[shape.late(lambda packet: packet.dport == 1433 and packet.payload[:1] in (b"\x01", b"\x03"))])
def _(lab):
    run(lab, NOT_SUPPORTED, tls=False)
    return [flow(lab, encryption="plaintext", confidence="midstream", origin="midstream")]
