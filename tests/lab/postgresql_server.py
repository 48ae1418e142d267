"""A PostgreSQL server for the lab, libpq's psql as a client, and a decoder that checks the recordings."""

import glob
import os
import pathlib
import re
import shutil
import signal
import subprocess

from lab import Cases

PEER_SQL = "SELECT coalesce(version,''), coalesce(cipher,'') FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
SSL, GSS, CANCEL = 80877103, 80877104, 80877102


cases = Cases()


class Postgres:
    """One cluster, started anew for each case with the settings the case wants."""

    def __init__(self, lab, name="postgresql", binaries=None, host=None):
        self.lab, self.host = lab, host or lab.server
        self.bin = binaries or sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
        self.env = {"LD_LIBRARY_PATH": str(pathlib.Path(binaries).parent / "lib")} if binaries else {}
        self.version = self.host.run([f"{self.bin}/postgres", "--version"], env=self.env).stdout.split()[2]
        self.psql_bin = sorted(glob.glob("/usr/lib/postgresql/*/bin/psql"))[-1]
        self.psql_version = subprocess.run([self.psql_bin, "--version"], capture_output=True,
                                           text=True).stdout.split()[2]
        self.dir = lab.directory(name, "postgres")
        self.data = self.dir / "data"
        initdb = [f"{self.bin}/initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8",
                  "--locale=C"]
        self.host.run(initdb, user="postgres", cwd=self.dir, env=self.env)
        for rsa in (False, True):
            for source in lab.certs.server(rsa):
                shutil.copy(source, self.dir)
                shutil.chown(self.dir / source.name, "postgres", "postgres")
                os.chmod(self.dir / source.name, 0o600)
        planted = list(lab.canaries)
        self.user, self.md5_user, self.password, self.database = (
            lab.canary(kind, shared=True) for kind in ("user", "md5user", "pass", "db"))
        lab.canaries[:] = planted  # a case lists what it uses itself
        self.serve()
        for role, how in ((self.user, "scram-sha-256"), (self.md5_user, "md5")):
            self.admin(f"SET password_encryption='{how}'",
                       f"CREATE ROLE {role} LOGIN REPLICATION PASSWORD '{self.password}'")
        self.admin(f"CREATE DATABASE {self.database} OWNER {self.user}")
        self.admin("CREATE TABLE public.things (text text)", f"GRANT ALL ON public.things TO {self.user}",
                   database=self.database)
        self.host.stop(self.process)

    def admin(self, *sql, database="postgres"):
        """Run SQL as the superuser over the Unix socket, which is on no network."""
        command = [self.psql_bin, "-XAt", "-h", str(self.dir), "-p", str(self.port), "-U", "postgres", "-d", database]
        for each in sql:
            command += ["-c", each]
        return self.host.run(command, user="postgres", cwd=self.dir).stdout

    def serve(self, ssl=True, hba="host all all all trust", port=5432, env=None, rsa=False, **settings):
        """Start the server with these settings; what it knows already (roles, database) stays."""
        (self.dir / "hba").write_text(f"local all all trust\n{hba}\n".replace("; ", "\n"))
        self.port = port
        cert = self.dir / ("server-rsa.crt" if rsa else "server.crt")
        values = {"listen_addresses": "*", "port": port, "unix_socket_directories": self.dir, "fsync": "off",
                  "hba_file": self.dir / "hba", "ssl": "on" if ssl else "off", "ssl_cert_file": cert,
                  "ssl_key_file": cert.with_suffix(".key"), "ssl_ca_file": self.lab.certs.ca, "autovacuum": "off",
                  **settings}
        command = [f"{self.bin}/postgres", "-D", str(self.data)]
        for key, value in values.items():
            command += ["-c", f"{key}={value}"]
        self.process = self.host.start(command, log=self.lab.log("postgresql"), user="postgres", cwd=self.dir,
                                       env={**self.env, **(env or {})}, stop_signal=signal.SIGINT)
        self.host.wait_port(port, self.process)
        for _ in range(200):  # it listens before it is ready
            if self.host.run([f"{self.bin}/pg_isready", "-q", "-h", str(self.dir), "-p", str(port)],
                             check=False, env=self.env).returncode == 0:
                break
        self.lab.versions(server=f"PostgreSQL {self.version}")

    def query(self, kind="literal"):
        return f"SELECT '{self.lab.canary(kind)}'"

    def secret(self):
        """The password, listed as planted (in clear or as a hash, it is used on the wire)."""
        return self.lab.plant(self.password)

    def conninfo(self, sslmode, **more):
        """A libpq connection string to the server.

        `user`, `password`, `dbname`; `name` (the host name, sent as SNI), `v6`, `at`, `port` (somewhere else).
        """
        at = more.pop("at", None) or (self.host.v6 if more.pop("v6", False) else self.host.v4)
        parts = {"host": more.pop("name", None) or at, "hostaddr": at, "port": self.port, "user": self.user,
                 "dbname": self.database, "sslmode": sslmode, "connect_timeout": 5, "gssencmode": "disable", **more}
        for key in ("user", "dbname"):
            self.lab.plant(parts[key])
        return " ".join(f"{k}={v}" for k, v in parts.items() if v is not None)

    def psql(self, sslmode, *commands, check=True, env=None, host=None, input=None, **more):
        """Run psql on the client (or `host`); returns what it printed, errors included."""
        self.lab.versions(client=f"psql {self.psql_version}")
        command = [self.psql_bin, "-XAt", "-d", self.conninfo(sslmode, **more)]
        for each in commands or ("\\conninfo", self.query()):
            command += ["-c", each]
        done = (host or self.lab.client).run(command, check=check, input=input,
                                             env={"HOME": "/nonexistent", **(env or {})})
        return done.stdout + done.stderr

    def psycopg(self, sslmode, work=None, wait=True, host=None, **more):
        """Run `work(connection)` (or one query) with psycopg 3 on the client; returns its result.

        Without `work` the result is "TLS version|cipher", as the server sees the connection.
        """
        info, sql, me = self.conninfo(sslmode, **more), None if work else self.query(), PEER_SQL

        def client():
            import psycopg
            with psycopg.connect(info, autocommit=True) as connection:
                if work is not None:
                    return work(connection)
                connection.execute(sql).fetchall()
                return "|".join(connection.execute(me).fetchone())
        self.lab.versions(client=self.lab.client.call(psycopg_version))
        call = (host or self.lab.client).spawn(client)
        return call.result() if wait else call

    # --- truth ---

    def flow(self, **facts):
        facts = {"server_port": self.port, "server": self.host, "client": self.host.net.client, "app": "postgresql", "outcome": "established",
                 "confidence": "both_sides", **facts}
        return self.lab.flow(**facts)

    def plain(self, plaintext_reason="client_never_asked", **facts):
        return self.flow(encryption="plaintext", plaintext_reason=plaintext_reason, **facts)

    def tls(self, said=None, upgrade="postgresql-sslrequest", **facts):
        """A TLS flow; `said` is text with libpq's "TLSv1.3 ... cipher: X" or "version|cipher" rows in it."""
        if said:
            version = re.search(r"TLSv1(\.\d)?", said).group().replace("TLSv1.", "TLSv1").replace("TLSv1", "TLSv1.")
            version += "0" if version.endswith(".") else ""
            name = re.search(r"TLS_\w+|(?:ECDHE|DHE|AES)[-\w]+", said).group()
            facts = {"tls_version": version, "tls_cipher": iana(name), **facts}
        return self.flow(encryption="tls", upgrade=upgrade, **facts)


