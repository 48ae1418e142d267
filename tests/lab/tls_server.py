"""TLS servers and clients for the lab (OpenSSL, nginx, curl, GnuTLS, Python), and a check of the recordings."""

import functools
import platform
import re
import socket
import ssl
import subprocess
import time

from lab import Cases

cases = Cases()
PORT = 8443
NAME = "db.lab.internal"
WEAK = "@SECLEVEL=0"
RESET = b"\1\0\0\0\0\0\0\0"  # SO_LINGER: close with a reset
# Not in Debian's OpenSSL; GnuTLS or wolfSSL have them.
MORE_CIPHERS = {"TLS_RSA_WITH_RC4_128_MD5": 0x0004, "TLS_RSA_WITH_RC4_128_SHA": 0x0005,
                "TLS_RSA_WITH_3DES_EDE_CBC_SHA": 0x000a, "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA": 0xc007,
                "TLS_ECDHE_RSA_WITH_RC4_128_SHA": 0xc011, "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA": 0xc012,
                "TLS_ECDHE_RSA_WITH_CAMELLIA_128_GCM_SHA256": 0xc08a, "TLS_SHA256_SHA256": 0xc0b4,
                "TLS_SHA384_SHA384": 0xc0b5}
VERSIONS = {"1.0": ssl.TLSVersion.TLSv1, "1.1": ssl.TLSVersion.TLSv1_1, "1.2": ssl.TLSVersion.TLSv1_2,
            "1.3": ssl.TLSVersion.TLSv1_3}


