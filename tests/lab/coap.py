"""CoAP: libcoap's client and server over UDP."""

from lab import Cases

APT = ["libcoap3-bin"]
cases = Cases()


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    for said in filter(None, (c2s, s2c)):
        if said[0] >> 6 != 1:
            yield f"not CoAP: {said[:8]!r}"


def server(lab, *options):
    process = lab.server.start(["coap-server-notls", *options], log=lab.log("coap"))
    lab.server.wait_port(5683, process, kind="udp")
    lab.versions(server="libcoap 4.3.1", client="libcoap 4.3.1")


def ask(lab, path, *options, at=None):
    lab.client.run(["coap-client-notls", *options, f"coap://{at or lab.server.v4}/{path}"])


def plain(lab, **facts):
    return lab.flow(**{"transport": "udp", "server_port": 5683, "encryption": "plaintext", "app": "coap",
                       "outcome": "established", "plaintext_reason": "no_in_band_upgrade",
                       "confidence": "both_sides", **facts})


@cases.case("get-core", "GET /.well-known/core: the answer comes in blocks")
def _(lab):
    server(lab)
    ask(lab, ".well-known/core")
    return [plain(lab)]


@cases.case("put-get", "PUT and GET of a resource, each from a port of its own; short paths")
def _(lab):
    server(lab, "-d", "10")
    key, value = lab.canary("path"), lab.canary("value")
    ask(lab, key, "-m", "put", "-e", value)
    ask(lab, key, "-m", "get")
    ask(lab, "time")
    return [plain(lab) for _ in range(3)]


@cases.case("query-only", "only what the client sends", mirror=["server:in"])
def _(lab):
    server(lab)
    ask(lab, ".well-known/core")
    return [plain(lab, confidence="one_side", outcome="attempt", why="an answer was sent, but is not in this view")]
