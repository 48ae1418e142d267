#!/usr/bin/env python3
"""The whole chain in network namespaces: client, balancer, PostgreSQL, Redis and web server; copies of their packets by `tc`
and VXLAN, as AWS makes them; sensors; CloudWatch, alarms and topic in an emulator, from the template's own stack.

    sudo tests/deploy/chain.py target/debug/cleartap

Needs root, Debian (it installs nginx, PostgreSQL and Redis) and target/aws-emulators (`.ci/deps.sh test`). Half a minute;
given up after PATIENCE_S. Where no network namespace can be made it says so and does nothing.

1. Only TLS is spoken: no alarm but of what is not there. 2. Every leg in clear: its alarm. In the midst of it the sensor is
killed and started again. 3. The canary. 4. The same copies to one sensor, and to two by a forwarder that tears flows apart:
verdicts do not contradict, findings have the same ids, metrics add up.
"""

import collections
import contextlib
import ctypes
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PYTHON = ROOT / "target/aws-emulators/bin/python"
if pathlib.Path(sys.prefix).resolve() != (ROOT / "target/aws-emulators").resolve():
    os.execv(PYTHON, [PYTHON, *sys.argv])
sys.path[:0] = [str(HERE), str(ROOT / "tests/lab")]
sys.dont_write_bytecode = True

import lab as lablib  # noqa: E402
import alarms  # noqa: E402
import emulator  # noqa: E402
import http_servers  # noqa: E402
import net  # noqa: E402
import stack  # noqa: E402
from postgresql_server import Postgres  # noqa: E402
from redis_server import Redis  # noqa: E402

APT = [*lablib.TOOLS, "nginx", "libnginx-mod-stream", "libnginx-mod-http-dav-ext", "curl", "postgresql", "redis-server", "redis-tools"]
HEALTH = 8080
PATIENCE_S = 300


