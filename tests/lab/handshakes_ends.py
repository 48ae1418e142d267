"""Handshakes that end in an alert, in silence or in a reset; what is asked for with ALPN, SNI and ECH."""

from tls_server import NAME, RESET, WEAK

from lab import Cases

cases = Cases()
AES13 = "TLS_AES_256_GCM_SHA384"
AES12 = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
ECDSA = "ECDHE-ECDSA-AES128-GCM-SHA256"
UNREAD = {"sni": NAME, "outcome": "refused"}


def alert(direction, description, level="fatal"):
    return {"alert": {"direction": direction, "level": level, "description": description}, "outcome": "alert"}


# --- alerts: a reason each ---------------------------------------------------------------------

def refuses(label, proves, direction, description, serve, connect, version=None, rsa=False):
    """A case: s_client and s_server do not come together, and one of them says why in clear."""
    @cases.case(label, proves)
    def _(lab):
        peers = lab.state
        given = [x(lab) if callable(x) else x for x in serve]
        peers.serve(*given, rsa=rsa)
        said = peers.s_client(*(x(lab) if callable(x) else x for x in connect), check=False)
        facts = {"1.2": {"tls_version": "TLSv1.2", "tls_cipher": AES12},
                 "1.3": {"tls_version": "TLSv1.3", "tls_cipher": AES13}}.get(version, {})
        assert "alert" in said or "verif" in said or "error" in said, said
        return [peers.flow(**UNREAD, **facts, tls=alert(direction, description))]


def other_ca(lab):
    return lab.certs.other_ca


STRICT = ["-CAfile", other_ca, "-verify_return_error"]
refuses("alert-unknown-ca-tls12", "the client does not know the CA", "c2s", "unknown_ca",
        ["-tls1_2", "-cipher", ECDSA], ["-tls1_2", *STRICT], "1.2")
refuses("alert-handshake-failure-tls10", "no suite in common in TLS 1.0", "s2c", "handshake_failure",
        ["-tls1", "-cipher", f"ECDHE-ECDSA-AES128-SHA:{WEAK}"], ["-tls1", "-cipher", f"AES256-SHA:{WEAK}"])
refuses("alert-handshake-failure-rsa-only", "the server has an RSA certificate and the client only ECDSA suites", "s2c",
        "handshake_failure", ["-tls1_2"], ["-tls1_2", "-cipher", ECDSA], rsa=True)
refuses("alert-protocol-version-tls10", "TLS 1.0 to a server that begins with 1.2", "s2c", "protocol_version",
        ["-no_tls1", "-no_tls1_1"], ["-tls1", "-cipher", f"ALL:{WEAK}"])
refuses("alert-protocol-version-tls11", "TLS 1.1 to a server that only has 1.3", "s2c", "protocol_version",
        ["-tls1_3"], ["-tls1_1", "-cipher", f"ALL:{WEAK}"])
refuses("alert-unrecognized-name", "the server has no such name and insists", "s2c", "unrecognized_name",
        ["-servername", "else.lab.internal", "-servername_fatal", "-cert2",
         lambda lab: lab.certs.server()[0], "-key2", lambda lab: lab.certs.server()[1]], [])
refuses("alert-no-application-protocol", "no application protocol in common with s_server", "s2c",
        "no_application_protocol", ["-alpn", "h2"], ["-alpn", "postgresql"])


def verifies(label, proves, build, description, more=(), tls=None):
    """A case: s_client finds something wrong with the certificate and says what."""
    @cases.case(label, proves)
    def _(lab):
        import cert_kinds as kinds
        peers = lab.state
        root = kinds.make(subject=kinds.name("Lab Root"), sans=(), ca=True, end=3650)
        crt, key, _ = kinds.write(lab, label, build(kinds, root))
        trust = lab.work / f"{label}.ca"
        trust.write_bytes(root.pem())
        peers.serve("-tls1_2", "-cipher", ECDSA, cert=(crt, key))
        peers.s_client("-tls1_2", "-CAfile", trust, "-verify_return_error", *more, check=False)
        return [peers.flow(**UNREAD, tls_version="TLSv1.2", tls_cipher=AES12, tls=alert("c2s", description))]


verifies("alert-certificate-expired", "the client finds the certificate expired", lambda k, r: k.make(r, start=-9, end=-2),
         "certificate_expired")
verifies("alert-not-yet-valid", "the client finds the certificate not yet valid: bad_certificate",
         lambda k, r: k.make(r, start=2, end=9), "bad_certificate")
verifies("alert-self-signed", "the client does not trust a self-signed certificate", lambda k, r: k.make(), "unknown_ca")
verifies("alert-wrong-name", "the client finds another name in the certificate",
         lambda k, r: k.make(r, sans=["other.example"]), "bad_certificate", more=["-verify_hostname", NAME])