class Tls:
    """The server of a case, the clients that talk to it, and the truth of their flows."""

    def __init__(self, lab):
        self.lab, self.server, self.client = lab, lab.server, lab.client
        self.openssl = " ".join(subprocess.check_output(["openssl", "version"], text=True).split()[:2])
        self.port = PORT  # of the server started last

    # --- servers ---

    def serve(self, *options, port=PORT, rsa=False, v6=False, cert=None, env=None):
        """`openssl s_server`, which answers every line with the line reversed."""
        self.port = port
        crt, key = cert or self.lab.certs.server(rsa=rsa)
        address = f"[{self.server.v6}]" if v6 else self.server.v4
        self.process = self.server.start(["openssl", "s_server", "-accept", f"{address}:{port}", "-cert", str(crt),
                                          "-key", str(key), "-rev", *map(str, options)], log=self.lab.log("s_server"),
                                         env=env)
        self.server.wait_port(port, self.process)
        self.lab.versions(server=f"{self.openssl} s_server")

    def nginx(self, *lines, port=PORT, tls=True, http2=False, files=None):
        """nginx with one server block."""
        self.port = port
        home = self.lab.directory("nginx")
        home.chmod(0o755)
        for name, content in {"index.html": "fine\n", **(files or {})}.items():
            (home / name).write_text(content)
        crt, key = self.lab.certs.server()
        block = [f"listen {self.server.v4}:{port}{' ssl' if tls else ''}{' http2' if http2 else ''};",
                 f"ssl_certificate {crt}; ssl_certificate_key {key};", f"root {home};", *lines]
        (home / "nginx.conf").write_text(
            f"daemon off; user root; pid {home}/pid; error_log {home}/error.log; worker_processes 1;\n"
            "events { worker_connections 64; }\n"
            f"http {{ access_log off; client_body_temp_path {home}/b; proxy_temp_path {home}/p;"
            f" fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;\n"
            "server {\n  " + "\n  ".join(block) + "\n} }\n")
        process = self.server.start(["nginx", "-c", str(home / "nginx.conf"), "-p", str(home)],
                                    log=self.lab.log("nginx"))
        self.server.wait_port(port, process)
        said = self.server.run(["nginx", "-v"]).stderr
        self.lab.versions(server=f"nginx {re.search(r'nginx/(.*)', said)[1]} ({self.openssl})")
        return process

    def gnutls(self, priority, *options, port=PORT, rsa=False):
        """`gnutls-serv`, which answers with what it was sent."""
        self.port = port
        crt, key = self.lab.certs.server(rsa=rsa)
        process = self.server.start(["gnutls-serv", "--echo", "--port", str(port), "--x509certfile", str(crt),
                                     "--x509keyfile", str(key), "--priority", priority, *options],
                                    log=self.lab.log("gnutls-serv"))
        self.server.wait_port(port, process)
        self.lab.versions(server="GnuTLS " + gnutls_version())

    def scripted(self, answer=b"", port=PORT, greeting=b"", hold=0.0, reset=False):
        """A server that waits for some bytes, says `answer` and closes, or keeps silent for `hold` seconds."""
        self.port = port
        self.silent = self.server.spawn(scripted, self.server.v4, port, answer, greeting, hold, reset)
        self.server.wait_port(port)
        self.lab.versions(server="a scripted server")

    # --- clients ---

    def talk(self, **options):
        """A Python client; returns what it saw, as `look` fills it in. `v6`, `port` and the options of `talk`."""
        address = self.server.v6 if options.pop("v6", False) else self.server.v4
        rounds = options.pop("rounds", 1)
        words = [self.lab.canary(f"word{i}") for i in range(rounds)]
        self.lab.versions(client=f"Python {platform.python_version()} ({self.openssl})")
        return self.client.call(talk, address, self.port, words, options)

    def s_client(self, *options, name=NAME, steps=None, check=True, v6=False):
        """`openssl s_client`; returns all it printed. `steps` are written one after another."""
        address = f"[{self.server.v6}]" if v6 else self.server.v4
        command = ["openssl", "s_client", "-connect", f"{address}:{self.port}",
                   *(["-servername", name] if name else ["-noservername"]), *map(str, options)]
        self.lab.versions(client=f"{self.openssl} s_client")
        said = self.client.call(drive, command, steps or [self.lab.canary("word") + "\n"])
        if check and not re.search(r"Cipher is (?!\(NONE\))", said):
            raise RuntimeError(said)
        return said

    def gnutls_cli(self, priority, *options, host=NAME):
        command = ["gnutls-cli", "--insecure", "-p", str(self.port), "--priority", priority, *options, host]
        self.lab.versions(client="GnuTLS " + gnutls_version())
        said = self.client.call(drive, command, [self.lab.canary("word") + "\n"])
        if "Handshake was completed" not in said:
            raise RuntimeError(said)
        return said

    def curl(self, *options, name=NAME, path=None, check=True):
        path = path or self.lab.canary("path")
        done = self.client.run(["curl", "-sv", "--cacert", str(self.lab.certs.ca), "--resolve",
                                f"{name}:{self.port}:{self.server.v4}", "--max-time", "10", *map(str, options),
                                f"https://{name}:{self.port}/{path}"], check=check)
        self.lab.versions(client="curl " + self.client.run(["curl", "--version"]).stdout.split()[1])
        return done.stdout + done.stderr

    # --- truth ---

    def flow(self, said=None, **facts):
        """A TLS flow. `said`: what a client reported (a dict of `talk`, or text of s_client or curl)."""
        facts = {"server_port": self.port, "encryption": "tls", "outcome": "established", "confidence": "both_sides",
                 **facts}
        if isinstance(said, dict):
            assert said["error"] is None, said
            facts = {"tls_version": said["version"], "tls_cipher": iana(said["cipher"]), **facts}
            if said["alpn"] and said["version"] != "TLSv1.3":
                facts.setdefault("alpn", said["alpn"])
        elif said:
            found = (re.search(r"(?:New|Reused), (?P<v>TLSv\S+|SSLv3), Cipher is (?P<c>\S+)", said)
                     or re.search(r"SSL connection using (?P<v>TLSv\S+) / (?P<c>\S+)", said))
            protocol = re.findall(r"^ +Protocol +: (\S+)", said, re.M)  # the line above has the cipher's version
            facts = {"tls_version": dotted(protocol[0] if protocol else found["v"]), "tls_cipher": iana(found["c"]),
                     **facts}
        if facts.get("alpn"):
            facts.setdefault("app", {"h2": "http2", "http/1.1": "http"}.get(facts["alpn"]))
        return self.lab.flow(**facts)

    def null(self, said, **facts):
        return self.flow(said, encryption="plaintext", plaintext_reason="null_cipher", **facts)


# --- what runs inside the namespaces ----------------------------------------------------

