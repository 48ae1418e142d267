"""LDAP: OpenLDAP's server and tools, ldap3; binds, StartTLS, SASL with and without a sealing layer, views."""

import re

import shape
from lab import Cases

APT = ["slapd", "ldap-utils", "libsasl2-modules"]
PIP = ["ldap3"]
cases = Cases()
SUFFIX = "dc=lab,dc=internal"


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    where = f"port {flow['client_port']}"
    if flow["origin"] == "start" and flow.get("app") == "ldap":
        for said in (c2s, s2c):
            if said and said[:1] != b"\x30":
                yield f"{where}: does not begin with a sequence: {said[:8]!r}"
        if (flow.get("upgrade") is not None) != (b"\x16\x03" in c2s + s2c):
            yield f"{where}: upgrade is {flow.get('upgrade')}"


def plain(lab, **facts):
    return lab.flow(**{"server_port": 389, "encryption": "plaintext", "app": "ldap", "outcome": "established",
                       "plaintext_reason": "client_never_asked", "confidence": "both_sides", **facts})


def upgraded(lab, **facts):
    return lab.flow(**{"server_port": 389, "encryption": "tls", "app": "ldap", "upgrade": "ldap-starttls",
                       "outcome": "established", "tls_version": "TLSv1.3", "confidence": "both_sides", **facts})


def slapd(lab, tls=True):
    """OpenLDAP with one user, whose password it keeps readable for SASL."""
    home = lab.directory("slapd")
    (home / "db").mkdir()
    user, password = lab.canary("user"), lab.canary("pass")
    crt, key = lab.certs.server()
    secure = f"TLSCertificateFile {crt}\nTLSCertificateKeyFile {key}\nTLSCACertificateFile {lab.certs.ca}\n"
    (home / "conf").write_text(f"""include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {home}/pid
argsfile {home}/args
{secure if tls else ""}sasl-secprops none
sasl-auxprops slapd
sasl-host {lab.server.v4}
authz-regexp "uid=([^,]*),.*cn=auth" "cn=$1,{SUFFIX}"
database mdb
directory {home}/db
maxsize 10485760
suffix "{SUFFIX}"
rootdn "cn=root,{SUFFIX}"
access to * by * read
""")
    (home / "ldif").write_text(f"""dn: {SUFFIX}
objectClass: dcObject
objectClass: organization
o: lab
dc: lab

dn: cn={user},{SUFFIX}
objectClass: person
cn: {user}
sn: {lab.canary("name")}
userPassword: {password}
""")
    lab.server.run(["/usr/sbin/slapadd", "-f", str(home / "conf"), "-l", str(home / "ldif")])
    process = lab.server.start(["/usr/sbin/slapd", "-d", "0", "-h", "ldap://0.0.0.0:389 ldap://[::]:389",
                                "-f", str(home / "conf")], log=lab.log("slapd"))
    lab.server.wait_port(389, process)
    version = lab.server.run(["/usr/sbin/slapd", "-VV"], check=False).stderr
    lab.versions(server="OpenLDAP " + re.search(r"slapd (\S+)", version).group(1))
    return f"cn={user},{SUFFIX}", password


def tool(lab, *args, program="ldapsearch", check=True):
    """Run one of OpenLDAP's tools against the server."""
    what = ["-b", SUFFIX, "(objectClass=person)", "sn"] if program == "ldapsearch" else []
    lab.versions(client=f"OpenLDAP {program}")
    return lab.client.run([program, "-H", f"ldap://{lab.server.v4}", *args, *what], check=check,
                          env={"LDAPTLS_CACERT": str(lab.certs.ca), "LDAPTLS_REQCERT": "allow"})


# --- binds -------------------------------------------------------------------------

@cases.case("simple-bind", "ldapsearch with a simple bind: the password and the entry can be read")
def _(lab):
    name, password = slapd(lab)
    tool(lab, "-x", "-D", name, "-w", password)
    return [plain(lab, credentials=["password_cleartext"])]


@cases.case("anonymous", "ldapsearch without a login")
def _(lab):
    slapd(lab)
    lab.canaries.remove(lab.canary("pass"))
    tool(lab, "-x")
    return [plain(lab)]


@cases.case("wrong-password", "a simple bind with a wrong password")
def _(lab):
    name, _right = slapd(lab)
    assert tool(lab, "-x", "-D", name, "-w", lab.canary("wrong"), check=False).returncode == 49
    return [plain(lab, outcome="refused", credentials=["password_cleartext"])]


@cases.case("find-then-bind", "ldap3: an anonymous search for the name, then a bind with the password")
def _(lab):
    def work(address, name, password, suffix):
        import ldap3
        server = ldap3.Server(address, get_info=ldap3.NONE)
        connection = ldap3.Connection(server, auto_bind=True)
        connection.search(suffix, "(objectClass=person)", attributes=["sn"])
        assert connection.rebind(name, password)
        connection.unbind()
        return ldap3.__version__
    name, password = slapd(lab)
    used = lab.client.call(work, lab.server.v4, name, password, SUFFIX)
    lab.versions(client=f"ldap3 {used}")
    return [plain(lab, credentials=["password_cleartext"])]


