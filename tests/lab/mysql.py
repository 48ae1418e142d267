"""MySQL: TLS offered, taken, declined, demanded; ways to log in; refusals; what sessions do."""

import time

from mysql_server import CLEAR, HASH, TLS_SQL, Maria, cases, check  # noqa: F401 (check is used by lab.py)

APT = ["mariadb-server", "mariadb-client", "haproxy", "libmariadb-dev", "pkg-config", "gcc", "python3-dev"]
PIP = ["pymysql", "cryptography", "pynacl", "mysql-connector-python", "mysqlclient", "aiomysql", "asyncmy"]
NAME = "db.lab.internal"


def setup(lab):
    lab.state = Maria(lab)


# --- TLS offered, taken, declined, not offered ----------------------------------

@cases.case("offered-declined", "the server offers TLS in its greeting, the mariadb client does not take it")
def _(lab):
    db = lab.state
    db.serve()
    db.cli()
    return [db.plain()]


@cases.case("offered-taken-tls13",
            "the server offers TLS, the mariadb client takes it: TLS 1.3 after a 36-byte SSLRequest")
def _(lab):
    db = lab.state
    db.serve()
    return [db.tls(db.cli(options=["--ssl"]), tls_version="TLSv1.3")]


@cases.case("offered-taken-by-default", "the mariadb client without options takes TLS where it is offered")
def _(lab):
    db = lab.state
    db.serve()
    return [db.tls(db.cli(options=()))]


@cases.case("offered-taken-tls12", "TLS 1.2: the certificate and the chosen cipher are in clear")
def _(lab):
    db = lab.state
    db.serve(tls_version="TLSv1.2")
    return [db.tls(db.cli(options=["--ssl"]), tls_version="TLSv1.2")]


@cases.case("tls12-rsa-key-exchange", "TLS 1.2 with RSA key exchange and CBC: no forward secrecy")
def _(lab):
    db = lab.state
    db.serve(rsa=True, tls_version="TLSv1.2", ssl_cipher="AES128-SHA")
    return [db.tls(db.cli(options=["--ssl"]))]


@cases.case("not-offered", "a server without TLS: plaintext, the greeting has no CLIENT_SSL")
def _(lab):
    db = lab.state
    db.serve(ssl=False)
    db.cli(options=())
    return [db.plain("server_refused")]


@cases.case("not-offered-client-demands", "a client that demands TLS leaves a server without TLS after the greeting")
def _(lab):
    db = lab.state
    db.serve(ssl=False)
    said = db.cli(check=False, options=["--ssl", "--ssl-verify-server-cert", f"--ssl-ca={lab.certs.ca}"])
    assert "SSL" in said, said
    return [db.plain("server_refused", outcome="attempt", confidence="one_side", credentials=[], accept=["unknown"],
                     why="only a greeting was sent: no session and no data")]


@cases.case("verify-tls13", "the client verifies the server's certificate: TLS 1.3")
def _(lab):
    db = lab.state
    db.serve()
    said = db.cli(at=NAME, options=["--ssl-verify-server-cert", f"--ssl-ca={lab.certs.ca}"])
    return [db.tls(said)]


@cases.case("verify-fails-tls12", "the client does not trust the server's CA: a TLS 1.2 alert in clear")
def _(lab):
    db = lab.state
    db.serve(tls_version="TLSv1.2")
    db.cli(check=False, at=NAME, options=["--ssl-verify-server-cert", f"--ssl-ca={lab.certs.other_ca}"])
    return [db.tls(outcome="refused", tls_version="TLSv1.2")]


@cases.case("verify-fails-tls13", "the client does not trust the server's CA, but in TLS 1.3 the alert is encrypted")
def _(lab):
    db = lab.state
    db.serve()
    db.cli(check=False, at=NAME, options=["--ssl-verify-server-cert", f"--ssl-ca={lab.certs.other_ca}"])
    return [db.tls(tls_version="TLSv1.3", outcome="refused",
                   why="the client left with an alert, which TLS 1.3 encrypts, but its length gives it away")]


@cases.case("verify-wrong-name", "the name is not in the certificate: the client leaves after a complete handshake")
def _(lab):
    db = lab.state
    crt, key = lab.certs.pair("other", "DNS:other.example")
    db.serve(ssl_cert=crt, ssl_key=key)
    said = db.cli(check=False, at=NAME, options=["--ssl-verify-server-cert", f"--ssl-ca={lab.certs.ca}"])
    assert "SSL" in said, said
    return [db.tls(tls_version="TLSv1.3")]