def talk(address, port, words, options):
    """Handshake, send each word as a line and read the answer. Options:

    name (SNI), ca (verify), least/most ("1.2"), ciphers, curve, alpn, cert=(crt, key), tickets=False, session=True
    (a second connection resumes the first), pieces (a function from the ClientHello to what to send, one segment
    each), pause (between those), lone (leave at the server's first answer), timeout, quiet (no alert when it
    fails).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if "ca" in options:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(options["ca"])
    if "ciphers" in options:
        context.set_ciphers(options["ciphers"])
    context.minimum_version = VERSIONS[options.get("least", "1.2")]
    context.maximum_version = VERSIONS[options.get("most", "1.3")]
    if "curve" in options:
        context.set_ecdh_curve(options["curve"])
    if "alpn" in options:
        context.set_alpn_protocols(options["alpn"])
    if "cert" in options:
        context.load_cert_chain(*options["cert"])
    if options.get("tickets") is False:
        context.options |= ssl.OP_NO_TICKET
    seen = connection(context, address, port, words, options, None)
    if options.get("session"):
        second = connection(context, address, port, words, options, seen.pop("session"))
        second.pop("session")
        return seen, second
    seen.pop("session", None)
    return seen


def connection(context, address, port, words, options, session):
    seen = {"version": None, "cipher": None, "alpn": None, "reused": None, "error": None}
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=options.get("name"), session=session)
    pieces = options.get("pieces")
    with socket.create_connection((address, port), options.get("timeout", 5)) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def flush():
            nonlocal pieces
            data = outgoing.read()
            for piece in pieces(data) if pieces and data else [data]:
                wire.sendall(piece)
                time.sleep(options.get("pause", 0))
            pieces = None

        def pump(step, *args):
            while True:
                try:
                    result = step(*args)
                    flush()
                    return result
                except ssl.SSLWantReadError:
                    flush()
                    data = wire.recv(65536)
                    incoming.write(data) if data else incoming.write_eof()
        try:
            if options.get("lone"):
                try:
                    tls.do_handshake()
                except ssl.SSLWantReadError:
                    flush()
                wire.recv(65536)
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                return {**seen, "error": "left"}
            pump(tls.do_handshake)
            for word in words:
                pump(tls.write, word.encode() + b"\n")
                pump(tls.read, 4096)
            seen |= {"version": dotted(tls.version()), "cipher": tls.cipher()[0], "alpn": tls.selected_alpn_protocol(),
                     "reused": tls.session_reused, "session": tls.session}
            try:
                tls.unwrap()
            except ssl.SSLError:
                flush()
        except OSError as error:  # SSLError is one
            seen["error"] = str(error)
            try:
                if not options.get("quiet"):
                    flush()
            except OSError:
                pass
    return seen


def drive(command, steps, pause=0.25):
    """Run a program, write each step when the last one has had time to work; returns what it printed."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    time.sleep(pause)
    for step in steps:
        try:
            process.stdin.write(step if isinstance(step, bytes) else step.encode())
            process.stdin.flush()
        except BrokenPipeError:
            break
        time.sleep(pause)
    return process.communicate(timeout=10)[0].decode("latin-1")


def scripted(address, port, answer, greeting, hold, reset):
    with socket.create_server((address, port)) as listener:
        wire, _ = listener.accept()
        with wire:
            wire.sendall(greeting)
            wire.recv(65536)
            wire.sendall(answer)
            time.sleep(hold or 0.1)
            if reset:
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def gnutls_version():
    return subprocess.run(["gnutls-cli", "--version"], capture_output=True, text=True).stdout.split()[1]


def dotted(version):
    return version if "." in version or version == "SSLv3" else version + ".0"


@functools.cache
def ciphers():
    """{OpenSSL's or IANA's name: (IANA's name, number)}"""
    suites = ":".join(f"TLS_{name}" for name in ("AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "AES_128_CCM_SHA256",
                                                 "AES_128_CCM_8_SHA256", "CHACHA20_POLY1305_SHA256"))
    listed = subprocess.run(["openssl", "ciphers", "-V", "-stdname", "-ciphersuites", suites,
                             f"ALL:COMPLEMENTOFALL:{WEAK}"], capture_output=True, text=True).stdout
    out = {name: (name, number) for name, number in MORE_CIPHERS.items()}
    for line in listed.splitlines():
        number, _, standard, _, name = line.split()[:5]
        high, low = (int(n, 16) for n in number.split(","))
        out[name] = out[standard] = (standard, high << 8 | low)
    return out


def iana(cipher):
    return ciphers()[cipher][0]


# --- the check: decode the recorded bytes without help from the above --------------------