class Sensor:
    """A running sensor in the sensors' namespace."""

    def __init__(self, lab, binary, name, listen, cloudwatch, health, namespace="cleartap"):
        self.lab, self.name, self.home = lab, name, lab.work / name
        self.home.mkdir(exist_ok=True)
        self.health = health
        config = [f'[capture]\nlisten = ["{listen}"]\nbuffer_mib = 64',
                  f'[records]\npath = "{self.home}/flows.jsonl"\ninterval_s = 1',
                  f'[findings]\npath = "{self.home}/findings.db"',
                  f'[health]\nlisten = "127.0.0.1:{health}"', "[canary]\nexpected = true",
                  f'[cloudwatch]\nenabled = true\nregion = "us-east-1"\nendpoint = "{cloudwatch}"\n'
                  f'namespace = "{namespace}"\nspool = "{self.home}/spool"']
        (self.home / "cleartap.toml").write_text("\n".join(config) + "\n")
        self.binary, self.process = binary, None
        self.start()

    def command(self, *arguments):
        return ["ip", "netns", "exec", self.lab.sensor.ns, str(self.binary), *arguments]

    def start(self):
        env = {**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
               "AWS_EC2_METADATA_DISABLED": "true"}
        with open(self.home / "log", "ab") as log:
            self.process = subprocess.Popen(self.command("run", "--config", str(self.home / "cleartap.toml")), env=env,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait(lambda: self.get("/healthz")[0] == 200, f"{self.name} is well")

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def packets(self):
        code, body = self.get("/status")
        return json.loads(body)["capture"]["packets"] if code == 200 else 0

    def settle(self):
        """Waits until no more packets come."""
        before = -1
        while before != (before := self.packets()):
            time.sleep(1)

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def stop(self):
        """Ends it; the period being counted is delivered."""
        self.process.terminate()
        code = self.process.wait(30)
        assert code == 0, f"{self.name}: exit code {code}: {(self.home / 'log').read_text()[-800:]}"

    def records(self):
        """The last record of each flow."""
        last = {}
        for line in (self.home / "flows.jsonl").read_text().splitlines():
            record = json.loads(line)
            key = tuple(sorted([(record["src_ip"], record["src_port"]), (record["dst_ip"], record["dst_port"])]))
            last[key] = record
        return last

    def findings(self):
        done = subprocess.run([str(self.binary), "findings", "export", "--format", "json", "--config",
                               str(self.home / "cleartap.toml")], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        found = found["findings"] if isinstance(found, dict) else found
        return {one["id"]: one for one in found}


def wait(condition, what, timeout=30):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.1)


def say(text):
    print(f"  {text}", flush=True)


@contextlib.contextmanager
def inside(ns):
    """This process, too, lives with the sensors for a time: the emulator listens on their loopback."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as own, open(f"/run/netns/{ns}") as there:
        assert libc.setns(there.fileno(), 0x40000000) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:  # who is in a namespace that is removed is ended with it
            assert libc.setns(own.fileno(), 0x40000000) == 0, os.strerror(ctypes.get_errno())


class Traffic:
    """What client and servers say to each other, in clear or sealed."""

    def __init__(self, lab):
        self.lab, self.postgres, self.redis = lab, Postgres(lab), Redis(lab)
        self.postgres.serve(hba="hostssl all all all trust; hostnossl all all all password")
        self.redis.serve(tls_port=6380)
        location = "location / { return 200 'hello'; }"
        http_servers.nginx(lab, location, listen="443 ssl,80", port=443)
        # The balancer: TLS through to TLS on 443, plaintext through to plaintext on 80.
        http_servers.nginx(lab, "if ($scheme = https) { set $up https; } if ($scheme = http) { set $up http; } "
                           f"location / {{ proxy_pass $up://{lab.server.v4}; proxy_ssl_verify off; }}",
                           listen="443 ssl,80", host=lab.middle, port=443)

    def curl(self, scheme, *more):
        self.lab.client.run(["curl", "-sSkf", "-o", "/dev/null", *more, f"{scheme}://{self.lab.middle.v4}/"])

    def sealed(self):
        self.postgres.psql("require", "SELECT 1")
        self.redis.cli("ping", options=["--tls", "--insecure"], port=6380)
        self.curl("https", "-u", "ann:secret")

    def clear(self):
        self.postgres.psql("disable", "SELECT 1", password=self.postgres.password)
        self.redis.cli("ping", port=6379)
        self.curl("http", "-u", "ann:secret")


class Forwarder:
    """Takes the copies in the sensors' place, and keeps them."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.settimeout(0.2)
        self.socket.bind((address, 4789))
        self.kept, self.stopped = [], False
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        while not self.stopped:
            with contextlib.suppress(TimeoutError):
                self.kept.append(self.socket.recv(65535))

    def stop(self):
        time.sleep(1)
        self.stopped = True
        self.thread.join()
        self.socket.close()
        return self.kept


def half(datagram):
    """Which of two sensors: by source address and port of the inner packet, so that a flow's halves part."""
    inner = datagram[8 + 14:]
    if inner[0] >> 4 == 4:
        at = (inner[0] & 15) * 4
        parts = inner[12:16] + inner[at:at + 2]
        other = inner[16:20] + inner[at + 2:at + 4]
    else:
        parts, other = inner[8:24] + inner[40:42], inner[24:40] + inner[42:44]
    return int(parts > other)


def whole(datagram):
    """By both ends, in either order: a flow stays in one piece."""
    inner = datagram[8 + 14:]
    at = (inner[0] & 15) * 4
    ports = struct.unpack("!HH", inner[at:at + 4])
    return (sum(ports) + sum(inner[12:20])) % 2


def send(datagrams, ports, choose):
    """The copies to sensors on these ports of loopback, in order, not too fast."""
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for number, datagram in enumerate(datagrams):
        out.sendto(datagram, ("127.0.0.1", ports[choose(datagram)]))
        if number % 50 == 49:
            time.sleep(0.01)
    out.close()


BY_SCOPE = ("PlaintextFlows", "PlaintextNewFlows", "PlaintextBytes", "CredentialsExposedFlows", "TlsFlows", "WeakTlsFlows",
            "UnknownFlows", "DecidedFlows", "PlaintextDecidedFlows")


def totals(aws, namespace):
    """Sums over sensors and periods. The emulator mixes up sets of dimensions unless one is named."""
    cloudwatch = aws.client("cloudwatch")
    asked = [(name, [{"Name": "Scope", "Value": "default"}]) for name in BY_SCOPE]
    asked += [(name, []) for name in ("MirrorPackets", "KernelDrops", "RecordsDropped")]
    out = {}
    for name, dimensions in asked:
        now = time.time()
        points = cloudwatch.get_metric_statistics(
            Namespace=namespace, MetricName=name, Dimensions=dimensions, StartTime=now - 3600, EndTime=now + 3600, Period=60,
            Statistics=["Sum"])["Datapoints"]
        out[name] = sum(point["Sum"] for point in points)
    return out


def in_one_period(seconds=15):
    """Waits where the minute is nearly over: a flow that is active in two periods counts in both."""
    left = 60 - time.time() % 60
    if left < seconds:
        time.sleep(left + 0.2)


PLAINTEXT = {"PlaintextDatabase", "PlaintextCache", "HttpCredentials", "CredentialsExposed"}


def plaintext_alarms(aws, since):
    """Those that were raised at any time since then: a minute may end between the traffic and the question."""
    raised, at = set(), since
    while at < time.time() + 60:
        states = alarms.states(aws.client("cloudwatch"), "cleartap-", min(at, time.time()))
        raised |= {name for name, state in states.items() if state == "ALARM"}
        at += 60
    return raised & PLAINTEXT


def alarming(lab, binary, aws, traffic):
    """1 to 3."""
    listen, begun = f"{net.SENSOR}:4789", time.time()
    sensor = Sensor(lab, binary, "one", listen, aws.url, HEALTH)
    lab.net.mirror("client", "server", "middle")
    traffic.sealed()
    sensor.settle()
    sensor.stop()
    raised = plaintext_alarms(aws, begun)
    assert raised == set(), raised
    seen = collections.Counter((r["encryption"], r["app"]) for r in sensor.records().values())
    assert set(kind for kind, _ in seen) == {"tls"} and sum(seen.values()) >= 4, seen
    assert sensor.findings() == {}
    say(f"only TLS: {sum(seen.values())} TLS flows, no alarm, no finding")

    sensor.start()
    script = f"import socket,time\ns=socket.create_connection(('{lab.server.v4}',6379))\n"
    pooled = lab.client.start([sys.executable, "-c", script + "while True:\n s.sendall(b'*1\\r\\n$4\\r\\nPING\\r\\n')\n s.recv(99)\n time.sleep(0.2)\n"],
                              log=lab.log("pooled"))
    traffic.clear()
    # The pooled session's edge is one of the four.
    wait(lambda: len(sensor.findings()) >= 4, "every leg in clear is a finding")
    before = sensor.findings()
    sensor.kill()
    say(f"in clear: {len(before)} findings; the sensor is killed")
    time.sleep(1)
    sensor.start()
    traffic.clear()
    time.sleep(3)
    lab.client.stop(pooled)
    sensor.settle()
    sensor.stop()
    after = sensor.findings()
    assert set(before) <= set(after) and len(before) >= 3, (len(before), len(after))
    raised = plaintext_alarms(aws, begun)
    assert raised == PLAINTEXT, raised
    joined = [r for r in sensor.records().values() if r["dst_port"] == 6379 and r["origin"] == "midstream"]
    assert joined and all(r["encryption"] == "plaintext" and r["app"] == "redis" for r in joined), joined
    say(f"started again: {len(after)} findings, ids as before; the pooled Redis session joined late is plaintext; "
        f"alarms {', '.join(sorted(raised))}")

    sensor.start()
    answering = lab.server.start([str(binary), "canary", "answer", "--listen", "0.0.0.0:7780"], log=lab.log("canary"))
    lab.server.wait_port(7780, answering)
    time.sleep(3)
    lab.client.run([str(binary), "canary", "ask", "--server", f"{lab.server.v4}:7780", "--once"])
    wait(lambda: json.loads(sensor.get("/status")[1])["canary_age_s"] <= 2, "the canary is seen")
    sensor.stop()
    assert set(sensor.findings()) == set(after), "the canary is no finding"
    say("the canary is seen, and is no finding")


def two_sensors(lab, binary, aws, traffic):
    """4."""
    lab.net.mirror("server", "client")
    forwarder = Forwarder(net.SENSOR)
    traffic.clear()
    traffic.curl("http")
    traffic.sealed()
    copies = forwarder.stop()
    lab.net.mirror()
    assert len(copies) > 100, len(copies)

    def run(name, choose, count):
        in_one_period()
        sensors = [Sensor(lab, binary, f"{name}{n}", f"127.0.0.1:{5000 + n}", aws.url, 8090 + n, name) for n in range(count)]
        send(copies, [5000 + n for n in range(count)], choose)
        wait(lambda: sum(sensor.packets() for sensor in sensors) >= len(copies), "all copies are read")
        packets = [sensor.packets() for sensor in sensors]
        for sensor in sensors:
            sensor.stop()
        assert sum(packets) == len(copies), (packets, len(copies))
        return sensors, packets, totals(aws, name)

    (single,), _, expected = run("single", lambda _: 0, 1)
    truth, found = single.records(), single.findings()
    plain = {key for key, record in truth.items() if record["encryption"] == "plaintext"}
    assert len(plain) >= 5 and len(found) >= 5, (len(plain), sorted(found))
    assert expected["MirrorPackets"] == len(copies) and expected["PlaintextFlows"] == len(plain), expected
    assert expected["PlaintextBytes"] == sum(truth[key][f"bytes_{way}"] for key in plain for way in ("c2s", "s2c"))

    torn, packets, published = run("half", half, 2)
    check_torn(truth, found, torn, packets)
    # Each half knows that its flow is in clear: bytes and packets are each counted once, flows once by each.
    for name, times in {"MirrorPackets": 1, "PlaintextBytes": 1, "PlaintextFlows": 2, "DecidedFlows": 2}.items():
        assert published[name] == times * expected[name], (name, published, expected)
    for name in ("CredentialsExposedFlows", "TlsFlows"):
        assert expected[name] <= published[name] <= 2 * expected[name], (name, published, expected)

    kept, packets, published = run("whole", whole, 2)
    assert all(packets), packets
    parts = [sensor.records() for sensor in kept]
    assert not set(parts[0]) & set(parts[1]) and set(parts[0]) | set(parts[1]) == set(truth)
    for part in parts:
        for key, record in part.items():
            for field in ("encryption", "app", "outcome", "packets_c2s", "packets_s2c", "bytes_c2s", "bytes_s2c"):
                assert record[field] == truth[key][field], (key, field, record[field], truth[key][field])
    assert set().union(*(sensor.findings() for sensor in kept)) == set(found)
    assert published == expected, (published, expected)
    say(f"two sensors, flows whole: {packets} copies, {len(parts[0])} + {len(parts[1])} = {len(truth)} flows, each as one sensor "
        f"sees it; all metrics are the sums of one: {' '.join(f'{name}={value:.0f}' for name, value in expected.items())}")


def check_torn(truth, found, torn, packets):
    """Halves of flows, each on another sensor, against what one sensor says of the whole."""
    assert all(packets), packets
    seen, halves = collections.Counter(), [sensor.records() for sensor in torn]
    for half_records in halves:
        for key, record in half_records.items():
            whole_record, got = truth[key], record["encryption"]
            assert got in (whole_record["encryption"], "unknown"), (key, whole_record["encryption"], got)
            assert record["app"] in (whole_record["app"], None), (key, record["app"])
            assert set(record["credentials"]) <= set(whole_record["credentials"]), (key, record["credentials"])
            seen[got] += 1
    for key, whole_record in truth.items():
        parts = [records.get(key) for records in halves]
        assert all(parts), (key, "a half has no record")
        if whole_record["encryption"] == "plaintext":
            assert all(part["encryption"] == "plaintext" for part in parts), (key, parts)
        for field in ("bytes_c2s", "bytes_s2c", "packets_c2s", "packets_s2c"):
            assert sum(part[field] for part in parts) == whole_record[field], (key, field)
    ids = [sensor.findings() for sensor in torn]
    # Who saw no credentials says less of the same edge: that it is in clear.
    edge = lambda one: tuple(value for name, value in sorted(one["edge"].items()) if name != "rule")
    edges = {edge(one) for one in found.values()}
    assert set(found) <= set(ids[0]) | set(ids[1]), (set(found), ids)
    for one in ids:
        assert {edge(finding) for finding in one.values()} == edges, (one, edges)
        for finding in one.values():
            assert finding["id"] in found or finding["edge"]["rule"] == "plaintext-http", finding["edge"]
    both = set(ids[0]) & set(ids[1]) & set(found)
    # A password of PostgreSQL is asked for by one side and given by the other; one in an HTTP request is in the request only.
    assert all(one["id"] in both for one in found.values() if one["edge"]["rule"] != "http-credentials"), (found, both)
    say(f"two sensors, flows torn apart: {packets} copies, verdicts {dict(seen)}, none contradicts; {len(both)} of {len(found)} "
        "findings have the same id on both, the others are on the one that saw the credentials; bytes and packets add up")


def install():
    missing = [one for one in APT if subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", one], text=True,
                                                    capture_output=True).stdout != "installed"]
    if missing:
        say(f"installing {' '.join(missing)}")
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # servers are installed, not started
        for command in (["update", "-q"], ["install", "-qy", "-o", "DPkg::Lock::Timeout=120", "--no-install-recommends", *missing]):
            subprocess.run(["apt-get", *command], env=env, check=True, timeout=600, stdout=subprocess.DEVNULL)