@cases.case("tls-version-mismatch", "the server wants TLS 1.3, the client has 1.2 at most: the server sends an alert")
def _(lab):
    db = lab.state
    db.serve(tls_version="TLSv1.3")
    db.cli(check=False, options=["--ssl", "--tls-version=TLSv1.2"])
    return [db.tls(outcome="refused")]


@cases.case("client-certificate-tls12", "an account with REQUIRE X509: a client certificate, which TLS 1.2 shows")
def _(lab):
    return [with_certificate(lab, tls_version="TLSv1.2")]


@cases.case("client-certificate-tls13", "an account with REQUIRE X509: a client certificate, which TLS 1.3 hides")
def _(lab):
    return [with_certificate(lab)]


def with_certificate(lab, **settings):
    db = lab.state
    db.serve(**settings)
    crt, key = lab.certs.pair("client", common_name="client.lab.internal")
    return db.tls(db.cli(user=db.x509, options=["--ssl", f"--ssl-cert={crt}", f"--ssl-key={key}"]))


# --- TLS demanded by the server ----------------------------------------------------

@cases.case("secure-transport-refuses-plain",
            "require_secure_transport: a plaintext client logs in by hash and is then told access denied")
def _(lab):
    db = lab.state
    db.serve(require_secure_transport="ON")
    db.cli(check=False)
    return [db.plain(outcome="refused")]


@cases.case("secure-transport-tls", "require_secure_transport and a client that takes TLS")
def _(lab):
    db = lab.state
    db.serve(require_secure_transport="ON")
    return [db.tls(db.cli(options=["--ssl"]))]


@cases.case("require-ssl-account-plain", "an account with REQUIRE SSL: a plaintext client is refused after its login")
def _(lab):
    db = lab.state
    db.serve()
    db.cli(check=False, user=db.ssl_only)
    return [db.plain(outcome="refused")]


@cases.case("require-ssl-account-tls", "an account with REQUIRE SSL and a client that takes TLS")
def _(lab):
    db = lab.state
    db.serve()
    return [db.tls(db.cli(user=db.ssl_only, options=["--ssl"]))]


# --- ways to log in ---------------------------------------------------------------

@cases.case("auth-native", "mysql_native_password in plaintext: a hash on the wire")
def _(lab):
    db = lab.state
    db.serve(ssl=False)
    db.cli(options=["--skip-ssl", "--default-auth=mysql_native_password"])
    return [db.plain("server_refused")]


@cases.case("auth-ed25519", "the server switches the client to ed25519: a signature on the wire")
def _(lab):
    db = lab.state
    db.serve()
    db.cli(user=db.ed25519)
    return [db.plain()]


@cases.case("auth-clear-password", "the server switches the client to mysql_clear_password: the password in clear")
def _(lab):
    db = lab.state
    db.serve(pam_use_cleartext_plugin="ON")
    db.cli(user=db.pam, env={"LIBMYSQL_ENABLE_CLEARTEXT_PLUGIN": "1"})
    return [db.plain(credentials=[HASH, CLEAR],
                     why="the first answer is a hash, then the server asks for the password")]


@cases.case("auth-clear-password-pymysql", "PyMySQL sends mysql_clear_password when asked for it")
def _(lab):
    db = lab.state
    db.serve(ssl=False, pam_use_cleartext_plugin="ON")
    db.driver("PyMySQL", pymysql_client, False, user=db.pam)
    return [db.plain("server_refused", credentials=[HASH, CLEAR])]


@cases.case("auth-clear-password-tls", "mysql_clear_password inside TLS is not in clear")
def _(lab):
    db = lab.state
    db.serve(pam_use_cleartext_plugin="ON")
    return [db.tls(db.cli(user=db.pam, options=["--ssl"]))]


@cases.case("auth-dialog", "the dialog plugin (PAM): the password in clear")
def _(lab):
    db = lab.state
    db.serve()
    db.cli(user=db.pam)
    return [db.plain(credentials=[HASH, CLEAR])]


@cases.case("auth-empty-password", "an account without a password: nothing secret is sent")
def _(lab):
    db = lab.state
    db.serve()
    db.cli(user=db.empty)
    return [db.plain(credentials=[])]


@cases.case("wrong-password", "a wrong password: access denied")
def _(lab):
    db = lab.state
    db.serve()
    db.cli(check=False, password=lab.canary("wrong"))
    return [db.plain(outcome="refused")]


