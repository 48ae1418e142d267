"""Health care: DICOM with dcmtk, HL7 over MLLP with a scripted receiver."""

import re
import socket

import http_servers as web
import shape
from lab import Cases

APT = ["dcmtk"]
PIP = ["hl7"]
cases = Cases()
CLEAR = {"encryption": "plaintext", "plaintext_reason": "no_in_band_upgrade", "confidence": "both_sides",
         "outcome": "established"}


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    begins = {"dicom": (b"\1\0", b"\3\0" if flow["outcome"] == "refused" else b"\2\0"), "hl7": (b"\x0bMSH", b"\x0bMSH")}
    for said, begin in zip((c2s, s2c), begins[flow["app"]]):
        if said and not said.startswith(begin):
            yield f"port {flow['client_port']}: begins {said[:8]!r}"


def dicom(lab, *options, **facts):
    home = lab.directory("dicom")
    process = lab.server.start(["storescp", *options, "-od", str(home), "11112"], log=lab.log("storescp"))
    lab.server.wait_port(11112, process)
    version = re.search(r"v([\d.]+)", lab.server.run(["echoscu", "--version"]).stdout).group(1)
    lab.versions(server=f"dcmtk storescp {version}", client=f"dcmtk {version}")
    return [lab.flow(**{"server_port": 11112, "app": "dicom", **CLEAR, **facts})]


@cases.case("dicom-echo", "an association and an echo")
def _(lab):
    flows = dicom(lab)
    lab.client.run(["echoscu", "-aet", lab.canary("aet")[:16], lab.server.v4, "11112"])
    return flows


@cases.case("dicom-store", "a patient's image is sent")
def _(lab):
    flows, home = dicom(lab), lab.directory("image")
    (home / "dump").write_text(f"(0008,0016) UI =SecondaryCaptureImageStorage\n(0008,0018) UI [1.2.276.0.1]\n"
                               f"(0010,0010) PN [{lab.canary('patient')}]\n(0010,0020) LO [{lab.canary('id')}]\n"
                               f"(0020,000d) UI [1.2.276.0.2]\n(0020,000e) UI [1.2.276.0.3]\n")
    lab.client.run(["dump2dcm", str(home / "dump"), str(home / "image.dcm")])
    lab.client.run(["storescu", lab.server.v4, "11112", str(home / "image.dcm")])
    return flows


@cases.case("dicom-rejected", "an association that is rejected")
def _(lab):
    flows = dicom(lab, "--refuse", outcome="refused")
    lab.client.run(["echoscu", lab.server.v4, "11112"], check=False)
    return flows


@cases.case("dicom-accepter-only", "only what the server sends", mirror=["server:out"])
def _(lab):
    flows = dicom(lab, confidence="one_side")
    lab.client.run(["echoscu", lab.server.v4, "11112"])
    return flows


def receiver(address, messages):
    """Acknowledge messages."""
    with socket.create_server((address, 2575)) as listener:
        connection, _ = listener.accept()
        with connection:
            for number in range(messages):
                data = b""
                while b"\x1c\r" not in data:
                    data += connection.recv(4096)
                connection.sendall(b"\x0bMSH|^~\\&|LAB|B|EHR|A|20260101||ACK|%d|P|2.5\rMSA|AA|%d\r\x1c\r" % (number, number))


def admissions(lab, count, **facts):
    patient = lab.canary("patient")
    lab.server.spawn(receiver, lab.server.v4, count)
    lab.server.wait_port(2575)

    def client(address):
        from hl7.client import MLLPClient
        with MLLPClient(address, 2575) as sender:
            for number in range(count):
                sender.send_message(f"MSH|^~\\&|EHR|A|LAB|B|20260101||ADT^A01|{number}|P|2.5\r"
                                    f"PID|||{number}||{patient}^Alice\r")

    lab.client.call(client, lab.server.v4)
    lab.versions(server="scripted", client="hl7 0.4")
    return [lab.flow(**{"server_port": 2575, "app": "hl7", **CLEAR, **facts})]


@cases.case("hl7-adt", "two admissions and their acknowledgements")
def _(lab):
    return admissions(lab, 2)


@cases.case("hl7-late", "the recording starts in the middle of a session",
            shape=[shape.late(web.nth(3, lambda p: p.payload and p.dport == 2575))])
def _(lab):
    return admissions(lab, 6, origin="midstream", confidence="midstream")
