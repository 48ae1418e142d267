"""Cipher suites and key exchange groups: what today's OpenSSL, GnuTLS, NSS, wolfSSL and rustls can still agree on.

Not to be had from them any more: SSL 2 and 3 (tls/ssl3 is tlslite-ng), DES, EXPORT, IDEA, SEED, static DH.
"""

import tls_peers
from tls_server import NAME, PORT, WEAK
from tls_server import check  # noqa: F401 (used by lab.py)

from lab import Cases

APT = ["openssl", "gnutls-bin", "libnss3-tools", "gcc", "libc6-dev", "libwolfssl-dev"]
PIP = ["cryptography", "tlslite-ng"]
cases = Cases()


def setup(lab):
    lab.state = tls_peers.Peers(lab)


# --- OpenSSL -----------------------------------------------------------------------------------

PSK = "00112233445566778899aabbccddeeff"


def openssl(name, proves, cipher, key="ec", version="1.2", serve=(), connect=(), psk=False, null=False, tls=None):
    """A case: s_client against s_server with one suite up to TLS 1.2. `key`: ec, rsa, none or a kind of certs."""
    @cases.case(name, proves)
    def _(lab):
        peers = lab.state
        secret = ["-psk", PSK] if psk else []
        flag = {"1.0": "-tls1", "1.1": "-tls1_1", "1.2": "-tls1_2"}[version]
        ask = [flag, "-cipher", f"{cipher}:{WEAK}", *secret]
        bare = ["-nocert"] if key == "none" else []
        pair = None if key in ("ec", "rsa", "none") else tls_peers.certificate(lab, key)
        peers.serve(*ask, *bare, *serve, rsa=key == "rsa", cert=pair)
        said = peers.s_client(*ask, *connect)
        facts = {"tls": {**peers.said(said), **(tls or {})}}
        return [peers.null(said, sni=NAME, **facts) if null else peers.flow(said, sni=NAME, **facts)]


for version, cipher, key in (
        ("1.0", "ECDHE-ECDSA-AES128-SHA", "ec"), ("1.0", "DHE-RSA-AES128-SHA", "rsa"),
        ("1.0", "AES256-SHA", "rsa"), ("1.0", "DHE-RSA-CAMELLIA256-SHA", "rsa"),
        ("1.1", "AES128-SHA", "rsa"), ("1.1", "ECDHE-ECDSA-AES256-SHA", "ec"), ("1.1", "CAMELLIA128-SHA", "rsa"),
        ("1.2", "AES128-SHA", "rsa"), ("1.2", "AES256-SHA256", "rsa"), ("1.2", "AES128-GCM-SHA256", "rsa"),
        ("1.2", "AES128-CCM", "rsa"), ("1.2", "AES256-CCM8", "rsa"), ("1.2", "CAMELLIA256-SHA256", "rsa"),
        ("1.2", "ARIA128-GCM-SHA256", "rsa"), ("1.2", "ARIA256-GCM-SHA384", "rsa"),
        ("1.2", "DHE-RSA-AES256-SHA256", "rsa"), ("1.2", "DHE-RSA-AES256-GCM-SHA384", "rsa"),
        ("1.2", "DHE-RSA-CHACHA20-POLY1305", "rsa"), ("1.2", "DHE-RSA-AES128-CCM", "rsa"),
        ("1.2", "DHE-RSA-ARIA256-GCM-SHA384", "rsa"), ("1.2", "DHE-RSA-CAMELLIA128-SHA256", "rsa"),
        ("1.2", "ECDHE-RSA-AES128-GCM-SHA256", "rsa"), ("1.2", "ECDHE-RSA-AES256-SHA384", "rsa"),
        ("1.2", "ECDHE-RSA-CHACHA20-POLY1305", "rsa"), ("1.2", "ECDHE-RSA-CAMELLIA256-SHA384", "rsa"),
        ("1.2", "ECDHE-ARIA128-GCM-SHA256", "rsa"), ("1.2", "ECDHE-ECDSA-ARIA256-GCM-SHA384", "ec"),
        ("1.2", "ECDHE-ECDSA-AES256-SHA384", "ec"), ("1.2", "ECDHE-ECDSA-AES256-GCM-SHA384", "ec"),
        ("1.2", "ECDHE-ECDSA-AES256-CCM", "ec"), ("1.2", "ECDHE-ECDSA-AES128-SHA", "ec")):
    openssl(f"tls{version.replace('.', '')}-{cipher.lower()}", f"TLS {version} with {cipher} between OpenSSL's tools",
            cipher, key=key, version=version)
