"""HTTP/1.x: other ports, IPv6, and the same sessions seen badly, twice or late."""

import http_servers as web
import shape
from http_servers import cases, curl, is_answer, is_request, nginx, nth, plain, text, tls, url

MIDSTREAM = {"origin": "midstream", "confidence": "midstream"}
BOTH = ["client", "server"]


def several(lab, count=6, **more):
    """`count` requests on one connection, each with a token of its own; returns the flow's credentials."""
    nginx(lab, **more)
    urls = [url(lab, f"path{i}") for i in range(count)]
    curl(lab, "-H", f"Authorization: Bearer {lab.canary('token')}", *urls)
    return {"credentials": ["bearer_token"]}


# --- ports and IPv6 ---------------------------------------------------------------

def on_port(lab, port):
    nginx(lab, listen=str(port), port=port)
    curl(lab, url(lab, port=port))
    return [plain(lab, server_port=port)]


@cases.case("port-443", "plain HTTP on port 443")
def _(lab):
    return on_port(lab, 443)


@cases.case("port-3306", "plain HTTP on the port of MySQL")
def _(lab):
    return on_port(lab, 3306)


@cases.case("port-6379", "plain HTTP on the port of Redis")
def _(lab):
    return on_port(lab, 6379)


@cases.case("port-80-tls", "HTTPS on port 80")
def _(lab):
    nginx(lab, listen="80 ssl")
    said = curl(lab, "-k", url(lab, scheme="https", port=80))
    return [tls(lab, said, server_port=80)]


@cases.case("ipv6", "HTTP over IPv6")
def _(lab):
    nginx(lab)
    curl(lab, "-u", f"{lab.canary('user')}:{lab.canary('pass')}", url(lab, host=lab.server.v6))
    return [plain(lab, v6=True, credentials=["basic_auth"])]


# --- one direction ------------------------------------------------------------------

@cases.case("client-side-only", "only what the client sends: requests", mirror=["server:in"])
def _(lab):
    return [plain(lab, confidence="one_side", **several(lab, 3))]


@cases.case("server-side-only", "only what the server sends: answers", mirror=["server:out"])
def _(lab):
    several(lab, 3)
    return [plain(lab, confidence="one_side")]


# --- late start -----------------------------------------------------------------------

@cases.case("late-second-request", "the recording starts with the second request of a connection",
            shape=[shape.late(nth(2, is_request))])
def _(lab):
    return [plain(lab, **MIDSTREAM, **several(lab))]


@cases.case("late-answer", "the recording starts with the second answer of a connection",
            shape=[shape.late(nth(2, is_answer))])
def _(lab):
    return [plain(lab, **MIDSTREAM, **several(lab))]


@cases.case("late-client-side-only", "from the second request on, and only what the client sends",
            mirror=["server:in"], shape=[shape.late(nth(2, is_request))])
def _(lab):
    return [plain(lab, **MIDSTREAM, **several(lab))]


@cases.case("late-server-side-only", "from the second answer on, and only what the server sends",
            mirror=["server:out"], shape=[shape.late(nth(2, is_answer))])
def _(lab):
    several(lab)
    return [plain(lab, **MIDSTREAM)]


@cases.case("late-in-a-body", "the recording starts inside an answer of 12 KB; another request follows",
            shape=[shape.late(nth(4, lambda p: len(p.payload) > 1000 and p.sport == 80))])
def _(lab):
    process = nginx(lab, "")
    for kind in ("one", "two"):
        (process.www / lab.canary(kind)).write_text(text(lab, 12000 if kind == "one" else 40))
    curl(lab, url(lab, "one"), url(lab, "two"))
    return [plain(lab, **MIDSTREAM)]


@cases.case("late-in-the-last-body", "the recording starts inside the last answer: readable text and nothing else",
            shape=[shape.late(nth(4, lambda p: len(p.payload) > 1000 and p.sport == 80))])
def _(lab):
    process = nginx(lab, "")
    (process.www / lab.canary("one")).write_text(text(lab, 12000))
    curl(lab, url(lab, "one"))
    return [lab.flow(server_port=80, encryption="unknown", outcome="unknown", origin="midstream",
                     accept=["plaintext"], why="readable text, but no HTTP is left in it")]


# --- both ends, loss, order, truncation -------------------------------------------------

@cases.case("both-ends", "both ends are mirrored: one flow, every packet twice", mirror=BOTH)
def _(lab):
    return [plain(lab, **several(lab, 3))]


@cases.case("both-ends-one-lossy", "both ends are mirrored, 5 % of the client's copies are lost", mirror=BOTH,
            shape=[shape.loss(0.05, vni=1002, seed=3)])
def _(lab):
    return [plain(lab, **several(lab, 12))]


@cases.case("one-direction-from-each-end", "the client's copies have what it sends, the server's what it sends",
            mirror=["client:out", "server:out"])
def _(lab):
    return [plain(lab, **several(lab, 3))]


@cases.case("lossy", "5 % of the only vantage's copies are lost, somewhere after the first request", holes=True,
            shape=[lambda packets: packets[:6] + shape.loss(0.05, seed=5)(packets[6:])])
def _(lab):
    return [plain(lab, **several(lab, 14))]


@cases.case("gap-request-lost", "the copy of the first request was lost", holes=True, shape=[
    lambda packets: [p for i, p in enumerate(packets) if i != next(j for j, q in enumerate(packets) if q.payload)]])
def _(lab):
    return [plain(lab, confidence=None, **several(lab, 4))]


@cases.case("reordered", "copies that overtake one another", shape=[shape.swap_neighbours()])
def _(lab):
    return [plain(lab, **several(lab, 5))]


@cases.case("truncated-128", "copies cut to 128 bytes: the start of every segment", shape=[shape.truncate(128)])
def _(lab):
    nginx(lab)
    curl(lab, url(lab, "one"), url(lab, "two"))
    return [plain(lab)]


@cases.case("truncated-64", "copies cut to 64 bytes: no payload is left", shape=[shape.truncate(64)])
def _(lab):
    several(lab, 2)
    return [lab.flow(server_port=80, encryption="unknown", outcome="unknown",
                     why="a plaintext session, but PacketLength left nothing of it")]


@cases.case("knock", "a TCP health check: connected and closed without a byte")
def _(lab):
    def connect(address):
        import socket
        socket.create_connection((address, 80)).close()
    nginx(lab)
    lab.client.call(connect, lab.server.v4)
    lab.versions(client="a bare connect")
    return [lab.flow(server_port=80, encryption="unknown", outcome="unknown")]


@cases.case("two-vpcs", "two VPCs with the same addresses and ports at the same time: one plain HTTP, one HTTPS",
            twin=True)
def _(lab):
    nginx(lab)
    nginx(lab, listen="80 ssl", host=lab.twin.server, name="twin")

    def fetch(*urls):
        import subprocess
        return subprocess.run(["curl", "-sk", "--local-port", "40000", *urls], capture_output=True).returncode
    calls = [host.spawn(fetch, *(url(lab, kind + scheme, scheme, port=80) for kind in ("one", "two")))
             for host, scheme in ((lab.client, "http"), (lab.twin.client, "https"))]
    assert [call.result() for call in calls] == [0, 0]
    lab.versions(client="curl " + web.version(["curl", "-V"], r"curl (\S+)"))
    return [plain(lab, vni=1001), tls(lab, server_port=80, tls_version="TLSv1.3", vni=2001)]
