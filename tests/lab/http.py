"""HTTP/1.x: methods, framing and clients; the other files have credentials, proxies and views."""

import signal
import time

import byte_relay
import http_check
import http_programs
import http_servers as web
import shape
from http_servers import cases, curl, nginx, plain, python_server, talk, text, url

APT = [*web.APT, "wget", "apache2-utils", "hey", "tinyproxy", "squid", "socat",
       "redis-server", "redis-tools", "lighttpd", "nghttp2-proxy"]
PIP = ["requests", "httpx", "websockets"]
check = http_check.http


# --- clients and servers ----------------------------------------------------------

@cases.case("get-curl-nginx", "curl fetches a page from nginx")
def _(lab):
    nginx(lab)
    curl(lab, url(lab))
    return [plain(lab)]


@cases.case("get-urllib-python", "Python's urllib and http.server: HTTP/1.1 with Connection: close")
def _(lab):
    def get(address):
        import urllib.request
        return urllib.request.urlopen(address, timeout=5).read()
    python_server(lab, text(lab))
    lab.client.call(get, url(lab))
    lab.versions(client="Python urllib")
    return [plain(lab)]


@cases.case("get-wget-haproxy", "wget fetches a page HAProxy makes itself")
def _(lab):
    web.haproxy(lab, f"frontend f\n  bind :80\n  http-request return status 200 content-type text/plain "
                     f"string {lab.canary('body')}\n", 80, host=lab.server)
    lab.client.run(["wget", "-qO-", url(lab)])
    lab.versions(client="wget " + web.version(["wget", "-V"], r"Wget (\S+)"))
    return [plain(lab)]


@cases.case("post-requests-json", "requests posts JSON to http.server")
def _(lab):
    def post(address, secret):
        import requests
        requests.post(address, json={"card": secret, "name": secret}, timeout=5).raise_for_status()
        return requests.__version__
    python_server(lab, text(lab))
    lab.versions(client="requests " + lab.client.call(post, url(lab), lab.canary("card")))
    return [plain(lab)]


DAV = "dav_methods PUT DELETE MKCOL; dav_ext_methods PROPFIND OPTIONS;"


@cases.case("put-delete-httpx", "httpx: PUT, DELETE and a 404 on one connection to nginx")
def _(lab):
    def work(address, secret):
        import httpx
        with httpx.Client() as client:
            client.put(address, content=secret * 20).raise_for_status()
            client.get(address).raise_for_status()
            client.delete(address).raise_for_status()
            assert client.get(address).status_code == 404
        return httpx.__version__
    nginx(lab, DAV)
    lab.versions(client="httpx " + lab.client.call(work, url(lab), lab.canary("content")))
    return [plain(lab)]


@cases.case("head-options", "HEAD and OPTIONS on one connection: answers without a body")
def _(lab):
    python_server(lab, text(lab), headers=[("Allow", "GET, HEAD, OPTIONS")])
    curl(lab, "-I", url(lab, "one"), "--next", "-sv", "-X", "OPTIONS", url(lab, "two"))
    return [plain(lab)]


@cases.case("propfind", "WebDAV: PROPFIND and MKCOL with nginx")
def _(lab):
    nginx(lab, DAV + "create_full_put_path on;")
    at = url(lab)
    curl(lab, "-X", "MKCOL", at + "/", "--next", "-sv", "-X", "PROPFIND", "-H", "Depth: 1", at + "/")
    return [plain(lab)]


@cases.case("unknown-method", "a method that is in no registry, answered with 501")
def _(lab):
    python_server(lab, text(lab))
    curl(lab, "-X", "BREW", url(lab))
    return [plain(lab)]


@cases.case("redirect-to-https", "port 80 only redirects to https, as a load balancer does")
def _(lab):
    nginx(lab, "return 301 https://$host$request_uri;")
    curl(lab, url(lab, host="server.lab.internal"))
    return [plain(lab)]


@cases.case("server-error", "an answer 502 from a reverse proxy without its server")
def _(lab):
    nginx(lab, "location / { proxy_pass http://127.0.0.1:9; }")
    curl(lab, url(lab))
    return [plain(lab)]


# --- connections --------------------------------------------------------------------

@cases.case("keep-alive-ab", "ab -k: HTTP/1.0 with keep-alive, twelve requests on one connection")
def _(lab):
    nginx(lab)
    lab.client.run(["ab", "-q", "-k", "-n", "12", "-c", "1", url(lab)])
    lab.versions(client="ab " + web.version(["ab", "-V"], r"Version (\S+)"))
    return [plain(lab)]


