"""Namespaces, mirroring and recording for the lab.

One `Net` is a small VPC: a client, a middle box and a server, each in a network
namespace of its own, on one bridge. Every host also has a second link, `mir0`,
to the sensor; the VXLAN device that carries its mirrored packets goes out there,
so that the copies are never mirrored again. The outer source address is the
host's own address, as it is in AWS.
"""

import contextlib
import ctypes
import multiprocessing
import os
import pathlib
import re
import signal
import subprocess
import time
import traceback

HOSTS = {  # name: (IPv4, IPv6, VNI offset)
    "client": ("10.77.1.10", "fd77::1:10", 2),
    "middle": ("10.77.3.30", "fd77::3:30", 3),
    "server": ("10.77.2.20", "fd77::2:20", 1),
}
SENSOR = "10.77.9.9"
SENSOR_MAC = "02:77:00:00:09:09"
DOMAIN = "lab.internal"

_libc = ctypes.CDLL(None, use_errno=True)
_fork = multiprocessing.get_context("fork")
_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_MS_BIND, _MS_REC, _MS_SLAVE = 0x1000, 0x4000, 0x80000


def sh(command, **kwargs):
    """Run a command on this machine, quietly; its output is in the exception if it fails."""
    done = subprocess.run(command.split() if isinstance(command, str) else command,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kwargs)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stdout.strip()}")
    return done.stdout


def _syscall(name, *args):
    if getattr(_libc, name)(*args) != 0:
        err = ctypes.get_errno()
        raise OSError(err, f"{name}: {os.strerror(err)}")


def add_namespace(name):
    remove_namespace(name)
    sh(f"ip netns add {name}")
    sh(f"ip -n {name} link set lo up")


def remove_namespace(name):
    if not pathlib.Path("/run/netns", name).exists():
        return
    for pid in sh(f"ip netns pids {name}").split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    sh(f"ip netns del {name}")


class Call:
    """A Python function running in a forked child inside a host's namespace."""

    def __init__(self, host, function, args):
        self._rx, tx = _fork.Pipe(duplex=False)
        self._process = _fork.Process(target=_child, args=(host, function, args, tx), daemon=True)
        self._process.start()
        tx.close()

    def result(self, timeout=60):
        """What the function returned; its exception, as text, is raised here."""
        try:
            if not self._rx.poll(timeout):
                raise TimeoutError("the call did not end in time")
            ok, value = self._rx.recv()
        except EOFError:
            ok, value = False, "the child ended without an answer"
        finally:
            self._process.kill()
            self._process.join()
        if not ok:
            raise RuntimeError(value)
        return value


def _child(host, function, args, tx):
    try:
        host.enter()
        tx.send((True, function(*args)))
    except BaseException:
        tx.send((False, traceback.format_exc()))


