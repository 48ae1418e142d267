"""A MariaDB server for the lab, its command line client, and a decoder that checks the recordings."""

import os
import re
import shutil
import time

from lab import Cases
from postgresql_server import iana

CLIENTSSL = "mysql-clientssl"
HASH, CLEAR = "password_hash_challenge", "password_cleartext"
TLS_SQL = "SHOW SESSION STATUS WHERE Variable_name IN ('Ssl_version', 'Ssl_cipher')"

cases = Cases()


class Maria:
    """One data directory; the server is started anew for each case with the settings the case wants."""

    def __init__(self, lab):
        self.lab, self.host = lab, lab.server
        self.dir = lab.directory("mysql", "mysql")
        self.socket = self.dir / "socket"
        self.host.run(["mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={self.dir}/data",
                       "--auth-root-authentication-method=normal", "--skip-test-db"], cwd=self.dir)
        self.version = self.host.run(["mariadbd", "--version"]).stdout.split()[2].split("-")[0]
        self.client_version = self.host.run(["mariadb", "--version"]).stdout.split("Distrib ")[1].split("-")[0]
        for rsa in (False, True):
            for source in lab.certs.server(rsa):
                shutil.copy(source, self.dir)
                shutil.chown(self.dir / source.name, "mysql", "mysql")
                os.chmod(self.dir / source.name, 0o600)
        # what PAM asks for is the password; any password will do
        (self.dir / "pam").write_text("auth required pam_exec.so quiet expose_authtok /bin/true\n"
                                      "account required pam_permit.so\n")
        planted = list(lab.canaries)
        self.user, self.ed25519, self.pam, self.ssl_only, self.x509, self.empty, self.password, self.database = (
            lab.canary(kind, shared=True)
            for kind in ("user", "eduser", "pamuser", "ssluser", "xuser", "nopw", "pass", "db"))
        lab.canaries[:] = planted  # a case lists what it uses itself
        self._accounts()

    def _accounts(self):
        self.serve()
        native = f"IDENTIFIED VIA mysql_native_password USING PASSWORD('{self.password}')"
        self.admin("INSTALL SONAME 'auth_ed25519'", "INSTALL SONAME 'auth_pam_v1'",
                   f"CREATE DATABASE {self.database}", f"CREATE TABLE {self.database}.things (text text)",
                   f"CREATE USER {self.user} {native}", f"CREATE USER {self.ssl_only} {native} REQUIRE SSL",
                   f"CREATE USER {self.x509} {native} REQUIRE X509", f"CREATE USER {self.empty}",
                   f"CREATE USER {self.ed25519} IDENTIFIED VIA ed25519 USING PASSWORD('{self.password}')",
                   f"CREATE USER {self.pam} IDENTIFIED VIA pam USING 'lab'",
                   f"GRANT REPLICATION SLAVE, REPLICATION CLIENT, BINLOG MONITOR ON *.* TO {self.user}",
                   *(f"GRANT ALL ON {self.database}.* TO {u}" for u in
                     (self.user, self.ssl_only, self.x509, self.empty, self.ed25519, self.pam)))
        self.host.stop(self.process)

    def admin(self, *sql):
        """Run SQL as root over the Unix socket, which is on no network."""
        return self.host.run(["mariadb", "--no-defaults", "-BN", "-u", "root", "-S", str(self.socket),
                              "-e", ";".join(sql)]).stdout

    def serve(self, ssl=True, port=3306, rsa=False, **settings):
        """Start the server with these settings; what it knows already (accounts, database) stays."""
        self.port = port
        cert = self.dir / ("server-rsa.crt" if rsa else "server.crt")
        values = {"datadir": self.dir / "data", "socket": self.socket, "port": port, "bind-address": "*",
                  "pid-file": self.dir / "pid", "innodb-buffer-pool-size": "16M", "performance-schema": "OFF",
                  "innodb-flush-log-at-trx-commit": 0, "skip-name-resolve": "ON", "tmpdir": self.dir}
        if ssl:
            values.update({"ssl-cert": cert, "ssl-key": cert.with_suffix(".key"), "ssl-ca": self.lab.certs.ca})
        values.update(settings)
        command = ["mariadbd", "--no-defaults", "--user=mysql"]
        command += [f"--{key.replace('_', '-')}={value}" for key, value in values.items()]
        # only this server sees the lab's PAM service
        wrapped = ["sh", "-c", f'mount --bind {self.dir}/pam /etc/pam.d/other && exec "$@"', "sh", *command]
        self.process = self.host.start(wrapped, log=self.lab.log("mariadb"))
        self.host.wait_port(port, self.process)
        for _ in range(100):  # it listens before it is ready
            if self.host.run(["mariadb-admin", "--no-defaults", "-u", "root", "-S", str(self.socket), "ping"],
                             check=False).returncode == 0:
                break
            time.sleep(0.1)
        self.lab.versions(server=f"MariaDB {self.version}")

    def query(self, kind="literal"):
        return f"SELECT '{self.lab.canary(kind)}'"

    def login(self, user=None, password=None):
        """(user, password, database), listed as planted: in clear or as a hash they are on the wire."""
        user = user or self.user
        password = "" if user == self.empty else password or self.password
        for each in filter(None, (user, password, self.database)):
            self.lab.plant(each)
        return user, password, self.database

    def cli(self, *statements, options=("--skip-ssl",), user=None, password=None, at=None, port=None, check=True,
            host=None, program="mariadb", env=None, cwd=None):
        """Run the mariadb client on the client's host (or `host`); returns what it printed, errors included.

        Without options it would take TLS where it is offered.
        """
        user, password, database = self.login(user, password)
        self.lab.versions(client=f"{program} {self.client_version}")
        command = [program, "--no-defaults", "-h", at or self.host.v4, "-P", str(port or self.port), "-u", user]
        command += ["-p" + password] if password else []
        command += options
        if program == "mariadb":
            command += ["-BN", "-D", database, "-e", ";".join(statements or (self.query(), TLS_SQL))]
        done = (host or self.lab.client).run(command, check=check, env=env, cwd=cwd)
        return done.stdout + done.stderr

    def driver(self, name, function, tls, address=None, user=None, password=None):
        """Run a driver's function on the client.

        It gets (address, port, user, password, database, sql, tls) and returns its version and what TLS_SQL gave.
        """
        version, peer = self.lab.client.call(function, address or self.host.v4, self.port,
                                             *self.login(user, password), self.query(), tls)
        self.lab.versions(client=f"{name} {version}")
        return peer

    # --- truth ---

    def flow(self, **facts):
        return self.lab.flow(**{"server_port": self.port, "app": "mysql", "outcome": "established",
                                "confidence": "both_sides", **facts})

    def plain(self, plaintext_reason="client_declined", **facts):
        """A plaintext session; the usual login is by hash."""
        facts = {"plaintext_reason": plaintext_reason, "credentials": [HASH], **facts}
        return self.flow(encryption="plaintext", **facts)

    def tls(self, said=None, **facts):
        """A TLS flow; `said` is text with the server's "Ssl_version TLSv1.3" and "Ssl_cipher X" in it."""
        if said is not None:
            version = re.search(r"TLSv1(\.\d)?", said).group()
            name = re.search(r"TLS_\w+|(?:ECDHE|DHE|AES)[-\w]+", said).group()
            facts = {"tls_version": version, "tls_cipher": iana(name), **facts}
        return self.flow(encryption="tls", **{"upgrade": CLIENTSSL, **facts})


