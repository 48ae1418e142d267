"""Handshakes: client certificates, resumption, 0-RTT, retries, renegotiation, alerts, silence, ALPN, SNI, ECH."""

from handshakes_ends import cases
from tls_server import NAME, WEAK
from tls_server import check  # noqa: F401 (used by lab.py)

APT = ["openssl", "gnutls-bin", "libnss3-tools", "nginx", "curl"]
PIP = ["cryptography", "tlslite-ng"]
AES13 = "TLS_AES_256_GCM_SHA384"
AES12 = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
ECDSA = "ECDHE-ECDSA-AES128-GCM-SHA256"


def setup(lab):
    import tls_peers
    lab.state = tls_peers.Peers(lab)


def flag(version):
    return {"1.0": "-tls1", "1.1": "-tls1_1", "1.2": "-tls1_2", "1.3": "-tls1_3"}[version]


def client_pair(lab, label="client"):
    return lab.certs.pair(label, common_name=f"{label}.lab.internal")


# --- client certificates --------------------------------------------------------------------------

def mutual(label, proves, version, seen, outcome="established", cipher=None, serve=(), give=(), check=True):
    @cases.case(label, proves)
    def _(lab):
        peers = lab.state
        crt, key = client_pair(lab)
        given = {"yes": ["-cert", crt, "-key", key], "stranger": ["-cert", lab.certs.other_ca, "-key",
                                                                  lab.certs.other_ca.with_suffix(".key")]}
        ask = [flag(version), *(["-cipher", f"{cipher or ECDSA}:{WEAK}"] if version != "1.3" else [])]
        peers.serve(*ask, "-CAfile", lab.certs.ca, *serve)
        said = peers.s_client(*ask, *(x for g in give for x in given[g]), check=check)
        facts = {"tls": {"client_cert": seen, **(peers.said(said) if check else {})}}
        if not check:
            facts |= {"tls_version": f"TLSv{version}", "tls_cipher": AES12 if version == "1.2" else AES13}
        return [peers.flow(said if check else None, sni=NAME, outcome=outcome, **facts)]


ALWAYS, ASKED = ["-Verify", "3", "-verify_return_error"], ["-verify", "3"]
mutual("mutual-tls10", "TLS 1.0 with a client certificate", "1.0", "yes", cipher="ECDHE-ECDSA-AES128-SHA", serve=ALWAYS,
       give=["yes"])
mutual("mutual-tls12", "TLS 1.2 with a client certificate that the server demands", "1.2", "yes", serve=ALWAYS,
       give=["yes"])
mutual("mutual-asked-and-given-tls12", "TLS 1.2 with a client certificate that the server only asks for", "1.2", "yes",
       serve=ASKED, give=["yes"])
mutual("mutual-asked-not-given-tls12", "TLS 1.2: asked, and the client sends an empty list", "1.2", "no", serve=ASKED)
mutual("mutual-refused-tls12", "TLS 1.2: the server does not trust the client's certificate", "1.2", "yes",
       outcome="refused", serve=ALWAYS, give=["stranger"], check=False)
mutual("mutual-tls13", "TLS 1.3 with a client certificate: nobody outside can tell", "1.3", "unknown", serve=ALWAYS,
       give=["yes"])
mutual("mutual-asked-not-given-tls13", "TLS 1.3: asked and not given: nobody outside can tell", "1.3", "unknown",
       serve=ASKED)
mutual("mutual-refused-tls13", "TLS 1.3: the server does not trust the client's certificate: the alert is sealed",
       "1.3", "unknown", serve=ALWAYS, give=["stranger"], check=False)


@cases.case("mutual-rustls-tls13", "TLS 1.3 with a client certificate between rustls peers")
def _(lab):
    peers, (crt, key) = lab.state, lab.certs.pair("client-v3", "DNS:client.lab.internal")
    peers.rustls_server(ca=lab.certs.ca)
    return [peers.rustls_flow(peers.rustls_client(cert=crt, key=key), tls={"client_cert": "unknown"})]


