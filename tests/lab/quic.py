"""QUIC with aioquic: versions 1 and 2, Retry, early data, version negotiation, long hellos, refusals, views."""

import pathlib
import sys

from lab import Cases

PIP = ["aioquic"]
cases = Cases()
PORT = 4433
NAME = "db.lab.internal"
UNKNOWN = 0x1a2a3a4a


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    where = f"port {flow['client_port']}"
    for said, who in ((c2s, "client"), (s2c, "server")):
        if said and not said[0] & 0x80:
            yield f"{where}: the {who} does not begin with a long header: {said[:8]!r}"
    if flow.get("confidence") == "both_sides" and not (c2s and s2c):
        yield f"{where}: both sides are claimed, and only one spoke"


def serve(lab, *options):
    crt, key = lab.certs.server()
    script = pathlib.Path(__file__).with_name("quic_server.py")
    process = lab.server.start([sys.executable, str(script), lab.server.v4, str(PORT), str(crt), str(key), *options],
                               log=lab.log("quic"))
    lab.server.wait_port(PORT, process, kind="udp")
    import importlib.metadata
    version = "aioquic " + importlib.metadata.version("aioquic")
    lab.versions(server=version, client=version)


def talk(lab, words, versions=(1,), first=1, name=NAME, alpn=("echo",), times=1, fails=False, verify=True):
    """Send the words over one stream and get them back; `times` connections, resumed with early data."""
    ca, address = str(lab.certs.ca), lab.server.v4

    def client():
        import asyncio
        import ssl
        from aioquic.asyncio import connect
        from aioquic.quic.configuration import QuicConfiguration
        number = {1: 0x00000001, 2: 0x6b3343cf}
        tickets = []

        async def once():
            configuration = QuicConfiguration(is_client=True, server_name=name, alpn_protocols=list(alpn),
                                              idle_timeout=4)
            configuration.load_verify_locations(ca)
            configuration.verify_mode = None if verify else ssl.CERT_NONE
            configuration.supported_versions = [number.get(v, v) for v in versions]
            configuration.original_version = number.get(first, first)
            configuration.session_ticket = tickets[-1] if tickets else None
            early = bool(tickets)
            async with connect(address, PORT, configuration=configuration, wait_connected=not early,
                               session_ticket_handler=tickets.append) as protocol:
                reader, writer = await protocol.create_stream()
                writer.write(words.encode())
                writer.write_eof()
                return (await asyncio.wait_for(reader.read(), 4)).decode()

        try:
            return [asyncio.run(once()) for _ in range(times)]
        except (ConnectionError, asyncio.TimeoutError) as error:
            return [f"failed: {error!r}"]

    said = lab.client.call(client)
    assert said[0].startswith("failed") if fails else said == [words] * times, said
    return said


def sealed(lab, **facts):
    return lab.flow(**{"transport": "udp", "server_port": PORT, "encryption": "quic", "app": "quic",
                       "outcome": "established", "confidence": "both_sides", "tls_version": "TLSv1.3",
                       "tls_cipher": "TLS_AES_256_GCM_SHA384", "sni": NAME, **facts})


@cases.case("version-1", "QUIC version 1: the hellos are read from the Initial packets, the words are not")
def _(lab):
    serve(lab)
    talk(lab, lab.canary("word"))
    return [sealed(lab)]


@cases.case("version-2", "QUIC version 2: other packet types, another salt")
def _(lab):
    serve(lab, "--versions", "2")
    talk(lab, lab.canary("word"), versions=(2,), first=2)
    return [sealed(lab)]


@cases.case("upgraded-to-2", "the client begins with version 1 and the server goes on in version 2")
def _(lab):
    serve(lab, "--versions", "2,1")
    talk(lab, lab.canary("word"), versions=(2, 1), first=1)
    return [sealed(lab)]


@cases.case("retry", "the server wants its token back: the keys follow from its connection ID")
def _(lab):
    serve(lab, "--retry")
    talk(lab, lab.canary("word"))
    return [sealed(lab)]


@cases.case("early-data", "a second connection sends early data with its hello")
def _(lab):
    serve(lab)
    talk(lab, lab.canary("word"), times=2)
    return [sealed(lab), sealed(lab)]


