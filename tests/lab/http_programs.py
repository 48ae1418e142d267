"""Servers written in Python that run as programs of their own: `python -P http_programs.py FUNCTION JSON`."""

import json
import pathlib
import sys


def start(lab, host, port, function, *args):
    """Run a function of this file on a host until the case ends."""
    process = host.start([sys.executable, "-P", str(pathlib.Path(__file__).resolve()), function, json.dumps(args)],
                         log=lab.log("program"))
    host.wait_port(port, process)
    return process


def answer(address, port, text, headers, version):
    """An HTTP server that answers every method with the same text."""
    import http.server

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = version

        def handle_any(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = text.encode()
            self.send_response(200)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = handle_any

        def log_message(self, *_):
            pass
    http.server.ThreadingHTTPServer((address, port), Handler).serve_forever()


def until_close(address, port, text):
    """A server that sends these bytes after the first request and closes."""
    import socket
    listener = socket.create_server((address, port))
    while True:
        connection, _ = listener.accept()
        connection.recv(4096)
        connection.sendall(text.encode())
        connection.close()


def gather(address, port, target):
    """A relay that passes the first bytes on in one piece, once none has come for a while."""
    import socket
    import threading
    listener = socket.create_server((address, port))
    near, _ = listener.accept()
    far = socket.create_connection((address, target))
    first = near.recv(65536)
    near.settimeout(0.5)
    try:
        while more := near.recv(65536):
            first += more
    except TimeoutError:
        near.settimeout(None)
    far.sendall(first)

    def carry(source, sink):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    threading.Thread(target=carry, args=(far, near), daemon=True).start()
    carry(near, far)


def websocket(address, port, text):
    """A WebSocket server."""
    import asyncio

    import websockets.asyncio.server

    async def handler(connection):
        async for message in connection:
            await connection.send(text + str(len(message)))

    async def serve():
        async with websockets.asyncio.server.serve(handler, address, port, compression=None):
            await asyncio.Future()
    asyncio.run(serve())


def ssh(address, port, user, password, key):
    """An SSH server with one user."""
    import asyncio

    import asyncssh

    class Server(asyncssh.SSHServer):
        def begin_auth(self, _):
            return True

        def password_auth_supported(self):
            return True

        def validate_password(self, name, secret):
            return (name, secret) == (user, password)

    def session(process):
        process.stdout.write("hello\n")
        process.exit(0)

    async def serve():
        await asyncssh.create_server(Server, address, port, server_host_keys=[key], process_factory=session)
        await asyncio.Future()
    asyncio.run(serve())


def grpc(address, port, text, key, certificate):
    """A gRPC server with methods One, Many and Never; with TLS if there is a key."""
    import concurrent.futures

    import grpc

    def never(_request, context):
        context.abort(grpc.StatusCode.UNAUTHENTICATED, text)

    methods = {"One": grpc.unary_unary_rpc_method_handler(lambda request, _: text.encode() + request),
               "Many": grpc.stream_stream_rpc_method_handler(
                   lambda requests, _: (text.encode() + r for r in requests)),
               "Never": grpc.unary_unary_rpc_method_handler(never)}
    class AnyService(grpc.GenericRpcHandler):
        def service(self, details):
            return methods.get(details.method.split("/")[-1])
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2), handlers=[AnyService()])
    where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    if key:
        pair = pathlib.Path(key).read_bytes(), pathlib.Path(certificate).read_bytes()
        server.add_secure_port(where, grpc.ssl_server_credentials([pair]))
    else:
        server.add_insecure_port(where)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    {each.__name__: each for each in (answer, until_close, gather, websocket, ssh, grpc)}[sys.argv[1]](
        *json.loads(sys.argv[2]))