@cases.case("mutual-rustls-tls12", "TLS 1.2 with a client certificate between rustls peers")
def _(lab):
    peers, (crt, key) = lab.state, lab.certs.pair("client-v3", "DNS:client.lab.internal")
    peers.rustls_server(ca=lab.certs.ca, versions="1.2")
    return [peers.rustls_flow(peers.rustls_client(cert=crt, key=key), tls={"client_cert": "yes"})]


# --- resumption ----------------------------------------------------------------------------------------

def resumed(label, proves, version, form, *serve, cipher=ECDSA, again=()):
    """A case: s_client comes back with the session of its first connection."""
    @cases.case(label, proves)
    def _(lab):
        peers, session = lab.state, lab.work / "session.pem"
        ask = [flag(version), *(["-cipher", f"{cipher}:{WEAK}"] if version != "1.3" else [])]
        peers.serve(*ask, *serve)
        first = peers.s_client(*ask, "-sess_out", session)
        second = peers.s_client(*ask, "-sess_in", session, *again)
        assert "\nReused, " in second, second
        return [peers.flow(first, sni=NAME, tls=peers.said(first)),
                peers.flow(second, sni=NAME, tls={**peers.said(second), "resumption": form})]


resumed("resumed-session-id-tls10", "TLS 1.0 resumed by its session id", "1.0", "session_id", "-no_ticket",
        cipher="ECDHE-ECDSA-AES128-SHA")
resumed("resumed-ticket-tls10", "TLS 1.0 resumed by a ticket", "1.0", "session_ticket", cipher="ECDHE-ECDSA-AES128-SHA")
resumed("resumed-psk-dhe-tls13", "TLS 1.3 resumed by a PSK with a new key exchange", "1.3", "psk_dhe")
resumed("resumed-psk-only-tls13", "TLS 1.3 resumed by a PSK alone: no forward secrecy", "1.3", "psk",
        "-allow_no_dhe_kex", "-groups", "X25519", again=["-allow_no_dhe_kex", "-groups", "P-521"])
resumed("resumed-stateful-tls13", "TLS 1.3 resumed by a ticket that is only a number to the server", "1.3", "psk_dhe",
        "-no_ticket")
resumed("resumed-with-retry-tls13", "TLS 1.3 resumed after a HelloRetryRequest", "1.3", "psk_dhe", "-groups", "P-384")


@cases.case("resumed-rustls-tls13", "rustls comes back with a PSK to rustls")
def _(lab):
    peers = lab.state
    peers.rustls_server()
    said = peers.rustls_client(times=2).splitlines()
    return [peers.rustls_flow(said[0]), peers.rustls_flow(said[1], tls={"resumption": "psk_dhe"})]


@cases.case("resumed-rustls-tls12", "rustls comes back with a session id to rustls, which gives no tickets")
def _(lab):
    peers = lab.state
    peers.rustls_server(versions="1.2")
    said = peers.rustls_client(times=2).splitlines()
    return [peers.rustls_flow(line) for line in said]


@cases.case("not-resumed-tls13", "rustls has nothing to come back with: the server gave no ticket")
def _(lab):
    peers = lab.state
    peers.rustls_server(sessions="none")
    said = peers.rustls_client(times=2).splitlines()
    return [peers.rustls_flow(line) for line in said]


def gnutls_resumed(label, proves, priority, form, *options, version="TLSv1.2", cipher="TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"):
    """A case: `gnutls-cli --resume` connects twice."""
    @cases.case(label, proves)
    def _(lab):
        peers = lab.state
        peers.gnutls(priority, *options)
        said = peers.gnutls_cli(priority, "--resume", *(["--waitresumption"] if version == "TLSv1.3" else []))
        assert "This is a resumed session" in said, said
        facts = {"sni": NAME, "tls_version": version, "tls_cipher": cipher}
        return [peers.flow(**facts, tls={"resumed": False}),
                peers.flow(**facts, tls={"resumed": True, "resumption": form})]


gnutls_resumed("resumed-gnutls-ticket-tls12", "GnuTLS resumes TLS 1.2 by a ticket", "NORMAL:-VERS-TLS1.3", "session_ticket")
gnutls_resumed("resumed-gnutls-session-id-tls12", "GnuTLS resumes TLS 1.2 by its session id",
               "NORMAL:-VERS-TLS1.3:%NO_TICKETS", "session_id")
