"""Certificates of every kind for the lab, made with the `cryptography` package and, where it refuses, by hand."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509.oid import NameOID

NAME = "db.lab.internal"
KEYS = {"p256": lambda: ec.generate_private_key(ec.SECP256R1()), "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "p521": lambda: ec.generate_private_key(ec.SECP521R1()), "ed25519": ed25519.Ed25519PrivateKey.generate,
        "ed448": ed448.Ed448PrivateKey.generate,
        "brainpool": lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
        **{f"rsa{bits}": (lambda bits: lambda: rsa.generate_private_key(65537, bits))(bits)
           for bits in (1024, 2048, 3072, 4096)}}
DIGESTS = {"md5": hashes.MD5, "sha1": hashes.SHA1, "sha256": hashes.SHA256, "sha384": hashes.SHA384,
           "sha512": hashes.SHA512}
NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)


def day(offset):
    return NOW + datetime.timedelta(days=offset)


def name(common=None, *more):
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else []
    return x509.Name([*more, *parts])


class Made:
    """A certificate and its key."""

    def __init__(self, certificate, key):
        self.certificate, self.key = certificate, key

    def pem(self):
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def make(issuer=None, key="p256", subject=None, sans=(NAME,), ips=(), start=-1, end=30, digest="sha256", ca=False,
         serial=None, pss=False, until=None, since=None, extensions=()):
    """A certificate by `issuer`, or signed by itself. `start` and `end` are days from now."""
    private = KEYS[key]()
    subject = name(NAME) if subject is None else subject
    by, signer = (issuer.certificate.subject, issuer.key) if issuer else (subject, private)
    builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(by).public_key(private.public_key())
               .serial_number(serial or x509.random_serial_number()).not_valid_before(since or day(start))
               .not_valid_after(until or day(end)))
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    others = [x509.DNSName(s) for s in sans] + [x509.IPAddress(ipaddress.ip_address(i)) for i in ips]
    if others:
        builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    bare = isinstance(signer, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey))
    options = {"rsa_padding": padding.PSS(padding.MGF1(hashes.SHA256()), 32)} if pss else {}
    return Made(builder.sign(signer, None if bare else DIGESTS[digest](), **options), private)


def write(lab, label, leaf, chain=()):
    """(certificate, key, file with the rest of the chain or None) as PEM files."""
    crt, key, rest = (lab.certs.directory / f"kind-{label}.{e}" for e in ("crt", "key", "chain"))
    crt.write_bytes(leaf.pem())
    key.write_bytes(leaf.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                           serialization.NoEncryption()))
    key.chmod(0o644)
    rest.write_bytes(b"".join(c.pem() for c in chain))
    return crt, key, rest if chain else None


def signed_by_hand(leaf, issuer, change):
    """The leaf with bytes of its body replaced (same length), signed once more by the issuer with SHA-256 and ECDSA."""
    body = leaf.certificate.tbs_certificate_bytes
    for old, new in change:
        assert body.count(old) >= 1 and len(old) == len(new), (body.count(old), old)
        body = body.replace(old, new)
    signature = issuer.key.sign(body, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    return body + algorithm + der(3, b"\0" + signature)


def der(tag, content):
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(digits)]) + digits + content


class Raw(Made):
    """A certificate that no library would make: its bytes, and the key of the leaf it was made of."""

    def __init__(self, content, key):
        super().__init__(None, key)
        self.content = der(0x30, content)

    def pem(self):
        import base64
        text = base64.encodebytes(self.content).decode()
        return f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n".encode()
