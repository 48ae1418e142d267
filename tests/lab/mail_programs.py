"""Servers from PyPI for the families `mail` and `ftp`, each a program of its own so that it ends with its case."""

import json
import pathlib
import sys


def start(lab, kind, listening, **settings):
    """Start a program below on the lab's server."""
    process = lab.server.start([sys.executable, "-P", str(pathlib.Path(__file__).resolve()), kind, json.dumps(settings)],
                               log=lab.log(kind))
    lab.server.wait_port(listening, process)
    return process


def smtp(program, port, certificate, user, password, require_tls):
    """aiosmtpd."""
    import asyncio
    import logging
    import ssl

    from aiosmtpd.lmtp import LMTP
    from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

    class Handler:
        async def handle_DATA(self, server, session, envelope):
            return "250 OK"

    def judge(server, session, envelope, mechanism, data):
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (user.encode(), password.encode())
        return AuthResult(success=good, handled=False)
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    protocol = LMTP if program == "lmtp" else SMTP
    more = {} if program == "lmtp" else {"authenticator": judge, "auth_require_tls": False}

    async def run():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: protocol(Handler(), tls_context=context, require_starttls=require_tls,
                             hostname="mail.lab.internal", ident=f"{program.upper()} lab", **more), "0.0.0.0", port)
        await server.serve_forever()
    asyncio.run(run())


def ftp(home, user, password, certificate, required, passive_port):
    """pyftpdlib."""
    import logging

    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import FTPServer
    logging.basicConfig(level=logging.ERROR)
    authorizer = DummyAuthorizer()
    authorizer.add_user(user, password, home, perm="elradfmwMT")
    authorizer.add_anonymous(home)
    handler = FTPHandler
    if certificate:
        from pyftpdlib.handlers import TLS_FTPHandler
        handler = TLS_FTPHandler
        handler.certfile, handler.keyfile = certificate
        handler.tls_control_required = required
    handler.authorizer = authorizer
    handler.passive_ports = [passive_port]
    FTPServer(("0.0.0.0", 21), handler).serve_forever()


if __name__ == "__main__":
    {"smtp": smtp, "ftp": ftp}[sys.argv[1]](**json.loads(sys.argv[2]))