gnutls_resumed("resumed-gnutls-tls13", "GnuTLS resumes TLS 1.3", "NORMAL:-VERS-ALL:+VERS-TLS1.3", "psk_dhe", version="TLSv1.3",
               cipher=AES13)


# --- early data, retries ---------------------------------------------------------------------------------

@cases.case("early-data-rustls", "rustls sends 0-RTT data to rustls, which takes it")
def _(lab):
    peers = lab.state
    peers.rustls_server(early=1024)
    said = peers.rustls_client(times=2, early=1).splitlines()
    assert "early=true" in said[1], said
    return [peers.rustls_flow(said[0], tls={"early_data": False}),
            peers.rustls_flow(said[1], tls={"early_data": True, "resumption": "psk_dhe"})]


def rejected(label, proves, settings, keep_key, ask=(), **tls):
    """A case: s_client gets a ticket from nginx, which then comes up with other settings."""
    @cases.case(label, proves)
    def _(lab):
        peers, session, data, keys = lab.state, lab.work / "session.pem", lab.work / "early", lab.work / "ticket.key"
        keys.write_bytes(bytes(range(80)))
        request = f"GET /{lab.canary('path')} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n"
        data.write_text(request)
        always = ["ssl_early_data on;", "ssl_protocols TLSv1.3;"]
        process = peers.nginx(*always, f"ssl_session_ticket_key {keys};")
        first = peers.s_client("-tls1_3", "-sess_out", session, steps=[request])
        lab.server.stop(process)
        peers.nginx(*always, *settings, *([f"ssl_session_ticket_key {keys};"] if keep_key else []))
        second = peers.s_client("-tls1_3", "-sess_in", session, "-early_data", data, *ask, steps=[""])
        assert "Early data was rejected" in second, second
        return [peers.flow(first, sni=NAME, tls=peers.said(first)),
                peers.flow(second, sni=NAME, tls={**peers.said(second), "early_data": True, **tls})]


rejected("early-data-rejected-by-retry", "0-RTT data before a HelloRetryRequest is lost", ["ssl_ecdh_curve secp384r1;"],
         True, ["-groups", "X25519:P-384"], hello_retry_request=True)
rejected("early-data-rejected-new-session", "the server knows nothing of the ticket: 0-RTT data is lost", [], False,
         resumed=False)


@cases.case("retry-then-refused", "a HelloRetryRequest, and the client then finds the certificate wrong")
def _(lab):
    peers = lab.state
    peers.serve("-tls1_3", "-groups", "P-384")
    said = peers.s_client("-tls1_3", "-groups", "X25519:P-384", "-CAfile", lab.certs.other_ca, "-verify_return_error",
                          check=False)
    assert "unable to get" in said or "verify error" in said, said
    return [peers.flow(sni=NAME, outcome="refused", tls_version="TLSv1.3", tls_cipher=AES13,
                       tls={"hello_retry_request": True})]


@cases.case("no-shared-group-tls13", "no group in common: handshake_failure")
def _(lab):
    peers = lab.state
    peers.serve("-tls1_3", "-groups", "P-384")
    peers.s_client("-tls1_3", "-groups", "X25519", check=False)
    return [peers.flow(sni=NAME, outcome="refused", tls={"alert": {"direction": "s2c", "level": "fatal",
                                                                  "description": "handshake_failure"}})]


# --- renegotiation ----------------------------------------------------------------------------------------

def renegotiated(label, proves, version, cipher, *serve, give=False):
    @cases.case(label, proves)
    def _(lab):
        peers, (crt, key) = lab.state, client_pair(lab)
        ask = [flag(version), "-cipher", f"{cipher}:{WEAK}"]
        peers.serve(*ask, "-client_renegotiation", "-CAfile", lab.certs.ca, *serve)
        given = ["-cert", crt, "-key", key] if give else []
        said = peers.s_client(*ask, *given, steps=[lab.canary("before") + "\n", "R\n", lab.canary("after") + "\n"])
        assert "RENEGOTIATING" in said, said
        return [peers.flow(said, sni=NAME, tls={**peers.said(said), "renegotiated": True})]


