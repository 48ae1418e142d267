"""Modbus/TCP: pymodbus on both sides."""

import sys
import time

from lab import Cases

PIP = ["pymodbus==3.6.9"]
cases = Cases()


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    for said in filter(None, (c2s, s2c)):
        if flow["origin"] == "start" and said[2:4] != b"\0\0":
            yield f"not protocol 0: {said[:8]!r}"


SERVER = """
import sys
from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.server import StartTcpServer
blocks = {kind: ModbusSequentialDataBlock(0, [17] * 100) for kind in ("di", "co", "hr", "ir")}
StartTcpServer(context=ModbusServerContext(ModbusSlaveContext(**blocks), single=True), address=(sys.argv[1], 502))
"""


def server(lab):
    process = lab.server.start([sys.executable, "-c", SERVER, lab.server.v4], log=lab.log("modbus"))
    lab.server.wait_port(502, process)
    lab.versions(server="pymodbus 3.6.9", client="pymodbus 3.6.9")


def talk(address, rounds=1, pause=0.0):
    import time
    from pymodbus.client import ModbusTcpClient
    client = ModbusTcpClient(address, port=502)
    client.connect()
    for _ in range(rounds):
        client.read_holding_registers(1, 10, slave=1)
        client.read_coils(1, 9, slave=1)
        client.write_registers(5, [1, 2, 3], slave=1)
        client.write_coil(3, True, slave=1)
        client.read_input_registers(4000, 2, slave=1)  # an exception
        time.sleep(pause)
    client.close()


def plain(lab, **facts):
    return lab.flow(**{"server_port": 502, "encryption": "plaintext", "app": "modbus", "outcome": "established",
                       "plaintext_reason": "no_in_band_upgrade", "confidence": "both_sides", **facts})


@cases.case("read-write", "registers and coils read and written, and an exception")
def _(lab):
    server(lab)
    lab.client.call(talk, lab.server.v4)
    return [plain(lab)]


@cases.case("requests-only", "only what the client sends", mirror=["server:in"])
def _(lab):
    server(lab)
    lab.client.call(talk, lab.server.v4)
    return [plain(lab, confidence="one_side")]


@cases.case("joined-late", "a session that had begun before", mirror=[])
def _(lab):
    server(lab)
    lab.client.spawn(lambda: talk(lab.server.v4, 4, 0.5))
    time.sleep(0.9)
    lab.net.mirror("server")
    time.sleep(1.8)
    return [plain(lab, origin="midstream", confidence="midstream")]
