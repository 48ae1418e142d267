"""Firebird 3: the encryption of the line as the server demands or forbids it."""

import pathlib

from lab import Cases

APT = ["firebird3.0-server", "firebird3.0-utils"]
cases = Cases()
HOME = "/var/lib/firebird/3.0"


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    if c2s[:8] != b"\0\0\0\1\0\0\0\x13":
        yield f"no op_connect: {c2s[:8]!r}"
    clear = b"cnrydata" in c2s + s2c
    if clear != (flow["encryption"] == "plaintext") and flow["outcome"] == "established":
        yield f"{flow['encryption']}, and the data {'can' if clear else 'cannot'} be read"


def setup(lab):
    """One user, made by the embedded engine."""
    sql = "create or alter user SYSDBA password 'masterke' using plugin Srp;\ncommit;\n"
    lab.server.run(["setpriv", "--reuid=firebird", "--regid=firebird", "--init-groups", "isql-fb", "-user", "sysdba",
                    f"{HOME}/system/security3.fdb"], input=sql)


def session(lab, server="Enabled", client="Enabled"):
    home = lab.directory("firebird", user="firebird")
    conf = pathlib.Path("/etc/firebird/3.0/firebird.conf")
    kept = conf.read_text()
    try:
        conf.write_text(f"WireCrypt = {server}\nRemoteBindAddress = {lab.server.v4}\nDatabaseAccess = Full\n")
        process = lab.server.start(["/usr/sbin/firebird"], user="firebird", log=lab.log("firebird"))
        lab.server.wait_port(3050, process)
        conf.write_text(f"WireCrypt = {client}\n")
        data = lab.canary("data")
        sql = (f"create database '{lab.server.v4}:{home}/lab.fdb' user 'SYSDBA' password 'masterke';\n"
               f"create table t (a varchar(40));\ncommit;\ninsert into t values ('{data}');\nselect * from t;\n")
        said = lab.client.run(["isql-fb", "-q"], input=sql, check=False).stdout
    finally:
        conf.write_text(kept)
    lab.versions(server="Firebird 3.0.11", client="isql-fb 3.0.11")
    return said


def flow(lab, encryption, **facts):
    reason = "client_never_asked" if encryption == "plaintext" else None
    return lab.flow(**{"server_port": 3050, "encryption": encryption, "app": "firebird", "outcome": "established",
                       "plaintext_reason": reason, "confidence": "both_sides", **facts})


@cases.case("wire-crypt", "the line is encrypted, as is the default")
def _(lab):
    session(lab)
    return [flow(lab, "other-encrypted")]


@cases.case("no-wire-crypt", "the server does not encrypt the line")
def _(lab):
    session(lab, "Disabled", "Enabled")
    return [flow(lab, "plaintext")]