@cases.case("long-hello", "a ClientHello over two datagrams, as large keys make them")
def _(lab):
    serve(lab)
    long = [f"protocol-{number:02}-" + "x" * 80 for number in range(14)]
    talk(lab, lab.canary("word"), alpn=["echo", *long])
    return [sealed(lab)]


@cases.case("negotiation", "a version nobody knows, the server's list, and another attempt")
def _(lab):
    serve(lab)
    talk(lab, lab.canary("word"), versions=(UNKNOWN, 1), first=UNKNOWN)
    return [sealed(lab)]


@cases.case("no-shared-protocol", "no ALPN protocol in common: the server closes with an alert of TLS")
def _(lab):
    serve(lab)
    talk(lab, lab.canary("word"), alpn=["other"], fails=True)
    return [sealed(lab, outcome="refused", tls_version=None, tls_cipher=None)]


@cases.case("nobody-there", "only the client's Initial packets")
def _(lab):
    talk(lab, lab.canary("word"), fails=True)
    return [sealed(lab, outcome="attempt", confidence="one_side", tls_version=None, tls_cipher=None)]


@cases.case("client-only", "only what the client sends is mirrored: its hello can be read", mirror=("server:in",))
def _(lab):
    serve(lab)
    talk(lab, lab.canary("word") * 3000)
    return [sealed(lab, confidence="one_side", tls_version=None, tls_cipher=None)]


@cases.case("server-only", "only what the server sends is mirrored: there is no ID to derive keys from",
            mirror=("server:out",))
def _(lab):
    serve(lab)
    talk(lab, lab.canary("word"))
    return [sealed(lab, confidence="one_side", tls_version=None, tls_cipher=None, sni=None)]


# --- groups, suites, refusals: rustls with quinn -------------------------------------------------------

def quinn(name, proves, group, server, client=None, retry=False, cipher="TLS_AES_256_GCM_SHA384", **values):
    """A case: quinn at both ends, with rustls and aws-lc-rs inside."""
    @cases.case(name, proves)
    def _(lab):
        import tls_peers
        peers = tls_peers.Peers(lab)
        peers.rustls_server(role="quic-server", port=PORT, groups=server, alpn="echo")
        said = peers.rustls_client(role="quic-client", groups=client or server, alpn="echo", **values)
        assert "done" in said, said
        return [sealed(lab, tls_cipher=cipher, tls={"group": group, "hello_retry_request": retry})]


quinn("hybrid-group", "QUIC with a hybrid group: the hello needs two datagrams", "X25519MLKEM768", "X25519MLKEM768,X25519")
quinn("hybrid-offered", "a hybrid is offered, and the server only has X25519", "x25519", "X25519",
      "X25519MLKEM768,X25519")
quinn("hello-retry-request", "HelloRetryRequest inside QUIC: two hellos, one after the other in the CRYPTO stream",
      "secp384r1", "secp384r1", "X25519,secp384r1", retry=True)
quinn("hello-retry-to-hybrid", "HelloRetryRequest to a hybrid group", "X25519MLKEM768", "X25519MLKEM768",
      "X25519,X25519MLKEM768", retry=True)
quinn("chacha20", "QUIC with ChaCha20-Poly1305", "x25519", "X25519", cipher="TLS_CHACHA20_POLY1305_SHA256",
      suites="TLS13_CHACHA20_POLY1305_SHA256,TLS13_AES_128_GCM_SHA256")
quinn("ech-grease", "QUIC with an ECH extension that only looks like one", "x25519", "X25519", ech="grease")


@cases.case("early-data-rejected", "a second connection sends early data to a server that forgot its ticket")
def _(lab):
    serve(lab, "--forget")
    talk(lab, lab.canary("word"), times=2)
    return [sealed(lab, tls={"resumed": False}), sealed(lab, tls={"resumed": False, "early_data": True})]


@cases.case("retry-and-long-hello", "a Retry, and then a ClientHello over two datagrams once more")
def _(lab):
    serve(lab, "--retry")
    long = [f"protocol-{number:02}-" + "x" * 80 for number in range(14)]
    talk(lab, lab.canary("word"), alpn=["echo", *long])
    return [sealed(lab)]


@cases.case("no-sni", "a client that asks for no name")
def _(lab):
    serve(lab)
    talk(lab, lab.canary("word"), name=None, verify=False)
    return [sealed(lab, sni=None)]