def psycopg_version():
    import psycopg
    number = psycopg.pq.version()
    return f"psycopg {psycopg.__version__} (libpq {number // 10000}.{number % 10000})"


def iana(cipher):
    """OpenSSL's name of a cipher suite as IANA writes it."""
    listed = subprocess.run(["openssl", "ciphers", "-stdname", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"],
                            capture_output=True, text=True).stdout
    for line in listed.splitlines():
        standard, _, name = line.split()[:3]
        if cipher in (name, standard):
            return standard
    raise ValueError(f"no such cipher: {cipher}")


# --- the check: decode the recorded bytes without help from the above -----------

def decode(c2s, s2c):
    """What a PostgreSQL connection was, from its two byte streams: a dict of facts."""
    out = {"asked": [], "answers": [], "then": None, "auth": [], "errors": [], "ready": False}
    at = answer = 0
    while int.from_bytes(c2s[at:at + 4], "big") == 8 and int.from_bytes(c2s[at + 4:at + 8], "big") in (SSL, GSS):
        out["asked"].append("ssl" if int.from_bytes(c2s[at + 4:at + 8], "big") == SSL else "gss")
        out["answers"].append(s2c[answer:answer + 1].decode("latin-1"))
        at, answer = at + 8, answer + 1
        if out["answers"][-1] == "G":
            out["then"] = "gss"
            return out
    rest = c2s[at:]
    if rest[:1] == b"\x16":
        out["then"] = "tls"
    elif int.from_bytes(rest[4:8], "big") == CANCEL:
        out["then"] = "cancel"
    elif int.from_bytes(rest[4:8], "big") >> 16 == 3:
        out["then"] = "startup"
        reply = s2c[answer:]
        while len(reply) >= 5:
            size = int.from_bytes(reply[1:5], "big")
            if reply[:1] == b"R":
                out["auth"].append(int.from_bytes(reply[5:9], "big"))
            elif reply[:1] == b"E":
                out["errors"].append(reply[5:size + 1])
            out["ready"] |= reply[:1] == b"Z"
            reply = reply[size + 1:]
    elif rest:
        out["then"] = "other"
    return out


def alert(data):
    """Is there a fatal TLS alert in clear?"""
    at = data.find(b"\x16\3") if b"\x16\3" in data else data.find(b"\x15\3")
    while 0 <= at < len(data) - 6:
        size = int.from_bytes(data[at + 3:at + 5], "big")
        if data[at] == 21 and size == 2 and data[at + 5] == 2:
            return True
        at += 5 + size
    return False


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    where = f"port {flow['client_port']}"
    if flow["origin"] == "midstream" or flow.get("app") != "postgresql" or "_holes" in flow:
        return
    seen = decode(c2s, s2c)
    if (flow["outcome"] == "attempt") != (not s2c) and flow.get("confidence") == "both_sides":
        yield f"{where}: {flow['outcome']}, and the server sent {len(s2c)} bytes"
    if flow["encryption"] == "tls":
        if flow["credentials"]:
            yield f"{where}: credentials in TLS"
        if c2s and s2c and (flow["outcome"] == "refused") != (alert(c2s) or alert(s2c)):
            yield f"{where}: {flow['outcome']}, but the alert in clear says otherwise"
    expected = {"postgresql-sslrequest": "ssl", "postgresql-gssencrequest": "gss", None: None}[flow.get("upgrade")]
    if (expected in seen["asked"]) if expected is None else (expected not in seen["asked"] and c2s):
        yield f"{where}: upgrade is {flow.get('upgrade')}, the client asked {seen['asked']}"
    if expected is None and seen["asked"]:
        yield f"{where}: the client asked {seen['asked']}"
    wanted = {"tls": ("tls",), "plaintext": ("startup", "cancel", None), "other-encrypted": ("gss",),
              "unknown": (None, "gss", "other")}
    if c2s and seen["then"] not in wanted.get(flow["encryption"], (None, "other")):
        yield f"{where}: {flow['encryption']}, but the client went on with {seen['then']}"
    if flow["encryption"] == "tls" and flow["outcome"] == "established" and s2c and expected and seen["answers"] \
            and seen["answers"][-1] not in "S":
        yield f"{where}: TLS after {seen['answers']}"
    if flow.get("plaintext_reason") == "server_refused" and c2s and s2c and "N" not in seen["answers"]:
        yield f"{where}: server_refused, but it answered {seen['answers']}"
    if flow["encryption"] == "plaintext" and c2s and s2c:
        kinds = {3: "password_cleartext", 5: "password_hash_challenge", 10: "password_hash_challenge"}
        claimed = [kinds[a] for a in seen["auth"] if a in kinds]
        if sorted(set(claimed)) != sorted(flow["credentials"]):
            yield f"{where}: credentials {flow['credentials']}, the server asked for {seen['auth']}"
        if (flow["outcome"] == "refused") != bool(seen["errors"] and not seen["ready"]) \
                and seen["then"] == "startup":
            yield f"{where}: {flow['outcome']}, but errors {seen['errors']}"
