"""TLS by itself: versions, ciphers, resumption, extensions; the other files have failures and views."""

from tls_server import NAME, PORT, WEAK, Tls, cases, check  # noqa: F401 (check is used by lab.py)

APT = ["openssl", "nginx", "curl", "gnutls-bin"]
PIP = ["curl_cffi", "tlslite-ng"]


def setup(lab):
    lab.state = Tls(lab)


# --- versions and ciphers --------------------------------------------------------------------

def suite(name, proves, version, cipher, rsa=False, serve=(), null=False, anonymous=False, least=None):
    """A case: Python against s_server with one cipher suite."""
    @cases.case(name, proves)
    def _(lab):
        tls = lab.state
        if version == "1.3":
            tls.serve("-tls1_3", "-ciphersuites", cipher, *serve)
            said = tls.talk(name=NAME)
        else:
            flag = {"1.0": "-tls1", "1.1": "-tls1_1", "1.2": "-tls1_2"}[version]
            tls.serve(flag, "-cipher", f"{cipher}:{WEAK}", *serve, rsa=rsa)
            said = tls.talk(name=NAME, least=version, most=version, ciphers=f"{cipher}:{WEAK}")
        assert said["error"] is None, said
        return [tls.null(said, sni=NAME) if null else tls.flow(said, sni=NAME)]


suite("tls10", "TLS 1.0 with CBC, which OpenSSL 3 only does when told to", "1.0", "ECDHE-RSA-AES256-SHA", rsa=True)
suite("tls10-rsa-key-exchange", "TLS 1.0 with RSA key exchange", "1.0", "AES128-SHA", rsa=True)
suite("tls11", "TLS 1.1 with CBC", "1.1", "ECDHE-RSA-AES128-SHA", rsa=True)
suite("tls11-dhe", "TLS 1.1 with finite-field DHE", "1.1", "DHE-RSA-AES256-SHA", rsa=True)
suite("tls12-rsa-key-exchange", "TLS 1.2 with RSA key exchange: no ServerKeyExchange, no forward secrecy", "1.2",
      "AES256-GCM-SHA384", rsa=True)
suite("tls12-ecdhe-ecdsa", "TLS 1.2 with ECDHE and an ECDSA certificate", "1.2", "ECDHE-ECDSA-AES128-GCM-SHA256")
suite("tls12-ecdhe-rsa", "TLS 1.2 with ECDHE and an RSA certificate", "1.2", "ECDHE-RSA-AES256-GCM-SHA384", rsa=True)
suite("tls12-dhe", "TLS 1.2 with finite-field DHE", "1.2", "DHE-RSA-AES128-GCM-SHA256", rsa=True)
suite("tls12-cbc", "TLS 1.2 with CBC and HMAC-SHA256", "1.2", "ECDHE-ECDSA-AES128-SHA256")
suite("tls12-chacha20", "TLS 1.2 with ChaCha20-Poly1305", "1.2", "ECDHE-ECDSA-CHACHA20-POLY1305")
suite("tls12-ccm8", "TLS 1.2 with AES-CCM and a short tag", "1.2", "ECDHE-ECDSA-AES128-CCM8")
suite("tls12-camellia", "TLS 1.2 with Camellia", "1.2", "ECDHE-ECDSA-CAMELLIA128-SHA256")
suite("null-rsa-tls12", "a NULL cipher in TLS 1.2: authenticated, but everybody can read it", "1.2", "NULL-SHA256",
      rsa=True, null=True)
