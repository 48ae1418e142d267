"""TLS: handshakes that end badly, servers that are silent or speak something else."""

from tls_server import NAME, RESET, WEAK, cases


def fails(said):
    """The client must have failed."""
    error = said["error"] if isinstance(said, dict) else said
    assert error, said
    return said


def refused(tls, **facts):
    return [tls.flow(outcome="refused", **{"sni": NAME, **facts})]


# --- alerts ------------------------------------------------------------------------------

@cases.case("no-shared-cipher-tls12", "TLS 1.2: no cipher in common, the server sends handshake_failure")
def _(lab):
    tls = lab.state
    tls.serve("-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384")
    fails(tls.talk(name=NAME, most="1.2", ciphers="ECDHE-ECDSA-AES128-SHA256"))
    return refused(tls)


@cases.case("no-shared-cipher-tls13", "TLS 1.3: no cipher suite in common, the server sends handshake_failure")
def _(lab):
    tls = lab.state
    tls.serve("-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256")
    fails(tls.talk(name=NAME, least="1.3"))
    return refused(tls)


@cases.case("version-too-old", "the client has TLS 1.2 at most, the server wants 1.3: protocol_version")
def _(lab):
    tls = lab.state
    tls.serve("-tls1_3")
    fails(tls.talk(name=NAME, most="1.2"))
    return refused(tls)


@cases.case("version-too-new", "the client wants TLS 1.3, the server has 1.2 at most: protocol_version")
def _(lab):
    tls = lab.state
    tls.serve("-tls1_2")
    fails(tls.talk(name=NAME, least="1.3"))
    return refused(tls)


@cases.case("fallback-refused", "the client falls back to TLS 1.1 and says so: inappropriate_fallback")
def _(lab):
    tls = lab.state
    tls.serve("-cipher", f"ALL:{WEAK}", rsa=True)
    said = tls.s_client("-tls1_1", "-fallback_scsv", "-cipher", f"ALL:{WEAK}", check=False)
    assert "inappropriate fallback" in said, said
    return refused(tls)


@cases.case("unknown-ca-tls12", "TLS 1.2: the client does not trust the server and says so in clear")
def _(lab):
    tls = lab.state
    tls.serve("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256")
    fails(tls.talk(name=NAME, ca=str(lab.certs.other_ca)))
    return refused(tls, tls_version="TLSv1.2", tls_cipher="TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")


@cases.case("unknown-ca-tls13", "TLS 1.3: the client does not trust the server; OpenSSL says so in clear")
def _(lab):
    tls = lab.state
    tls.serve("-tls1_3")
    fails(tls.talk(name=NAME, ca=str(lab.certs.other_ca)))
    return refused(tls, tls_version="TLSv1.3", tls_cipher="TLS_AES_256_GCM_SHA384",
                   why="the client has no key to write with yet when it finds the certificate wrong")


@cases.case("unknown-ca-sealed-tls13", "TLS 1.3: the client does not trust the server; GnuTLS seals its alert")
def _(lab):
    from tls_server import drive, gnutls_version
    tls = lab.state
    tls.serve("-tls1_3")
    said = lab.client.call(drive, ["gnutls-cli", "--x509cafile", str(lab.certs.other_ca), "-p", str(tls.port), NAME],
                           [""])
    assert "Handshake was completed" not in said and "NOT trusted" in said, said
    lab.versions(client="GnuTLS " + gnutls_version())
    return refused(tls, tls_version="TLSv1.3", tls_cipher="TLS_AES_256_GCM_SHA384",
                   why="the client's first sealed record is as long as an alert and not as a Finished")


@cases.case("forgotten-session-tls12", "TLS 1.2: the server no longer knows the session and makes a new one")
def _(lab):
    tls = lab.state
    session = lab.work / "session.pem"
    tls.serve("-tls1_2", "-no_ticket")
    first = tls.s_client("-tls1_2", "-sess_out", session)
    lab.server.stop(tls.process)
    tls.serve("-tls1_2", "-no_ticket")
    second = tls.s_client("-tls1_2", "-sess_in", session)
    assert "New, " in second, second
    return [tls.flow(first, sni=NAME), tls.flow(second, sni=NAME)]


def demand(name, proves, version, **facts):
    @cases.case(name, proves)
    def _(lab):
        tls = lab.state
        cipher = ["-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"] if version == "1.2" else []
        tls.serve(f"-tls1_{version[-1]}", "-CAfile", lab.certs.ca, "-Verify", "1", *cipher)
        fails(tls.talk(name=NAME))
        return [tls.flow(sni=NAME, **facts)]


demand("client-certificate-missing-tls12", "TLS 1.2: the server insists on a client certificate: alert in clear", "1.2",
       outcome="refused", tls_version="TLSv1.2", tls_cipher="TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")
demand("client-certificate-missing-tls13", "TLS 1.3: the server insists on a client certificate: the alert is sealed",
       "1.3", tls_version="TLSv1.3", tls_cipher="TLS_AES_256_GCM_SHA384",
       why="the server refuses, but inside TLS and after both sides had sent their Finished or as good as that")


