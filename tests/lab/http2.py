"""HTTP/2 and gRPC in clear (prior knowledge) and over TLS."""

import byte_relay
import http_check
import http_programs
import http_servers as web
import shape
from http_servers import curl, nginx, python_server, text, url
from lab import Cases

APT = [*web.APT, "nghttp2-client", "nghttp2-proxy"]
PIP = ["grpcio", "httpx[http2]"]
cases = Cases()
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MIDSTREAM = {"origin": "midstream", "confidence": "midstream"}


def plain(lab, **facts):
    return web.plain(lab, **{"app": "http2", **facts})


def h2(lab, port=80, **more):
    """nginx with HTTP/2 in clear."""
    return nginx(lab, listen=f"{port} http2", port=port, **more)


def nghttp(lab, *args):
    """Run nghttp on the client; returns what it printed."""
    lab.versions(client="nghttp " + web.version(["nghttp", "--version"], r"nghttp2/(\S+)"))
    return lab.client.run(["nghttp", "-v", *args]).stdout


def httpx(lab, work, *args):
    """Run work(client, *args) with an httpx client that speaks only HTTP/2."""
    def run():
        import httpx
        with httpx.Client(http1=False, http2=True, timeout=5) as client:
            work(client, *args)
        return httpx.__version__
    lab.versions(client="httpx " + lab.client.call(run))


def several(lab, count=6, headers=True):
    """`count` requests after one another on one connection."""
    h2(lab)
    token = ["-H", f"authorization: Bearer {lab.canary('token')}"] if headers else []
    lab.client.run(["h2load", "-n", str(count), "-c", "1", "-m", "1", "-t", "1", *token,
                    *(url(lab, f"path{i}") for i in range(count))])
    lab.versions(client="h2load " + web.version(["h2load", "--version"], r"nghttp2/(\S+)"))


def grpc_server(lab, address=None, port=50051, secure=False):
    crt, key = lab.certs.server()
    http_programs.start(lab, lab.server, port, "grpc", address or lab.server.v4, port, lab.canary("answer"),
                        *((str(key), str(crt)) if secure else ("", "")))