def gnutls_refuses(label, proves, priority, direction, description, cli, **facts):
    """A case: gnutls-cli does not come together with gnutls-serv."""
    @cases.case(label, proves)
    def _(lab):
        from tls_server import drive, gnutls_version
        peers = lab.state
        peers.gnutls(priority)
        said = lab.client.call(drive, ["gnutls-cli", "-p", str(peers.port), *cli, NAME], [""])
        assert "Handshake was completed" not in said, said
        lab.versions(client="GnuTLS " + gnutls_version())
        return [peers.flow(**UNREAD, **facts, tls=alert(direction, description))]


gnutls_refuses("alert-gnutls-no-version", "GnuTLS: no version in common, which it calls handshake_failure",
               "NORMAL:-VERS-ALL:+VERS-TLS1.3", "s2c", "handshake_failure",
               ["--insecure", "--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.2"])
gnutls_refuses("alert-gnutls-handshake-failure", "GnuTLS: no suite in common",
               "NORMAL:-VERS-TLS1.3:-CIPHER-ALL:+AES-256-GCM", "s2c", "handshake_failure",
               ["--insecure", "--priority", "NORMAL:-VERS-TLS1.3:-CIPHER-ALL:+CHACHA20-POLY1305"])


@cases.case("alert-rustls-protocol-version", "rustls only has TLS 1.3 and is asked for 1.2")
def _(lab):
    peers = lab.state
    peers.rustls_server(versions="1.3")
    peers.s_client("-tls1_2", check=False)
    return [peers.flow(**UNREAD, tls=alert("s2c", "protocol_version"))]


@cases.case("alert-rustls-unknown-ca", "rustls does not know the CA: it seals its alert")
def _(lab):
    peers = lab.state
    peers.rustls_server()
    said = peers.rustls_client(ca=lab.certs.other_ca)
    assert "UnknownIssuer" in said, said
    return [peers.flow(**UNREAD, tls_version="TLSv1.3", tls_cipher=AES13)]


@cases.case("alert-certificate-required-sealed", "TLS 1.3: rustls demands a client certificate; its alert is sealed")
def _(lab):
    peers = lab.state
    peers.rustls_server(ca=lab.certs.ca)
    peers.s_client("-tls1_3", check=False)
    return [peers.flow(sni=NAME, tls_version="TLSv1.3", tls_cipher=AES13, tls={"client_cert": "unknown"},
                       why="the server refuses, but inside TLS and after the client's Finished")]


@cases.case("alert-close-notify-before-hello", "the server takes the ClientHello and says close_notify")
def _(lab):
    peers = lab.state
    peers.scripted(answer=bytes.fromhex("15030300020100"))
    peers.talk(name=NAME, timeout=1, quiet=True)
    return [peers.flow(sni=NAME, outcome="unknown",
                       tls={"alert": alert("s2c", "close_notify", "warning")["alert"]},
                       why="the server ends, and gives no reason")]


# --- silence and resets --------------------------------------------------------------------------------

def leave(address, port, name, after, how, most):
    """A client that stops when it has the server's flight: `how` is reset, close or silence."""
    import socket
    import ssl
    import time
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[most]
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with socket.create_connection((address, port), 5) as wire:
        for turn in range(after):
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            wire.sendall(outgoing.read())
            time.sleep(0.2)
            incoming.write(wire.recv(65536))
        if how == "silence":
            time.sleep(1.5)
        if how != "close":
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def left(label, proves, most, how):
    @cases.case(label, proves)
    def _(lab):
        import platform
        peers = lab.state
        peers.serve(*(["-tls1_2", "-cipher", ECDSA] if most == "1.2" else ["-tls1_3"]))
        lab.client.call(leave, lab.server.v4, peers.port, NAME, 1, how, most)
        lab.versions(client=f"Python {platform.python_version()} ({peers.openssl})")
        facts = {"tls_version": "TLSv1.2", "tls_cipher": AES12} if most == "1.2" else {
            "tls_version": "TLSv1.3", "tls_cipher": AES13}
        if how == "close" and most == "1.2":  # OpenSSL calls the end of the stream a decode_error
            return [peers.flow(sni=NAME, outcome="refused", **facts, tls=alert("s2c", "decode_error"))]
        ended = {} if how == "close" else {"tls": {"outcome": "abandoned"}}
        return [peers.flow(sni=NAME, outcome="unknown", **facts, **ended,
                           why="both ends spoke TLS, and neither refused nor finished")]


for most in ("1.2", "1.3"):
    digits = most.replace(".", "")
    left(f"abandoned-reset-tls{digits}", f"TLS {most}: the client resets when it has the server's flight", most, "reset")
    left(f"abandoned-closed-tls{digits}", f"TLS {most}: the client closes when it has the server's flight", most, "close")
    left(f"abandoned-silent-tls{digits}", f"TLS {most}: the client says no more, and resets at last", most, "silence")