suite("null-ecdhe-tls12", "an ephemeral key exchange, and then a NULL cipher", "1.2", "ECDHE-ECDSA-NULL-SHA", null=True)
suite("null-rsa-tls10", "a NULL cipher in TLS 1.0", "1.0", "NULL-SHA", rsa=True, null=True)
suite("null-anonymous", "neither authenticated nor encrypted", "1.2", "AECDH-NULL-SHA", null=True)
suite("anonymous-dh", "encrypted, but no certificate: anonymous DH", "1.2", "ADH-AES128-GCM-SHA256")
suite("anonymous-ecdh", "encrypted, but no certificate: anonymous ECDH", "1.2", "AECDH-AES128-SHA")
suite("tls13-aes128", "TLS 1.3 with AES-128-GCM", "1.3", "TLS_AES_128_GCM_SHA256")
suite("tls13-aes256", "TLS 1.3 with AES-256-GCM", "1.3", "TLS_AES_256_GCM_SHA384")
suite("tls13-chacha20", "TLS 1.3 with ChaCha20-Poly1305", "1.3", "TLS_CHACHA20_POLY1305_SHA256")


@cases.case("tls13-ccm", "TLS 1.3 with AES-CCM, which clients do not offer unless told to")
def _(lab):
    tls = lab.state
    tls.serve("-ciphersuites", "TLS_AES_128_CCM_SHA256")
    return [tls.flow(tls.s_client("-ciphersuites", "TLS_AES_128_CCM_SHA256"), sni=NAME)]


@cases.case("tls13-ccm8", "TLS 1.3 with AES-CCM and a short tag")
def _(lab):
    tls = lab.state
    tls.serve("-ciphersuites", "TLS_AES_128_CCM_8_SHA256", "-cipher", f"ALL:{WEAK}")
    return [tls.flow(tls.s_client("-ciphersuites", "TLS_AES_128_CCM_8_SHA256", "-cipher", f"ALL:{WEAK}"), sni=NAME)]


@cases.case("psk-tls12", "TLS 1.2 with a pre-shared key and no certificate")
def _(lab):
    tls, key = lab.state, "00112233445566778899aabbccddeeff"
    tls.serve("-tls1_2", "-nocert", "-psk", key, "-cipher", "PSK-AES128-GCM-SHA256")
    said = tls.s_client("-tls1_2", "-psk", key, "-cipher", "PSK-AES128-GCM-SHA256")
    return [tls.flow(said, sni=NAME)]


@cases.case("psk-tls13", "TLS 1.3 with an external pre-shared key: no certificate, no resumption")
def _(lab):
    tls, key = lab.state, "00112233445566778899aabbccddeeff"
    tls.serve("-tls1_3", "-nocert", "-psk", key, "-ciphersuites", "TLS_AES_128_GCM_SHA256")
    said = tls.s_client("-tls1_3", "-psk", key, "-ciphersuites", "TLS_AES_128_GCM_SHA256")
    assert "Reused" in said, said
    return [tls.flow(said, sni=NAME)]


def gnutls(name, proves, priority, cipher, version="TLSv1.2", rsa=True):
    """A case: GnuTLS at both ends."""
    @cases.case(name, proves)
    def _(lab):
        tls = lab.state
        tls.gnutls(priority, rsa=rsa)
        tls.gnutls_cli(priority)
        return [tls.flow(sni=NAME, tls_version=version, tls_cipher=cipher)]


OLD = "NONE:+SIGN-ALL:+COMP-NULL:+CTYPE-X509:+GROUP-ALL:%ALLOW_SMALL_RECORDS"
gnutls("gnutls-tls13", "GnuTLS at both ends with TLS 1.3", "NORMAL", "TLS_AES_256_GCM_SHA384", "TLSv1.3", rsa=False)
gnutls("gnutls-tls12", "GnuTLS at both ends with TLS 1.2", "NORMAL:-VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM",
       "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", rsa=False)
gnutls("gnutls-rc4", "TLS 1.2 with RC4, which OpenSSL no longer has", f"{OLD}:+VERS-TLS1.2:+RSA:+ARCFOUR-128:+SHA1",
       "TLS_RSA_WITH_RC4_128_SHA")
gnutls("gnutls-3des", "TLS 1.0 with 3DES, which OpenSSL no longer has", f"{OLD}:+VERS-TLS1.0:+RSA:+3DES-CBC:+SHA1",
       "TLS_RSA_WITH_3DES_EDE_CBC_SHA", "TLSv1.0")


