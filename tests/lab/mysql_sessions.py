"""MySQL: what sessions do, other clients and tools, MySQL 8's login, a proxy in the middle."""

import shutil
import socket
import time

from mysql_scripted import serve_sha2
from mysql_server import CLEAR, HASH, TLS_SQL, cases
from net import sh

NAME = "db.lab.internal"


# --- what sessions do -------------------------------------------------------------

def pymysql_session(lab, work, **options):
    """Run `work(connection)` with PyMySQL on the client, without TLS."""
    db = lab.state
    user, password, database = db.login()

    def client():
        import pymysql
        how = {"ssl_disabled": True, **options}
        with pymysql.connect(host=db.host.v4, port=db.port, user=user, password=password, database=database,
                             **how) as connection:
            work(connection)
        return pymysql.__version__
    lab.versions(client=f"PyMySQL {lab.client.call(client)}")


def connector_session(lab, work, **options):
    """Run `work(connection)` with mysql-connector-python on the client, without TLS."""
    db = lab.state
    user, password, database = db.login()

    def client():
        import from_pypi
        from_pypi.prefer("mysql")
        socket.gethostname = lambda: "client.lab.internal"  # it tells the server
        import mysql.connector
        how = {"ssl_disabled": True, "use_pure": True, **options}
        connection = mysql.connector.connect(host=db.host.v4, port=db.port, user=user, password=password,
                                             database=database, **how)
        work(connection)
        connection.close()
        return mysql.connector.__version__
    lab.versions(client=f"mysql-connector-python {lab.client.call(client)}")


@cases.case("queries", "insert, update, select, delete in plaintext")
def _(lab):
    db, value = lab.state, lab.canary("value")
    db.serve()
    db.cli(f"INSERT INTO things VALUES ('{value}')", f"UPDATE things SET text = CONCAT(text, '{lab.canary('more')}')",
           "SELECT * FROM things", "DELETE FROM things")
    return [db.plain()]


@cases.case("sql-error", "statements with errors in a plaintext session, which goes on")
def _(lab):
    db, table = lab.state, lab.canary("notable")
    db.serve()
    db.cli(f"SELECT * FROM {table}", db.query(), options=["--skip-ssl", "--force"], check=False)
    return [db.plain()]


@cases.case("prepared-statements", "prepared statements: the text once, then values in binary packets")
def _(lab):
    values = [lab.canary(f"value{i}") for i in range(5)]

    def work(connection):
        cursor = connection.cursor(prepared=True)
        for value in values:
            cursor.execute("SELECT ?, 1", (value,))
            cursor.fetchall()
    lab.state.serve()
    connector_session(lab, work)
    return [lab.state.plain()]


@cases.case("large-result", "a result of many segments in plaintext")
def _(lab):
    db = lab.state
    db.serve()
    db.cli(f"SELECT REPEAT('{lab.canary('row')}', 40) FROM {db.database}.things RIGHT JOIN seq_1_to_35 ON TRUE",
           "SELECT 1")
    return [db.plain()]


@cases.case("large-query", "a query of many segments in plaintext")
def _(lab):
    db = lab.state
    db.serve()
    db.cli(f"SELECT LENGTH('{lab.canary('long') * 800}')")
    return [db.plain()]


@cases.case("several-statements", "several statements in one packet, several results")
def _(lab):
    sql = ";".join(f"SELECT '{lab.canary(f'value{i}')}'" for i in range(3))

    def work(connection):
        cursor = connection.cursor()
        cursor.execute(sql)
        while cursor.nextset():
            cursor.fetchall()
    lab.state.serve()
    pymysql_session(lab, work, client_flag=1 << 16)
    return [lab.state.plain()]


@cases.case("change-user", "COM_CHANGE_USER: a second login on the same connection")
def _(lab):
    db = lab.state
    db.serve()
    user, password, database = db.login()
    sql = db.query()

    def work(connection):
        connection.cmd_change_user(user, password, database)
        cursor = connection.cursor()
        cursor.execute(sql)
        cursor.fetchall()
    connector_session(lab, work)
    return [db.plain()]


@cases.case("change-user-to-clear-password",
            "COM_CHANGE_USER to an account that wants a clear password, late in a session")
def _(lab):
    db = lab.state
    db.serve(pam_use_cleartext_plugin="ON")
    address, port, (user, password, database), other = db.host.v4, db.port, db.login(), db.login(db.pam)
    sql = db.query()

    def client():
        import MySQLdb
        connection = MySQLdb.connect(host=address, port=port, user=user, password=password, database=database,
                                     ssl_mode="DISABLED")
        connection.query(sql)
        connection.store_result()
        connection.change_user(*other)
        connection.close()
        return ".".join(map(str, MySQLdb.version_info[:3]))
    lab.versions(client=f"mysqlclient {lab.client.call(client)}")
    return [db.plain(credentials=[HASH, CLEAR])]