class Host:
    """One machine of the lab. `v4`, `v6` and `name` are its addresses."""

    def __init__(self, net, role, ns, v4, v6, vni):
        self.net, self.role, self.ns, self.v4, self.v6, self.vni = net, role, ns, v4, v6, vni
        self.name = f"{role}.{DOMAIN}"
        self._started = []

    def enter(self):
        """Move the calling process into this host (only in a child)."""
        with open(f"/run/netns/{self.ns}") as file:
            _syscall("setns", file.fileno(), _CLONE_NEWNET)
        _syscall("unshare", _CLONE_NEWNS)
        _syscall("mount", b"none", b"/", None, _MS_REC | _MS_SLAVE, None)
        _syscall("mount", str(self.net.hosts_file).encode(), b"/etc/hosts", None, _MS_BIND, None)

    def _child_setup(self):
        self.enter()
        _libc.prctl(1, signal.SIGKILL)  # end with the lab

    def run(self, command, check=True, timeout=60, env=None, user=None, **kwargs):
        """Run a command on this host and return it completed, with `stdout` and `stderr` as text."""
        done = subprocess.run(as_user(command, user), capture_output=True, text=True, timeout=timeout,
                              env={**os.environ, **(env or {})}, preexec_fn=self._child_setup, **kwargs)
        if check and done.returncode:
            raise RuntimeError(f"{command}: {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def start(self, command, log, env=None, user=None, stop_signal=signal.SIGTERM, **kwargs):
        """Start a server on this host; it is stopped after the case, or by `stop`."""
        with open(log, "ab") as output:
            process = subprocess.Popen(as_user(command, user), stdout=output, stderr=output,
                                       stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})},
                                       preexec_fn=self._child_setup, start_new_session=True, **kwargs)
        process.log, process.stop_signal = log, stop_signal
        self._started.append(process)
        return process

    def stop(self, process):
        if process in self._started:
            self._started.remove(process)
        if process.poll() is None:
            process.send_signal(process.stop_signal)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                pass
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop_all(self):
        for process in list(self._started):
            self.stop(process)

    def spawn(self, function, *args):
        """Start a Python function on this host; `.result()` waits for it."""
        return Call(self, function, args)

    def call(self, function, *args, timeout=60):
        """Run a Python function on this host and return what it returns."""
        return self.spawn(function, *args).result(timeout)

    def wait_port(self, port, process=None, timeout=20, kind="tcp"):
        """Wait until something listens on the port (without touching it)."""
        table = "-Hltn" if kind == "tcp" else "-Hlun"
        end = time.monotonic() + timeout
        while True:
            if re.search(rf":{port}\b", self.run(["ss", table, f"sport = :{port}"]).stdout):
                return
            if process is not None and process.poll() is not None:
                raise RuntimeError(f"the server ended: {pathlib.Path(process.log).read_text()[-600:]}")
            if time.monotonic() > end:
                raise TimeoutError(f"nothing listens on {kind} {port} of {self.role}")
            time.sleep(0.05)


def as_user(command, user):
    return command if user is None else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *command]


