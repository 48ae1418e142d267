#!/usr/bin/env python3
"""Makes the certificates of this folder (python3-cryptography and the openssl command).

Keys are thrown away, so another run gives other bytes; the tests look at nothing that changes with them. Everything is
dated 2026-01-02 03:04:05 to 2027-01-02 03:04:05 unless the name says otherwise.
"""

import datetime
import ipaddress
import pathlib
import subprocess

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa
from cryptography.x509.oid import NameOID

HERE = pathlib.Path(__file__).parent
BEGIN = datetime.datetime(2026, 1, 2, 3, 4, 5)
END = datetime.datetime(2027, 1, 2, 3, 4, 5)


def name(common_name, *more):
    rdns = [x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example, Inc."), *more]
    return x509.Name(rdns + [x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def certificate(key, subject, issuer=None, issuer_key=None, san=(), ca=False, begin=BEGIN, end=END, hash_=hashes.SHA256(),
                serial=0x1234, pss=None):
    signer = issuer_key or key
    builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or subject).serial_number(serial)
               .not_valid_before(begin).not_valid_after(end).public_key(key.public_key())
               .add_extension(x509.BasicConstraints(ca, None), critical=True)
               .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
               .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False))
    if san:
        builder = builder.add_extension(x509.SubjectAlternativeName(san), critical=False)
    return builder.sign(signer, hash_, rsa_padding=pss)


def write(file, made):
    (HERE / f"{file}.der").write_bytes(made.public_bytes(serialization.Encoding.DER))


def main():
    rsa_key = rsa.generate_private_key(65537, 2048)
    curve = ec.generate_private_key(ec.SECP256R1())
    db = name("db.example.com")
    names = [x509.DNSName("db.example.com"), x509.DNSName("*.db.example.com"), x509.RFC822Name("dba@example.com"),
             x509.IPAddress(ipaddress.ip_address("10.0.0.1")), x509.IPAddress(ipaddress.ip_address("fd00::1"))]

    write("rsa-2048", certificate(rsa_key, db, san=names))
    # The library refuses to sign with SHA-1; its dates are those of the run.
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:1024", "-sha1", "-nodes", "-subj", "/CN=db.example.com",
                    "-set_serial", "4660", "-keyout", "/dev/null", "-outform", "DER", "-out", HERE / "rsa-1024-sha1.der"],
                   check=True, capture_output=True)
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA384()), salt_length=48)
    write("rsa-pss-sha384", certificate(rsa_key, db, hash_=hashes.SHA384(), pss=pss))
    write("dsa-2048", certificate(dsa.generate_private_key(2048), db))
    for group in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()):
        write(group.name, certificate(ec.generate_private_key(group), db, hash_=hashes.SHA384()))
    write("ed25519", certificate(ed25519.Ed25519PrivateKey.generate(), db, hash_=None))
    write("ed448", certificate(ed448.Ed448PrivateKey.generate(), db, hash_=None))
    write("san-100", certificate(curve, db, san=[x509.DNSName(f"host-{n}.example.com") for n in range(100)]))
    write("no-expiry", certificate(curve, db, end=datetime.datetime(9999, 12, 31, 23, 59, 59)))
    write("after-2106", certificate(curve, db, end=datetime.datetime(2126, 6, 7, 8, 9, 10)))
    odd = name("Bücher-Köche", x509.NameAttribute(NameOID.EMAIL_ADDRESS, "somebody@example.com"))
    write("utf8-name", certificate(curve, odd))

    root_key, middle_key = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    root = name("Example Root")
    write("chain-root", certificate(root_key, root, ca=True))
    middle = name("Example Issuing CA")
    write("chain-middle", certificate(middle_key, middle, root, root_key, ca=True, end=BEGIN.replace(year=2031)))
    write("chain-leaf", certificate(curve, db, middle, middle_key, san=names))

    def rds(common_name):
        return x509.Name([x509.NameAttribute(oid, value) for oid, value in (
            (NameOID.COUNTRY_NAME, "US"), (NameOID.ORGANIZATION_NAME, "Amazon Web Services, Inc."),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, "Amazon RDS"), (NameOID.STATE_OR_PROVINCE_NAME, "WA"),
            (NameOID.COMMON_NAME, common_name), (NameOID.LOCALITY_NAME, "Seattle"))])

    issuing, top = rds("Amazon RDS eu-central-1 Subordinate CA RSA2048 G1.A.7"), rds("Amazon RDS eu-central-1 Root CA RSA2048 G1")
    endpoint = "shop.abcdefghijkl.eu-central-1.rds.amazonaws.com"
    write("rds-leaf", certificate(curve, name(endpoint), issuing, rsa_key, san=[x509.DNSName(endpoint)]))
    write("rds-middle", certificate(rsa_key, issuing, top, root_key, ca=True))


if __name__ == "__main__":
    main()