@cases.case("compressed", "the compressed protocol: SQL in zlib after a plaintext login, which hides nothing")
def _(lab):
    db = lab.state
    db.serve()
    db.cli(*(db.query(f"value{i}") for i in range(4)), f"SELECT REPEAT('{lab.canary('row')}', 100)",
           options=["--skip-ssl", "--compress"])
    return [db.plain(why="compressed, not encrypted: the greeting, the login and the packet headers are in clear")]


@cases.case("compressed-tls", "the compressed protocol inside TLS")
def _(lab):
    db = lab.state
    db.serve()
    return [db.tls(db.cli(options=["--ssl", "--compress"]))]


@cases.case("load-data-local", "LOAD DATA LOCAL: the server asks for a file and the client sends it in plaintext")
def _(lab):
    db, path = lab.state, lab.work / "rows.txt"
    path.write_text("".join(f"{lab.canary(f'row{i}')}\n" for i in range(30)))
    db.serve(local_infile="ON")
    db.cli(f"LOAD DATA LOCAL INFILE '{path.name}' INTO TABLE things", "DELETE FROM things",
           options=["--skip-ssl", "--local-infile"], cwd=lab.work)
    return [db.plain()]


@cases.case("killed", "the server ends a session: an error in plaintext, then a close")
def _(lab):
    db = lab.state
    db.serve()

    def work(connection):
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        time.sleep(2.5)
    db.admin("SET GLOBAL wait_timeout = 1")
    connector_session(lab, work)
    return [db.plain()]


@cases.case("admin-ping", "mariadb-admin ping: a login and COM_PING, as health checks do")
def _(lab):
    db = lab.state
    db.serve()
    db.cli(program="mariadb-admin", options=["--skip-ssl", "ping"])
    return [db.plain()]


@cases.case("dump", "mariadb-dump in plaintext")
def _(lab):
    db = lab.state
    db.serve()
    db.admin(f"INSERT INTO {db.database}.things VALUES ('{lab.canary('row')}')")
    db.cli(program="mariadb-dump", options=["--skip-ssl", db.database, "things"])
    db.admin(f"DELETE FROM {db.database}.things")
    return [db.plain()]


@cases.case("binlog", "a replica's protocol: the binary log is read in plaintext")
def _(lab):
    db = lab.state
    db.serve(log_bin=db.dir / "binlog", server_id=1)
    db.admin("RESET MASTER", f"INSERT INTO {db.database}.things VALUES ('{lab.canary('row')}')",
             f"DELETE FROM {db.database}.things", "FLUSH BINARY LOGS")
    db.cli(program="mariadb-binlog", options=["--skip-ssl", "--read-from-remote-server", "binlog.000001"])
    return [db.plain()]


# --- mysql2 (Node.js) -----------------------------------------------------------------

NODE = """
const mysql = require('mysql2');
const c = mysql.createConnection(JSON.parse(process.argv[1]));
c.query(process.argv[2], e => c.execute('SELECT ?', [process.argv[3]], e =>
  c.query(process.argv[4], (e, rows) => { console.log(JSON.stringify(rows)); c.end(); })));
"""


def mysql2(lab, **options):
    """mysql2 from the npm registry, on the client; returns what it printed."""
    import json
    db, home = lab.state, lab.work / "node"
    if not (home / "node_modules/mysql2").exists():
        if shutil.which("npm") is None:
            sh("apt-get install -qy --no-install-recommends npm")
        home.mkdir(exist_ok=True)
        sh(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(home), "mysql2"])
    user, password, database = db.login()
    settings = {"host": db.host.v4, "port": db.port, "user": user, "password": password, "database": database,
                **options}
    version = json.loads((home / "node_modules/mysql2/package.json").read_text())["version"]
    lab.versions(client=f"mysql2 {version} (Node.js)")
    return lab.client.run(["node", "-e", NODE, "--", json.dumps(settings), db.query(), lab.canary("bound"), TLS_SQL],
                          cwd=home).stdout


@cases.case("mysql2-declined", "mysql2 (Node.js) without TLS, which is its default")
def _(lab):
    lab.state.serve()
    mysql2(lab)
    return [lab.state.plain()]


@cases.case("mysql2-tls", "mysql2 (Node.js) over TLS, with SNI")
def _(lab):
    lab.state.serve()
    said = mysql2(lab, host=NAME, ssl={"rejectUnauthorized": False})
    return [lab.state.tls(said, sni=NAME)]


@cases.case("mysql2-compressed", "mysql2 (Node.js) with compression, without TLS")
def _(lab):
    lab.state.serve()
    mysql2(lab, compress=True)
    return [lab.state.plain()]


# --- MySQL 8's caching_sha2_password: a scripted server, real clients ------------------

