"""A PostgreSQL server for the lab, libpq's psql as a client, and a decoder that checks the recordings."""

import glob
import os
import re
import shutil
import signal
import subprocess

SSL, GSS, CANCEL = 80877103, 80877104, 80877102


class Postgres:
    """One cluster, started anew for each case with the settings the case wants."""

    def __init__(self, lab):
        self.lab = lab
        self.bin = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
        self.version = subprocess.run([f"{self.bin}/postgres", "--version"], capture_output=True,
                                      text=True).stdout.split()[2]
        self.dir = lab.directory("postgresql", "postgres")
        self.data = self.dir / "data"
        initdb = [f"{self.bin}/initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8",
                  "--locale=C"]
        lab.server.run(initdb, user="postgres", cwd=self.dir)
        crt, key = lab.certs.server()
        for source, name in ((crt, "server.crt"), (key, "server.key")):
            shutil.copy(source, self.dir / name)
            shutil.chown(self.dir / name, "postgres", "postgres")
        os.chmod(self.dir / "server.key", 0o600)
        self._identities()
        self.process = None
        self.serve()
        for role, how in ((self.user, "scram-sha-256"), (self.md5_user, "md5")):
            self.admin(f"SET password_encryption='{how}'; "
                       f"CREATE ROLE {role} LOGIN REPLICATION PASSWORD '{self.password}'")
        self.admin(f"CREATE DATABASE {self.database} OWNER {self.user}")
        lab.server.stop(self.process)

    def _identities(self):
        self.user, self.md5_user, self.password, self.database = (
            self.lab.canary(kind, shared=True) for kind in ("user", "md5user", "pass", "db"))

    def admin(self, sql):
        """Run SQL as the superuser over the Unix socket, which is on no network."""
        return self.lab.server.run([f"{self.bin}/psql", "-XAt", "-h", str(self.dir), "-p", str(self.port), "-U",
                                    "postgres", "-d", "postgres", "-c", sql], user="postgres", cwd=self.dir).stdout

    def serve(self, ssl=True, hba="host all all all trust", port=5432, host=None, settings=()):
        """Start the server with these settings; what it knows already (roles, database) stays."""
        (self.dir / "hba").write_text(f"local all all trust\n{hba}\n".replace("; ", "\n"))
        self.port, self.host = port, host or self.lab.server
        values = {"listen_addresses": "*", "port": port, "unix_socket_directories": self.dir, "fsync": "off",
                  "hba_file": self.dir / "hba", "ssl": "on" if ssl else "off", "ssl_cert_file": self.dir / "server.crt",
                  "ssl_key_file": self.dir / "server.key", "ssl_ca_file": self.lab.certs.ca, "autovacuum": "off",
                  **dict(settings)}
        command = [f"{self.bin}/postgres", "-D", str(self.data)]
        for key, value in values.items():
            command += ["-c", f"{key}={value}"]
        self.process = self.host.start(command, log=self.lab.log("postgresql"), user="postgres", cwd=self.dir,
                                       stop_signal=signal.SIGINT)
        self.host.wait_port(port, self.process)
        for _ in range(200):  # it listens before it is ready
            if self.host.run([f"{self.bin}/pg_isready", "-q", "-h", str(self.dir), "-p", str(port)],
                             check=False).returncode == 0:
                break
        self.lab.versions(server=f"PostgreSQL {self.version}")

    def identity(self, user=None):
        """Name what is planted by every session: user, database."""
        self.lab.plant(user or self.user)
        self.lab.plant(self.database)
        return user or self.user

    def query(self, kind="literal"):
        return f"SELECT '{self.lab.canary(kind)}'"

    def conninfo(self, sslmode, **more):
        """A libpq connection string to the server; `user`, `password`, `name` (for SNI), `v6`, ... may be given."""
        at = self.host.v6 if more.pop("v6", False) else self.host.v4
        parts = {"host": more.pop("name", None) or at, "hostaddr": at, "port": self.port,
                 "user": self.identity(more.pop("user", None)), "dbname": self.database, "sslmode": sslmode,
                 "connect_timeout": 5, "gssencmode": "disable", **more}
        return " ".join(f"{k}={v}" for k, v in parts.items() if v is not None)

    def psql(self, sslmode, *commands, check=True, env=None, host=None, **more):
        """Run psql on the client (or `host`); returns what it printed, errors included."""
        self.lab.versions(client=f"psql (libpq {self.version})")
        command = [f"{self.bin}/psql", "-XAt", "-d", self.conninfo(sslmode, **more)]
        for each in commands:
            command += ["-c", each]
        done = (host or self.lab.client).run(command, check=check, env={"HOME": "/nonexistent", **(env or {})})
        return done.stdout + done.stderr

    # --- truth ---

    def flow(self, **facts):
        facts = {"server_port": self.port, "server": self.host, "app": "postgresql", "outcome": "established",
                 "confidence": "both_sides", **facts}
        return self.lab.flow(**facts)

    def plain(self, plaintext_reason="client_never_asked", **facts):
        return self.flow(encryption="plaintext", plaintext_reason=plaintext_reason, **facts)

    def tls(self, said=None, upgrade="postgresql-sslrequest", **facts):
        """A TLS flow; `said` is text with libpq's "TLSv1.3 ... cipher: X" or "version|cipher" rows in it."""
        if said:
            version = re.search(r"TLSv1(\.\d)?", said).group()
            name = re.search(r"TLS_\w+|(?:ECDHE|DHE|AES)[-\w]+", said).group()
            facts = {"tls_version": version, "tls_cipher": iana(name), **facts}
        return self.flow(encryption="tls", upgrade=upgrade, **facts)


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
    out = {"asked": [], "answers": [], "then": None, "auth": [], "errors": []}
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
            reply = reply[size + 1:]
    elif rest:
        out["then"] = "other"
    return out


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    where = f"port {flow['client_port']}"
    if flow["origin"] == "midstream" or flow.get("app") != "postgresql":
        return
    seen = decode(c2s, s2c)
    expected = {"postgresql-sslrequest": "ssl", "postgresql-gssencrequest": "gss", None: None}[flow.get("upgrade")]
    if (expected in seen["asked"]) if expected is None else (expected not in seen["asked"] and c2s):
        yield f"{where}: upgrade is {flow.get('upgrade')}, the client asked {seen['asked']}"
    if expected is None and seen["asked"]:
        yield f"{where}: the client asked {seen['asked']}"
    wanted = {"tls": ("tls",), "plaintext": ("startup", "cancel", None), "other-encrypted": ("gss",)}
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
        if (flow["outcome"] == "refused") != bool(seen["errors"] and 0 not in seen["auth"]) and seen["then"] == "startup":
            yield f"{where}: {flow['outcome']}, but errors {seen['errors']}"