for cipher, key in (("PSK-AES256-CBC-SHA384", "none"), ("PSK-AES128-CCM8", "none"), ("PSK-CHACHA20-POLY1305", "none"),
                    ("DHE-PSK-AES256-GCM-SHA384", "none"), ("ECDHE-PSK-AES128-CBC-SHA256", "none"),
                    ("ECDHE-PSK-CHACHA20-POLY1305", "none"), ("RSA-PSK-AES256-GCM-SHA384", "rsa"),
                    ("RSA-PSK-ARIA128-GCM-SHA256", "rsa")):
    openssl(f"tls12-{cipher.lower()}", f"TLS 1.2 with a pre-shared key: {cipher}", cipher, key=key, psk=True)
for cipher in ("PSK-NULL-SHA256", "ECDHE-PSK-NULL-SHA384", "DHE-PSK-NULL-SHA"):
    openssl(f"tls12-{cipher.lower()}", f"a pre-shared key, and then no encryption: {cipher}", cipher, key="none",
            psk=True, null=True)
openssl("tls12-ecdhe-rsa-null-sha", "ECDHE, a certificate, and then no encryption", "ECDHE-RSA-NULL-SHA", key="rsa",
        null=True)
openssl("tls11-null-md5", "a NULL cipher with MD5 in TLS 1.1", "NULL-MD5", key="rsa", version="1.1", null=True)
openssl("tls12-adh-aes256-sha256", "anonymous DH with CBC: no certificate at all", "ADH-AES256-SHA256", key="none")
openssl("tls10-aecdh-aes256-sha", "anonymous ECDH in TLS 1.0", "AECDH-AES256-SHA", key="none", version="1.0")
openssl("tls10-adh-camellia128-sha", "anonymous DH with Camellia in TLS 1.0", "ADH-CAMELLIA128-SHA", key="none",
        version="1.0")


# --- groups -----------------------------------------------------------------------------------

def group(name, curve, iana, version):
    """A case: both sides only know one group."""
    suites = {"1.2": ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "1.3": ["-tls1_3"]}[version]

    @cases.case(name, f"TLS {version} with the key exchange group {iana}")
    def _(lab):
        peers = lab.state
        # The certificate's curve must be offered too.
        groups = curve if version == "1.3" or curve == "P-256" else f"{curve}:P-256"
        peers.serve(*suites, "-groups", groups)
        said = peers.s_client(*suites, "-groups", groups)
        return [peers.flow(said, sni=NAME, tls={**peers.said(said), "group": iana})]


for curve, iana in (("P-256", "secp256r1"), ("P-384", "secp384r1"), ("P-521", "secp521r1"), ("X25519", "x25519"),
                    ("X448", "x448")):
    for version in ("1.2", "1.3"):
        group(f"group-{iana}-tls{version.replace('.', '')}", curve, iana, version)
for iana in ("brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1", "secp256k1"):
    group(f"group-{iana.lower()}-tls12", iana, iana, "1.2")
for bits in (2048, 3072, 4096):
    group(f"group-ffdhe{bits}-tls13", f"ffdhe{bits}", f"ffdhe{bits}", "1.3")


