"""Queues and calls: Gearman, Beanstalkd, Thrift, FastCGI, uwsgi."""

import os
import time

import http_servers as web
import shape
from lab import Cases

APT = [*web.APT, "gearman-job-server", "gearman-tools", "beanstalkd", "php-fpm", "uwsgi", "uwsgi-core"]
PIP = ["greenstalk", "thriftpy2"]
cases = Cases()
OPENINGS = {"gearman": (b"\0REQ", b"\0RES"), "fastcgi": (b"\1\1\0\1", b"\1"), "uwsgi": (b"\0", b"HTTP/1.")}


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    for said, begins in zip((c2s, s2c), OPENINGS.get(flow["app"], ()), strict=False):
        if said and not said.startswith(begins):
            yield f"port {flow['client_port']}: {flow['app']} begins with {said[:8]!r}"


def plain(lab, app, port, **facts):
    return lab.flow(**{"server_port": port, "encryption": "plaintext", "app": app, "outcome": "established",
                       "plaintext_reason": "no_in_band_upgrade", "confidence": "both_sides", **facts})


# --- Gearman ------------------------------------------------------------------------------------------------------

def gearman(lab):
    server = lab.server.start(["gearmand", "-L", lab.server.v4, "-p", "4730", "-l", "stderr", "-u", "nobody"],
                              log=lab.log("gearmand"))
    lab.server.wait_port(4730, server)
    address = ["-h", lab.server.v4, "-p", "4730", "-f", lab.canary("function")]
    lab.client.start(["gearman", *address, "-w", "--", "cat"], log=lab.log("worker"))
    time.sleep(1)
    lab.client.run(["gearman", *address, lab.canary("job")])
    lab.versions(server="gearmand (Debian 12)", client="gearman (Debian 12)")


@cases.case("gearman", "Gearman: a worker and a client that gives it a job")
def _(lab):
    gearman(lab)
    return [plain(lab, "gearman", 4730), plain(lab, "gearman", 4730)]


@cases.case("gearman-late", "Gearman: a worker that is given its job when the recording begins",
            shape=[shape.late(lambda p: b"cnryjob" in p.payload and p.sport == 4730)])
def _(lab):
    gearman(lab)
    return [plain(lab, "gearman", 4730, origin="midstream", confidence="midstream") for _ in range(2)]


# --- Beanstalkd ---------------------------------------------------------------------------------------------------

def beanstalkd(lab):
    server = lab.server.start(["beanstalkd", "-l", lab.server.v4], log=lab.log("beanstalkd"))
    lab.server.wait_port(11300, server)
    address, tube, job = lab.server.v4, lab.canary("tube"), lab.canary("job")

    def client():
        import greenstalk
        with greenstalk.Client((address, 11300), use=tube, watch=tube) as queue:
            queue.put(job)
            taken = queue.reserve(timeout=2)
            queue.delete(taken)
    lab.client.call(client)
    lab.versions(server="beanstalkd (Debian 12)", client="greenstalk")


@cases.case("beanstalkd", "Beanstalkd: a job is put, taken and deleted")
def _(lab):
    beanstalkd(lab)
    return [plain(lab, "beanstalkd", 11300)]


@cases.case("beanstalkd-server-side-only", "Beanstalkd: only the answers are seen", mirror=("server:out",))
def _(lab):
    beanstalkd(lab)
    return [plain(lab, "beanstalkd", 11300, confidence="one_side")]


# --- Thrift -------------------------------------------------------------------------------------------------------

def thrift(lab, port, compact, framed):
    idl = lab.directory("thrift") / "echo.thrift"
    idl.write_text("service Echo { string echo(1: string text) }\n")
    kinds = compact, framed

    def factories():
        from thriftpy2.protocol import TBinaryProtocolFactory, TCompactProtocolFactory
        from thriftpy2.transport import TBufferedTransportFactory, TFramedTransportFactory
        return {"proto_factory": (TCompactProtocolFactory if kinds[0] else TBinaryProtocolFactory)(),
                "trans_factory": (TFramedTransportFactory if kinds[1] else TBufferedTransportFactory)()}

    def serve(address):
        import thriftpy2
        from thriftpy2.rpc import make_server

        class Handler:
            def echo(self, text):
                return text
        service = thriftpy2.load(str(idl), module_name="echo_thrift").Echo
        make_server(service, Handler(), address, port, **factories()).serve()

    def call(address, text):
        import thriftpy2
        from thriftpy2.rpc import make_client
        service = thriftpy2.load(str(idl), module_name="echo_thrift").Echo
        client = make_client(service, address, port, **factories())
        assert client.echo(text) == text
        client.close()
    lab.server.spawn(serve, lab.server.v4)
    lab.server.wait_port(port)
    lab.client.call(call, lab.server.v4, lab.canary("text"))
    lab.versions(server="thriftpy2", client="thriftpy2")


@cases.case("thrift-binary", "Thrift: binary protocol, no frames")
def _(lab):
    thrift(lab, 9090, compact=False, framed=False)
    return [plain(lab, "thrift", 9090)]


