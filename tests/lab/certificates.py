"""Server certificates of every kind, in clear in TLS 1.2: what a passive observer can judge."""

import datetime

from tls_server import NAME, WEAK
from tls_server import check  # noqa: F401 (used by lab.py)

from lab import Cases

APT = ["openssl", "gcc", "libc6-dev"]
PIP = ["cryptography"]
cases = Cases()


def setup(lab):
    import tls_peers
    lab.state = tls_peers.Peers(lab)


def root(lab):
    """The CA of this family, made once."""
    import cert_kinds as kinds
    if not hasattr(lab, "kinds_root"):
        lab.kinds_root = kinds.make(subject=kinds.name("Lab Root"), sans=(), ca=True, end=3650)
    return lab.kinds_root


def presents(label, proves, build, sni=NAME, version="1.2", **tls):
    """A case: s_server presents what `build` gives: a leaf, or a list of the leaf and the certificates above it."""
    @cases.case(label, proves)
    def _(lab):
        import cert_kinds as kinds
        peers = lab.state
        made = build(kinds, root(lab))
        leaf, *chain = made if isinstance(made, list) else [made]
        crt, key, rest = kinds.write(lab, label, leaf, chain)
        ask = ["-cipher", f"ALL:{WEAK}"] + ([f"-tls1_{version[-1]}"] if version != "1.0" else ["-tls1"])
        peers.serve(*ask, *(["-cert_chain", rest] if rest else []), cert=(crt, key))
        said = peers.s_client(*ask, name=sni)
        told = {k: v(kinds) if callable(v) else v for k, v in tls.items()}
        return [peers.flow(said, sni=sni, tls={**peers.said(said), **told})]


def ends(offset):
    return lambda kinds: f"{kinds.day(offset):%Y-%m-%d}"


# --- when, by whom, for whom ---------------------------------------------------------------------

presents("expired", "a certificate that ended ten days ago", lambda k, r: k.make(r, start=-40, end=-10),
         cert_not_after=ends(-10))
presents("not-yet-valid", "a certificate that begins in ten days", lambda k, r: k.make(r, start=10, end=40),
         cert_not_before=ends(10), cert_not_after=ends(40))
presents("expires-tomorrow", "a certificate with one day left", lambda k, r: k.make(r, start=-30, end=1),
         cert_not_after=ends(1))
presents("expires-in-29-days", "a certificate with 29 days left", lambda k, r: k.make(r, end=29),
         cert_not_after=ends(29))
presents("valid-a-year", "a certificate with a year left", lambda k, r: k.make(r, end=365), cert_not_after=ends(365))
presents("beyond-2049", "dates beyond 2049 are GeneralizedTime",
         lambda k, r: k.make(r, until=datetime.datetime(2061, 5, 17, 12, tzinfo=datetime.timezone.utc)),
         cert_not_after="2061-05-17")
presents("never-expires", "the date RFC 5280 has for no end: 99991231235959Z",
         lambda k, r: k.make(r, until=datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.timezone.utc)),
         cert_not_after="9999-12-31")
presents("since-1950", "a certificate from 1950, the first year of UTCTime",
         lambda k, r: k.make(r, since=datetime.datetime(1950, 1, 2, tzinfo=datetime.timezone.utc)),
         cert_not_before="1950-01-02")
presents("self-signed", "a certificate signed by its own key", lambda k, r: k.make(), cert_self_signed=True)
presents("same-names-not-self-signed", "issuer and subject have the same name, and another key signed",
         lambda k, r: k.make(k.make(subject=k.name(NAME), ca=True)))
presents("ca-as-leaf", "a server that presents a CA certificate as its own", lambda k, r: k.make(r, ca=True))
presents("no-basic-constraints", "a leaf without basic constraints", lambda k, r: k.make(r, ca=None))
presents("root-alone", "a server that presents the self-signed CA itself",
         lambda k, r: k.make(subject=k.name("Lab Appliance CA"), ca=True), cert_self_signed=True)
presents("wrong-name", "the certificate is for another name than the client asked for",
         lambda k, r: k.make(r, subject=k.name("other.example"), sans=["other.example", "www.other.example"]))
presents("wildcard", "a wildcard that covers the name", lambda k, r: k.make(r, sans=["*.lab.internal"]))
presents("wildcard-too-deep", "a wildcard only covers one label", lambda k, r: k.make(r, sans=["*.lab.internal"]),
         sni="a.db.lab.internal")
presents("wildcard-at-the-top", "a wildcard does not cover the domain itself",
         lambda k, r: k.make(r, sans=["*.lab.internal"]), sni="lab.internal")
presents("upper-case", "names compare without case", lambda k, r: k.make(r, sans=["DB.Lab.Internal"]))
presents("common-name-only", "no SAN: only the common name has the name", lambda k, r: k.make(r, sans=()))
presents("san-without-common-name", "an empty subject: only the SAN has the name",
         lambda k, r: k.make(r, subject=k.name()))
presents("address-san", "a certificate for addresses, and no SNI",
         lambda k, r: k.make(r, sans=(), ips=["10.77.2.20", "fd77::2:20"]), sni=None)