def prime(bits):
    """A case: DHE with a prime of the server's own."""
    @cases.case(f"dhe-{bits}-bits-tls12", f"TLS 1.2 with DHE and a prime of {bits} bits")
    def _(lab):
        peers, ask = lab.state, ["-tls1_2", "-cipher", f"DHE-RSA-AES128-GCM-SHA256:{WEAK}"]
        parameters = tls_peers.dh_parameters(lab, bits)
        peers.serve(*ask, "-dhparam", parameters, rsa=True, env=tls_peers.careless(lab))
        said = peers.s_client(*ask)
        return [peers.flow(said, sni=NAME, tls={**peers.said(said), "dh_bits": bits})]


for bits in (1024, 1536, 3072):
    prime(bits)


def small_prime_settings(parameters=None):
    from tlslite.api import HandshakeSettings
    settings = HandshakeSettings()
    settings.minVersion = settings.maxVersion = (3, 3)
    settings.minKeySize, settings.keyExchangeNames, settings.dhGroups = 512, ["dhe_rsa"], []
    settings.dhParams = parameters
    return settings


def small_prime_server(address, port, crt, key, size, parameters):
    import socket

    from tlslite.api import TLSConnection, X509CertChain, parsePEMKey
    chain = X509CertChain()
    chain.parsePemList(open(crt).read())
    with socket.create_server((address, port)) as listener:
        wire = TLSConnection(listener.accept()[0])
        wire.handshakeServer(certChain=chain, privateKey=parsePEMKey(open(key).read(), private=True),
                             settings=small_prime_settings(parameters))
        wire.write(wire.read(min=size, max=size))
        wire.close()


def small_prime_client(address, port):
    import importlib.metadata
    import socket

    from tlslite.api import TLSConnection
    from tlslite.errors import TLSLocalAlert
    wire = TLSConnection(socket.create_connection((address, port), 5))
    try:
        wire.handshakeClientCert(settings=small_prime_settings(), serverName=NAME)
    except TLSLocalAlert:
        return importlib.metadata.version("tlslite-ng")
    raise AssertionError("the prime was taken")


def small_prime(bits):
    """A case: a prime that no client takes any more."""
    @cases.case(f"dhe-{bits}-bits-refused", f"TLS 1.2 with a prime of {bits} bits: insufficient_security")
    def _(lab):
        from cryptography.hazmat.primitives.serialization import load_pem_parameters
        peers = lab.state
        numbers = load_pem_parameters(tls_peers.dh_parameters(lab, bits).read_bytes()).parameter_numbers()
        peers.port = PORT
        lab.server.spawn(small_prime_server, lab.server.v4, PORT, *map(str, lab.certs.server(rsa=True)), 1,
                         (numbers.g, numbers.p))
        lab.server.wait_port(PORT)
        package = lab.client.call(small_prime_client, lab.server.v4, PORT)
        lab.versions(server=f"tlslite-ng {package}", client=f"tlslite-ng {package}")
        return [peers.flow(sni=NAME, outcome="refused", tls_version="TLSv1.2",
                           tls_cipher="TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256", tls={"dh_bits": bits, "alert": {
                               "direction": "c2s", "level": "fatal", "description": "insufficient_security"}})]


for bits in (512, 768):
    small_prime(bits)


# --- GnuTLS -----------------------------------------------------------------------------------

OLD = "NONE:+SIGN-ALL:+COMP-NULL:+CTYPE-X509:+GROUP-ALL:%ALLOW_SMALL_RECORDS"


def gnutls(name, proves, priority, cipher, version="TLSv1.2", null=False, rsa=True, more=(), client=(), tls=None):
    """A case: GnuTLS at both ends."""
    @cases.case(name, proves)
    def _(lab):
        peers = lab.state
        peers.gnutls(priority, *(m(lab) if callable(m) else m for m in more), rsa=rsa)
        said = peers.gnutls_cli(priority, *client)
        facts = {"sni": NAME, "tls_version": version, "tls_cipher": cipher,
                 "tls": {**peers.gnutls_said(said), **(tls or {})}}
        return [peers.null(None, **facts) if null else peers.flow(**facts)]


