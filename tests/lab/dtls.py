"""DTLS with OpenSSL: versions, cookies, small fragments, alerts, views."""

import os
import subprocess
import time

import shape
from lab import Cases

cases = Cases()
PORT = 4433
NAME = "db.lab.internal"
WEAK = "ALL:@SECLEVEL=0"


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    where = f"port {flow['client_port']}"
    for said, who in ((c2s, "client"), (s2c, "server")):
        if said and (said[0] not in (21, 22, 23) or said[1:2] != b"\xfe"):
            yield f"{where}: the {who} does not begin with a record: {said[:8]!r}"
    if flow.get("confidence") == "both_sides" and not (c2s and s2c):
        yield f"{where}: both sides are claimed, and only one spoke"


def serve(lab, *options):
    crt, key = lab.certs.server()
    silent = lab.directory("s_server") / "stdin"  # s_server ends with its standard input
    if not silent.exists():
        os.mkfifo(silent)
    process = lab.server.start(["sh", "-c", 'exec "$@" <> ' + str(silent), "sh", "openssl", "s_server", "-accept",
                                f"{lab.server.v4}:{PORT}", "-cert", str(crt), "-key", str(key), "-quiet", *options],
                               log=lab.log("s_server"))
    lab.server.wait_port(PORT, process, kind="udp")
    version = " ".join(subprocess.check_output(["openssl", "version"], text=True).split()[:2])
    lab.versions(server=f"{version} s_server", client=f"{version} s_client")


