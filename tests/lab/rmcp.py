"""RMCP: ipmitool against nobody, and a presence ping answered by hand."""

import sys

from lab import Cases

APT = ["ipmitool"]
cases = Cases()


def plain(lab, **facts):
    return lab.flow(**{"transport": "udp", "server_port": 623, "encryption": "plaintext", "app": "rmcp",
                       "outcome": "attempt", "plaintext_reason": "no_in_band_upgrade", "confidence": "one_side",
                       **facts})


SERVER = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 623))
while True:
    client = s.recvfrom(512)[1]
    if sys.argv[2]:
        s.sendto(bytes.fromhex(sys.argv[2]), client)
"""


def listen(lab, answer):
    """A management controller that says `answer`, or nothing."""
    process = lab.server.start([sys.executable, "-c", SERVER, lab.server.v4, answer.hex()], log=lab.log("bmc"))
    lab.server.wait_port(623, process, kind="udp")


@cases.case("ipmitool-unanswered", "ipmitool asks what authentication there is, and nobody answers")
def _(lab):
    listen(lab, b"")
    lab.client.run(["ipmitool", "-I", "lan", "-N", "1", "-R", "1", "-H", lab.server.v4, "-U", lab.canary("user"),
                    "-P", lab.canary("pass"), "chassis", "status"], check=False)
    lab.versions(client="ipmitool 1.8.19")
    lab.canaries.clear()  # neither is sent
    return [plain(lab)]


@cases.case("presence-ping", "an ASF presence ping and its pong")
def _(lab):
    listen(lab, bytes.fromhex("0600ff06000011be40000010") + bytes.fromhex("000011be0000000081000000") + bytes(4))

    def ping(address):
        import socket
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(5)
            s.sendto(bytes.fromhex("0600ff06000011be80000000"), (address, 623))
            return s.recv(512)
    assert len(lab.client.call(ping, lab.server.v4)) == 28
    lab.versions(client="a Python socket", server="a Python socket")
    return [plain(lab, outcome="established", confidence="both_sides")]
