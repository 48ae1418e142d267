"""The rsync daemon: with and without a password, refused, one side only."""

import http_servers as web
from lab import Cases

APT = ["rsync"]
cases = Cases()
HASH = "password_hash_challenge"


def check(flow, c2s, s2c):
    if any(said and not said.startswith(b"@RSYNCD: ") for said in (c2s, s2c)):
        yield f"port {flow['client_port']}: no greeting"
    if (HASH in flow["credentials"]) != (c2s.split(b"\n")[2:3] != [] and c2s.split(b"\n")[2].startswith(b"bob ")):
        yield f"port {flow['client_port']}: {flow['credentials']}"


def flow(lab, **facts):
    return lab.flow(**{"server_port": 873, "encryption": "plaintext", "app": "rsync", "outcome": "established",
                       "confidence": "both_sides", "plaintext_reason": "no_in_band_upgrade", **facts})


def serve(lab, options=""):
    home = lab.directory("rsync")
    (home / "data").mkdir()
    (home / "data" / "file").write_text(lab.canary("content"))
    (home / "secrets").write_text("bob:secret\n")
    (home / "secrets").chmod(0o600)
    (home / "motd").write_text("Welcome\n")
    (home / "conf").write_text(f"use chroot = no\nmotd file = {home}/motd\nlog file = {home}/log\n"
                               f"[data]\npath = {home}/data\n{options.format(home=home)}\n")
    process = lab.server.start(["rsync", "--daemon", "--no-detach", "--config", str(home / "conf"),
                                f"--address={lab.server.v4}"], log=lab.log("rsync"))
    lab.server.wait_port(873, process)
    version = web.version(["rsync", "--version"], r"version (\S+)")
    lab.versions(server=f"rsync {version}", client=f"rsync {version}")


def fetch(lab, user="", password="", check=True):
    target = lab.directory("fetched")
    lab.client.run(["rsync", f"rsync://{user}{lab.server.v4}/data/file", str(target)], check=check,
                   env={"RSYNC_PASSWORD": password, "PATH": "/usr/bin:/bin"})


@cases.case("anonymous", "a file of a module that anyone may read")
def _(lab):
    serve(lab)
    fetch(lab)
    return [flow(lab)]


AUTH = "auth users = bob\nsecrets file = {home}/secrets"


@cases.case("password", "a module with a password: challenge and digest")
def _(lab):
    serve(lab, AUTH)
    fetch(lab, "bob@", "secret")
    return [flow(lab, credentials=[HASH])]


@cases.case("wrong-password", "a wrong password: @ERROR")
def _(lab):
    serve(lab, AUTH)
    fetch(lab, "bob@", "wrong", check=False)
    lab.canaries.clear()
    return [flow(lab, credentials=[HASH], outcome="refused")]


@cases.case("client-only", "only what the client sends was mirrored", mirror=("server:in",))
def _(lab):
    serve(lab, AUTH)
    fetch(lab, "bob@", "secret")
    lab.canaries.clear()
    return [flow(lab, credentials=[HASH], confidence="one_side")]