@cases.case("thrift-compact", "Thrift: compact protocol in frames")
def _(lab):
    thrift(lab, 9091, compact=True, framed=True)
    return [plain(lab, "thrift", 9091)]


@cases.case("thrift-udp", "Thrift: spans in the compact protocol, one datagram each, as Jaeger's agents take them")
def _(lab):
    def send(address, text):
        import socket

        from thriftpy2.protocol import TCompactProtocol
        from thriftpy2.thrift import TMessageType, TPayload, TType
        from thriftpy2.transport import TMemoryBuffer

        class Batch(TPayload):
            thrift_spec = {1: (TType.STRING, "service", True)}
            default_spec = [("service", None)]
        for number in (1, 2):
            buffer = TMemoryBuffer()
            protocol = TCompactProtocol(buffer)
            protocol.write_message_begin("emitBatch", TMessageType.ONEWAY, number)
            protocol.write_struct(Batch(service=text))
            protocol.write_message_end()
            with socket.socket(type=socket.SOCK_DGRAM) as sender:
                sender.bind(("", 40_000))
                sender.sendto(buffer.getvalue(), (address, 6831))

    def receive(address):
        import socket
        with socket.socket(type=socket.SOCK_DGRAM) as receiver:
            receiver.bind((address, 6831))
            receiver.recv(65536), receiver.recv(65536)
    receiving = lab.server.spawn(receive, lab.server.v4)
    lab.server.wait_port(6831, kind="udp")
    lab.client.call(send, lab.server.v4, lab.canary("service"))
    receiving.result()
    lab.versions(client="thriftpy2")
    return [plain(lab, "thrift", 6831, transport="udp", outcome="attempt", confidence="one_side")]


# --- behind a web server --------------------------------------------------------------------------------------------

def nginx(lab, passing):
    """nginx on the client's host, so that what it says to the application crosses the network."""
    home = lab.directory("nginx")
    (home / "conf").write_text(f"""daemon off; pid {home}/pid; error_log stderr; worker_processes 1; user root;
events {{ }} http {{ access_log off; client_body_temp_path {home}/a; proxy_temp_path {home}/b;
fastcgi_temp_path {home}/c; uwsgi_temp_path {home}/d; scgi_temp_path {home}/e;
server {{ listen 127.0.0.1:8080; location / {{ {passing} }} }} }}
""")
    process = lab.client.start(["nginx", "-c", str(home / "conf")], log=lab.log("nginx"))
    lab.client.wait_port(8080, process)
    lab.versions(client="nginx " + web.version(["nginx", "-v"], r"nginx/(\S+)"))
    lab.client.run(["curl", "-s", "-u", f"{lab.canary('user')}:{lab.canary('pass')}",
                    f"http://127.0.0.1:8080/{lab.canary('path')}"])
    for secret in ("user", "pass"):
        lab.canaries.remove(lab.canary(secret))  # in base64


def fastcgi(lab):
    home = lab.directory("php")
    os.chmod(home, 0o755)
    (home / "index.php").write_text("<?php echo 'hello ' . $_SERVER['REQUEST_URI'];")
    (home / "conf").write_text(f"[global]\nerror_log = {home}/log\n[www]\nuser = nobody\nlisten = {lab.server.v4}:9000\n"
                               "pm = static\npm.max_children = 1\n")
    program = next(iter(sorted(p for p in os.listdir("/usr/sbin") if p.startswith("php-fpm"))))
    server = lab.server.start([f"/usr/sbin/{program}", "-F", "-y", str(home / "conf")], log=lab.log("php"))
    lab.server.wait_port(9000, server)
    nginx(lab, f"include /etc/nginx/fastcgi_params; fastcgi_param SCRIPT_FILENAME {home}/index.php; "
               f"fastcgi_pass {lab.server.v4}:9000;")
    lab.versions(server=program)


@cases.case("fastcgi", "FastCGI: nginx asks PHP, with the visitor's Basic credentials")
def _(lab):
    fastcgi(lab)
    return [plain(lab, "fastcgi", 9000, credentials=["basic_auth"])]


@cases.case("fastcgi-server-side-only", "FastCGI: only the answer is seen", mirror=("server:out",))
def _(lab):
    fastcgi(lab)
    return [plain(lab, "fastcgi", 9000, confidence="one_side")]


@cases.case("uwsgi", "uwsgi: nginx asks an application server, with the visitor's Basic credentials")
def _(lab):
    server = lab.server.start(["uwsgi", "--socket", f"{lab.server.v4}:3031", "--route-run", "return:204"],
                              log=lab.log("uwsgi"))
    lab.server.wait_port(3031, server)
    nginx(lab, f"include /etc/nginx/uwsgi_params; uwsgi_pass {lab.server.v4}:3031;")
    lab.versions(server="uWSGI 2.0.21")
    return [plain(lab, "uwsgi", 3031, credentials=["basic_auth"])]