# --- ALPN, SNI, ECH ----------------------------------------------------------------------------------------

def chooses(label, proves, version, serve, ask, chosen):
    @cases.case(label, proves)
    def _(lab):
        peers = lab.state
        peers.serve(f"-tls1_{version[-1]}", "-alpn", serve)
        said = peers.s_client(f"-tls1_{version[-1]}", "-alpn", ask)
        assert f"ALPN protocol: {chosen}" in said, said
        return [peers.flow(said, sni=NAME, alpn=chosen if version == "1.2" else None, app=None,
                           tls=peers.said(said))]


for protocol in ("postgresql", "tds/8.0", "h2", "http/1.0", "mqtt", "imap", "acme-tls/1", "dot"):
    chooses(f"alpn-{protocol.replace('/', '-').replace('.', '-')}-tls12", f"TLS 1.2: ALPN {protocol} is chosen in clear",
            "1.2", protocol, f"{protocol},x-else", protocol)
chooses("alpn-second-choice-tls12", "the server's order counts", "1.2", "http/1.1,h2", "h2,http/1.1", "http/1.1")
chooses("alpn-of-two-tls13", "TLS 1.3: the choice is sealed", "1.3", "h2", "h2,http/1.1", "h2")


@cases.case("sni-of-an-address", "a client that puts an address into SNI, which it must not")
def _(lab):
    peers = lab.state
    peers.serve("-tls1_2")
    said = peers.s_client("-tls1_2", name="10.77.2.20")
    return [peers.flow(said, sni="10.77.2.20", tls=peers.said(said))]


@cases.case("sni-upper-case", "a client that writes the name in capitals")
def _(lab):
    peers = lab.state
    peers.serve("-tls1_2")
    said = peers.s_client("-tls1_2", name="DB.Lab.Internal")
    return [peers.flow(said, sni="DB.Lab.Internal", tls=peers.said(said))]


@cases.case("ech-grease", "rustls sends an ECH extension that only looks like one: the name is in clear")
def _(lab):
    peers = lab.state
    peers.rustls_server()
    return [peers.rustls_flow(peers.rustls_client(ech="grease"), tls={"ech_offered": True})]


@cases.case("ech-grease-openssl", "GREASE ECH to OpenSSL, which knows nothing of it")
def _(lab):
    peers = lab.state
    peers.serve("-tls1_3")
    return [peers.rustls_flow(peers.rustls_client(ech="grease"), tls={"ech_offered": True})]


def ech_list(public_name):
    """An ECHConfigList with a key of its own (RFC 9849 section 4)."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    key = X25519PrivateKey.generate().public_key().public_bytes(serialization.Encoding.Raw,
                                                                serialization.PublicFormat.Raw)
    # config id, DHKEM(X25519, HKDF-SHA256), the key, HKDF-SHA256 with AES-128-GCM, longest name, name, extensions
    contents = (b"\x07" + b"\x00\x20" + len(key).to_bytes(2, "big") + key + b"\x00\x04\x00\x01\x00\x01" + b"\x40"
                + bytes([len(public_name)]) + public_name.encode() + b"\x00\x00")
    config = b"\xfe\x0d" + len(contents).to_bytes(2, "big") + contents
    return len(config).to_bytes(2, "big") + config


@cases.case("ech-real-rejected", "a real ECH: the outer hello has the public name; a server without ECH answers for it")
def _(lab):
    peers, path = lab.state, lab.work / "ech"
    path.write_bytes(ech_list("server.lab.internal"))
    peers.serve("-tls1_3")
    said = peers.rustls_client(ech=path, name="db.lab.internal")
    assert "failed" in said, said
    return [peers.flow(sni="server.lab.internal", tls_version="TLSv1.3", tls_cipher=AES13, tls={"ech_offered": True},
                       why="the client says ech_required, but inside TLS and with its Finished")]


# --- offers ----------------------------------------------------------------------------------------------------

def offers(label, proves, *options, serve=("-tls1_2",), **tls):
    """A case: what a client offers shows in its fingerprint."""
    @cases.case(label, proves)
    def _(lab):
        peers = lab.state
        peers.serve(*serve)
        said = peers.s_client(*options)
        return [peers.flow(said, sni=NAME, tls={**peers.said(said), **tls})]


offers("offers-one-suite", "one suite", "-tls1_2", "-cipher", ECDSA)
offers("offers-every-suite", "every suite OpenSSL has, the bad ones too", "-cipher", f"ALL:COMPLEMENTOFALL:{WEAK}")
offers("offers-status-and-fragments", "OCSP stapling, SCTs and a maximum fragment length", "-tls1_2", "-status",
       "-maxfraglen", "1024")
offers("offers-encrypt-then-mac", "CBC with encrypt-then-MAC", "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256")