@cases.case("unknown-user", "an unknown user: access denied")
def _(lab):
    db = lab.state
    db.serve()
    db.cli(check=False, user=lab.canary("nouser"))
    return [db.plain(outcome="refused")]


@cases.case("no-such-database", "the login is fine but the database is not: refused before any data")
def _(lab):
    db = lab.state
    db.serve(ssl=False)
    lab.client.run(["mariadb", "--no-defaults", "-h", db.host.v4, "-u", db.login()[0], "-p" + db.password,
                    "-D", lab.canary("nodb"), "-e", "SELECT 1"], check=False)
    lab.versions(client=f"mariadb {db.client_version}")
    return [db.plain("server_refused", outcome="refused")]


# --- refused before the greeting ---------------------------------------------------

def full(lab, *users):
    """A server with no connection left: sessions of these users over the Unix socket."""
    db = lab.state
    db.serve(max_connections=10)
    for user in users:
        command = ["mariadb", "--no-defaults", "-u", user, "-S", str(db.socket), "-e", "SELECT SLEEP(30)"]
        db.host.start(command + (["-p" + db.password] if user == db.user else []), log=lab.log("sleepers"))
    time.sleep(1)
    said = db.cli(check=False)
    assert "Too many connections" in said, said
    return db


@cases.case("too-many-connections", "no connection is left: an error is the first packet and the client sends nothing")
def _(lab):
    return [refused_first(full(lab, *["root"] * 20))]


@cases.case("too-many-connections-after-login",
            "one connection is left, for administrators: others are refused after login")
def _(lab):
    return [full(lab, *[lab.state.user] * 20).plain(outcome="refused")]


def refused_first(db):
    return db.plain("client_never_asked", outcome="refused", confidence="one_side", credentials=[],
                    why="an error in place of the greeting: whether the server could do TLS is not visible")


@cases.case("host-blocked",
            "after connections that broke off, the server blocks the host: an error is the first packet")
def _(lab):
    db = lab.state
    db.serve(max_connect_errors=1, skip_name_resolve="OFF")
    lab.client.call(greeting_then_close, db.host.v4, db.port)
    said = db.cli(check=False)
    assert "is blocked" in said, said
    return [greeted(db), refused_first(db)]


def greeting_then_close(address, port):
    import socket
    with socket.create_connection((address, port)) as connection:
        connection.recv(4096)


def greeted(db):
    return db.plain("client_never_asked", outcome="attempt", confidence="one_side", credentials=[],
                    accept=["unknown"], why="only a greeting was sent, and the client left without a word")


@cases.case("closed-after-greeting", "a port check: the client reads the greeting and closes")
def _(lab):
    db = lab.state
    db.serve()
    lab.client.call(greeting_then_close, db.host.v4, db.port)
    lab.versions(client="a socket")
    return [greeted(db)]


@cases.case("http-to-mysql", "an HTTP client on a MySQL port: a greeting and an error, not HTTP")
def _(lab):
    def get(url):
        import urllib.request
        try:
            urllib.request.urlopen(url, timeout=5)
        except Exception:
            pass
    db = lab.state
    db.serve()
    lab.client.call(get, f"http://{db.host.v4}:{db.port}/{lab.canary('path')}")
    lab.versions(client="Python urllib")
    return [db.plain("no_in_band_upgrade", app="http", outcome="refused", credentials=[],
                     why="the client spoke HTTP, the server MySQL")]


@cases.case("tls-to-mysql",
            "a TLS client on a MySQL port: a ClientHello at byte 0 without SSLRequest; a greeting and an error")
def _(lab):
    def hello(address, port):
        import socket
        import ssl
        context = ssl.create_default_context()
        try:
            with socket.create_connection((address, port), timeout=5) as connection:
                context.wrap_socket(connection, server_hostname=NAME)
        except OSError:
            pass
    db = lab.state
    db.serve()
    lab.client.call(hello, db.host.v4, db.port)
    lab.versions(client="Python ssl")
    return [db.flow(encryption="tls", app=None, outcome="refused", sni=NAME,
                    why="the client spoke TLS, the server MySQL in clear")]


# --- clients ------------------------------------------------------------------------

def pymysql_client(address, port, user, password, database, sql, tls):
    import pymysql
    how = {"ssl_disabled": True} if not tls else {"ssl": {"check_hostname": False}}
    with pymysql.connect(host=address, port=port, user=user, password=password, database=database, **how) as connection:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            cursor.execute(TLS_SQL)
            return pymysql.__version__, str(cursor.fetchall())


