"""iSCSI: tgt in user space with a file behind it; the initiator is scripted (the kernel's needs a module)."""

import hashlib
import time

import http_servers as web
from lab import Cases

APT = ["tgt"]
cases = Cases()
PORT = 3260
TARGET = "iqn.2026-11.internal.lab:disk"
HASH = "password_hash_challenge"


def check(flow, c2s, s2c):
    if c2s and c2s[0] != 0x43:
        yield f"port {flow['client_port']}: no login"
    if (HASH in flow["credentials"]) != (b"CHAP_R=" in c2s):
        yield f"port {flow['client_port']}: CHAP"


def flow(lab, **facts):
    return lab.flow(**{"server_port": PORT, "encryption": "plaintext", "app": "iscsi", "outcome": "established",
                       "confidence": "both_sides", "plaintext_reason": "no_in_band_upgrade", **facts})


def serve(lab, secret=None):
    disk = lab.directory("tgt") / "disk"
    disk.write_bytes(b"\0" * (1 << 20))
    process = lab.server.start(["/usr/sbin/tgtd", "-f", "-C", "7", "--iscsi", f"portal={lab.server.v4}:{PORT}"],
                               log=lab.log("tgtd"))
    lab.server.wait_port(PORT, process)
    def admin(*words):
        lab.server.run(["tgtadm", "-C", "7", "--lld", "iscsi", *words])
    admin("--op", "new", "--mode", "target", "--tid", "1", "-T", TARGET)
    admin("--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", "1", "-b", str(disk))
    admin("--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")
    if secret:
        admin("--op", "new", "--mode", "account", "--user", "bob", "--password", secret)
        admin("--op", "bind", "--mode", "account", "--tid", "1", "--user", "bob")
    time.sleep(0.2)
    lab.versions(server="tgt " + web.version(["dpkg-query", "-W", "tgt"], r"\t\d*:?(\d[\d.]+)"), client="scripted")


def log_in(address, name, secret=None):
    """Runs in the client's namespace: the login phase, then a NOP."""
    import socket
    import struct
    with socket.create_connection((address, PORT), timeout=5) as sock:
        number = 0
        def request(flags, **keys):
            text = b"".join(f"{key}={value}\0".encode() for key, value in keys.items())
            head = struct.pack(">BBBBI6sHIHHII16s", 0x43, flags, 0, 0, len(text), b"\x80\1\2\3\4\5", 0, 1, 1, 0, 1,
                               number, b"")
            sock.sendall(head + text + b"\0" * (-len(text) % 4))
            answer = b""
            while len(answer) < 48:
                answer += sock.recv(4096)
            return dict(pair.split(b"=", 1) for pair in answer[48:].split(b"\0") if b"=" in pair), answer[36]
        first = {"InitiatorName": name, "SessionType": "Normal", "TargetName": TARGET}
        if secret is None:
            request(0x87, AuthMethod="None", **first)
        else:
            request(0x00, AuthMethod="CHAP", **first)
            keys, _ = request(0x00, CHAP_A="5")
            challenge = bytes.fromhex(keys[b"CHAP_C"][2:].decode())
            digest = hashlib.md5(bytes([int(keys[b"CHAP_I"])]) + secret.encode() + challenge).hexdigest()
            _, status = request(0x81, CHAP_N="bob", CHAP_R="0x" + digest)
            if status:
                return
            request(0x87, HeaderDigest="None")
        sock.sendall(b"\x40\x80" + bytes(14) + b"\0\0\0\2\xff\xff\xff\xff\0\0\0\1\0\0\0\1" + bytes(16))
        sock.recv(48)


@cases.case("login", "a login without authentication")
def _(lab):
    serve(lab)
    lab.client.call(log_in, lab.server.v4, "iqn.2026-11.internal.lab:" + lab.canary("initiator"))
    return [flow(lab)]


@cases.case("chap", "CHAP: a challenge and a digest")
def _(lab):
    serve(lab, "secretsecret")
    lab.client.call(log_in, lab.server.v4, "iqn.2026-11.internal.lab:" + lab.canary("initiator"), "secretsecret")
    return [flow(lab, credentials=[HASH])]


@cases.case("chap-wrong", "a wrong secret")
def _(lab):
    serve(lab, "secretsecret")
    lab.client.call(log_in, lab.server.v4, "iqn.2026-11.internal.lab:" + lab.canary("initiator"), "wrongwrong12")
    return [flow(lab, credentials=[HASH], outcome="refused")]