class Sensor:
    """The namespace the mirrored packets come to. Nothing there answers."""

    def __init__(self, prefix):
        self.ns = f"{prefix}-sensor"
        add_namespace(self.ns)
        sh(f"ip netns exec {self.ns} sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
        sh(f"ip -n {self.ns} link add br0 address {SENSOR_MAC} type bridge")
        sh(f"ip -n {self.ns} link set br0 mtu 9001 up")
        self._links = 0

    def new_link(self):
        self._links += 1
        return f"in{self._links}"

    def record(self, path):
        return Recording(self.ns, path)

    def close(self):
        remove_namespace(self.ns)


class Recording:
    """tcpdump of the outer packets, exactly as they come to the sensor."""

    def __init__(self, ns, path):
        self.path = pathlib.Path(path)
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", ns, "tcpdump", "-Z", "root", "-i", "br0", "-s", "0", "-U", "--immediate-mode",
             "-B", "32768",  # KiB: the usual 2 MiB are 8 packets in immediate mode, and a burst is longer
             "-w", str(path), "udp dst port 4789"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for line in self._process.stderr:
            if "listening on" in line:
                return
        raise RuntimeError("tcpdump did not start")

    def stop(self, quiet=0.3, limit=5):
        """Wait until nothing has come for `quiet` seconds, then end."""
        end, size, since = time.monotonic() + limit, -1, time.monotonic()
        while time.monotonic() < end and time.monotonic() - since < quiet:
            now = self.path.stat().st_size
            if now != size:
                size, since = now, time.monotonic()
            time.sleep(0.05)
        self._process.send_signal(signal.SIGINT)
        self._process.wait(5)


class Net:
    """Client, middle and server on one bridge; VNI 1001 is the server's, 1002 the client's, 1003 the middle's."""

    def __init__(self, prefix, sensor, work, vni_base=1000):
        self.sensor = sensor
        self.fabric = f"{prefix}-fabric"
        self.hosts_file = pathlib.Path(work, f"{prefix}.hosts")
        lines = ["127.0.0.1 localhost", "::1 localhost"]
        for role, (v4, v6, _) in HOSTS.items():
            lines += [f"{v4} {role}.{DOMAIN}", f"{v6} {role}6.{DOMAIN}"]
        lines += [f"{HOSTS['server'][0]} db.{DOMAIN}", f"{HOSTS['server'][1]} db6.{DOMAIN}"]
        self.hosts_file.write_text("\n".join(lines) + "\n")
        add_namespace(self.fabric)
        sh(f"ip netns exec {self.fabric} sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
        sh(f"ip -n {self.fabric} link add br0 type bridge")
        sh(f"ip -n {self.fabric} link set br0 up")
        self.hosts = {}
        for role, (v4, v6, offset) in HOSTS.items():
            self.hosts[role] = host = Host(self, role, f"{prefix}-{role}", v4, v6, vni_base + offset)
            self._plug(host)
        self.client, self.middle, self.server = (self.hosts[r] for r in ("client", "middle", "server"))

    def _plug(self, host):
        ns, octets = host.ns, host.v4.split(".")
        mac = f"02:77:00:00:{int(octets[2]):02x}:{int(octets[3]):02x}"
        port, link = host.role, self.sensor.new_link()
        add_namespace(ns)
        for key in ("net.ipv6.conf.default.accept_ra=0", "net.ipv6.conf.default.router_solicitations=0",
                    "net.ipv4.ip_unprivileged_port_start=0"):
            sh(f"ip netns exec {ns} sysctl -qw {key}")
        sh(f"ip link add eth0 address {mac} netns {ns} type veth peer name {port} netns {self.fabric}")
        sh(f"ip -n {self.fabric} link set {port} master br0 up")
        sh(f"ip link add mir0 mtu 9001 netns {ns} type veth peer name {link} mtu 9001 netns {self.sensor.ns}")
        sh(f"ip -n {self.sensor.ns} link set {link} master br0 up")
        for where, name in ((ns, "eth0"), (self.fabric, port), (ns, "mir0"), (self.sensor.ns, link)):
            sh(f"ip netns exec {where} ethtool -K {name} tx off rx off tso off gso off gro off")
        sh(f"ip -n {ns} addr add {host.v4}/16 dev eth0")
        sh(f"ip -n {ns} addr add {host.v6}/64 dev eth0 nodad")
        sh(f"ip netns exec {ns} sysctl -qw net.ipv6.conf.mir0.disable_ipv6=1")
        sh(f"ip -n {ns} link set eth0 up")
        sh(f"ip -n {ns} link set mir0 up")
        sh(f"ip -n {ns} route add {SENSOR}/32 dev mir0 src {host.v4}")
        sh(f"ip -n {ns} neigh add {SENSOR} lladdr {SENSOR_MAC} dev mir0 nud permanent")
        sh(f"ip -n {ns} link add vx0 type vxlan id {host.vni} remote {SENSOR} local {host.v4} "
           "dstport 4789 dev mir0 nolearning")
        sh(f"ip netns exec {ns} sysctl -qw net.ipv6.conf.vx0.disable_ipv6=1")
        sh(f"ip -n {ns} link set vx0 mtu 8900 up")

    def mirror(self, *what):
        """Mirror these interfaces and no others: "server", "client:in" (only what it receives), "middle:out"."""
        for host in self.hosts.values():
            subprocess.run(["tc", "-n", host.ns, "qdisc", "del", "dev", "eth0", "clsact"], stderr=subprocess.DEVNULL)
        for item in what:
            role, _, way = item.partition(":")
            ns = self.hosts[role].ns
            sh(f"tc -n {ns} qdisc add dev eth0 clsact")
            for side in {"": ("ingress", "egress"), "in": ("ingress",), "out": ("egress",)}[way]:
                # ARP and neighbour discovery are not mirrored in a VPC either
                for number, match in enumerate(("ip u32 match u32 0 0", "ipv6 u32 match ip6 protocol 6 0xff",
                                                "ipv6 u32 match ip6 protocol 17 0xff"), 1):
                    sh(f"tc -n {ns} filter add dev eth0 {side} prio {number} protocol {match} "
                       "action mirred egress mirror dev vx0")

    def close(self):
        for host in self.hosts.values():
            host.stop_all()
            remove_namespace(host.ns)
        remove_namespace(self.fabric)
        self.hosts_file.unlink(missing_ok=True)