# --- the check: decode the recorded bytes without help from the above -----------

PROXY2 = b"\r\n\r\n\0\r\nQUIT\n"
KINDS = {b"mysql_native_password": HASH, b"client_ed25519": HASH, b"caching_sha2_password": HASH,
         b"mysql_clear_password": CLEAR, b"dialog": CLEAR}


def packets(data):
    """[payload] of MySQL packets, as far as they are whole."""
    out = []
    while len(data) >= 4 and len(data) >= 4 + int.from_bytes(data[:3], "little"):
        size = int.from_bytes(data[:3], "little")
        out.append(data[4:4 + size])
        data = data[4 + size:]
    return out


def text0(data):
    """(text up to a NUL, what is after it)"""
    head, _, rest = data.partition(b"\0")
    return head, rest


def lenenc(data):
    """(length-encoded string, what is after it)"""
    wide = {0xfc: 2, 0xfd: 3, 0xfe: 8}.get(data[0], 0)
    size = int.from_bytes(data[1:1 + wide], "little") if wide else data[0]
    return data[1 + wide:1 + wide + size], data[1 + wide + size:]


def decode_response(body):
    """(plugin, was there an answer) of a HandshakeResponse41."""
    caps = int.from_bytes(body[:4], "little")
    _, rest = text0(body[32:])
    if caps & 0x200000:  # PLUGIN_AUTH_LENENC_CLIENT_DATA
        answer, rest = lenenc(rest)
    else:
        answer, rest = rest[1:1 + rest[0]], rest[1 + rest[0]:]
    if caps & 8:  # CONNECT_WITH_DB
        _, rest = text0(rest)
    plugin = text0(rest)[0] if caps & 0x80000 else b"mysql_native_password"
    return plugin, bool(answer.strip(b"\0"))


