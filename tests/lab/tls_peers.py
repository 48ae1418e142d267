"""More TLS peers for the lab (NSS, rustls), what peers say of a session, and certificates of every kind."""

import os
import pathlib
import re
import subprocess

from net import sh
from tls_server import NAME, PORT, Tls, drive, dotted

HERE = pathlib.Path(__file__).resolve().parent
GROUPS = {"X25519": "x25519", "X448": "x448", "prime256v1": "secp256r1", "SECP256R1": "secp256r1",
          "SECP384R1": "secp384r1", "SECP521R1": "secp521r1", "secp256r1MLKEM768": "SecP256r1MLKEM768",
          **{f"FFDHE{bits}": f"ffdhe{bits}" for bits in (2048, 3072, 4096)}}
ABSENT = "absent"


class Peers(Tls):
    """The peers of `Tls`, and NSS and rustls."""

    # --- NSS ---

    def nss_database(self, name, pair=None):
        """A directory with a certificate database; `pair` is known there as `peer`."""
        home = self.lab.directory(name)
        sh(["certutil", "-N", "-d", f"sql:{home}", "--empty-password"])
        if pair:
            crt, key = map(str, pair)
            sh(["openssl", "pkcs12", "-export", "-in", crt, "-inkey", key, "-name", "peer", "-passout", "pass:",
                "-out", f"{home}/peer.p12"])
            sh(["pk12util", "-i", f"{home}/peer.p12", "-d", f"sql:{home}", "-W", "", "-K", ""])
        return f"sql:{home}"

    def selfserv(self, version, code, *options, rsa=False):
        """NSS's server, which answers with a page."""
        self.port = PORT
        home = self.nss_database("nss-server", self.lab.certs.server(rsa=rsa))
        process = self.server.start(["selfserv", "-d", home, "-n", "peer", "-p", str(PORT), "-V",
                                     f"{version}:{version}", "-c", code, *options], log=self.lab.log("selfserv"))
        self.server.wait_port(PORT, process)
        self.lab.versions(server=f"NSS {package('libnss3')} selfserv")

    def tstclnt(self, version, code, *options, check=True):
        home = self.nss_database("nss-client")
        # It does not leave by itself.
        command = ["timeout", "2", "tstclnt", "-h", self.server.v4, "-a", NAME, "-p", str(self.port), "-d", home, "-o", "-V",
                   f"{version}:{version}", "-c", code, *options]
        self.lab.versions(client=f"NSS {package('libnss3')} tstclnt")
        said = self.client.call(drive, command, [f"GET /{self.lab.canary('path')} HTTP/1.0\r\n\r\n"])
        if check and "200 OK" not in said:
            raise RuntimeError(said)
        return said

    # --- wolfSSL ---

    def wolf(self, version, cipher, rsa=False):
        """A session between two wolfSSL peers."""
        self.port, program = PORT, self.lab.work / "wolf_peer"
        sh(["gcc", "-Wall", "-o", str(program), str(HERE / "wolf_peer.c"), "-lwolfssl"])
        crt, key = map(str, self.lab.certs.server(rsa=rsa))
        command = [self.server.v4, str(PORT), version, cipher, crt, key, NAME, self.lab.canary("word")]
        process = self.server.start([str(program), "server", *command], log=self.lab.log("wolf"))
        self.server.wait_port(PORT, process)
        name = f"wolfSSL {package('libwolfssl-dev')}"
        self.lab.versions(server=name, client=name)
        return self.client.run([str(program), "client", *command]).stdout

    # --- rustls ---

    def rustls_server(self, role="server", port=PORT, pair=None, **values):
        self.port = port
        crt, key = pair or self.lab.certs.server()
        values = {"cert": crt, "key": key, **values}
        process = self.server.start([rustls_peer(), role, f"{self.server.v4}:{port}",
                                     *(f"{k}={v}" for k, v in values.items() if v is not None)],
                                    log=self.lab.log("rustls"))
        self.server.wait_port(port, process, kind="udp" if role.startswith("quic") else "tcp")
        self.lab.versions(server=rustls_version())
        return process

    def rustls_client(self, role="client", **values):
        """All a rustls client says of its connections."""
        values = {"ca": self.lab.certs.ca, "name": NAME, "word": self.lab.canary("word"), **values}
        self.lab.versions(client=rustls_version())
        done = self.client.run([rustls_peer(), role, f"{self.server.v4}:{self.port}",
                                *(f"{k}={v}" for k, v in values.items() if v is not None)], timeout=20, check=False)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        return done.stdout

    def rustls_flow(self, said, **facts):
        """A flow, by one line of what a rustls client said."""
        found = re.search(r"version=(\S+) cipher=(\S+) group=(\S*) alpn=(\S*) kind=Some\((\w+)\)", said)
        cipher = found[2].replace("TLS13_", "TLS_")
        tls = {"hello_retry_request": found[5] == "FullWithHelloRetryRequest", "resumed": found[5].startswith("Resumed")}
        if found[3]:
            tls["group"] = GROUPS.get(found[3], found[3])
        if found[4] and found[1] != "TLSv1.3":
            facts.setdefault("alpn", found[4])
        tls |= facts.pop("tls", {})
        return self.flow(**{"sni": NAME, "tls_version": found[1], "tls_cipher": cipher, "tls": tls, **facts})

    # --- what peers say ---

    @staticmethod
    def said(said):
        """Facts of the `tls` table that s_client prints."""
        out = {"resumed": "\nReused, " in said}
        key = re.search(r"Server Temp Key: (?:ECDH, )?(\S+), (\d+) bits", said)
        if key and key[1] == "DH":
            if "TLSv1.3" not in re.findall(r"^New, (\S+),", said, re.M):
                out["dh_bits"] = int(key[2])
        elif key:
            out["group"] = GROUPS.get(key[1], key[1])
        version = re.findall(r"^ +Protocol +: (\S+)", said, re.M)
        if version and dotted(version[0]) != "TLSv1.3":
            out["extended_master_secret"] = "Extended master secret: yes" in said
        return out

    @staticmethod
    def gnutls_said(said):
        """Facts of the `tls` table that gnutls-cli prints."""
        out = {}
        group = re.search(r"^- Description: .*\((?:ANON-)?(?:EC)?DHE?(?:-ANON)?-(\w+)\)", said, re.M)
        if group and group[1] in GROUPS:
            out["group"] = GROUPS[group[1]]
        if "(TLS1.3" not in said:
            out["extended_master_secret"] = "extended master secret" in said
        return out