@cases.case("name-refused", "nginx does not serve this name: unrecognized_name")
def _(lab):
    tls = lab.state
    tls.nginx("ssl_reject_handshake on;")
    fails(tls.talk(name="other.example"))
    return refused(tls, sni="other.example")


@cases.case("alpn-refused", "no application protocol in common: no_application_protocol")
def _(lab):
    tls = lab.state
    tls.gnutls("NORMAL", "--alpn", "x-lab/7", "--alpn-fatal")
    fails(tls.talk(name=NAME, alpn=["h2"]))
    return refused(tls)


def old_hello(address, port):
    """An SSLv2-format ClientHello that offers TLS 1.2 with RSA key exchange; gone when the server has answered."""
    import os
    import socket
    body = b"\1" + b"\3\3" + b"\0\6" + b"\0\0" + b"\0\x10" + b"\0\0\x3c" + b"\0\0\xff" + os.urandom(16)
    with socket.create_connection((address, port), 5) as wire:
        wire.sendall((0x8000 | len(body)).to_bytes(2, "big") + body)
        answer = wire.recv(65536)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    return answer


@cases.case("sslv2-hello-tls12", "a ClientHello in the format of SSLv2, which OpenSSL 3 still answers with TLS 1.2",
            holes=True)
def _(lab):
    tls = lab.state
    tls.serve("-cipher", f"AES128-SHA256:{WEAK}", rsa=True)
    assert lab.client.call(old_hello, tls.server.v4, tls.port)[:3] == b"\x16\3\3"
    lab.versions(client="a scripted client")
    return [tls.flow(tls_version="TLSv1.2", tls_cipher="TLS_RSA_WITH_AES_128_CBC_SHA256", outcome="unknown",
                     why="both ends spoke TLS, and neither refused nor finished")]


# --- servers that are silent or leave ---------------------------------------------------------

def lone(name, proves, quiet=True, why=None, **scripted):
    """A case: the server says nothing to a ClientHello."""
    @cases.case(name, proves)
    def _(lab):
        tls = lab.state
        tls.scripted(**scripted)
        fails(tls.talk(name=NAME, timeout=1, quiet=quiet))
        tls.silent.result()
        return [tls.flow(sni=NAME, outcome="attempt", confidence="one_side", why=why)]


lone("server-closes", "the server takes the ClientHello and closes without a byte")
lone("server-closes-client-alert", "the server closes without a byte, which OpenSSL's client calls a decode_error",
     quiet=False, why="the server never spoke: the client's alert is about the answer it did not get")
lone("server-resets", "the server takes the ClientHello and resets the connection", reset=True)
lone("hello-unanswered", "a ClientHello that nobody answers", hold=1.5)


@cases.case("hello-port-closed", "nobody listens on the port: not a byte is said")
def _(lab):
    tls = lab.state
    try:
        tls.talk(name=NAME)
    except RuntimeError as error:
        assert "refused" in str(error)
    lab.canaries.clear()
    return [tls.flow(encryption="unknown", outcome="unknown", confidence=None)]


@cases.case("left-half-way-tls12", "the client leaves as soon as it has the server's hello: TLS 1.2 half way")
def _(lab):
    tls = lab.state
    tls.serve("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256")
    tls.talk(name=NAME, lone=True)
    return [tls.flow(sni=NAME, outcome="unknown", tls_version="TLSv1.2",
                     tls_cipher="TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
                     why="both ends spoke TLS, and neither refused nor finished")]


# --- servers that speak something else ---------------------------------------------------------

@cases.case("hello-to-http", "a ClientHello to a plaintext HTTP server: 400 Bad Request")
def _(lab):
    tls = lab.state
    tls.nginx(tls=False)
    fails(tls.talk(name=NAME))
    return refused(tls, confidence=None)


@cases.case("hello-to-smtp", "a ClientHello to a server that greets first: two protocols that do not meet")
def _(lab):
    tls = lab.state
    tls.scripted(greeting=b"220 mail.lab.internal ESMTP\r\n", answer=b"500 5.5.1 Command unrecognized\r\n")
    fails(tls.talk(name=NAME))
    return refused(tls, confidence=None)


@cases.case("hello-to-redis", "a ClientHello to a server that answers in RESP")
def _(lab):
    tls = lab.state
    tls.scripted(answer=b"-ERR Protocol error: unauthenticated multibulk length\r\n", port=6379)
    fails(tls.talk(name=NAME))
    return refused(tls, confidence=None)


@cases.case("http-to-tls", "plain HTTP to a TLS server that answers with an alert")
def _(lab):
    tls = lab.state
    tls.gnutls("NORMAL")
    done = lab.client.run(["curl", "-s", "--max-time", "5", f"http://{tls.server.v4}:{tls.port}/{lab.canary('path')}"],
                          check=False)
    assert done.returncode, done.stdout
    lab.versions(client="curl " + lab.client.run(["curl", "--version"]).stdout.split()[1])
    return [tls.flow(encryption="plaintext", plaintext_reason="no_in_band_upgrade", app="http", outcome="refused",
                     confidence=None)]
