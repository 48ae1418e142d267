"""Plants and buildings: S7, IEC 104, BACnet, EtherNet/IP, KNX, DNP3."""

import importlib.metadata
import sys
import time

import shape
from lab import Cases

APT = ["knxd", "knxd-tools"]
PIP = ["python-snap7", "c104", "bacpypes3", "cpppo", "xknx"]
cases = Cases()
CLEAR = {"encryption": "plaintext", "plaintext_reason": "no_in_band_upgrade", "outcome": "established",
         "confidence": "both_sides"}
BEGINS = {"s7comm": (b"\3\0\0", b"\3\0\0"), "iec104": (b"\x68", b"\x68"), "bacnet": (b"\x81", b"\x81"),
          "ethernetip": (b"\x65\0\4\0", b"\x65\0\4\0"), "knxnet": (b"\6\x10", b"\6\x10")}


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    for said, begin in zip((c2s, s2c), BEGINS[flow["app"]], strict=True):
        if flow["origin"] == "start" and said and not said.startswith(begin):
            yield f"port {flow['client_port']}: begins {said[:8]!r}"


def plain(lab, app, port, **facts):
    return lab.flow(**{"server_port": port, "app": app, **CLEAR, **facts})


def versions(lab, package):
    software = f"{package} {importlib.metadata.version(package)}"
    lab.versions(server=software, client=software)


# --- S7 -------------------------------------------------------------------------------------------------------------

def s7(lab, count=1):
    def serve(address):
        from snap7 import SrvArea
        from snap7.server import Server
        server = Server()
        server.register_area(SrvArea.DB, 1, bytearray(64))
        server.start(1102)
        time.sleep(60)

    def ask(address, text):
        from snap7.client import Client
        client = Client()
        client.connect(address, 0, 1, 1102)
        for _ in range(count):
            client.db_write(1, 0, bytearray(text.encode()))
            assert client.db_read(1, 0, len(text)) == text.encode()
        client.disconnect()
    lab.server.spawn(serve, lab.server.v4)
    lab.server.wait_port(1102)
    lab.client.call(ask, lab.server.v4, lab.canary("value"))
    versions(lab, "python-snap7")


@cases.case("s7", "S7: a data block is written and read")
def _(lab):
    s7(lab)
    return [plain(lab, "s7comm", 1102)]


@cases.case("s7-late", "S7: the recording begins after the connection is set up",
            shape=[shape.late(lambda p: b"cnryvalue" in p.payload)])
def _(lab):
    s7(lab, 3)
    return [plain(lab, "s7comm", 1102, origin="midstream", confidence="midstream")]


@cases.case("s7-server-side-only", "S7: only the answers are seen", mirror=("server:out",))
def _(lab):
    s7(lab)
    return [plain(lab, "s7comm", 1102, confidence="one_side")]


# --- IEC 104 --------------------------------------------------------------------------------------------------------

def iec104(lab):
    def serve(address):
        import c104
        server = c104.Server(ip=address, port=2404)
        station = server.add_station(common_address=47)
        point = station.add_point(io_address=11, type=c104.Type.M_ME_NC_1, report_ms=500)
        point.value = 12.5
        server.start()
        time.sleep(60)

    def ask(address):
        import c104
        client = c104.Client()
        connection = client.add_connection(ip=address, port=2404, init=c104.Init.ALL)
        connection.add_station(common_address=47).add_point(io_address=11, type=c104.Type.M_ME_NC_1)
        client.start()
        connection.connect()
        time.sleep(4)
        client.stop()
    lab.server.spawn(serve, lab.server.v4)
    lab.server.wait_port(2404)
    lab.client.call(ask, lab.server.v4)
    versions(lab, "c104")


@cases.case("iec104", "IEC 104: a station is interrogated and reports")
def _(lab):
    iec104(lab)
    return [plain(lab, "iec104", 2404)]


@cases.case("iec104-late", "IEC 104: the recording begins with a report",
            shape=[shape.late(lambda p: p.payload[2:3] and not p.payload[2] & 1 and p.sport == 2404)])
def _(lab):
    iec104(lab)
    return [plain(lab, "iec104", 2404, origin="midstream", confidence="midstream")]


# --- BACnet ---------------------------------------------------------------------------------------------------------

@cases.case("bacnet", "BACnet: a device is asked for its name")
def _(lab):
    name = lab.canary("device")

    def run(address, number, name, ask=None):
        import asyncio
        from types import SimpleNamespace

        from bacpypes3.app import Application
        from bacpypes3.pdu import Address

        async def main():
            app = Application.from_args(SimpleNamespace(
                name=name, instance=number, address=f"{address}/16", network=0, vendoridentifier=999, foreign=None,
                ttl=30, bbmd=None, vendor=None))
            if ask is None:
                await asyncio.sleep(30)
            said = await app.read_property(Address(ask), f"device,{1000}", "object-name")
            app.close()
            return str(said)
        return asyncio.run(main())
    lab.server.spawn(run, lab.server.v4, 1000, name)
    lab.server.wait_port(47808, kind="udp")
    time.sleep(1)
    said = lab.client.call(run, lab.client.v4, 1001, "asks", lab.server.v4)
    assert said == name, said
    versions(lab, "bacpypes3")
    return [plain(lab, "bacnet", 47808, transport="udp")]


# --- EtherNet/IP ----------------------------------------------------------------------------------------------------

@cases.case("ethernetip", "EtherNet/IP: a tag is written and read")
def _(lab):
    python = sys.executable
    process = lab.server.start([python, "-m", "cpppo.server.enip", "-a", f"{lab.server.v4}:44818", "TAG=INT[10]"],
                               log=lab.log("enip"))
    lab.server.wait_port(44818, process)
    lab.client.run([python, "-m", "cpppo.server.enip.client", "-a", f"{lab.server.v4}:44818", "TAG[0]=7", "TAG[0]"])
    versions(lab, "cpppo")
    return [plain(lab, "ethernetip", 44818)]


# --- KNX ------------------------------------------------------------------------------------------------------------

@cases.case("knx", "KNXnet/IP: a tunnel to a group of lamps")
def _(lab):
    lab.server.run(["ip", "route", "replace", "224.0.0.0/4", "dev", "eth0"])
    process = lab.server.start(["knxd", "-e", "0.0.1", "-E", "0.0.2:4", "-D", "-T", "-I", "eth0", "-S", "-b", "dummy:"],
                               log=lab.log("knxd"))
    lab.server.wait_port(3671, process, kind="udp")

    def client(address, own):
        import asyncio

        from xknx import XKNX
        from xknx.dpt import DPTBinary
        from xknx.io import ConnectionConfig, ConnectionType
        from xknx.telegram import GroupAddress, Telegram
        from xknx.telegram.apci import GroupValueWrite

        async def main():
            async with XKNX(connection_config=ConnectionConfig(
                    connection_type=ConnectionType.TUNNELING, gateway_ip=address, gateway_port=3671,
                    local_ip=own)) as knx:
                await knx.cemi_handler.send_telegram(
                    Telegram(destination_address=GroupAddress("1/2/3"), payload=GroupValueWrite(DPTBinary(1))))
                await asyncio.sleep(0.5)
        asyncio.run(main())
    lab.client.call(client, lab.server.v4, lab.client.v4)
    lab.versions(server="knxd", client=f"xknx {importlib.metadata.version('xknx')}")
    return [plain(lab, "knxnet", 3671, transport="udp")]
