"""Monitoring: Zabbix and Munin agents, collectd, rsyslog, and what sends metrics and logs to those that collect them."""

import json
import re
import socket
import struct
import time

from lab import Cases

APT = ["zabbix-agent", "munin-node", "collectd-core", "rsyslog", "bsdutils"]
PIP = ["graphyte", "statsd", "fluent-logger"]
cases = Cases()
CLEAR = {"encryption": "plaintext", "plaintext_reason": "no_in_band_upgrade", "outcome": "established"}


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    begins = {"zabbix": (c2s, b"ZBXD\x01"), "munin": (s2c, b"# munin node at "), "syslog": (c2s, b"<"),
              "collectd": (c2s, b"\2\x10" if flow["encryption"] != "plaintext" else b"")}
    said, begin = begins.get(flow["app"], (b"", b""))
    said = said.split(b" ", 1)[1] if said[:1].isdigit() else said
    if not said.startswith(begin):
        yield f"port {flow['client_port']}: begins {said[:16]!r}"


def version(lab, package):
    said = lab.server.run(["dpkg-query", "-W", "-f", "${Version}", package]).stdout
    return re.match(r"(?:\d:)?([\d.]+)", said).group(1)


def talk(address, port, *turns):
    """Send and wait for an answer, turn by turn."""
    said = b""
    with socket.create_connection((address, port), timeout=5) as connection:
        for send, wanted in turns:
            if send:
                connection.sendall(send)
            end = time.monotonic() + 5
            while wanted not in said and time.monotonic() < end:
                more = connection.recv(4096)
                if not more:
                    return said
                said += more
            said = said[:0] if wanted else said
    return said


@cases.case("zabbix-agent", "an agent answers for one item")
def _(lab):
    home = lab.directory("zabbix")
    (home / "conf").write_text(f"Server=10.77.0.0/16\nListenPort=10050\nListenIP={lab.server.v4}\nLogType=console\n"
                               f"PidFile={home}/pid\nHostname={lab.canary('host')}\nStartAgents=1\nAllowRoot=1\n")
    process = lab.server.start(["zabbix_agentd", "-f", "-c", str(home / "conf")], log=lab.log("zabbix"))
    lab.server.wait_port(10050, process)
    key = b"agent.hostname"
    said = lab.client.call(talk, lab.server.v4, 10050, (b"ZBXD\1" + struct.pack("<II", len(key), 0) + key, b"\0"))
    lab.versions(server="zabbix_agentd " + version(lab, "zabbix-agent"), client="scripted")
    assert said is not None
    return [lab.flow(server_port=10050, app="zabbix", confidence="both_sides", **CLEAR)]


def munin(lab):
    home = lab.directory("munin")
    (home / "conf").write_text(f"log_level 4\nlog_file {home}/log\npid_file {home}/pid\nbackground 0\nsetsid 0\n"
                               f"user root\ngroup root\nhost {lab.server.v4}\nport 4949\nallow ^.*$\n"
                               f"host_name {lab.canary('host')}\n")
    process = lab.server.start(["munin-node", "--config", str(home / "conf")], log=lab.log("munin"))
    lab.server.wait_port(4949, process)
    lab.versions(server="munin-node " + version(lab, "munin-node"), client="scripted")


@cases.case("munin-node", "a master asks for capabilities and plugins")
def _(lab):
    munin(lab)
    lab.client.call(talk, lab.server.v4, 4949, (b"", b"\n"), (b"cap multigraph dirtyconfig\n", b"\n"), (b"list\n", b"\n"),
                    (b"version\n", b"\n"), (b"quit\n", b""))
    return [lab.flow(server_port=4949, app="munin", confidence="both_sides",
                     **{**CLEAR, "plaintext_reason": "client_never_asked"})]


@cases.case("munin-banner", "only the node speaks, then the master goes away")
def _(lab):
    munin(lab)
    lab.client.call(talk, lab.server.v4, 4949, (b"", b"\n"))
    return [lab.flow(server_port=4949, app="munin", confidence="one_side",
                     **{**CLEAR, "plaintext_reason": "client_never_asked", "outcome": "attempt"})]


def collectd(lab, security):
    """collectd on the client sends its values to the server's port, where nothing but a socket is."""
    home = lab.directory("collectd")
    (home / "conf").write_text(f"""Hostname "{lab.canary('host')}"
FQDNLookup false
BaseDir "{home}"
PIDFile "{home}/pid"
Interval 1
LoadPlugin load
LoadPlugin memory
LoadPlugin cpu
LoadPlugin network
<Plugin network>
 MaxPacketSize 1024
 <Server "{lab.server.v4}" "25826">
  {security}
 </Server>
</Plugin>
""")
    lab.server.spawn(sink, lab.server.v4, 25826)
    lab.server.wait_port(25826, kind="udp")
    process = lab.client.start(["collectd", "-f", "-C", str(home / "conf")], log=lab.log("collectd"))
    time.sleep(4)
    lab.client.stop(process)
    lab.versions(client="collectd " + version(lab, "collectd-core"), server="a socket")