@cases.case("hey-two-connections", "hey: four requests on two connections")
def _(lab):
    nginx(lab)
    lab.client.run(["hey", "-n", "4", "-c", "2", url(lab)])
    lab.versions(client="hey " + web.version(["dpkg-query", "-W", "hey"], r"\s(\S+?)-"))
    return [plain(lab), plain(lab)]


@cases.case("pipelining", "five requests in one segment before the first answer")
def _(lab):
    nginx(lab)
    asked = [web.request(lab, kind=f"path{i}") for i in range(4)]
    last = web.request(lab, kind="last", headers=["Connection: close"])
    said = lab.client.call(talk, lab.server.v4, 80, [b"".join(asked) + last])
    assert said.count(b"HTTP/1.1 200") == 5
    lab.versions(client="a Python socket")
    return [plain(lab)]


@cases.case("http10", "HTTP/1.0: the server closes after its answer")
def _(lab):
    python_server(lab, text(lab), version="HTTP/1.0")
    curl(lab, "--http1.0", url(lab))
    return [plain(lab)]


@cases.case("until-close", "an answer without a length: its end is the end of the connection")
def _(lab):
    said = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n{text(lab, 200)}"
    http_programs.start(lab, lab.server, 80, "until_close", lab.server.v4, 80, said)
    curl(lab, url(lab))
    lab.versions(server="a Python socket")
    return [plain(lab)]


@cases.case("no-answer", "a request nobody answers")
def _(lab):
    process = nginx(lab)
    process.send_signal(signal.SIGSTOP)
    try:
        curl(lab, "--max-time", "1", url(lab), check=False)
    finally:
        time.sleep(0.2)
        lab.net.mirror()  # what it says when it wakes up is too late to matter
        process.send_signal(signal.SIGCONT)
    return [plain(lab, outcome="attempt", confidence="one_side")]


@cases.case("bare-lf", "a request whose lines end with LF only, after an empty line; nginx takes it")
def _(lab):
    nginx(lab)
    data = b"\r\n" + web.request(lab, headers=["Connection: close"]).replace(b"\r\n", b"\n")
    assert b"HTTP/1.1 200" in lab.client.call(talk, lab.server.v4, 80, [data])
    lab.versions(client="a Python socket")
    return [plain(lab)]


# --- bodies -------------------------------------------------------------------------

@cases.case("chunked-up", "a request body in chunks")
def _(lab):
    nginx(lab, DAV)
    path = lab.work / "upload"
    path.write_text(text(lab, 2000, "upload"))
    curl(lab, "-T", path, "-H", "Transfer-Encoding: chunked", "-H", "Expect:", url(lab))
    return [plain(lab)]


@cases.case("chunked-down", "an answer in chunks (nginx with server-side includes), twice on one connection")
def _(lab):
    process = nginx(lab, "ssi on; ssi_types *;")
    for kind in ("one", "two"):
        (process.www / lab.canary(kind)).write_text(text(lab, 600, "page"))
    curl(lab, url(lab, "one"), url(lab, "two"))
    return [plain(lab)]


@cases.case("expect-100-continue", "100 Continue before the body is sent")
def _(lab):
    nginx(lab, DAV)
    path = lab.work / "upload"
    path.write_text(text(lab, 1500, "upload"))
    said = curl(lab, "-T", path, "-H", "Expect: 100-continue", url(lab))
    assert "100 Continue" in said
    return [plain(lab)]


@cases.case("large-answer", "an answer of 24 KB")
def _(lab):
    process = nginx(lab, "")
    (process.www / lab.canary("path")).write_text(text(lab, 24000))
    curl(lab, url(lab))
    return [plain(lab)]


@cases.case("large-post", "a request body of 20 KB")
def _(lab):
    python_server(lab, text(lab))
    path = lab.work / "upload"
    path.write_text(text(lab, 20000, "upload"))
    curl(lab, "--data-binary", f"@{path}", "-H", "Expect:", "-H", "Content-Type: application/octet-stream", url(lab))
    return [plain(lab)]


@cases.case("gzip", "a compressed answer in chunks")
def _(lab):
    block = f"gzip on; gzip_min_length 1; gzip_types *; location / {{ return 200 '{text(lab, 800)}'; }}"
    nginx(lab, block)
    said = curl(lab, "--compressed", url(lab))
    assert "Content-Encoding: gzip" in said
    return [plain(lab)]


@cases.case("long-path", "a path of 6 KB: the request line is longer than several segments")
def _(lab):
    nginx(lab)
    curl(lab, url(lab) + "/" + "long" * 1500)
    return [plain(lab)]


@cases.case("long-header", "a header of 6 KB")
def _(lab):
    nginx(lab)
    curl(lab, "-H", f"X-Long: {lab.canary('header')}{'x' * 6000}", url(lab))
    return [plain(lab)]