def talk(lab, *options, lines=2):
    """Send some lines and leave."""
    words = [lab.canary("line") for _ in range(lines)]
    address, ca = lab.server.v4, str(lab.certs.ca)

    def client():
        process = subprocess.Popen(["openssl", "s_client", "-connect", f"{address}:{PORT}", "-servername", NAME,
                                    "-CAfile", ca, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
        time.sleep(1)
        try:
            for word in words:
                process.stdin.write(word + "\n")
                process.stdin.flush()
                time.sleep(0.1)
            process.stdin.write("Q\n")
            process.stdin.flush()
            return process.communicate(timeout=5)[0]
        except (BrokenPipeError, subprocess.TimeoutExpired) as error:
            process.kill()
            return f"{error!r}"

    return lab.client.call(client)


def sealed(lab, **facts):
    return lab.flow(**{"transport": "udp", "server_port": PORT, "encryption": "dtls", "outcome": "established",
                       "confidence": "both_sides", "tls_version": "DTLSv1.2",
                       "tls_cipher": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "sni": NAME, **facts})


@cases.case("dtls12", "DTLS 1.2: the hellos are in clear, the lines are not")
def _(lab):
    serve(lab, "-dtls1_2")
    talk(lab, "-dtls1_2")
    return [sealed(lab)]


@cases.case("dtls10", "DTLS 1.0")
def _(lab):
    serve(lab, "-dtls1", "-cipher", WEAK)
    talk(lab, "-dtls1", "-cipher", WEAK)
    return [sealed(lab, tls_version="DTLSv1.0", tls_cipher="TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA")]


@cases.case("cookie", "the server verifies the client's address before it answers: a second ClientHello")
def _(lab):
    serve(lab, "-dtls1_2", "-listen")
    talk(lab, "-dtls1_2")
    return [sealed(lab)]


@cases.case("fragments", "messages in fragments, as a small MTU makes them")
def _(lab):
    serve(lab, "-dtls1_2", "-mtu", "256")
    talk(lab, "-dtls1_2", "-mtu", "256")
    return [sealed(lab)]


@cases.case("alpn", "the server's choice of a protocol is in clear")
def _(lab):
    serve(lab, "-dtls1_2", "-alpn", "coap")
    talk(lab, "-dtls1_2", "-alpn", "other,coap")
    return [sealed(lab, alpn="coap")]


@cases.case("null-cipher", "a NULL cipher only signs: the lines can be read")
def _(lab):
    serve(lab, "-dtls1_2", "-cipher", "ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0")
    talk(lab, "-dtls1_2", "-cipher", "ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0")
    return [sealed(lab, encryption="plaintext", plaintext_reason="null_cipher",
                   tls_cipher="TLS_ECDHE_ECDSA_WITH_NULL_SHA")]


@cases.case("no-shared-cipher", "no cipher in common: the server sends handshake_failure")
def _(lab):
    serve(lab, "-dtls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384")
    talk(lab, "-dtls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256")
    return [sealed(lab, outcome="refused", tls_version=None, tls_cipher=None)]


@cases.case("client-only", "only what the client sends is mirrored", mirror=("server:in",))
def _(lab):
    serve(lab, "-dtls1_2")
    talk(lab, "-dtls1_2")
    return [sealed(lab, confidence="one_side", tls_cipher=None)]


@cases.case("server-only", "only what the server sends is mirrored", mirror=("server:out",))
def _(lab):
    serve(lab, "-dtls1_2")
    talk(lab, "-dtls1_2")
    return [sealed(lab, confidence="one_side", sni=None)]


def data(packet):
    return packet.payload[:1] == b"\x17"


@cases.case("joined-late", "the recording begins with sealed records", shape=[shape.late(data)])
def _(lab):
    serve(lab, "-dtls1_2")
    talk(lab, "-dtls1_2", lines=6)
    return [sealed(lab, tls_cipher=None, sni=None)]


# --- more suites, certificates, resumption ------------------------------------------------------------

def suite(name, proves, cipher, iana, *options, version="-dtls1_2", **facts):
    @cases.case(name, proves)
    def _(lab):
        ask = [version, "-cipher", f"{cipher}:@SECLEVEL=0", *options]
        serve(lab, *ask)
        talk(lab, *ask)
        return [sealed(lab, tls_cipher=iana, **facts)]


PSK = ["-psk", "00112233445566778899aabbccddeeff"]
suite("chacha20", "DTLS 1.2 with ChaCha20-Poly1305", "ECDHE-ECDSA-CHACHA20-POLY1305",
      "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256")
suite("ccm8", "DTLS 1.2 with AES-CCM and a short tag, as small devices have it", "ECDHE-ECDSA-AES128-CCM8",
      "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8")
suite("psk-ccm8", "DTLS 1.2 with a pre-shared key, as CoAP has it", "PSK-AES128-CCM8", "TLS_PSK_WITH_AES_128_CCM_8", *PSK)
suite("ecdhe-psk", "DTLS 1.2 with a pre-shared key and ECDHE", "ECDHE-PSK-AES128-CBC-SHA256",
      "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256", *PSK)
suite("anonymous", "DTLS 1.2 without a certificate", "AECDH-AES128-SHA", "TLS_ECDH_anon_WITH_AES_128_CBC_SHA")
suite("psk-null", "DTLS 1.2 with a pre-shared key that only signs", "PSK-NULL-SHA256", "TLS_PSK_WITH_NULL_SHA256", *PSK,
      encryption="plaintext", plaintext_reason="null_cipher")
suite("cbc-dtls10", "DTLS 1.0 with AES-128", "ECDHE-ECDSA-AES128-SHA", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
      version="-dtls1", tls_version="DTLSv1.0")


def mutual(name, proves, seen, serving, giving, **facts):
    @cases.case(name, proves)
    def _(lab):
        crt, key = lab.certs.pair("client", common_name="client.lab.internal")
        given = {"yes": ["-cert", str(crt), "-key", str(key)], "no": [],
                 "stranger": ["-cert", str(lab.certs.other_ca), "-key", str(lab.certs.other_ca.with_suffix(".key"))]}
        serve(lab, "-dtls1_2", "-CAfile", str(lab.certs.ca), *serving)
        talk(lab, "-dtls1_2", *given[giving])
        return [sealed(lab, tls={"client_cert": seen}, **facts)]


mutual("mutual", "the client's certificate is in clear", "yes", ["-Verify", "3", "-verify_return_error"], "yes")
mutual("mutual-not-given", "the server asks, the client has no certificate", "no", ["-verify", "3"], "no")
mutual("mutual-missing", "the server insists on a certificate: handshake_failure", "no", ["-Verify", "3"], "no",
       outcome="refused")
mutual("mutual-fragments", "a client certificate in fragments", "yes",
       ["-Verify", "3", "-verify_return_error", "-mtu", "256"], "yes")


@cases.case("unknown-ca", "the client does not know the CA and says so")
def _(lab):
    serve(lab, "-dtls1_2")
    talk(lab, "-dtls1_2", "-CAfile", str(lab.certs.other_ca), "-verify_return_error")
    return [sealed(lab, outcome="refused", tls={"alert": {"direction": "c2s", "level": "fatal",
                                                          "description": "unknown_ca"}})]


def resumed(name, proves, form, *options):
    @cases.case(name, proves)
    def _(lab):
        session = str(lab.work / "dtls-session.pem")
        serve(lab, "-dtls1_2", *options)
        talk(lab, "-dtls1_2", "-sess_out", session)
        said = talk(lab, "-dtls1_2", "-sess_in", session)
        assert "Reused, " in said, said
        return [sealed(lab, tls={"resumed": False}), sealed(lab, tls={"resumed": True, "resumption": form})]


resumed("resumed-ticket", "a second session resumes the first by a ticket", "session_ticket")
resumed("resumed-session-id", "a second session resumes the first by its session id", "session_id", "-no_ticket")


def gnutls(name, proves, priority, cipher, version="DTLSv1.2", **facts):
    """A case: GnuTLS at both ends; its server always sends a cookie first."""
    @cases.case(name, proves)
    def _(lab):
        from tls_server import drive, gnutls_version
        crt, key = lab.certs.server()
        process = lab.server.start(["gnutls-serv", "--udp", "--echo", "--port", str(PORT), "--x509certfile", str(crt),
                                    "--x509keyfile", str(key), "--priority", priority], log=lab.log("gnutls-serv"))
        lab.server.wait_port(PORT, process, kind="udp")
        command = ["gnutls-cli", "--udp", "--insecure", "-p", str(PORT), "--priority", priority, NAME]
        said = lab.client.call(drive, command, [lab.canary("word") + "\n"])
        assert "Handshake was completed" in said, said
        lab.versions(server="GnuTLS " + gnutls_version(), client="GnuTLS " + gnutls_version())
        return [sealed(lab, tls_cipher=cipher, tls_version=version, **facts)]


gnutls("gnutls-dtls12", "GnuTLS at both ends with DTLS 1.2", "NORMAL:-VERS-ALL:+VERS-DTLS1.2",
       "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384")
gnutls("gnutls-dtls10", "GnuTLS at both ends with DTLS 1.0", "NORMAL:-VERS-ALL:+VERS-DTLS1.0:+SHA1:+SIGN-ALL",
       "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "DTLSv1.0")