def records(data):
    """(type, body) of each complete TLS record, as long as that is what there is."""
    at, out = 0, []
    while at + 5 <= len(data) and data[at] in (20, 21, 22, 23) and data[at + 1] == 3:
        end = at + 5 + int.from_bytes(data[at + 3:at + 5], "big")
        if end > len(data):
            break
        out.append((data[at], data[at + 5:end]))
        at = end
    return out


def messages(found):
    """(type, body) of each handshake message in clear, put together from its records."""
    data = b""
    for kind, body in found:
        if kind in (20, 23):
            break
        data += body if kind == 22 else b""
    out = []
    while len(data) >= 4 and len(data) >= 4 + int.from_bytes(data[1:4], "big"):
        end = 4 + int.from_bytes(data[1:4], "big")
        out.append((data[0], data[4:end]))
        data = data[end:]
    return out


def hello(body, client):
    """SNI, or version, cipher and ALPN, of a hello."""
    at = 34 + 1 + body[34]
    out = {"version": {0: "SSLv3", 1: "TLSv1.0", 2: "TLSv1.1", 3: "TLSv1.2"}[body[1]]}
    if client:
        at += 2 + int.from_bytes(body[at:at + 2], "big")
        at += 1 + body[at]
    else:
        out["cipher"] = int.from_bytes(body[at:at + 2], "big")
        at += 3
    at += 2
    while at + 4 <= len(body):
        number, size = int.from_bytes(body[at:at + 2], "big"), int.from_bytes(body[at + 2:at + 4], "big")
        value = body[at + 4:at + 4 + size]
        if number == 0 and client:
            out["sni"] = value[5:].decode("ascii")
        elif number == 16 and not client:
            out["alpn"] = value[3:].decode("ascii")
        elif number == 43 and not client and value == b"\3\4":
            out["version"] = "TLSv1.3"
        at += 4 + size
    return out


def fatal(found):
    """Is there a fatal alert in clear?"""
    return any(kind == 21 and len(body) == 2 and body[0] == 2 for kind, body in found)


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show.

    With holes, what is not claimed is not looked at.
    """
    if flow["origin"] == "midstream" or flow["encryption"] not in ("tls", "plaintext") or "accept" in flow:
        return
    if flow["encryption"] == "plaintext" and flow["plaintext_reason"] != "null_cipher":
        return
    where, holes = f"port {flow['client_port']}", "_holes" in flow
    up, down = records(c2s), records(s2c)
    asked = [hello(b, True) for t, b in messages(up) if t == 1][:1]
    told = [hello(b, False) for t, b in messages(down) if t == 2][-1:]
    if c2s and not asked and not holes:
        yield f"{where}: no ClientHello"
    if asked and asked[0].get("sni") != flow.get("sni") and not (holes and "sni" not in flow):
        yield f"{where}: SNI {asked[0].get('sni')!r}"
    if s2c and "tls_version" in flow and not told and not holes:
        yield f"{where}: no ServerHello"
    if told and not (holes and "tls_version" not in flow):
        seen = told[0]
        if flow.get("tls_version") != seen["version"]:
            yield f"{where}: the server chose {seen['version']}"
        if ciphers().get(flow.get("tls_cipher"), (None, None))[1] != seen["cipher"]:
            yield f"{where}: the server chose cipher {seen['cipher']:#06x}, not {flow.get('tls_cipher')}"
        if flow.get("alpn") != (None if seen["version"] == "TLSv1.3" else seen.get("alpn")):
            yield f"{where}: the server chose ALPN {seen.get('alpn')}"
    if (flow["outcome"] == "attempt") != (not s2c or not c2s) and flow.get("confidence") == "both_sides":
        yield f"{where}: {flow['outcome']}, {len(c2s)} bytes there and {len(s2c)} back"
    data = [body for kind, body in up if kind == 23]
    left = bool(told and told[0]["version"] == "TLSv1.3" and data and len(data[0]) == 19)  # an alert, sealed
    if c2s and s2c:
        refused = fatal(up) or fatal(down) or not down or left
        if (flow["outcome"] == "refused") != refused:
            yield f"{where}: {flow['outcome']}, but the bytes say otherwise"
    if flow["encryption"] == "plaintext" and c2s and b"cnry" not in c2s:
        yield f"{where}: null cipher, but nothing can be read"