def decode(c2s, s2c):
    """What a MySQL connection was, from its two byte streams: a dict of facts."""
    out = {"offered": None, "then": None, "credentials": set(), "ok": False, "errors": []}
    if c2s[:12] == PROXY2:
        c2s = c2s[16 + int.from_bytes(c2s[14:16], "big"):]
    elif c2s[:6] == b"PROXY ":
        c2s = c2s.partition(b"\r\n")[2]
    server, client = packets(s2c), packets(c2s)
    if server and server[0][:1] == b"\x0a":
        _, rest = text0(server[0][1:])
        caps = int.from_bytes(rest[13:15] + rest[18:20], "little")
        out["offered"], server = bool(caps & 0x800), server[1:]
    elif server and server[0][:1] == b"\xff":
        out["errors"].append(int.from_bytes(server[0][1:3], "little"))
        return out
    if client and len(client[0]) == 32 and client[0][1] & 8:
        out["then"] = "tls" if c2s[36:38] == b"\x16\x03" else "sslrequest"
        return out
    if not client or c2s[3] not in (0, 1) or len(client[0]) < 32:
        out["then"] = "other" if c2s else None
        return out
    out["then"] = "login"
    plugin, answered = decode_response(client.pop(0))
    for reply in server:
        if answered and plugin in KINDS:
            out["credentials"].add(KINDS[plugin])
        if reply[:1] == b"\xfe":  # AuthSwitchRequest
            plugin, answered = text0(reply[1:])[0], bool(client and client.pop(0).strip(b"\0"))
            answered = answered or plugin == b"dialog"
        elif reply[:1] == b"\xff":
            out["errors"].append(int.from_bytes(reply[1:3], "little"))
            break
        elif reply[:1] == b"\0":
            out["ok"] = True
            break
    for reply in server:  # COM_CHANGE_USER may ask for another kind of password later
        if reply[:1] == b"\xfe" and text0(reply[1:])[0] in KINDS:
            out["credentials"].add(KINDS[text0(reply[1:])[0]])
    return out


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    where = f"port {flow['client_port']}"
    if flow["origin"] == "midstream" or flow["encryption"] == "unknown":
        return
    if (flow["confidence"] == "both_sides") != bool(c2s and s2c):
        yield f"{where}: {flow['confidence']}, but {len(c2s)} and {len(s2c)} bytes"
    if flow.get("app") != "mysql":
        return
    if "PacketLength" in flow.get("why", ""):
        return  # the decoder needs whole packets
    seen = decode(c2s, s2c)
    if c2s and s2c:
        wanted = {"tls": ("tls",), "plaintext": ("login",)}[flow["encryption"]]
        if seen["then"] not in wanted:
            yield f"{where}: {flow['encryption']}, but the client went on with {seen['then']}"
    if flow.get("upgrade") != (CLIENTSSL if flow["encryption"] == "tls" else None):
        yield f"{where}: upgrade is {flow.get('upgrade')}"
    reason = flow.get("plaintext_reason")
    if seen["offered"] is not None and reason in ("client_declined", "server_refused"):
        if seen["offered"] != (reason == "client_declined"):
            yield f"{where}: {reason}, but TLS offered: {seen['offered']}"
    if flow["encryption"] == "tls" and seen["offered"] is False:
        yield f"{where}: TLS without an offer"
    if flow["encryption"] == "plaintext" and c2s and s2c and seen["then"] == "login":
        if seen["credentials"] != set(flow["credentials"]):
            yield f"{where}: credentials {flow['credentials']}, seen {seen['credentials']}"
        outcome = "established" if seen["ok"] else "refused" if seen["errors"] else "attempt"
        if flow["outcome"] != outcome:
            yield f"{where}: {flow['outcome']}, but errors {seen['errors']}, OK {seen['ok']}"
