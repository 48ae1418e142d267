"""PostgreSQL captures."""

from lab import Cases
from postgresql_server import Postgres, check  # noqa: F401 (check is used by lab.py)

APT = ["postgresql", "postgresql-client", "pgbouncer"]
PIP = ["psycopg[binary]", "psycopg2-binary", "pg8000", "asyncpg"]

cases = Cases()


def setup(lab):
    lab.state = Postgres(lab)


@cases.case("ssl-refused-then-plain", "psql with sslmode=prefer asks for TLS, the server says N, the session is plaintext")
def _(lab):
    pg = lab.state
    pg.serve(ssl=False)
    pg.psql("prefer", pg.query())
    return [pg.plain(upgrade="postgresql-sslrequest", plaintext_reason="server_refused")]
