"""Kerberos: MIT's KDC over UDP and TCP; tickets, errors, wrong passwords."""

import re

from lab import Cases

APT = ["krb5-kdc", "krb5-admin-server", "krb5-user"]
cases = Cases()
SEALED = {"encryption": "other-encrypted", "app": "kerberos", "confidence": "both_sides"}
TAGS = {0x6A: "AS-REQ", 0x6B: "AS-REP", 0x6C: "TGS-REQ", 0x6D: "TGS-REP", 0x7E: "KRB-ERROR"}


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    skip = 4 if flow["transport"] == "tcp" else 0
    for said, tags in ((c2s, (0x6A, 0x6C)), (s2c, (0x6B, 0x6D, 0x7E))):
        if said and said[skip] not in tags:
            yield f"port {flow['client_port']}: begins {said[:8]!r}"
    if flow["outcome"] == "refused" and s2c[skip] != 0x7E:
        yield f"port {flow['client_port']}: refused by {TAGS.get(s2c[skip])}"


def kdc(lab):
    """A KDC with three users: cnry..user, one who has to prove the password first, and a service."""
    home = lab.directory("krb5")
    (home / "krb5.conf").write_text(f"""[libdefaults]
 default_realm = LAB.INTERNAL
 dns_lookup_kdc = false
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
 udp_preference_limit = LIMIT
[realms]
 LAB.INTERNAL = {{
  kdc = {lab.server.v4}
 }}
""".replace("LIMIT", "1465"))
    (home / "tcp.conf").write_text((home / "krb5.conf").read_text().replace("1465", "1"))
    (home / "kdc.conf").write_text(f"""[realms]
 LAB.INTERNAL = {{
  database_name = {home}/principal
  key_stash_file = {home}/stash
  kdc_listen = 88
  kdc_tcp_listen = 88
 }}
[logging]
 kdc = FILE:{home}/log
""")
    env = {"KRB5_CONFIG": str(home / "krb5.conf"), "KRB5_KDC_PROFILE": str(home / "kdc.conf"),
           "KRB5CCNAME": f"FILE:{home}/cache"}
    lab.server.run(["kdb5_util", "create", "-s", "-P", "master", "-r", "LAB.INTERNAL"], env=env)
    user, sure, password = lab.canary("user"), lab.canary("sure"), lab.canary("password")
    for words in (f"addprinc -pw {password} {user}", f"addprinc +requires_preauth -pw {password} {sure}",
                  "addprinc -randkey host/service"):
        lab.server.run(["kadmin.local", "-q", words], env=env)
    process = lab.server.start(["/usr/sbin/krb5kdc", "-n", "-P", str(home / "pid")], log=lab.log("kdc"), env=env)
    lab.server.wait_port(88, process, kind="udp")
    said = lab.server.run(["dpkg-query", "-W", "-f", "${Version}", "krb5-kdc"]).stdout
    version = re.match(r"[\d.]+", said).group()
    lab.versions(server=f"MIT krb5kdc {version}", client=f"MIT kinit {version}")
    return env, user, sure, password


def kinit(lab, env, user, password, tcp=False, check=True):
    env = {**env, "KRB5_CONFIG": env["KRB5_CONFIG"].replace("krb5.conf", "tcp.conf")} if tcp else env
    return lab.client.run(["kinit", user], env=env, input=password + "\n", check=check)


def sealed(lab, transport="udp", **facts):
    return lab.flow(**{"transport": transport, "server_port": 88, "outcome": "established", **SEALED, **facts})


@cases.case("kinit-udp", "a ticket granting ticket over UDP")
def _(lab):
    env, user, _sure, password = kdc(lab)
    kinit(lab, env, user, password)
    return [sealed(lab)]


@cases.case("kinit-tcp", "a ticket granting ticket, then one for a service, over TCP")
def _(lab):
    env, user, _sure, password = kdc(lab)
    kinit(lab, env, user, password, tcp=True)
    lab.client.run(["kvno", "host/service"], env={**env, "KRB5_CONFIG": env["KRB5_CONFIG"].replace("krb5.conf", "tcp.conf")})
    return [sealed(lab, "tcp"), sealed(lab, "tcp")]


@cases.case("preauth", "pre-authentication required (an error that refuses nothing), then done")
def _(lab):
    env, _user, sure, password = kdc(lab)
    kinit(lab, env, sure, password)
    return [sealed(lab), sealed(lab)]


@cases.case("wrong-password", "pre-authentication with a wrong password")
def _(lab):
    env, _user, sure, _password = kdc(lab)
    kinit(lab, env, sure, "nonsense", check=False)
    return [sealed(lab), sealed(lab, outcome="refused")]


@cases.case("unknown-user", "a principal the KDC does not know")
def _(lab):
    env, *_ = kdc(lab)
    kinit(lab, env, "nobody", "nonsense", check=False)
    return [sealed(lab, outcome="refused")]


@cases.case("answers-only", "only what the KDC sends", mirror=["server:out"])
def _(lab):
    env, user, _sure, password = kdc(lab)
    kinit(lab, env, user, password, tcp=True)
    return [sealed(lab, "tcp", confidence="one_side")]