def old_settings():
    from tlslite.api import HandshakeSettings
    settings = HandshakeSettings()
    settings.minVersion = settings.maxVersion = (3, 0)
    settings.cipherNames, settings.macNames, settings.keyExchangeNames = ["aes128"], ["sha"], ["rsa"]
    return settings


def old_server(address, port, crt, key, size):
    import socket

    from tlslite.api import TLSConnection, X509CertChain, parsePEMKey
    chain = X509CertChain()
    chain.parsePemList(open(crt).read())
    with socket.create_server((address, port)) as listener:
        wire = TLSConnection(listener.accept()[0])
        wire.handshakeServer(certChain=chain, privateKey=parsePEMKey(open(key).read(), private=True),
                             settings=old_settings())
        wire.write(wire.read(min=size, max=size))
        wire.close()


def old_client(address, port, word):
    import importlib.metadata
    import socket

    from tlslite.api import TLSConnection
    wire = TLSConnection(socket.create_connection((address, port), 5))
    wire.handshakeClientCert(settings=old_settings())
    wire.write(word.encode())
    assert wire.read(min=len(word), max=len(word)) == word.encode()
    seen = wire.getVersionName(), wire.getCipherName()
    wire.close()
    return *seen, importlib.metadata.version("tlslite-ng")


@cases.case("ssl3", "SSL 3.0, which OpenSSL and GnuTLS no longer have")
def _(lab):
    tls, word = lab.state, lab.canary("word")
    tls.port = PORT
    server = lab.server.spawn(old_server, lab.server.v4, PORT, *map(str, lab.certs.server(rsa=True)), len(word))
    lab.server.wait_port(PORT)
    version, cipher, package = lab.client.call(old_client, lab.server.v4, PORT, word)
    server.result()
    assert (version, cipher) == ("SSL 3.0", "aes128"), (version, cipher)
    lab.versions(server=f"tlslite-ng {package}", client=f"tlslite-ng {package}")
    return [tls.flow(tls_version="SSLv3", tls_cipher="TLS_RSA_WITH_AES_128_CBC_SHA")]


# --- resumption and renegotiation --------------------------------------------------------------

@cases.case("resumed-session-id-tls12", "TLS 1.2: a second connection resumes the first by its session id")
def _(lab):
    tls = lab.state
    tls.serve("-tls1_2", "-no_ticket")
    first, second = tls.talk(name=NAME, session=True, tickets=False)
    assert not first["reused"] and second["reused"]
    return [tls.flow(first, sni=NAME), tls.flow(second, sni=NAME)]


@cases.case("resumed-ticket-tls12", "TLS 1.2: a second connection resumes the first by a ticket")
def _(lab):
    tls = lab.state
    tls.serve("-tls1_2")
    first, second = tls.talk(name=NAME, session=True)
    assert not first["reused"] and second["reused"]
    return [tls.flow(first, sni=NAME), tls.flow(second, sni=NAME)]


@cases.case("resumed-psk-tls13", "TLS 1.3: a second connection resumes the first with a PSK from a ticket")
def _(lab):
    tls = lab.state
    tls.serve("-tls1_3")
    first, second = tls.talk(name=NAME, session=True)
    assert not first["reused"] and second["reused"]
    return [tls.flow(first, sni=NAME), tls.flow(second, sni=NAME)]


def early(lab, then):
    """An s_client that got a ticket from nginx, then comes again with 0-RTT data; `then` runs in between."""
    tls = lab.state
    session, data = lab.work / "session.pem", lab.work / "early"
    keys = lab.work / "ticket.key"
    keys.write_bytes(bytes(range(80)))
    request = f"GET /{lab.canary('path')} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n"
    data.write_text(request)
    process = tls.nginx("ssl_early_data on;", f"ssl_session_ticket_key {keys};", "ssl_protocols TLSv1.3;")
    first = tls.s_client("-tls1_3", "-sess_out", session, steps=[request])
    then(tls, process, keys)
    second = tls.s_client("-tls1_3", "-sess_in", session, "-early_data", data, steps=[""])
    return first, second