def grpc_call(lab, target, method="One", count=1, metadata=(), ca=None, check=True, timeout=5, pause=0.0):
    """Call a method with canaries; returns the status of the last call."""
    messages = [lab.canary(f"message{i}").encode() for i in range(count)]
    path = f"/lab.{lab.canary('service')}/{method}"

    def work():
        import time

        import grpc
        options = [("grpc.enable_http_proxy", 0), ("grpc.initial_reconnect_backoff_ms", 20000),
                   ("grpc.min_reconnect_backoff_ms", 20000), ("grpc.max_reconnect_backoff_ms", 20000)]
        if ca:
            channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(ca.read_bytes()), options)
        else:
            channel = grpc.insecure_channel(target, options)
        more = {"metadata": metadata, "timeout": timeout}
        try:
            with channel:
                if method == "Many":
                    list(channel.stream_stream(path)(iter(messages), **more))
                else:
                    for message in messages:
                        channel.unary_unary(path)(message, **more)
                        time.sleep(pause)
            return "OK", grpc.__version__
        except grpc.RpcError as error:
            return error.code().name, grpc.__version__
    status, used = lab.client.call(work)
    lab.versions(client=f"grpcio {used}", server=f"grpcio {used}")
    assert not check or status == "OK", status
    return status


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show (credentials are packed: not looked at)."""
    where = f"port {flow['client_port']}"
    if flow.get("app") != "http2":
        yield from http_check.http(flow, c2s, s2c)
        return
    if flow["encryption"] == "tls" or flow["origin"] == "midstream":
        return
    if c2s and not c2s.startswith(PREFACE):
        yield f"{where}: no preface: {c2s[:24]!r}"
    settings = s2c[3:4] == b"\x04" and s2c[5:9] == bytes(4)
    if s2c and settings != (flow["outcome"] == "established"):
        yield f"{where}: {flow['outcome']}, the server began with {s2c[:12]!r}"
    if (flow["outcome"] == "attempt") != (not s2c) and flow.get("confidence") == "both_sides":
        yield f"{where}: {flow['outcome']}, and the server sent {len(s2c)} bytes"


# --- gRPC -------------------------------------------------------------------------

@cases.case("grpc-unary", "an insecure gRPC channel: three unary calls")
def _(lab):
    grpc_server(lab)
    grpc_call(lab, f"{lab.server.v4}:50051", count=3)
    return [plain(lab, server_port=50051)]


@cases.case("grpc-streaming", "a gRPC stream in both directions")
def _(lab):
    grpc_server(lab)
    grpc_call(lab, f"{lab.server.v4}:50051", "Many", count=8)
    return [plain(lab, server_port=50051)]


@cases.case("grpc-bearer", "gRPC metadata with a bearer token")
def _(lab):
    grpc_server(lab)
    token = ("authorization", "Bearer " + lab.canary("token"))
    grpc_call(lab, f"{lab.server.v4}:50051", count=3, metadata=[token])
    return [plain(lab, server_port=50051, credentials=["bearer_token"])]


@cases.case("grpc-api-key", "gRPC metadata with x-api-key")
def _(lab):
    grpc_server(lab)
    grpc_call(lab, f"{lab.server.v4}:50051", metadata=[("x-api-key", lab.canary("key"))])
    return [plain(lab, server_port=50051, credentials=["bearer_token"])]


@cases.case("grpc-unauthenticated", "a gRPC call refused by the application: UNAUTHENTICATED")
def _(lab):
    grpc_server(lab)
    token = ("authorization", "Bearer " + lab.canary("token"))
    assert grpc_call(lab, f"{lab.server.v4}:50051", "Never", metadata=[token], check=False) == "UNAUTHENTICATED"
    return [plain(lab, server_port=50051, credentials=["bearer_token"],
                  why="the call is refused, the conversation is HTTP/2")]


@cases.case("grpc-ipv6", "gRPC over IPv6")
def _(lab):
    grpc_server(lab, lab.server.v6)
    grpc_call(lab, f"ipv6:[{lab.server.v6}]:50051")
    return [plain(lab, server_port=50051, v6=True)]


@cases.case("grpc-tls", "gRPC over TLS: only the ALPN the client offers (h2) tells the application")
def _(lab):
    grpc_server(lab, secure=True)
    grpc_call(lab, "server.lab.internal:50051", ca=lab.certs.ca, count=2)
    return [web.tls(lab, server_port=50051, sni="server.lab.internal", tls_version="TLSv1.3", app="http2",
                    app_optional=True, why="TLS 1.3 hides which ALPN the server chose")]


@cases.case("grpc-plain-to-tls", "a plaintext gRPC client on a port where the server speaks TLS")
def _(lab):
    grpc_server(lab, secure=True)
    assert grpc_call(lab, f"{lab.server.v4}:50051", check=False, timeout=1) != "OK"
    return [plain(lab, server_port=50051, outcome="attempt", confidence="one_side")]


@cases.case("grpc-tls-to-plain", "a gRPC client with TLS on a port where the server speaks plaintext")
def _(lab):
    grpc_server(lab)
    assert grpc_call(lab, "server.lab.internal:50051", ca=lab.certs.ca, check=False, timeout=1) != "OK"
    return [web.tls(lab, server_port=50051, sni="server.lab.internal", outcome="refused", confidence=None,
                    app="http2", app_optional=True)]


@cases.case("http1-to-grpc", "HTTP/1.1 to a gRPC server, which speaks only HTTP/2")
def _(lab):
    grpc_server(lab)
    curl(lab, "--max-time", "2", url(lab, port=50051), check=False)
    lab.versions(server="grpcio")
    return [web.plain(lab, server_port=50051, outcome="refused", confidence=None)]


# --- other clients and servers ----------------------------------------------------------

@cases.case("nghttp-nginx", "nghttp and nginx: prior knowledge, two requests")
def _(lab):
    h2(lab)
    said = nghttp(lab, url(lab, "one"), url(lab, "two"))
    assert said.count(":status: 200") == 2, said
    return [plain(lab)]


@cases.case("nghttp-nghttpx", "nghttp and nghttpx, which speaks HTTP/1.1 behind: both legs", mirror=["middle"])
def _(lab):
    crt, key = lab.certs.server()
    python_server(lab, text(lab))
    process = lab.middle.start(["nghttpx", "--frontend=*,80;no-tls", f"--backend={lab.server.v4},80", "--workers=1",
                                "--conf=/dev/null", "--errorlog-file=/dev/stderr", str(key), str(crt)],
                               log=lab.log("nghttpx"))
    lab.middle.wait_port(80, process)
    nghttp(lab, url(lab, host=lab.middle.v4))
    lab.versions(middle="nghttpx " + web.version(["nghttpx", "--version"], r"nghttp2/(\S+)"))
    return [plain(lab, server=lab.middle), web.plain(lab, client=lab.middle)]


@cases.case("curl-prior-knowledge", "curl --http2-prior-knowledge and nginx")
def _(lab):
    h2(lab)
    curl(lab, "--http2-prior-knowledge", url(lab))
    return [plain(lab)]


@cases.case("basic-auth", "Basic credentials in two requests, packed with HPACK's Huffman code")
def _(lab):
    h2(lab)
    secret = lab.canary("user"), lab.canary("pass")
    httpx(lab, lambda client, *urls: [client.get(each, auth=secret) for each in urls], url(lab, "one"), url(lab, "two"))
    return [plain(lab, credentials=["basic_auth"])]


@cases.case("cookies", "set-cookie, and the cookie in the next request")
def _(lab):
    h2(lab, block=f"location / {{ add_header Set-Cookie 'sid={lab.canary('session')}; Path=/'; "
                  f"return 200 '{text(lab)}'; }}")
    httpx(lab, lambda client, *urls: [client.get(each) for each in urls], url(lab, "one"), url(lab, "two"))
    return [plain(lab, credentials=["session_secret"])]


@cases.case("large-post", "a request body of 12 KB in DATA frames, then a bearer token in the next request")
def _(lab):
    h2(lab)
    token = {"Authorization": "Bearer " + lab.canary("token")}

    def work(client, one, two, body):
        client.post(one, content=body).raise_for_status()
        client.get(two, headers=token).raise_for_status()
    httpx(lab, work, url(lab, "one"), url(lab, "two"), text(lab, 12000, "upload"))
    return [plain(lab, credentials=["bearer_token"])]


@cases.case("large-answer", "an answer of 24 KB in DATA frames")
def _(lab):
    process = h2(lab, block="location / { }")
    (process.www / lab.canary("path")).write_text(text(lab, 24000))
    curl(lab, "--http2-prior-knowledge", url(lab))
    return [plain(lab)]


@cases.case("long-header", "a header of 6 KB in the first request")
def _(lab):
    h2(lab, more="http2_max_field_size 16k; http2_max_header_size 32k;")
    nghttp(lab, "-H", f"x-long: {lab.canary('header')}{'~' * 6000}", url(lab))
    return [plain(lab)]


@cases.case("haproxy-h2-both-legs", "HAProxy with HTTP/2 in clear on both sides", mirror=["middle"])
def _(lab):
    h2(lab)
    web.haproxy(lab, "frontend f\n  bind :80 proto h2\n  option forwardfor\n  default_backend b\nbackend b\n"
                     f"  server s {lab.server.v4}:80 proto h2\n", 80)
    curl(lab, "--http2-prior-knowledge", url(lab, host="middle.lab.internal"))
    return [plain(lab, server=lab.middle), plain(lab, client=lab.middle)]


@cases.case("https-alpn-tls12", "HTTP/2 over TLS 1.2: the server's choice of ALPN is in clear")
def _(lab):
    nginx(lab, listen="443 ssl http2", port=443)
    said = curl(lab, "-k", "--tls-max", "1.2", url(lab, scheme="https", host="server.lab.internal"))
    assert "HTTP/2 200" in said
    return [web.tls(lab, said, sni="server.lab.internal", alpn="h2", app="http2", app_optional=True)]


@cases.case("https-alpn-http1-tls12", "TLS 1.2 where the server chooses ALPN http/1.1")
def _(lab):
    nginx(lab, listen="443 ssl", port=443)
    said = curl(lab, "-k", "--tls-max", "1.2", url(lab, scheme="https", host="server.lab.internal"))
    return [web.tls(lab, said, sni="server.lab.internal", alpn="http/1.1", app="http", app_optional=True)]


@cases.case("to-http1-server", "prior knowledge to http.server, which answers with an error page without a status line")
def _(lab):
    python_server(lab, text(lab))
    curl(lab, "--http2-prior-knowledge", "--max-time", "2", url(lab), check=False)
    return [plain(lab, outcome="refused", confidence=None)]


@cases.case("to-http1-nginx", "prior knowledge to nginx without HTTP/2: refused with a status line of HTTP/1")
def _(lab):
    nginx(lab)
    curl(lab, "--http2-prior-knowledge", "--max-time", "2", url(lab), check=False)
    return [plain(lab, outcome="refused", confidence=None)]


# --- views ----------------------------------------------------------------------------

@cases.case("port-443", "HTTP/2 in clear on port 443")
def _(lab):
    h2(lab, 443)
    curl(lab, "--http2-prior-knowledge", url(lab, port=443))
    return [plain(lab, server_port=443)]


@cases.case("port-6379-grpc", "gRPC in clear on the port of Redis")
def _(lab):
    grpc_server(lab, port=6379)
    grpc_call(lab, f"{lab.server.v4}:6379")
    return [plain(lab, server_port=6379)]


@cases.case("client-side-only", "only what the client sends", mirror=["server:in"])
def _(lab):
    several(lab)
    return [plain(lab, confidence="one_side", credentials=["bearer_token"])]


@cases.case("server-side-only", "only what the server sends: SETTINGS first", mirror=["server:out"])
def _(lab):
    several(lab)
    return [plain(lab, confidence="one_side")]


def headers(sport=None, dport=None):
    """From the third packet on which begins with a HEADERS frame (of this direction)."""
    return shape.late(web.nth(3, lambda p: p.payload[3:4] == b"\1" and p.payload[5:6] == b"\0"
                              and sport in (None, p.sport) and dport in (None, p.dport)))


@cases.case("late", "the recording starts with the third request of a connection", shape=[headers(dport=80)])
def _(lab):
    several(lab, 10, headers=False)
    return [plain(lab, **MIDSTREAM, accept=["unknown"], why="what HPACK refers to was sent before; frames remain")]


@cases.case("late-server-first", "the recording starts with the third answer", shape=[headers(sport=80)])
def _(lab):
    several(lab, 10, headers=False)
    return [plain(lab, **MIDSTREAM, accept=["unknown"], why="what HPACK refers to was sent before; frames remain")]


@cases.case("late-bearer", "from the third request on; each carries a bearer token under a name of the static table",
            shape=[headers(dport=80)])
def _(lab):
    several(lab, 10)
    return [plain(lab, **MIDSTREAM, credentials=["bearer_token"], accept=["unknown"],
                  why="nghttp2 never indexes authorization, so every request spells it out")]


@cases.case("late-grpc", "the recording starts in the middle of a gRPC connection", shape=[headers(dport=50051)])
def _(lab):
    grpc_server(lab)
    grpc_call(lab, f"{lab.server.v4}:50051", count=10)
    return [plain(lab, server_port=50051, **MIDSTREAM, accept=["unknown"],
                  why="what HPACK refers to was sent before; frames remain")]


@cases.case("both-ends", "both ends are mirrored: one flow, every packet twice", mirror=["client", "server"])
def _(lab):
    several(lab, 3)
    return [plain(lab, credentials=["bearer_token"])]


@cases.case("truncated-128", "copies cut to 128 bytes", shape=[shape.truncate(128)])
def _(lab):
    several(lab, 2, headers=False)
    return [plain(lab)]


@cases.case("byte-by-byte", "one byte per segment: preface and SETTINGS of both sides")
def _(lab):
    h2(lab, 81)
    done = byte_relay.between(lab, 80, 81, up=100, down=60)
    curl(lab, "--http2-prior-knowledge", url(lab, host="127.0.0.1"))
    done()
    return [plain(lab)]