for version, digits in (("1.0", "10"), ("1.1", "11"), ("1.2", "12")):
    gnutls(f"gnutls-ecdhe-3des-tls{digits}", f"TLS {version} with ECDHE and 3DES",
           f"{OLD}:+VERS-TLS{version}:+ECDHE-RSA:+3DES-CBC:+SHA1", "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
           f"TLSv{version}")
    gnutls(f"gnutls-rc4-md5-tls{digits}", f"TLS {version} with RC4 and MD5",
           f"{OLD}:+VERS-TLS{version}:+RSA:+ARCFOUR-128:+MD5", "TLS_RSA_WITH_RC4_128_MD5", f"TLSv{version}")
gnutls("gnutls-ecdhe-rc4-tls12", "TLS 1.2 with ECDHE and RC4",
       f"{OLD}:+VERS-TLS1.2:+ECDHE-RSA:+ARCFOUR-128:+SHA1", "TLS_ECDHE_RSA_WITH_RC4_128_SHA")
gnutls("gnutls-null-tls12", "a NULL cipher between GnuTLS's tools", f"{OLD}:+VERS-TLS1.2:+RSA:+NULL:+SHA256",
       "TLS_RSA_WITH_NULL_SHA256", null=True)
gnutls("gnutls-anon-ecdh-tls12", "anonymous ECDH between GnuTLS's tools",
       f"{OLD}:+VERS-TLS1.2:+ANON-ECDH:+AES-128-CBC:+SHA1", "TLS_ECDH_anon_WITH_AES_128_CBC_SHA")
gnutls("gnutls-camellia-gcm-tls12", "TLS 1.2 with Camellia in Galois mode, which only GnuTLS has",
       f"{OLD}:+VERS-TLS1.2:+ECDHE-RSA:+CAMELLIA-128-GCM:+AEAD", "TLS_ECDHE_RSA_WITH_CAMELLIA_128_GCM_SHA256")
gnutls("gnutls-ccm8-tls13", "TLS 1.3 with AES-CCM and a short tag between GnuTLS's tools",
       f"{OLD}:+VERS-TLS1.3:+ECDHE-RSA:+AES-128-CCM-8:+AEAD", "TLS_AES_128_CCM_8_SHA256", "TLSv1.3")
gnutls("gnutls-no-ems-tls12", "TLS 1.2 without the extended master secret",
       "NORMAL:-VERS-TLS1.3:%NO_SESSION_HASH", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", rsa=False,
       tls={"extended_master_secret": False})


# --- NSS, wolfSSL ----------------------------------------------------------------------------------

def nss(name, proves, cipher, version, code, rsa=False):
    @cases.case(name, proves)
    def _(lab):
        peers = lab.state
        peers.selfserv(version, code, rsa=rsa)
        peers.tstclnt(version, code)
        shown = {"tls1.0": "TLSv1.0", "tls1.1": "TLSv1.1", "tls1.2": "TLSv1.2", "tls1.3": "TLSv1.3"}[version]
        return [peers.flow(sni=NAME, tls_version=shown, tls_cipher=cipher)]


nss("nss-tls13", "NSS at both ends with TLS 1.3", "TLS_AES_128_GCM_SHA256", "tls1.3", ":1301")
nss("nss-tls12-ecdhe", "NSS at both ends with TLS 1.2 and ECDHE", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "tls1.2",
    ":C02B")
nss("nss-tls12-3des", "NSS at both ends with static RSA and 3DES", "TLS_RSA_WITH_3DES_EDE_CBC_SHA", "tls1.2", ":000A",
    rsa=True)
nss("nss-tls12-rc4", "NSS at both ends with static RSA and RC4", "TLS_RSA_WITH_RC4_128_SHA", "tls1.2", ":0005",
    rsa=True)
nss("nss-tls10", "NSS at both ends with TLS 1.0", "TLS_RSA_WITH_AES_128_CBC_SHA", "tls1.0", ":002F", rsa=True)