def unable():
    """Why no lab can be made here."""
    if os.geteuid() != 0:
        return "needs root"
    # A container may lack the right, its kernel a driver; a chroot that is no mount cannot be entered from a namespace.
    probe = ["ip", "netns", "exec", "e2e-probe", "ip", "link", "add"]
    try:
        for command in (["ip", "netns", "add", "e2e-probe"], [*probe, "br0", "type", "bridge"],
                        [*probe, "name", "ve0", "type", "veth", "peer", "name", "ve1"],
                        [*probe, "vx0", "type", "vxlan", "id", "1", "remote", "192.0.2.1", "dstport", "4789", "dev", "ve0"]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                return f"{' '.join(command)}: {done.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "del", "e2e-probe"], capture_output=True)
    return None


def give_up(*_):
    raise TimeoutError(f"not done after {PATIENCE_S} s")


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    why = unable()
    if why:
        print(f"SKIPPED lab-deploy, the whole chain in network namespaces: {why}", file=sys.stderr)
        return
    install()
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE_S)
    work = pathlib.Path(tempfile.mkdtemp(prefix="cleartap-lab-"))
    work.chmod(0o755)
    lab = lablib.Lab("e2e", work)
    try:
        prepare(lab)
        traffic = Traffic(lab)
        with inside(lab.sensor.ns), emulator.start("ministack") as aws, emulator.start("moto_server") as moto:
            ids, _ = stack.mirror(moto)
            stack.deploy(aws, ids, Mode="single", SessionKeeper="off")
            alarming(lab, binary, aws, traffic)
            two_sensors(lab, binary, aws, traffic)
        print("the whole chain holds")
    finally:
        signal.alarm(0)
        lab.close()
        shutil.rmtree(work, ignore_errors=True)


def prepare(lab):
    """The sensors' namespace takes copies from everywhere, as an interface of its own would."""
    lab.begin("deploy", lablib.Case(name="chain"))
    net.sh(f"ip -n {lab.sensor.ns} addr add {net.SENSOR}/32 dev br0")
    for key in ("all", "br0", "default"):
        net.sh(f"ip netns exec {lab.sensor.ns} sysctl -qw net.ipv4.conf.{key}.rp_filter=0")
    net.sh(f"ip -n {lab.sensor.ns} route add 10.77.0.0/16 dev br0")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
