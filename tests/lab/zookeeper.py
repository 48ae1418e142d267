"""ZooKeeper: the Debian server, Kazoo, four-letter words, views."""

import time

import shape
from lab import Cases

APT = ["zookeeperd"]
PIP = ["kazoo"]
cases = Cases()
PORT = 2181
SERVER = "ZooKeeper 3.8.0 (Debian)"
CLEAR = "password_cleartext"


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    if (CLEAR in flow["credentials"]) != (b"\0\0\0\x06digest" in c2s):
        yield f"port {flow['client_port']}: an auth packet or not?"


def setup(lab):
    home = lab.directory("zookeeper")
    (home / "zoo.cfg").write_text(f"tickTime=500\ndataDir={home}/data\nclientPort={PORT}\nadmin.enableServer=false\n"
                                  "4lw.commands.whitelist=*\n")
    command = ["java", "-cp", "/etc/zookeeper/conf:/usr/share/java/*", "-Xmx96m",
               "-Dzookeeper.admin.enableServer=false",
               "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(home / "zoo.cfg")]
    process = lab.server.start(command, log=lab.log("zookeeper"), stop_signal=9)
    lab.server.wait_port(PORT, process, timeout=40)
    for _ in range(100):
        if lab.server.call(ask, lab.server.v4, b"ruok") == b"imok":
            return
        time.sleep(0.2)
    raise TimeoutError("ZooKeeper does not get ready")


def ask(address, word):
    import socket
    with socket.create_connection((address, PORT)) as connection:
        connection.sendall(word)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


def kazoo(lab, work, **options):
    address = f"{lab.server.v4}:{PORT}"

    def client():
        from kazoo.client import KazooClient
        with_options = KazooClient(hosts=address, timeout=3, **options)
        with_options.start()
        work(with_options)
        with_options.stop()
        with_options.close()

    def version():
        import kazoo.version
        return kazoo.version.__version__
    lab.client.call(client)
    lab.versions(server=SERVER, client="Kazoo " + lab.client.call(version))


def plain(lab, **facts):
    return lab.flow(**{"server_port": PORT, "encryption": "plaintext", "app": "zookeeper", "outcome": "established",
                       "plaintext_reason": "no_in_band_upgrade", "confidence": "both_sides", **facts})


def session(lab):
    path, value = lab.canary("node"), lab.canary("value")

    def work(client):
        client.create("/" + path, value.encode())
        client.get("/" + path)
        client.get_children("/")
        client.delete("/" + path)
    return work


@cases.case("session", "Kazoo creates, reads and deletes a node")
def _(lab):
    kazoo(lab, session(lab))
    return [plain(lab)]


@cases.case("digest", "a login by digest: user and password can be read")
def _(lab):
    kazoo(lab, session(lab), auth_data=[("digest", f"{lab.canary('user')}:{lab.canary('pass')}")])
    return [plain(lab, credentials=[CLEAR])]


@cases.case("words", "four-letter words: health checks of monitoring")
def _(lab):
    for word in (b"ruok", b"srvr", b"mntr\n"):
        lab.client.call(ask, lab.server.v4, word)
    lab.versions(server=SERVER, client="a socket")
    return [plain(lab) for _ in range(3)]


@cases.case("client-side-only", "only what the client says is seen", mirror=("server:in",))
def _(lab):
    kazoo(lab, session(lab))
    return [plain(lab, confidence="one_side")]


@cases.case("server-side-only", "only what the server says is seen", mirror=("server:out",))
def _(lab):
    kazoo(lab, session(lab))
    lab.canaries.clear()
    return [plain(lab, confidence="one_side")]


@cases.case("late", "a session seen from a ping on",
            shape=[shape.late(lambda p: p.payload == b"\0\0\0\x08\xff\xff\xff\xfe\0\0\0\x0b")])
def _(lab):
    kazoo(lab, lambda client: time.sleep(2.5))
    return [plain(lab, origin="midstream", confidence="midstream")]
