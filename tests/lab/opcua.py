"""OPC UA: asyncua on both sides, with and without a security policy."""

import sys

from lab import Cases

PIP = ["asyncua"]
cases = Cases()


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    if flow["origin"] == "start" and c2s[:4] != b"HELF":
        yield f"no Hello: {c2s[:8]!r}"


SERVER = """
import asyncio, pathlib, sys
from asyncua import Server, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from cryptography.x509.oid import ExtendedKeyUsageOID

async def main(address, home):
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://{address}:4840/")
    kinds = ua.SecurityPolicyType
    server.set_security_policy([kinds.NoSecurity, kinds.Basic256Sha256_Sign, kinds.Basic256Sha256_SignAndEncrypt])
    key, certificate = (pathlib.Path(home, n) for n in ("key.pem", "certificate.der"))
    await setup_self_signed_certificate(key, certificate, "urn:freeopcua:python:server", "server",
                                        [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH], {})
    await server.load_certificate(str(certificate))
    await server.load_private_key(str(key))
    async with server:
        await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


def talk(address, home, mode):
    import asyncio
    from asyncua import Client

    async def main():
        client = Client(f"opc.tcp://{address}:4840/")
        if mode:
            await client.set_security_string(f"Basic256Sha256,{mode},{home}/certificate.der,{home}/key.pem,{home}/certificate.der")
            client.application_uri = "urn:freeopcua:python:server"
        async with client:
            await client.nodes.server_state.read_value()
    asyncio.run(main())


def session(lab, mode=""):
    home = lab.directory("opcua")
    process = lab.server.start([sys.executable, "-c", SERVER, lab.server.v4, str(home)], log=lab.log("opcua"))
    lab.server.wait_port(4840, process)
    lab.client.call(talk, lab.server.v4, str(home), mode)
    lab.versions(server="asyncua", client="asyncua")


def flow(lab, encryption="plaintext", **facts):
    reason = "client_never_asked" if encryption == "plaintext" else None
    return lab.flow(**{"server_port": 4840, "encryption": encryption, "app": "opcua", "outcome": "established",
                       "plaintext_reason": reason, "confidence": "both_sides", **facts})


@cases.case("none", "security policy None, anonymous")
def _(lab):
    session(lab)
    return [flow(lab)]


@cases.case("sealed", "Basic256Sha256, sign and encrypt")
def _(lab):
    session(lab, "SignAndEncrypt")
    return [flow(lab, "other-encrypted")]


@cases.case("signed", "Basic256Sha256, sign only: all of it can be read")
def _(lab):
    session(lab, "Sign")
    return [flow(lab)]