def package(name):
    return subprocess.check_output(["dpkg-query", "-W", "-f", "${Version}", name], text=True).split(":")[-1]


def rustls_peer():
    """The program of `rustls_peer/`, built when it is first needed (with crates from crates.io)."""
    target = HERE.parents[1] / "target" / "rustls_peer"
    if not getattr(rustls_peer, "built", False):
        environment = {**os.environ, "CARGO_TARGET_DIR": str(target)}
        sh(["cargo", "build", "--quiet", "--locked", "--manifest-path", str(HERE / "rustls_peer/Cargo.toml")],
           env=environment)
        rustls_peer.built = True
    return str(target / "debug" / "rustls_peer")


def rustls_version():
    lock = (HERE / "rustls_peer/Cargo.lock").read_text()
    versions = dict(re.findall(r'name = "([\w-]+)"\nversion = "([\w.+-]+)"', lock))
    return f"rustls {versions['rustls']} (aws-lc-rs {versions['aws-lc-rs']})"


def careless(lab):
    """An environment in which OpenSSL takes short primes: what -cipher says comes too late for them."""
    path = lab.work / "careless.cnf"
    path.write_text("openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = weak\n[weak]\n"
                    "CipherString = ALL:@SECLEVEL=0\n")
    return {"OPENSSL_CONF": str(path)}


def dh_parameters(lab, bits):
    """A file with a prime of this size, made once."""
    path = lab.certs.directory / f"dh{bits}.pem"
    if not path.exists():
        named = {1536: "modp_1536", 2048: "ffdhe2048", 3072: "ffdhe3072"}.get(bits)
        if named:
            sh(["openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", f"group:{named}", "-out", str(path)])
        else:
            sh(["openssl", "dhparam", "-out", str(path), str(bits)])
    return path