presents("sans-100", "a certificate with 100 names",
         lambda k, r: k.make(r, sans=[f"service-{i:03}.lab.internal" for i in range(99)] + [NAME]))

# --- keys and signatures ------------------------------------------------------------------------------

for bits in (1024, 3072, 4096):
    presents(f"rsa-{bits}", f"an RSA key of {bits} bits",
             (lambda bits: lambda k, r: k.make(r, key=f"rsa{bits}"))(bits), cert_key=f"rsaEncryption {bits}")
for key, said in (("p256", 256), ("p384", 384), ("p521", 521)):
    presents(f"ecdsa-{key}", f"an ECDSA key on {key.replace('p', 'P-')}", (lambda key: lambda k, r: k.make(r, key=key))(key),
             cert_key=f"id-ecPublicKey {said}")
presents("ed25519", "an Ed25519 key that signs the key exchange", lambda k, r: k.make(r, key="ed25519"),
         signature_algorithm="ed25519")
presents("ed448", "an Ed448 key that signs the key exchange", lambda k, r: k.make(r, key="ed448"),
         signature_algorithm="ed448")
for digest in ("sha384", "sha512"):
    presents(f"signed-with-{digest}", f"signed with ECDSA and {digest.upper()}",
             (lambda digest: lambda k, r: k.make(r, digest=digest))(digest),
             cert_signature=f"ecdsa-with-{digest.upper()}")
presents("signed-by-ed25519", "signed by an Ed25519 CA",
         lambda k, r: k.make(k.make(key="ed25519", subject=k.name("Lab Ed25519 CA"), ca=True)), cert_signature="ED25519")
presents("signed-by-ed448", "signed by an Ed448 CA",
         lambda k, r: k.make(k.make(key="ed448", subject=k.name("Lab Ed448 CA"), ca=True)), cert_signature="ED448")
presents("signed-with-pss", "signed by RSA with PSS",
         lambda k, r: k.make(k.make(key="rsa2048", subject=k.name("Lab RSA CA"), ca=True), pss=True),
         cert_signature="rsassaPss")


def by_openssl(label, proves, *options, key=("rsa:2048",), version="1.2", extra=(), **tls):
    """A case: a self-signed certificate that only the openssl program still makes."""
    @cases.case(label, proves)
    def _(lab):
        from net import sh
        peers, crt, pem = lab.state, lab.work / f"{label}.crt", lab.work / f"{label}.key"
        sh(["openssl", "req", "-x509", "-newkey", *key, "-nodes", "-days", "30", "-subj", f"/CN={NAME}", "-addext",
            f"subjectAltName=DNS:{NAME}", "-keyout", str(pem), "-out", str(crt), *options])
        ask = [f"-tls1_{version[-1]}" if version != "1.0" else "-tls1", "-cipher", f"ALL:{WEAK}", *extra]
        peers.serve(*ask, cert=(crt, pem))
        said = peers.s_client(*ask)
        return [peers.flow(said, sni=NAME, tls={**peers.said(said), **tls})]


by_openssl("signed-with-sha1", "signed with SHA-1", "-sha1", cert_signature="sha1WithRSAEncryption")
by_openssl("signed-with-md5", "signed with MD5", "-md5", cert_signature="md5WithRSAEncryption")
by_openssl("rsa-512", "an RSA key of 512 bits", key=("rsa:512",), version="1.0", cert_key="rsaEncryption 512")
by_openssl("rsa-pss-key", "a key that is for RSA-PSS only", key=("rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"),
           signature_algorithm="rsa_pss_pss_sha256")