@cases.case("header-split", "a request in pieces cut inside the method, the version and a header name")
def _(lab):
    nginx(lab)
    data = web.request(lab, headers=["Connection: close", "Authorization: Bearer " + lab.canary("token")])
    cuts = [0, 2, data.index(b"HTTP/") + 3, data.index(b"Authoriz") + 4, data.index(b"Bearer") + 3, len(data)]
    lab.client.call(talk, lab.server.v4, 80, [data[a:b] for a, b in zip(cuts, cuts[1:])])
    lab.versions(client="a Python socket")
    return [plain(lab, credentials=["bearer_token"])]


@cases.case("byte-by-byte", "one byte per segment from both sides")
def _(lab):
    nginx(lab, listen="81", port=81)
    done = byte_relay.between(lab, 80, 81, up=110, down=60)
    curl(lab, "-H", "Connection: close", url(lab, host="127.0.0.1"))
    done()
    return [plain(lab)]


# --- what begins as HTTP/1.1 ------------------------------------------------------------

def websocket(lab, count):
    """Exchange `count` messages over WebSocket."""
    def client(address, texts):
        import asyncio

        import websockets
        import websockets.asyncio.client

        async def work():
            async with websockets.asyncio.client.connect(address, compression=None) as connection:
                for each in texts:
                    await connection.send(each)
                    await connection.recv()
        asyncio.run(work())
        return websockets.__version__
    http_programs.start(lab, lab.server, 80, "websocket", lab.server.v4, 80, lab.canary("answer"))
    used = lab.client.call(client, url(lab, scheme="ws"), [lab.canary(f"message{i}") for i in range(count)])
    lab.versions(client=f"websockets {used}", server=f"websockets {used}")


@cases.case("websocket", "WebSocket: HTTP/1.1 upgrade, then masked and unmasked frames")
def _(lab):
    websocket(lab, 4)
    return [plain(lab)]


@cases.case("websocket-late", "the recording starts between the frames of a WebSocket",
            shape=[shape.late(web.nth(4, lambda p: p.payload and p.dport == 80))])
def _(lab):
    websocket(lab, 8)
    return [lab.flow(server_port=80, encryption="unknown", outcome="unknown", origin="midstream",
                     accept=["plaintext"], why="the server's frames hold readable text, the client's are masked")]


@cases.case("h2c-upgrade", "curl --http2: HTTP/1.1 Upgrade: h2c, 101, then HTTP/2 in clear")
def _(lab):
    python_server(lab, text(lab), port=81)
    crt, key = lab.certs.server()
    process = lab.server.start(["nghttpx", "--frontend=*,80;no-tls", f"--backend={lab.server.v4},81", "--workers=1",
                                "--conf=/dev/null", "--errorlog-file=/dev/stderr", str(key), str(crt)],
                               log=lab.log("nghttpx"))
    lab.server.wait_port(80, process)
    said = curl(lab, "--http2", url(lab))
    assert "HTTP/2 200" in said, said
    lab.versions(server="nghttpx " + web.version(["nghttpx", "--version"], r"nghttp2/(\S+)"))
    return [plain(lab, why="it stays HTTP in clear; after 101 both sides speak HTTP/2")]


# --- the wrong port -----------------------------------------------------------------------

@cases.case("http-to-https-port", "plain HTTP to a TLS port: nginx says so with a readable 400")
def _(lab):
    nginx(lab, listen="443 ssl", port=443)
    said = curl(lab, "-u", f"{lab.canary('user')}:{lab.canary('pass')}", url(lab, port=443))
    assert "plain HTTP request was sent to HTTPS port" in said
    return [plain(lab, server_port=443, outcome="refused", credentials=["basic_auth"],
                  why="the server speaks TLS there; the password was sent all the same")]


@cases.case("http-to-tls-server", "plain HTTP to a TLS server that only closes (HAProxy)")
def _(lab):
    web.haproxy(lab, "frontend f\n  bind :443 ssl crt PEM\n  http-request return status 200\n", 443, host=lab.server)
    curl(lab, url(lab, port=443), check=False)
    return [plain(lab, server_port=443, outcome="attempt", confidence="one_side")]


@cases.case("tls-to-http-port", "a ClientHello to a plain HTTP port, answered with 400 in clear")
def _(lab):
    nginx(lab)
    curl(lab, "-k", url(lab, scheme="https", host="server.lab.internal", port=80), check=False)
    return [web.tls(lab, server_port=80, outcome="refused", sni="server.lab.internal", confidence=None)]


import http_credentials  # noqa: E402,F401 (more cases)
import http_proxies  # noqa: E402,F401
import http_views  # noqa: E402,F401