@cases.case("pymysql-declined", "PyMySQL told not to use TLS")
def _(lab):
    lab.state.serve()
    lab.state.driver("PyMySQL", pymysql_client, False)
    return [lab.state.plain()]


@cases.case("pymysql-tls", "PyMySQL over TLS, with SNI")
def _(lab):
    lab.state.serve()
    return [lab.state.tls(lab.state.driver("PyMySQL", pymysql_client, True, NAME), sni=NAME)]


def connector_client(address, port, user, password, database, sql, tls):
    import socket

    import from_pypi
    from_pypi.prefer("mysql")
    socket.gethostname = lambda: "client.lab.internal"  # it tells the server
    import mysql.connector
    connection = mysql.connector.connect(host=address, port=port, user=user, password=password, database=database,
                                         use_pure=True, ssl_disabled=not tls)
    cursor = connection.cursor()
    cursor.execute(sql)
    cursor.fetchall()
    cursor.execute(TLS_SQL)
    peer = str(cursor.fetchall())
    connection.close()
    return mysql.connector.__version__, peer


@cases.case("connector-python-declined", "mysql-connector-python told not to use TLS")
def _(lab):
    lab.state.serve()
    lab.state.driver("mysql-connector-python", connector_client, False)
    return [lab.state.plain()]


@cases.case("connector-python-not-offered", "mysql-connector-python, which would use TLS, and a server without it")
def _(lab):
    lab.state.serve(ssl=False)
    lab.state.driver("mysql-connector-python", connector_client, True)
    return [lab.state.plain("server_refused")]


@cases.case("connector-python-tls", "mysql-connector-python over TLS, with SNI")
def _(lab):
    lab.state.serve()
    return [lab.state.tls(lab.state.driver("mysql-connector-python", connector_client, True, NAME), sni=NAME)]


def mysqlclient_client(address, port, user, password, database, sql, tls):
    import MySQLdb
    more = {"ssl": {"cipher": "ALL"}} if tls else {"ssl_mode": "DISABLED"}
    connection = MySQLdb.connect(host=address, port=port, user=user, password=password, database=database, **more)
    cursor = connection.cursor()
    cursor.execute(sql)
    cursor.execute(TLS_SQL)
    peer = str(cursor.fetchall())
    connection.close()
    return ".".join(map(str, MySQLdb.version_info[:3])), peer


@cases.case("mysqlclient-declined", "mysqlclient (libmariadb) without TLS")
def _(lab):
    lab.state.serve()
    lab.state.driver("mysqlclient", mysqlclient_client, False)
    return [lab.state.plain()]


@cases.case("mysqlclient-tls", "mysqlclient (libmariadb) over TLS")
def _(lab):
    lab.state.serve()
    return [lab.state.tls(lab.state.driver("mysqlclient", mysqlclient_client, True))]


def async_client(package):
    def client(address, port, user, password, database, sql, tls):
        import asyncio
        import importlib
        import importlib.metadata
        import ssl
        driver, context = importlib.import_module(package), None
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

        async def run():
            connection = await driver.connect(host=address, port=port, user=user, password=password, db=database,
                                              ssl=context)
            async with connection.cursor() as cursor:
                await cursor.execute(sql)
                await cursor.execute(TLS_SQL)
                peer = str(await cursor.fetchall())
            closed = connection.close()
            if closed is not None:
                await closed
            return importlib.metadata.version(package), peer
        return asyncio.run(run())
    return client


@cases.case("aiomysql-declined", "aiomysql without TLS")
def _(lab):
    lab.state.serve()
    lab.state.driver("aiomysql", async_client("aiomysql"), False)
    return [lab.state.plain()]


@cases.case("aiomysql-tls", "aiomysql over TLS")
def _(lab):
    lab.state.serve()
    return [lab.state.tls(lab.state.driver("aiomysql", async_client("aiomysql"), True, NAME), sni=NAME)]


@cases.case("asyncmy-declined", "asyncmy without TLS")
def _(lab):
    lab.state.serve()
    lab.state.driver("asyncmy", async_client("asyncmy"), False)
    return [lab.state.plain()]


@cases.case("asyncmy-tls", "asyncmy over TLS")
def _(lab):
    lab.state.serve()
    return [lab.state.tls(lab.state.driver("asyncmy", async_client("asyncmy"), True, NAME), sni=NAME)]


import mysql_sessions  # noqa: E402,F401 (more cases)
import mysql_views  # noqa: E402,F401
