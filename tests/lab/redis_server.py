"""Redis servers for the lab, redis-cli and redis-py as clients, and a decoder that checks the recordings."""

import re
import shutil

from lab import Cases

CLEAR = "password_cleartext"
CIPHER13, CIPHER12 = "TLS_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"

cases = Cases()


class Redis:
    """Servers without anything on disk, started for a case with the settings the case wants."""

    def __init__(self, lab):
        self.lab = lab
        self.version = lab.server.run(["redis-server", "--version"]).stdout.split("v=")[1].split()[0]

    def serve(self, port=6379, tls_port=0, host=None, name="redis", program="redis-server", env=None, **settings):
        """Start a server; `tls_port` has TLS 1.2 and 1.3, unless tls_protocols says otherwise."""
        host = host or self.lab.server
        self.port = tls_port or port
        home = self.lab.directory(name)
        values = {"port": port, "bind": "* -::*", "protected-mode": "no", "save": "", "dir": str(home), **settings}
        if tls_port:
            crt, key = self.lab.certs.server()
            values = {"tls-port": tls_port, "tls-cert-file": crt, "tls-key-file": key, "tls-auth-clients": "no",
                      "tls-ca-cert-file": self.lab.certs.ca, "tls-ciphersuites": CIPHER13,
                      "tls-ciphers": "ECDHE-ECDSA-AES128-GCM-SHA256", **values}
        command = [shutil.which(program) or program]  # INFO tells the path
        for key, value in values.items():
            key = key.replace("_", "-")
            if key == "user":
                command += ["--user", *value.split()]
            else:
                command += ["--" + key, *(value.split() if key == "bind" else [str(value)])]
        process = host.start(command, log=self.lab.log(name), env=env)
        host.wait_port(self.port, process)
        self.lab.versions(server=f"Redis {self.version}")
        return process

    def cli(self, *arguments, options=(), at=None, port=None, check=True, host=None, timeout=20):
        """Run redis-cli with one command on the client; returns what it printed, errors included.

        (With commands on its input it would fetch the server's manual, 80 KB, first.)
        """
        self.lab.versions(client=f"redis-cli {self.version}")
        command = ["redis-cli", "--no-auth-warning", "-h", at or self.lab.server.v4, "-p", str(port or self.port),
                   *options, *arguments]
        done = (host or self.lab.client).run(command, check=check, timeout=timeout)
        return done.stdout + done.stderr

    def py(self, work, wait=True, at=None, **options):
        """Run `work(redis)` with redis-py on the client; its result is returned (or the call, without `wait`)."""
        address, port = at or self.lab.server.v4, self.port

        def version():
            import from_pypi
            from_pypi.prefer("redis")
            import redis
            return redis.__version__

        def client():
            import from_pypi
            from_pypi.prefer("redis")
            import redis
            with redis.Redis(host=address, port=port, **options) as connection:
                return work(connection)
        self.lab.versions(client=f"redis-py {self.lab.client.call(version)}")
        call = self.lab.client.spawn(client)
        return call.result() if wait else call

    def script(self, *lines, **options):
        """Send these commands, one after the other's answer, with redis-py; errors are part of it."""
        def work(connection):
            import redis
            for line in lines:
                try:
                    connection.execute_command(*line.split())
                except redis.exceptions.ResponseError:
                    pass
        self.py(work, **{"single_connection_client": True, **options})

    def key(self, name="key"):
        return self.lab.canary(name)

    # --- truth ---

    def plain(self, **facts):
        return self.lab.flow(**{"server_port": self.port, "encryption": "plaintext", "app": "redis",
                                "outcome": "established", "plaintext_reason": "no_in_band_upgrade",
                                "confidence": "both_sides", **facts})

    def tls(self, version="TLSv1.3", **facts):
        """A TLS flow; what is inside is not visible and Redis has no ALPN."""
        cipher = {"TLSv1.3": CIPHER13, "TLSv1.2": CIPHER12}.get(version)
        return self.lab.flow(**{"server_port": self.port, "encryption": "tls", "outcome": "established",
                                "confidence": "both_sides", "tls_version": version, "tls_cipher": cipher, **facts})


# --- the check: decode the recorded bytes without help from the above -----------

def commands(data):
    """The commands (lists of words) a client sent, RESP or inline, as far as they are whole."""
    out = []
    while data:
        head, found, rest = data.partition(b"\r\n" if data[:1] in b"*$" else b"\n")
        if not found:
            break
        if not re.fullmatch(rb"\*\d+", head):
            out.append(head.split())
            data = rest
            continue
        words = []
        for _ in range(int(head[1:])):
            size, found, rest = rest.partition(b"\r\n")
            if not found or size[:1] != b"$" or len(rest) < int(size[1:]) + 2:
                return out
            words.append(rest[:int(size[1:])])
            rest = rest[int(size[1:]) + 2:]
        out.append(words)
        data = rest
    return out


def has_password(words):
    upper = [w.upper() for w in words]
    return (upper[:1] == [b"AUTH"] or upper[:1] == [b"HELLO"] and b"AUTH" in upper
            or upper[:1] == [b"MIGRATE"] and bool({b"AUTH", b"AUTH2"} & set(upper))
            or upper[:2] == [b"CONFIG", b"SET"] and upper[2:3] in ([b"REQUIREPASS"], [b"MASTERAUTH"]))


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    where = f"port {flow['client_port']}"
    if flow["origin"] == "midstream" or "PacketLength" in flow.get("why", ""):
        return
    if (flow["confidence"] == "both_sides") != bool(c2s and s2c):
        yield f"{where}: {flow['confidence']}, but {len(c2s)} and {len(s2c)} bytes"
    if (flow["outcome"] == "attempt") and c2s and s2c:
        yield f"{where}: attempt, but both sides spoke"
    if flow.get("app") != "redis":
        return
    seen = commands(c2s)
    if c2s and not seen and c2s[:4] != b"RCmb":
        yield f"{where}: no command in {c2s[:30]}"
    if s2c and s2c[:1] not in b"+-:$*%~_,#>=(!|\n" and s2c[:4] != b"RCmb":
        yield f"{where}: not an answer: {s2c[:30]}"
    claimed, sent = CLEAR in flow["credentials"], any(map(has_password, seen))
    if claimed != sent:
        yield f"{where}: credentials {flow['credentials']}, sent: {sent}"
    refused = s2c[:8].startswith((b"-NOAUTH", b"-WRONGPA", b"-DENIED", b"-ERR max", b"-NOPERM"))
    refused = refused and b"+OK" not in s2c  # or it was let in later
    if s2c and (flow["outcome"] == "refused") != refused:
        yield f"{where}: {flow['outcome']}, but the server said {s2c[:30]}"
