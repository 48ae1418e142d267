"""PostgreSQL: what sessions do: COPY, prepared statements, replication, cancelling, and what is no session."""

import time

from postgresql_server import PEER_SQL, cases


@cases.case("copy", "COPY in and out in plaintext")
def _(lab):
    pg = lab.state
    pg.serve(ssl=False)
    rows = "".join(f"{lab.canary(f'row{i}')}\n" for i in range(20))
    pg.psql("disable", "COPY things FROM STDIN", input=rows)
    pg.psql("disable", "COPY things TO STDOUT")
    return [pg.plain(), pg.plain()]


@cases.case("prepared-statements", "the extended protocol: Parse, Bind, Execute, used again")
def _(lab):
    pg = lab.state
    pg.serve(ssl=False)
    values = [lab.canary(f"value{i}") for i in range(5)]

    def work(connection):
        for value in values:
            connection.execute("SELECT %s::text", (value,), prepare=True).fetchone()
    pg.psycopg("disable", work)
    return [pg.plain()]


@cases.case("pipeline", "extended queries sent ahead of the answers (pipeline mode)")
def _(lab):
    pg = lab.state
    pg.serve(ssl=False)
    values = [lab.canary(f"value{i}") for i in range(8)]

    def work(connection):
        with connection.pipeline():
            for value in values:
                connection.execute("SELECT %s::text", (value,))
    pg.psycopg("disable", work)
    return [pg.plain()]


@cases.case("queries-in-one-segment", "several simple queries sent at once, without waiting for answers")
def _(lab):
    pg = lab.state
    pg.serve(ssl=False)
    startup = b"\0\3\0\0user\0" + lab.plant(pg.user).encode() + b"\0database\0" + lab.plant(pg.database).encode() \
        + b"\0\0"
    queries = b"".join(b"Q" + (5 + len(q)).to_bytes(4, "big") + q + b"\0"
                       for q in (pg.query(f"literal{i}").encode() for i in range(6)))

    def client(address, port):
        import socket
        with socket.create_connection((address, port)) as connection:
            connection.sendall((4 + len(startup)).to_bytes(4, "big") + startup)
            read(connection, 1)
            connection.sendall(queries)
            read(connection, 6)
            connection.sendall(b"X\0\0\0\4")

    def read(connection, ready):
        data = b""
        while data.count(b"Z\0\0\0\5I") < ready:
            data += connection.recv(65536)
    lab.client.call(client, pg.host.v4, pg.port)
    lab.versions(client="a few lines of Python")
    return [pg.plain()]


@cases.case("big-result", "a result of many segments in plaintext")
def _(lab):
    pg = lab.state
    pg.serve(ssl=False)
    pg.psql("disable", f"SELECT '{lab.canary('big')}', i FROM generate_series(1, 700) i")
    return [pg.plain()]


@cases.case("big-result-tls", "a result of many segments over TLS")
def _(lab):
    pg = lab.state
    pg.serve()
    return [pg.tls(pg.psql("require", "\\conninfo", f"SELECT '{lab.canary('big')}', i FROM generate_series(1, 700) i"))]


def replicate(info, slot):
    """Read the changes of a logical replication slot until the first row comes."""
    import psycopg2.extras

    class Done(Exception):
        pass
    connection = psycopg2.connect(info, connection_factory=psycopg2.extras.LogicalReplicationConnection)
    cursor = connection.cursor()
    cursor.start_replication(slot_name=slot, decode=True)

    def message(each):
        each.cursor.send_feedback(flush_lsn=each.data_start)
        if "INSERT" in each.payload:
            raise Done
    try:
        cursor.consume_stream(message)
    except Done:
        connection.close()
    version = psycopg2.extensions.libpq_version()
    return f"psycopg2 {psycopg2.__version__.split()[0]} (libpq {version // 10000}.{version % 10000})"


@cases.case("replication", "a logical replication connection carries table rows in plaintext")
def _(lab):
    pg = lab.state
    pg.serve(wal_level="logical", hba="host all all all trust")
    slot = lab.canary("slot")
    pg.admin(f"SELECT pg_create_logical_replication_slot('{slot}', 'test_decoding')", database=pg.database)
    try:
        call = lab.client.spawn(replicate, pg.conninfo("disable"), slot)
        time.sleep(0.5)
        pg.admin(f"INSERT INTO things VALUES ('{lab.canary('replicated')}')", database=pg.database)
        lab.versions(client=call.result())
        time.sleep(0.2)
    finally:
        pg.admin(f"SELECT pg_drop_replication_slot('{slot}')", database=pg.database)
    return [pg.plain()]


@cases.case("identify-system", "a physical replication connection that only asks who the server is")
def _(lab):
    pg = lab.state
    pg.serve(hba="host replication all all trust")
    pg.psql("disable", "IDENTIFY_SYSTEM", replication="true")
    return [pg.plain()]


@cases.case("cancel-plain", "a query of a plaintext session is cancelled over a connection of its own")
def _(lab):
    pg = lab.state
    pg.serve(ssl=False)
    pg.psycopg("disable", cancel_query("cancel"))
    return [pg.plain(), cancel_flow(pg)]


@cases.case("cancel-clear-of-tls-session", "the session is TLS, yet its CancelRequest goes in clear (old PQcancel)")
def _(lab):
    pg = lab.state
    pg.serve()
    peer = pg.psycopg("require", cancel_query("cancel"))
    return [pg.tls(peer), cancel_flow(pg)]


@cases.case("cancel-over-tls", "a CancelRequest over TLS (libpq 17 and later)")
def _(lab):
    pg = lab.state
    pg.serve()
    peer = pg.psycopg("require", cancel_query("cancel_safe"))
    return [pg.tls(peer), pg.tls(tls_version="TLSv1.3")]


def cancel_query(how):
    def work(connection):
        import threading

        import psycopg
        peer = "|".join(connection.execute(PEER_SQL).fetchone())
        threading.Timer(0.3, getattr(connection, how)).start()
        try:
            connection.execute("SELECT pg_sleep(5)")
        except psycopg.errors.QueryCanceled:
            return peer
        raise AssertionError("was not cancelled")
    return work


def cancel_flow(pg):
    return pg.plain(outcome="attempt", confidence="one_side", accept=["unknown"],
                    why="16 bytes without an answer: a process number and its key, no data")


@cases.case("closed-before-a-byte", "a connection without a byte in it, as health checks make them")
def _(lab):
    def knock(address, port):
        import socket
        socket.create_connection((address, port)).close()
    pg = lab.state
    pg.serve()
    lab.client.call(knock, pg.host.v4, pg.port)
    lab.versions(client="a bare connect")
    return [pg.flow(encryption="unknown", app=None, outcome="unknown", confidence=None)]


@cases.case("http-to-postgresql", "an HTTP client on a PostgreSQL port: closed without an answer")
def _(lab):
    def get(url):
        import urllib.request
        try:
            urllib.request.urlopen(url, timeout=5)
        except OSError:
            pass
    pg = lab.state
    pg.serve()
    lab.client.call(get, f"http://{pg.host.v4}:{pg.port}/{lab.canary('path')}")
    lab.versions(client="Python urllib")
    return [pg.plain("no_in_band_upgrade", app="http", outcome="attempt", confidence="one_side")]