@cases.case("early-data-tls13", "TLS 1.3 0-RTT: the client's request is in its first flight, and is accepted")
def _(lab):
    first, second = early(lab, lambda *_: None)
    assert "Early data was accepted" in second, second
    return [lab.state.flow(first, sni=NAME), lab.state.flow(second, sni=NAME)]


@cases.case("early-data-refused-tls13", "TLS 1.3 0-RTT: the server takes the ticket but not the early data")
def _(lab):
    def restart(tls, process, keys):
        lab.server.stop(process)
        tls.nginx(f"ssl_session_ticket_key {keys};", "ssl_protocols TLSv1.3;")
    first, second = early(lab, restart)
    assert "Early data was rejected" in second, second
    return [lab.state.flow(first, sni=NAME), lab.state.flow(second, sni=NAME)]


@cases.case("hello-retry-request", "TLS 1.3 HelloRetryRequest: the client's key share is for the wrong group")
def _(lab):
    tls = lab.state
    tls.serve("-tls1_3", "-groups", "P-384")
    return [tls.flow(tls.s_client("-groups", "X25519:P-384"), sni=NAME)]


@cases.case("renegotiation-tls12", "TLS 1.2: the client renegotiates within the session, sealed")
def _(lab):
    tls = lab.state
    tls.serve("-tls1_2", "-client_renegotiation")
    said = tls.s_client("-tls1_2", steps=[lab.canary("before") + "\n", "R\n", lab.canary("after") + "\n"])
    assert "RENEGOTIATING" in said, said
    return [tls.flow(said, sni=NAME)]


@cases.case("key-update-tls13", "TLS 1.3: both ends change their keys within the session")
def _(lab):
    tls = lab.state
    tls.serve("-tls1_3")
    said = tls.s_client("-tls1_3", steps=[lab.canary("before") + "\n", "K\n", lab.canary("after") + "\n"])
    assert "KEYUPDATE" in said, said
    return [tls.flow(said, sni=NAME)]


@cases.case("no-middlebox-mode-tls13", "TLS 1.3 without ChangeCipherSpec and without a session id")
def _(lab):
    tls = lab.state
    tls.serve("-tls1_3", "-no_middlebox")
    return [tls.flow(tls.s_client("-tls1_3", "-no_middlebox"), sni=NAME)]


# --- names, ALPN, certificates --------------------------------------------------------------------

def alpn(name, proves, version, protocol, *options):
    """A case: curl and nginx agree on a protocol."""
    @cases.case(name, proves)
    def _(lab):
        tls = lab.state
        tls.nginx(f"ssl_protocols TLSv{version};", http2=True)
        said = tls.curl(*options)
        assert f"server accepted {protocol}" in said, said
        return [tls.flow(said, sni=NAME, alpn=protocol if version == "1.2" else None)]


alpn("alpn-h2-tls12", "TLS 1.2: the server's choice of h2 is in clear", "1.2", "h2")
alpn("alpn-http1-tls12", "TLS 1.2: the server's choice of http/1.1 is in clear", "1.2", "http/1.1", "--http1.1")
alpn("alpn-h2-tls13", "TLS 1.3: the client offers h2, the server's choice is sealed", "1.3", "h2")
alpn("alpn-http1-tls13", "TLS 1.3: the client offers http/1.1, the server's choice is sealed", "1.3", "http/1.1",
     "--http1.1")


@cases.case("alpn-none-chosen-tls12", "TLS 1.2: the client offers h2 and http/1.1, the server ignores ALPN")
def _(lab):
    tls = lab.state
    tls.serve("-tls1_2")
    return [tls.flow(tls.talk(name=NAME, alpn=["h2", "http/1.1"]), sni=NAME)]


@cases.case("alpn-unregistered-tls12", "TLS 1.2: the server chooses a protocol that no registry knows")
def _(lab):
    tls = lab.state
    tls.serve("-tls1_2", "-alpn", "x-lab/7")
    return [tls.flow(tls.talk(name=NAME, alpn=["h2", "x-lab/7"]), sni=NAME)]