renegotiated("renegotiated-tls10", "TLS 1.0: the client renegotiates, sealed", "1.0", "ECDHE-ECDSA-AES128-SHA")
renegotiated("renegotiated-mutual-tls12", "TLS 1.2: the client renegotiates, with its certificate both times", "1.2",
             ECDSA, "-verify", "3", give=True)


@cases.case("renegotiated-null-tls12", "TLS 1.2 without encryption: the second handshake is in clear too")
def _(lab):
    peers, ask = lab.state, ["-tls1_2", "-cipher", f"ECDHE-ECDSA-NULL-SHA:{WEAK}"]
    peers.serve(*ask, "-client_renegotiation")
    said = peers.s_client(*ask, steps=[lab.canary("before") + "\n", "R\n", lab.canary("after") + "\n"])
    assert "RENEGOTIATING" in said, said
    return [peers.null(said, sni=NAME, tls={**peers.said(said), "renegotiated": True})]


@cases.case("renegotiated-gnutls-tls12", "TLS 1.2: GnuTLS's client renegotiates, with its certificate both times")
def _(lab):
    peers, (crt, key) = lab.state, client_pair(lab)
    priority = "NORMAL:-VERS-ALL:+VERS-TLS1.2"
    peers.gnutls(priority, "--x509cafile", str(lab.certs.ca))
    said = peers.gnutls_cli(priority, "--rehandshake", "--x509certfile", str(crt), "--x509keyfile", str(key))
    assert said.count("- Description: ") == 2 or "ReHandshake was completed" in said, said
    return [peers.flow(sni=NAME, tls_version="TLSv1.2", tls_cipher="TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
                       tls={**peers.gnutls_said(said), "renegotiated": True, "client_cert": "yes"})]


@cases.case("renegotiated-for-certificate-tls12", "TLS 1.2: the server renegotiates to ask for a certificate: all sealed")
def _(lab):
    from tls_server import PORT, drive
    peers, (crt, key), (own, own_key) = lab.state, client_pair(lab), lab.certs.server()
    peers.port = PORT
    command = ["timeout", "9", "openssl", "s_server", "-accept", f"{lab.server.v4}:{PORT}", "-cert", str(own), "-key", str(own_key),
               "-tls1_2", "-cipher", ECDSA, "-CAfile", str(lab.certs.ca)]
    server = lab.server.spawn(drive, command, [""] * 12 + ["R\n"])
    lab.server.wait_port(PORT)
    said = peers.s_client("-tls1_2", "-cipher", ECDSA, "-cert", crt, "-key", key,
                          steps=[lab.canary("before") + "\n"] + [""] * 16 + [lab.canary("after") + "\n"])
    told = server.result()
    assert "SSL_do_handshake -> 1" in told, told
    lab.versions(server=f"{peers.openssl} s_server")
    return [peers.flow(said, sni=NAME, tls={**peers.said(said), "renegotiated": True, "client_cert": "no"},
                       why="the first handshake has no client certificate, and the second one cannot be read")]


@cases.case("psk-only-gnutls-tls13", "TLS 1.3 with an external PSK and no key exchange at all")
def _(lab):
    from tls_server import PORT, drive, gnutls_version
    peers, keys, key = lab.state, lab.work / "psk.txt", "00112233445566778899aabbccddeeff"
    keys.write_text(f"peer:{key}\n")
    priority = "NORMAL:-VERS-ALL:+VERS-TLS1.3:-KX-ALL:+PSK"
    peers.gnutls(priority, "--pskpasswd", str(keys))
    said = lab.client.call(drive, ["gnutls-cli", "-p", str(PORT), "--priority", priority, "--pskusername", "peer",
                                   "--pskkey", key, NAME], [lab.canary("word") + "\n"])
    assert "Handshake was completed" in said, said
    lab.versions(client="GnuTLS " + gnutls_version())
    assert "(CHACHA20-POLY1305)" in said, said
    cipher = "TLS_CHACHA20_POLY1305_SHA256"
    return [peers.flow(sni=NAME, tls_version="TLSv1.3", tls_cipher=cipher)]