# --- SASL --------------------------------------------------------------------------

def sasl(lab, mechanism, *more):
    name, password = slapd(lab)
    user = name.split(",")[0][3:]
    tool(lab, "-Y", mechanism, "-U", user, "-w", password, *more, program="ldapsearch")


@cases.case("sasl-plain", "SASL PLAIN")
def _(lab):
    sasl(lab, "PLAIN", "-O", "none")
    return [plain(lab, credentials=["sasl_plain"])]


@cases.case("sasl-cram-md5", "SASL CRAM-MD5: a hash of the password and a challenge")
def _(lab):
    sasl(lab, "CRAM-MD5")
    return [plain(lab, credentials=["password_hash_challenge"])]


@cases.case("sasl-scram", "SASL SCRAM-SHA-1")
def _(lab):
    sasl(lab, "SCRAM-SHA-1")
    return [plain(lab, credentials=["password_hash_challenge"])]


@cases.case("sasl-sealed", "SASL DIGEST-MD5 with its sealing layer: what follows the login cannot be read")
def _(lab):
    sasl(lab, "DIGEST-MD5", "-O", "minssf=56")
    return [lab.flow(server_port=389, encryption="other-encrypted", app="ldap", outcome="established",
                     confidence="both_sides", credentials=["password_hash_challenge"])]


@cases.case("sasl-signed", "SASL DIGEST-MD5 with signatures only: everything can be read")
def _(lab):
    sasl(lab, "DIGEST-MD5", "-O", "minssf=1,maxssf=1")
    return [plain(lab, credentials=["password_hash_challenge"])]


# --- StartTLS -----------------------------------------------------------------------

@cases.case("start-tls", "StartTLS, then a simple bind inside TLS")
def _(lab):
    name, password = slapd(lab)
    tool(lab, "-ZZ", "-x", "-D", name, "-w", password)
    return [upgraded(lab)]


@cases.case("start-tls-refused", "StartTLS is refused; the client logs in anyway")
def _(lab):
    name, password = slapd(lab, tls=False)
    tool(lab, "-Z", "-x", "-D", name, "-w", password)
    return [plain(lab, plaintext_reason="server_refused", credentials=["password_cleartext"])]


@cases.case("start-tls-refused-leaves", "StartTLS is refused and the client insists: it leaves")
def _(lab):
    name, password = slapd(lab, tls=False)
    lab.canaries.clear()
    tool(lab, "-ZZ", "-x", "-D", name, "-w", password, check=False)
    return [plain(lab, plaintext_reason="server_refused", outcome="refused")]


@cases.case("offer-declined", "ldap3 reads that the server has StartTLS, and logs in without")
def _(lab):
    def work(address, name, password):
        import ldap3
        server = ldap3.Server(address, get_info=ldap3.DSA)
        connection = ldap3.Connection(server, name, password, read_only=True)
        connection.open()
        server.get_info_from_server(connection)
        assert connection.bind(read_server_info=False)
        connection.unbind()
        return ldap3.__version__
    name, password = slapd(lab)
    used = lab.client.call(work, lab.server.v4, name, password)
    lab.versions(client=f"ldap3 {used}")
    return [plain(lab, plaintext_reason="client_declined", credentials=["password_cleartext"])]


# --- views --------------------------------------------------------------------------

@cases.case("client-side-only", "only what the client sends", mirror=["server:in"])
def _(lab):
    name, password = slapd(lab)
    tool(lab, "-x", "-D", name, "-w", password)
    return [plain(lab, confidence="one_side", credentials=["password_cleartext"])]


@cases.case("start-tls-client-side-only", "StartTLS, and only what the client sends", mirror=["server:in"])
def _(lab):
    name, password = slapd(lab)
    tool(lab, "-ZZ", "-x", "-D", name, "-w", password)
    return [upgraded(lab, tls_version=None, confidence="one_side")]


@cases.case("start-tls-server-side-only", "StartTLS, and only what the server sends", mirror=["server:out"])
def _(lab):
    name, password = slapd(lab)
    tool(lab, "-ZZ", "-x", "-D", name, "-w", password)
    return [upgraded(lab, confidence="one_side")]


@cases.case("late", "the recording starts with a search", shape=[shape.late(
    lambda p: b"objectClass" in p.payload and p.dport == 389)])
def _(lab):
    name, password = slapd(lab)
    lab.canaries.remove(password)
    tool(lab, "-x", "-D", name, "-w", password)
    return [plain(lab, origin="midstream", confidence="midstream", plaintext_reason=None)]
