"""Web servers and proxies for the lab, HTTP clients, and what an HTTP flow is in a .toml."""

import platform
import re
import subprocess

import http_programs
from lab import Cases
from postgresql_server import iana

APT = ["nginx", "libnginx-mod-stream", "libnginx-mod-http-dav-ext", "haproxy", "curl"]
cases = Cases()  # of the family http; other families only use the servers


# --- truth ---------------------------------------------------------------------

def plain(lab, **facts):
    """A plaintext HTTP/1.x flow."""
    return lab.flow(**{"server_port": 80, "encryption": "plaintext", "app": "http", "outcome": "established",
                       "plaintext_reason": "no_in_band_upgrade", "confidence": "both_sides", **facts})


def tls(lab, said="", **facts):
    """A TLS flow without a visible application; `said` is what curl -v printed about it."""
    found = re.search(r"SSL connection using (TLSv1\.\d) / (\S+)", said)
    seen = {"tls_version": found[1], "tls_cipher": iana(found[2])} if found else {}
    return lab.flow(**{"server_port": 443, "encryption": "tls", "outcome": "established",
                       "confidence": "both_sides", **seen, **facts})



# --- servers ---------------------------------------------------------------------

def version(command, pattern):
    done = subprocess.run(command, capture_output=True, text=True)
    return re.search(pattern, done.stdout + done.stderr)[1]


def text(lab, size=0, kind="body"):
    """A text with a canary in it, at least `size` long."""
    line = lab.canary(kind) + " is what this answer says\n"
    return line * max(1, -(-size // len(line)))


def nginx(lab, block=None, listen="80", host=None, port=80, more="", stream="", name=None):
    """Start nginx with one server block; `stream` replaces it. Returns the process.

    Without a block every path is answered with a canary.
    """
    host = host or lab.server
    name = name or host.role
    home = lab.directory(f"nginx-{name}")
    www = home / "www"
    www.mkdir()
    www.chmod(0o777)
    crt, key = lab.certs.server()
    certificate = f"ssl_certificate {crt}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;"
    if block is None:
        block = f"location / {{ return 200 '{text(lab)}'; }}"
    web = f"""http {{
  access_log off; default_type text/plain; keepalive_requests 1000; large_client_header_buffers 4 16k;
  client_body_temp_path {home}; proxy_temp_path {home}; fastcgi_temp_path {home}; uwsgi_temp_path {home};
  scgi_temp_path {home}; {certificate}
  {more}
  server {{ {"".join(f"listen {where}; listen [::]:{where};" for where in listen.split(","))}
    root {www}; {block} }}
}}"""
    modules = "".join(f"load_module /usr/lib/nginx/modules/ngx_{m}_module.so;" for m in ("stream", "http_dav_ext"))
    (home / "conf").write_text(f"{modules} daemon off; master_process off; pid {home}/pid; user root;\n"
                               f"error_log stderr; events {{}}\n"
                               + (f"stream {{ {certificate} {stream} }}" if stream else web))
    process = host.start(["/usr/sbin/nginx", "-p", str(home), "-e", "stderr", "-c", str(home / "conf")],
                         log=lab.log("nginx"))
    process.www = www
    host.wait_port(port, process)
    lab.versions(**{name: "nginx " + version(["/usr/sbin/nginx", "-v"], r"nginx/(\S+)")})
    return process


def haproxy(lab, config, port, host=None):
    """Start HAProxy with these sections; returns the process."""
    host = host or lab.middle
    home = lab.directory(f"haproxy-{host.role}")
    crt, key = lab.certs.server()
    (home / "both.pem").write_text(crt.read_text() + key.read_text())
    (home / "conf").write_text("global\n  tune.ssl.default-dh-param 2048\ndefaults\n  mode http\n"
                               "  timeout connect 5s\n  timeout client 10s\n  timeout server 10s\n"
                               + config.replace("PEM", str(home / "both.pem")))
    process = host.start(["/usr/sbin/haproxy", "-db", "-f", str(home / "conf")], log=lab.log("haproxy"))
    host.wait_port(port, process)
    lab.versions(**{host.role: "HAProxy " + version(["/usr/sbin/haproxy", "-v"], r"version (\S+?)-")})
    return process


def python_server(lab, answer, port=80, headers=(), version="HTTP/1.1"):
    """A server made of Python's http.server which answers every method with the same text."""
    http_programs.start(lab, lab.server, port, "answer", lab.server.v4, port, answer, headers, version)
    lab.versions(server=f"Python {platform.python_version()} http.server")


def tinyproxy(lab, *lines, port=8888):
    """Start tinyproxy on the middle host."""
    home = lab.directory("tinyproxy")
    (home / "conf").write_text(f"User root\nGroup root\nPort {port}\nListen {lab.middle.v4}\nTimeout 20\n"
                               f"LogLevel Critical\nMaxClients 10\n" + "".join(f"{line}\n" for line in lines))
    process = lab.middle.start(["/usr/bin/tinyproxy", "-d", "-c", str(home / "conf")], log=lab.log("tinyproxy"))
    lab.middle.wait_port(port, process)
    lab.versions(middle="tinyproxy " + version(["/usr/bin/tinyproxy", "-v"], r"tinyproxy (\S+)"))
    return process


# --- clients -----------------------------------------------------------------------

def url(lab, kind="path", scheme="http", host=None, port=None, query=""):
    """A URL on the server with a canary as its path."""
    host = host or lab.server.v4
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}{f':{port}' if port else ''}/{lab.canary(kind)}{query}"


def curl(lab, *args, check=True, host=None, name="client"):
    """Run curl on the client; returns all it printed with -v."""
    lab.versions(**{name: "curl " + version(["curl", "-V"], r"curl (\S+)")})
    done = (host or lab.client).run(["curl", "-sSv", "--max-time", "8", *map(str, args)], check=check,
                                    env={"HOME": "/nonexistent", "NO_PROXY": ""})
    return done.stdout + done.stderr


def talk(address, port, pieces, pause=0.05, answer=b"", timeout=5):
    """Send pieces one segment each, then read until `answer` came or the server closed; returns what it said."""
    import socket
    import time
    with socket.create_connection((address, port), timeout=timeout) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause)
        said = b""
        while not (answer and answer in said):
            try:
                more = connection.recv(65536)
            except (TimeoutError, ConnectionResetError):
                break
            if not more:
                break
            said += more
        return said


def request(lab, method="GET", kind="path", headers=(), body=b"", host="server.lab.internal"):
    """The bytes of a request."""
    head = [f"{method} /{lab.canary(kind)} HTTP/1.1", f"Host: {host}", *headers]
    if body:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode() + body


def nth(count, test):
    """True from the count-th packet on for which `test` is true (for shape.late)."""
    seen = []

    def first(packet):
        seen.extend([1] if test(packet) else [])
        return len(seen) >= count
    return first


def is_request(packet):
    return re.match(rb"[A-Z]+ \S+ HTTP/1", packet.payload) is not None


def is_answer(packet):
    return packet.payload.startswith(b"HTTP/1.")