by_openssl("brainpool-key", "a key on a brainpool curve", key=("ec", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1"),
           extra=["-groups", "X25519:P-256:brainpoolP256r1"])
by_openssl("explicit-curve-key", "a key with explicit curve parameters", version="1.2",
           key=("ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"))
for scheme, iana in (("RSA+SHA1", "rsa_pkcs1_sha1"), ("RSA+SHA256", "rsa_pkcs1_sha256"),
                     ("RSA+SHA512", "rsa_pkcs1_sha512"), ("rsa_pss_rsae_sha384", "rsa_pss_rsae_sha384")):
    by_openssl(f"exchange-{iana.replace('_', '-')}", f"the key exchange is signed with {iana}", extra=["-sigalgs", scheme],
               signature_algorithm=iana)
by_openssl("exchange-ecdsa-sha1", "the key exchange is signed with ECDSA and SHA-1",
           key=("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), extra=["-sigalgs", "ECDSA+SHA1"],
           signature_algorithm="ecdsa_sha1")

# --- chains -----------------------------------------------------------------------------------------------


def tower(kinds, top, height, sans=(NAME,), whole=True):
    """A leaf under `height` intermediate CAs; not `whole`: the one below the root is left out."""
    above = [top]
    for number in range(height):
        above.insert(0, kinds.make(above[0], subject=kinds.name(f"Lab Intermediate {number + 1}"), sans=(), ca=True))
    chain = [kinds.make(above[0], sans=sans), *above]
    return chain if whole else [chain[0], *chain[2:]]


presents("chain-complete", "leaf, intermediate and root", lambda k, r: tower(k, r, 1), certificates=3)
presents("chain-without-root", "leaf and intermediate, as servers should", lambda k, r: tower(k, r, 1)[:2],
         certificates=2)
presents("chain-incomplete", "the intermediate is missing: the client cannot build the chain",
         lambda k, r: tower(k, r, 1)[:1], certificates=1)
presents("chain-with-a-hole", "the second of three intermediates is missing",
         lambda k, r: tower(k, r, 2, whole=False), certificates=3)
presents("chain-of-ten", "ten certificates", lambda k, r: tower(k, r, 8), certificates=10)
presents("chain-in-wrong-order", "root before intermediate",
         lambda k, r: (lambda c: [c[0], c[2], c[1]])(tower(k, r, 1)), certificates=3)
presents("chain-over-16-kib", "a Certificate message over several records: 600 names in the leaf",
         lambda k, r: tower(k, r, 2, sans=[f"service-{i:03}.some.where.lab.internal" for i in range(600)])[:3],
         certificates=3)
presents("intermediate-expired", "the leaf is good, its intermediate has ended",
         lambda k, r: (lambda mid: [k.make(mid), mid])(
             k.make(r, subject=k.name("Lab Old Intermediate"), sans=(), ca=True, start=-90, end=-5)))


def amazon(kinds, region, kind, key):
    """A chain with names as in the RDS CA bundle, and keys of our own."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    def called(common):
        return x509.Name([x509.NameAttribute(oid, value) for oid, value in (
            (NameOID.COUNTRY_NAME, "US"), (NameOID.ORGANIZATION_NAME, "Amazon Web Services, Inc."),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, "Amazon RDS"), (NameOID.STATE_OR_PROVINCE_NAME, "WA"),
            (NameOID.COMMON_NAME, common), (NameOID.LOCALITY_NAME, "Seattle"))])
    until = datetime.datetime(2061, 5, 21, tzinfo=datetime.timezone.utc)
    top = kinds.make(key=key, subject=called(f"Amazon RDS {region} Root CA {kind} G1"), sans=(), ca=True, until=until)
    middle = kinds.make(top, key=key, subject=called(f"Amazon RDS {region} Subordinate CA {kind} G1.A.1"), sans=(),
                        ca=True, end=900)
    host = f"orders.c9akciq32.{region}.rds.amazonaws.com"
    return [kinds.make(middle, key="rsa2048", subject=called(host), sans=[host], end=365), middle, top]


for region, kind, key in (("eu-central-1", "RSA2048", "rsa2048"), ("us-east-1", "RSA4096", "rsa4096"),
                          ("ap-southeast-2", "ECC384", "p384")):
    presents(f"rds-{kind.lower()}", f"a chain with the names of the RDS CA bundle: {region}, {kind}",
             (lambda *a: lambda k, r: amazon(k, *a))(region, kind, key), certificates=3,
             sni=f"orders.c9akciq32.{region}.rds.amazonaws.com")

# --- what breaks naive parsers -----------------------------------------------------------------------------

presents("serial-20-bytes", "the longest serial that RFC 5280 allows", lambda k, r: k.make(r, serial=(1 << 159) - 1))
presents("serial-1", "the shortest serial", lambda k, r: k.make(r, serial=1))


def altered(label, proves, change, sni=NAME, **tls):
    """A case: bytes of a certificate are replaced, and it is signed once more."""
    def build(kinds, top):
        from cryptography import x509
        from cryptography.x509.oid import NameOID
        names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Organisation-of-the-labs")]
        leaf = kinds.make(top, subject=kinds.name(NAME, *names), serial=0x1122334455667788)
        return kinds.Raw(kinds.signed_by_hand(leaf, top, change(kinds)), leaf.key)
    presents(label, proves, build, sni=sni, **tls)


altered("name-in-latin-1", "a TeletexString, as old CAs wrote Latin-1",
        lambda k: [(b"\x0c\x18Organisation-of-the-labs", b"\x14\x18Organis\xe4tion-\xf6f-the-labs")])
altered("name-in-utf-16", "a BMPString: two bytes for each character",
        lambda k: [(b"\x0c\x18Organisation-of-the-labs", b"\x1e\x18" + "Straße №Ω10é".encode("utf-16-be"))])
altered("name-with-nul", "a NUL in the middle of a name",
        lambda k: [(b"Organisation-of-the-labs", b"Organisation\0of-the-labs")])
altered("name-with-control-characters", "line breaks and escapes in a name",
        lambda k: [(b"Organisation-of-the-labs", b"Organis\r\n\x1b[31mf-the-labs")])
altered("serial-negative", "a serial that is negative as DER says it",
        lambda k: [(bytes.fromhex("02081122334455667788"), bytes.fromhex("02089122334455667788"))])
altered("san-not-ascii", "a DNS name with bytes above 127",
        lambda k: [(b"\x82\x0fdb.lab.internal", b"\x82\x0fd\xfc.lab.internal")])