def sink(address, port):
    """Receive datagrams and say nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((address, port))
        receiver.settimeout(12)
        while receiver.recv(65536):
            pass


def one_way(lab, port, app, transport="udp", **facts):
    return lab.flow(**{"transport": transport, "server_port": port, "app": app, "confidence": "one_side", **CLEAR,
                       **facts})


@cases.case("collectd-plain", "values in clear")
def _(lab):
    collectd(lab, "SecurityLevel None")
    return [one_way(lab, 25826, "collectd")]


@cases.case("collectd-signed", "signed values: they can be read")
def _(lab):
    collectd(lab, f'SecurityLevel Sign\nUsername "{lab.canary("user")}"\nPassword "{lab.canary("password")}"')
    return [one_way(lab, 25826, "collectd")]


@cases.case("collectd-encrypted", "encrypted values")
def _(lab):
    collectd(lab, f'SecurityLevel Encrypt\nUsername "{lab.canary("user")}"\nPassword "{lab.canary("password")}"')
    return [one_way(lab, 25826, "collectd", encryption="other-encrypted", plaintext_reason=None)]


def rsyslog(lab, action):
    """rsyslog on the client forwards what it is told; a socket takes it."""
    home = lab.directory("rsyslog")
    (home / "conf").write_text(f"""module(load="imuxsock" SysSock.Use="off")
module(load="imptcp")
global(workDirectory="{home}" localHostname="{lab.canary('host')}")
input(type="imptcp" port="10514" address="127.0.0.1")
action(type="omfwd" target="{lab.server.v4}" port="514" {action})
""")
    udp = 'protocol="udp"' in action
    lab.server.spawn(sink if udp else stream_sink, lab.server.v4, 514)
    lab.server.wait_port(514, kind="udp" if udp else "tcp")
    process = lab.client.start(["rsyslogd", "-n", "-f", str(home / "conf"), "-i", str(home / "pid")],
                               log=lab.log("rsyslog"))
    lab.client.wait_port(10514, process)
    for number in range(3):
        lab.client.run(["logger", "-n", "127.0.0.1", "-P", "10514", "-T", "-t", "lab", f"{lab.canary('log')} {number}"])
    time.sleep(1)
    lab.client.stop(process)
    lab.versions(client="rsyslog " + version(lab, "rsyslog"), server="a socket")


def stream_sink(address, port):
    """Take one connection and say nothing."""
    with socket.create_server((address, port)) as listener:
        listener.settimeout(12)
        connection, _ = listener.accept()
        with connection:
            while connection.recv(65536):
                pass


@cases.case("syslog-udp", "rsyslog over UDP")
def _(lab):
    rsyslog(lab, 'protocol="udp"')
    return [one_way(lab, 514, "syslog")]


@cases.case("syslog-tcp-lines", "rsyslog over TCP, one message a line, traditional header")
def _(lab):
    rsyslog(lab, 'protocol="tcp" template="RSYSLOG_TraditionalForwardFormat"')
    return [one_way(lab, 514, "syslog", "tcp")]


@cases.case("syslog-tcp-counted", "rsyslog over TCP with octet counts and the header of RFC 5424")
def _(lab):
    rsyslog(lab, 'protocol="tcp" TCP_Framing="octet-counted" template="RSYSLOG_SyslogProtocol23Format"')
    return [one_way(lab, 514, "syslog", "tcp")]


@cases.case("graphite-tcp", "graphyte sends two metrics")
def _(lab):
    path = lab.canary("path")
    lab.server.spawn(stream_sink, lab.server.v4, 2003)
    lab.server.wait_port(2003)

    def client(address):
        import graphyte
        sender = graphyte.Sender(address, prefix="lab")
        with socket.create_connection((address, 2003)) as connection:
            connection.sendall(sender.build_message(path, 1.5, 1767225600) + sender.build_message("b", 2, 1767225600))

    lab.client.call(client, lab.server.v4)
    lab.versions(client="graphyte 1.7", server="a socket")
    return [one_way(lab, 2003, "graphite", "tcp")]


@cases.case("statsd-udp", "counters, a gauge and a timer over UDP")
def _(lab):
    prefix = lab.canary("prefix")
    lab.server.spawn(sink, lab.server.v4, 8125)
    lab.server.wait_port(8125, kind="udp")

    def client(address):
        import statsd
        sender = statsd.StatsClient(address, 8125, prefix=prefix)
        sender.incr("orders")
        sender.gauge("users", 7)
        sender.timing("page", 320)

    lab.client.call(client, lab.server.v4)
    lab.versions(client="statsd 4.0", server="a socket")
    return [one_way(lab, 8125, "statsd")]


@cases.case("gelf", "a GELF message over TCP")
def _(lab):
    text = lab.canary("text")
    lab.server.spawn(stream_sink, lab.server.v4, 12201)
    lab.server.wait_port(12201)
    message = json.dumps({"version": "1.1", "host": "web1", "short_message": text, "level": 6}).encode() + b"\0"
    lab.client.call(talk, lab.server.v4, 12201, (message, b""))
    lab.versions(client="scripted", server="a socket")
    return [one_way(lab, 12201, "gelf", "tcp")]


@cases.case("fluentd", "fluent-logger sends two events")
def _(lab):
    text = lab.canary("text")
    lab.server.spawn(stream_sink, lab.server.v4, 24224)
    lab.server.wait_port(24224)

    def client(address):
        from fluent import sender
        logger = sender.FluentSender("lab.app", host=address, port=24224, nanosecond_precision=True)
        logger.emit("login", {"user": text, "n": 1})
        logger.emit("logout", {"user": text, "n": 2})
        logger.close()

    lab.client.call(client, lab.server.v4)
    lab.versions(client="fluent-logger 0.11", server="a socket")
    return [one_way(lab, 24224, "fluentd", "tcp")]