def wolf(name, proves, version, spoken, cipher, null=False, rsa=False):
    @cases.case(name, proves)
    def _(lab):
        peers = lab.state
        said = peers.wolf(version, spoken, rsa=rsa)
        facts = {"sni": NAME, "tls_version": f"TLSv{version}", "tls_cipher": cipher}
        assert spoken in said or cipher in said, said
        return [peers.null(None, **facts) if null else peers.flow(**facts)]


wolf("integrity-only-sha256-tls13", "TLS 1.3 that only protects integrity (RFC 9150): everybody can read it", "1.3",
     "TLS13-SHA256-SHA256", "TLS_SHA256_SHA256", null=True)
wolf("integrity-only-sha384-tls13", "TLS 1.3 that only protects integrity, with SHA-384", "1.3",
     "TLS13-SHA384-SHA384", "TLS_SHA384_SHA384", null=True)
wolf("wolfssl-tls13", "wolfSSL at both ends with TLS 1.3", "1.3", "TLS13-AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256")
wolf("wolfssl-tls12", "wolfSSL at both ends with TLS 1.2", "1.2", "ECDHE-ECDSA-AES256-GCM-SHA384",
     "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384")
wolf("wolfssl-rc4-tls12", "TLS 1.2 with ECDHE, ECDSA and RC4", "1.2", "ECDHE-ECDSA-RC4-SHA",
     "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA")


# --- rustls: hybrid groups ------------------------------------------------------------------------

def hybrid(name, proves, server, client, group, retry=False, versions=None):
    """A case: rustls at both ends."""
    @cases.case(name, proves)
    def _(lab):
        peers = lab.state
        peers.rustls_server(groups=server)
        said = peers.rustls_client(groups=client, versions=versions)
        assert f"group={group} " in said and ("WithHelloRetryRequest" in said) == retry, said
        return [peers.rustls_flow(said)]


hybrid("hybrid-x25519mlkem768", "TLS 1.3 with a hybrid group", "X25519MLKEM768", "X25519MLKEM768,X25519",
       "X25519MLKEM768")
hybrid("hybrid-secp256r1mlkem768", "TLS 1.3 with the hybrid of the NIST curve", "secp256r1MLKEM768",
       "secp256r1MLKEM768,secp256r1", "secp256r1MLKEM768")
hybrid("mlkem768-alone", "TLS 1.3 with ML-KEM alone", "MLKEM768", "MLKEM768", "MLKEM768")
hybrid("mlkem1024-alone", "TLS 1.3 with ML-KEM-1024 alone", "MLKEM1024", "MLKEM1024", "MLKEM1024")
hybrid("hybrid-offered-x25519-used", "the client offers a hybrid, the server only has X25519", "X25519",
       "X25519MLKEM768,X25519", "X25519")
hybrid("hybrid-retry-to-hybrid", "HelloRetryRequest to a hybrid: the client's share was for X25519", "X25519MLKEM768",
       "X25519,X25519MLKEM768", "X25519MLKEM768", retry=True)
hybrid("hybrid-retry-to-p384", "HelloRetryRequest away from a hybrid", "secp384r1", "X25519MLKEM768,secp384r1",
       "secp384r1", retry=True)
hybrid("hybrid-offered-tls12", "TLS 1.2: a hybrid cannot be used", "X25519", "X25519MLKEM768,X25519", "X25519",
       versions="1.2")


@cases.case("hybrid-offered-openssl", "the client offers a hybrid to OpenSSL 3.0, which picks X25519")
def _(lab):
    peers = lab.state
    peers.serve("-tls1_3")
    said = peers.rustls_client()
    assert "group=X25519 " in said, said
    return [peers.rustls_flow(said)]


@cases.case("hybrid-offered-gnutls", "the client offers a hybrid to GnuTLS, which asks for P-384 instead")
def _(lab):
    peers = lab.state
    peers.gnutls("NORMAL:-GROUP-ALL:+GROUP-SECP384R1")
    said = peers.rustls_client()
    assert "WithHelloRetryRequest" in said, said
    return [peers.rustls_flow(said)]