@cases.case("no-sni-tls12", "TLS 1.2 to an address: no SNI")
def _(lab):
    tls = lab.state
    tls.serve("-tls1_2")
    return [tls.flow(tls.talk())]


@cases.case("no-sni-tls13", "TLS 1.3 to an address: no SNI")
def _(lab):
    tls = lab.state
    tls.serve()
    return [tls.flow(tls.talk())]


@cases.case("long-sni", "an SNI as long as a name may be")
def _(lab):
    tls = lab.state
    name = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 48, "lab.internal"])
    assert len(name) == 253
    tls.serve()
    return [tls.flow(tls.talk(name=name), sni=name)]


def client_certificate(name, proves, version, give, *serve):
    @cases.case(name, proves)
    def _(lab):
        tls = lab.state
        tls.serve(f"-tls1_{version[-1]}", "-CAfile", lab.certs.ca, *serve)
        pair = lab.certs.pair("client", common_name="client.lab.internal")
        said = tls.talk(name=NAME, **({"cert": tuple(map(str, pair))} if give else {}))
        return [tls.flow(said, sni=NAME)]


client_certificate("client-certificate-tls12", "TLS 1.2: the client's certificate is in clear", "1.2", True,
                   "-Verify", "1", "-verify_return_error")
client_certificate("client-certificate-tls13", "TLS 1.3: the client's certificate is sealed", "1.3", True,
                   "-Verify", "1", "-verify_return_error")
client_certificate("client-certificate-not-given-tls12", "TLS 1.2: the server asks, the client has no certificate",
                   "1.2", False, "-verify", "1")
client_certificate("client-certificate-not-given-tls13", "TLS 1.3: the server asks, the client has no certificate",
                   "1.3", False, "-verify", "1")


def long_chain(lab):
    """(leaf, key, file of the others): a leaf with many names under a chain of intermediate CAs."""
    from net import sh
    home = lab.certs.directory
    if not (home / "chain.pem").exists():
        above, others = home / "ca", []
        for number in range(1, 9):
            path = home / f"chain{number}"
            last = number == 8
            ext = path.with_suffix(".ext")
            names = ",".join(f"DNS:service-{i:03}.{NAME}" for i in range(520))
            ext.write_text(f"subjectAltName={names}\n" if last else "basicConstraints=critical,CA:TRUE\n")
            sh(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                f"/CN={NAME}" if last else f"/O=Lab/CN=Lab intermediate {number}", "-keyout", f"{path}.key",
                "-out", f"{path}.csr"])
            sh(["openssl", "x509", "-req", "-in", f"{path}.csr", "-CA", f"{above}.crt", "-CAkey", f"{above}.key",
                "-CAcreateserial", "-days", "30", "-extfile", str(ext), "-out", f"{path}.crt"])
            others.insert(0, path.with_suffix(".crt"))
            above = path
        (home / "chain.pem").write_text("".join(p.read_text() for p in others[1:]))
    return home / "chain8.crt", home / "chain8.key", home / "chain.pem"


@cases.case("long-chain-tls12", "TLS 1.2: a Certificate message longer than a record")
def _(lab):
    tls = lab.state
    crt, key, chain = long_chain(lab)
    tls.serve("-tls1_2", "-cert_chain", chain, cert=(crt, key))
    return [tls.flow(tls.talk(name=NAME, ca=str(lab.certs.ca)), sni=NAME)]


@cases.case("long-chain-tls13", "TLS 1.3: a long certificate chain, sealed")
def _(lab):
    tls = lab.state
    crt, key, chain = long_chain(lab)
    tls.serve("-tls1_3", "-cert_chain", chain, cert=(crt, key))
    return [tls.flow(tls.talk(name=NAME, ca=str(lab.certs.ca)), sni=NAME)]


import tls_failures  # noqa: E402,F401 (more cases)
import tls_views  # noqa: E402,F401
