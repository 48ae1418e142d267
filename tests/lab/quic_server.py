"""An aioquic server that sends back what it gets: quic_server.py ADDRESS PORT CERT KEY [--retry] [--forget]
[--versions 1,2]."""

import argparse
import asyncio

from aioquic.asyncio import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import QuicProtocolVersion

VERSIONS = {"1": QuicProtocolVersion.VERSION_1, "2": QuicProtocolVersion.VERSION_2}


async def main():
    parser = argparse.ArgumentParser()
    for name in ("address", "port", "cert", "key"):
        parser.add_argument(name)
    parser.add_argument("--retry", action="store_true")
    parser.add_argument("--forget", action="store_true", help="know no ticket again")
    parser.add_argument("--versions", default="1,2")
    parser.add_argument("--alpn", default="echo")
    args = parser.parse_args()
    configuration = QuicConfiguration(is_client=False, alpn_protocols=[args.alpn])
    configuration.supported_versions = [VERSIONS[v] for v in args.versions.split(",")]
    configuration.load_cert_chain(args.cert, args.key)
    tickets = {}

    def handle(reader, writer):
        async def echo():
            writer.write(await reader.read())
            writer.write_eof()
        asyncio.ensure_future(echo())

    await serve(args.address, int(args.port), configuration=configuration, stream_handler=handle, retry=args.retry,
                session_ticket_handler=lambda ticket: tickets.update({ticket.ticket: ticket}),
                session_ticket_fetcher=lambda label: None if args.forget else tickets.pop(label, None))
    await asyncio.Future()


asyncio.run(main())