def with_sha2(lab, how, tls=False, known=False, clear=False):
    """PyMySQL against a server that speaks MySQL 8's login; `how` gets the connection."""
    db = lab.state
    db.port = 3306
    user, password, database = db.login()
    crt, key = lab.certs.server() if tls else (None, None)
    server = lab.server.spawn(serve_sha2, lab.server.v4, 3306, password, known, clear, crt, key)
    lab.server.wait_port(3306)
    sql = db.query()

    def client():
        import pymysql
        more = {"ssl": {"check_hostname": False}} if tls else {"ssl_disabled": True}
        with pymysql.connect(host=NAME, port=3306, user=user, password=password, database=database, **more) as c:
            cursor = c.cursor()
            cursor.execute(sql)
            assert how == cursor.fetchall()[0][0][:4]
        return pymysql.__version__
    lab.versions(server="scripted, speaks as MySQL 8.0.36", client=f"PyMySQL {lab.client.call(client)}")
    server.result()
    return db


@cases.case("sha2-fast", "caching_sha2_password, known to the server: a hash in plaintext (scripted server)")
def _(lab):
    return [with_sha2(lab, "cnry", known=True).plain("server_refused")]


@cases.case("sha2-full-rsa", "caching_sha2_password, not known: the password goes out under the server's RSA key")
def _(lab):
    return [with_sha2(lab, "cnry").plain("server_refused",
                                         why="a hash, and then the password encrypted with a key nobody vouches for")]


@cases.case("sha2-full-tls", "caching_sha2_password, not known: the clear password is inside TLS")
def _(lab):
    return [with_sha2(lab, "cnry", tls=True).tls(sni=NAME, tls_version="TLSv1.3")]


@cases.case("sha2-switched-to-clear", "a server that speaks as MySQL 8 switches the client to mysql_clear_password")
def _(lab):
    return [with_sha2(lab, "cnry", clear=True).plain("server_refused", credentials=[HASH, CLEAR])]


# --- HAProxy in TCP mode ------------------------------------------------------------------

def haproxy(lab, server="", more=""):
    """HAProxy on the middle host, in front of the server."""
    path = lab.work / "haproxy.cfg"
    path.write_text("global\nmaxconn 50\ndefaults\nmode tcp\ntimeout connect 5s\ntimeout client 10s\n"
                    f"timeout server 10s\nlisten db\nbind :3306\n{more}\n"
                    f"server one {lab.server.v4}:{lab.state.port} {server}\n")
    process = lab.middle.start(["haproxy", "-db", "-f", str(path)], log=lab.log("haproxy"))
    lab.middle.wait_port(3306, process)
    lab.versions(middle=f"HAProxy {lab.middle.run(['haproxy', '-v']).stdout.split()[2].split('-')[0]}")
    return process


@cases.case("haproxy-plain", "HAProxy in TCP mode: plaintext on both legs", mirror=["middle"])
def _(lab):
    db = lab.state
    db.serve()
    haproxy(lab)
    db.cli(at=lab.middle.v4)
    return [db.plain(server=lab.middle), db.plain(client=lab.middle)]


@cases.case("haproxy-tls", "HAProxy in TCP mode: TLS passes through both legs", mirror=["middle"])
def _(lab):
    db = lab.state
    db.serve()
    haproxy(lab)
    said = db.cli(at=lab.middle.v4, options=["--ssl"])
    return [db.tls(said, server=lab.middle), db.tls(said, client=lab.middle)]


@cases.case("haproxy-proxy-v2-plain",
            "HAProxy sends a PROXY v2 header before the client's first packet, then plaintext",
            mirror=["middle"])
def _(lab):
    db = lab.state
    db.serve(proxy_protocol_networks="10.77.3.0/24")
    haproxy(lab, "send-proxy-v2")
    db.cli(at=lab.middle.v4)
    return [db.plain(server=lab.middle), db.plain(client=lab.middle)]


@cases.case("haproxy-proxy-v2-tls", "HAProxy sends a PROXY v2 header before the client's SSLRequest, then TLS")
def _(lab):
    db = lab.state
    db.serve(proxy_protocol_networks="10.77.3.0/24")
    haproxy(lab, "send-proxy-v2")
    return [db.tls(db.cli(at=lab.middle.v4, options=["--ssl"]), client=lab.middle)]


@cases.case("haproxy-proxy-v1-plain", "HAProxy sends a PROXY v1 line before the client's first packet, then plaintext")
def _(lab):
    db = lab.state
    db.serve(proxy_protocol_networks="10.77.3.0/24")
    haproxy(lab, "send-proxy")
    db.cli(at=lab.middle.v4)
    return [db.plain(client=lab.middle)]


@cases.case("haproxy-health-check", "HAProxy's mysql-check logs in as an account without a password and leaves")
def _(lab):
    db = lab.state
    db.serve()
    haproxy(lab, "check inter 60s", f"option mysql-check user {lab.plant(db.empty)}")
    time.sleep(2.5)
    return [db.plain(client=lab.middle, credentials=[])]
