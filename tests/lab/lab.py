#!/usr/bin/env python3
"""Makes the captures in `captures/` from real servers and clients, and writes their truth.

    sudo tests/lab/lab.py all                       every family
    sudo tests/lab/lab.py postgresql redis          these families
    sudo tests/lab/lab.py postgresql/cancel         one case
    tests/lab/lab.py --list                         what there is
    tests/lab/lab.py --check [postgresql ...]       compare the captures there are with their truth (no root)
    tests/lab/lab.py --facts [tls ...]              read the TLS facts of the captures there are once more, and
                                                    compare their JA3 with tshark's (no root)

Needs root (network namespaces), Debian and PyPI; it installs what it needs itself and
contacts nothing but its own namespaces after that.

Adding a family is one file, `tests/lab/<family>.py` (its further files have a _ in their name), with:

    from lab import Cases
    APT = ["redis-server"]                  # Debian packages
    PIP = ["redis"]                         # PyPI packages, importable at the top of functions
    cases = Cases()

    def setup(lab): ...                     # optional, once per run; keep state in lab.state
    def check(flow, c2s, s2c): ...          # optional: decode the recorded bytes of one flow and
                                            # yield a complaint for whatever the flow claims wrongly

    @cases.case("plain-get-set", "Redis without TLS is plaintext: the key and the value can be read")
    def _(lab):
        key = lab.canary("key")             # a secret or user data: planted, and listed in the .toml
        server = lab.server.start(["redis-server", "--bind", lab.server.v4], log=lab.log("redis"))
        lab.server.wait_port(6379, server)
        def client(address):                # runs inside the client's namespace
            import redis
            redis.Redis(address).set(key, "1")
        lab.client.call(client, lab.server.v4)
        lab.server.stop(server)             # (what a case starts is stopped after it anyway)
        lab.versions(server="Redis 7.0.15", client="redis-py 5.0")
        return [lab.flow(server_port=6379, encryption="plaintext", app="redis", outcome="established",
                         plaintext_reason="no_in_band_upgrade", confidence="both_sides")]

`case` also takes: `mirror=("server",)` (or "client", "middle", "server:in", "server:out", several),
`shape=[...]` (functions from shape.py, applied to the recording), `twin=True` (lab.twin is a second
VPC with the same addresses and VNIs 2001..2003) and `holes=True` (packets are missing: what the streams
begin with is not checked). A case may call `lab.net.mirror(...)` itself.
Everything recorded must belong to a declared flow. `client_port` and packet counts are filled in.
A client may be a program too: `lab.client.run([...])`; `lab.client.spawn(f)` runs beside the case.
What the bytes show of TLS comes into the .toml by itself (tls_facts.py); `tls={"resumption": "session_ticket"}` says what a
peer knows, and must not differ.
Names: db.lab.internal and server.lab.internal (server), client., middle., db6.lab.internal (IPv6).
Certificates: `lab.certs.server()`, `.pair(name, ...)`, `.ca`, `.other_ca`.
"""

import argparse
import datetime
import fcntl
import hashlib
import importlib.util
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.modules.setdefault("lab", sys.modules[__name__])
# Last, and families by their path: a family may have the name of a package, such as http.
sys.path[:] = [p for p in sys.path if pathlib.Path(p).resolve() != HERE] + [str(HERE)]

import certs  # noqa: E402
import net  # noqa: E402
import shape  # noqa: E402
import tls_facts  # noqa: E402
import truth  # noqa: E402

TOOLS = ["iproute2", "ethtool", "tcpdump", "openssl", "procps"]
NOT_FAMILIES = {"lab", "net", "shape", "truth", "certs", "fingerprints"}  # nor is a file with _ in its name
MAX_CAPTURE = 60 * 1024


class Cases(list):
    """The cases of one family, in the order they were written."""

    def case(self, name, proves, mirror=("server",), shape=(), twin=False, holes=False):
        def add(function):
            assert re.fullmatch(r"[a-z0-9-]+", name) and name not in (c.name for c in self), name
            self.append(Case(name, proves, tuple(mirror), tuple(shape), twin, holes, function))
            return function
        return add


class Case:
    def __init__(self, name="", proves="", mirror=(), shapes=(), twin=False, holes=False, run=None):
        self.name, self.proves, self.mirror, self.shapes = name, proves, mirror, shapes
        self.twin, self.holes, self.run = twin, holes, run


class Lab:
    """What a case works with: hosts, canaries, certificates and flows."""

    def __init__(self, prefix, work):
        self.prefix, self.work = prefix, pathlib.Path(work)
        self.sensor = net.Sensor(prefix)
        self.net = net.Net(prefix, self.sensor, self.work)
        self.client, self.middle, self.server = self.net.client, self.net.middle, self.net.server
        self.twin = None
        self.certs = certs.Certificates(self.work / "certs")
        self.state = None
        self.begin("", Case())

    def begin(self, family, case):
        self._family, self._case, self._versions, self.canaries = family, case, {}, []

    def canary(self, kind, shared=False):
        """A secret or piece of user data with the marker in it, listed in the .toml.

        The same (family, case, kind) always gives the same text; with `shared` the case does
        not matter (users and databases made once for a family).
        """
        name = "" if shared else self._case.name
        text = f"cnry{kind}" + hashlib.sha256(f"{self._family}/{name}/{kind}".encode()).hexdigest()[:8]
        return self.plant(text)

    def plant(self, text):
        """List a canary that was made elsewhere."""
        if text not in self.canaries:
            self.canaries.append(text)
        return text

    def versions(self, **parts):
        self._versions.update(parts)

    def log(self, name):
        return self.work / f"{name}.log"

    def directory(self, name, user=None):
        """A fresh directory for a server's data."""
        path = self.work / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        if user:
            shutil.chown(path, user, user)
        return path

    def flow(self, client=None, server=None, **facts):
        """One flow's truth; by default from the lab's client to its server over IPv4.

        `client` and `server` are hosts or addresses; `v6=True` takes the hosts' IPv6 addresses.
        Facts that are None are left out.
        """
        v6 = facts.pop("v6", False)
        address = [h if isinstance(h, str) else h.v6 if v6 else h.v4
                   for h in (client or self.client, server or self.server)]
        flow = {"transport": "tcp", "client": address[0], "server": address[1], "credentials": [], "origin": "start"}
        flow.update({k: v for k, v in facts.items() if v is not None})
        for key in ("server_port", "encryption", "outcome"):
            assert key in flow, f"a flow needs {key}"
        return flow

    def use_twin(self):
        if self.twin is None:
            self.twin = net.Net(f"{self.prefix}-twin", self.sensor, self.work, vni_base=2000)

    def clean(self):
        for each in filter(None, (self.net, self.twin)):
            each.mirror()

    def close(self):
        for each in filter(None, (self.twin, self.net, self.sensor)):
            each.close()


def make(lab, family_name, family, case, out):
    """Run one case: record, shape, fill in and check the truth, write both files."""
    lab.begin(family_name, case)
    if case.twin:
        lab.use_twin()
    networks = [lab.net] + ([lab.twin] if case.twin else [])
    for each in networks:
        each.mirror(*case.mirror)
    before = {h: list(h._started) for n in networks for h in n.hosts.values()}
    recording = lab.sensor.record(lab.work / "recording.pcap")
    try:
        flows = case.run(lab)
    finally:
        recording.stop()
        lab.clean()
        for host, kept in before.items():
            for process in [p for p in host._started if p not in kept]:
                host.stop(process)
    packets = shape.read(recording.path)
    if not case.holes and shape.holes(packets):
        raise ValueError(f"packets were lost: {shape.holes(packets)}")
    for each in case.shapes:
        packets = each(packets)
    truth.fill(flows, packets)
    if case.holes:
        flows = [{**f, "_holes": True} for f in flows]
    wrong = truth.add_tls(flows, packets) + truth.check(flows, lab.canaries, packets)
    if hasattr(family, "check"):
        for flow in flows:
            wrong += list(family.check(flow, *truth.streams(flow, packets)))
    if wrong:
        shape.write(lab.work / "wrong.pcap", packets)
        raise ValueError("\n".join(wrong))
    out = pathlib.Path(out, family_name)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{case.name}.pcap"
    shape.write(path, packets)
    (out / f"{case.name}.toml").write_text(truth.render({
        "proves": case.proves, "made_by": f"tests/lab/lab.py {family_name}/{case.name}", "licence": "Apache-2.0",
        "made": datetime.date.today().isoformat(), "versions": lab._versions, "canaries": lab.canaries}, flows))
    size = path.stat().st_size
    if size > MAX_CAPTURE:
        raise ValueError(f"{path} is too large: {size} bytes")
    return size, len(packets), len(flows)


def recheck(out, family_name, family, case):
    """Compare a capture made earlier with its .toml; returns a list of complaints."""
    path = pathlib.Path(out, family_name, f"{case.name}.toml")
    if not path.exists():
        return ["there is no such capture"]
    told = tomllib.loads(path.read_text())
    packets, flows, wrong = shape.read(path.with_suffix(".pcap")), told["flow"], []
    counts = [(f.pop("packets_c2s"), f.pop("packets_s2c")) for f in flows]
    truth.fill(flows, packets)
    if counts != [(f["packets_c2s"], f["packets_s2c"]) for f in flows]:
        wrong.append("packet counts differ")
    if case.holes:
        flows = [{**f, "_holes": True} for f in flows]
    wrong += truth.add_tls(flows, packets) + truth.check(flows, told["canaries"], packets)
    if hasattr(family, "check"):
        for flow in flows:
            wrong += list(family.check(flow, *truth.streams(flow, packets)))
    return wrong


def refresh(out, family_name, case):
    """Write what the bytes show of TLS into the .toml of a capture made earlier; returns complaints."""
    path = pathlib.Path(out, family_name, f"{case.name}.toml")
    if not path.exists():
        return ["there is no such capture"]
    told, packets = tomllib.loads(path.read_text()), shape.read(path.with_suffix(".pcap"))
    flows = [{**f, "_holes": True} if case.holes else f for f in told.pop("flow")]
    wrong = truth.add_tls(flows, packets)
    path.write_text(truth.render(told, flows))
    seen = tls_facts.tshark_ja3(path.with_suffix(".pcap")) if any("ja3" in f.get("tls", {}) for f in flows) else {}
    for flow in flows:
        mine = flow.get("tls", {}).get("ja3")
        theirs = seen.get((flow["client"], flow["client_port"], flow["server"], flow["server_port"]))
        refresh.compared[theirs is not None] += mine is not None
        if mine and theirs and mine != theirs:
            wrong.append(f"port {flow['client_port']}: JA3 is {mine}, and {theirs} for tshark")
    return wrong


refresh.compared = [0, 0]  # ClientHellos that tshark did not read, and that it did


def families():
    return sorted(p.stem for p in HERE.glob("*.py") if p.stem not in NOT_FAMILIES and "_" not in p.stem)


def load(family):
    """The module of a family."""
    name = f"family_{family}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE / f"{family}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def select(arguments):
    """[(family module, [cases])] for what was asked."""
    wanted = {}
    for argument in arguments:
        name, _, case = argument.partition("/")
        for family in families() if name == "all" else [name]:
            if family not in families():
                sys.exit(f"lab: no family {family!r}; there is: {', '.join(families())}")
            module = load(family)
            chosen = [c for c in module.cases if case in ("", c.name)]
            if not chosen:
                sys.exit(f"lab: no case {case!r} in {family}")
            known = wanted.setdefault(family, (module, []))[1]
            known += [c for c in chosen if c not in known]
    return wanted


def install(work, modules):
    """Install Debian and PyPI packages, and go on under the lab's own Python."""
    apt = TOOLS + [p for m in modules for p in getattr(m, "APT", [])]
    missing = [p for p in apt if subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", p], text=True,
                                                capture_output=True).stdout != "installed"]
    if missing:
        quiet = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}}
        net.sh("apt-get update -q", **quiet)
        net.sh(["apt-get", "install", "-qy", "-o", "DPkg::Lock::Timeout=300", "--no-install-recommends", *missing],
               **quiet)
    venv, pip = work / "venv", sorted({p for m in modules for p in getattr(m, "PIP", [])})
    if not (venv / "bin/pip").exists():
        net.sh([sys.executable, "-m", "venv", str(venv)])
    done = venv / "installed"
    have = set(done.read_text().split()) if done.exists() else set()
    if set(pip) - have:
        net.sh([str(venv / "bin/pip"), "install", "-q", "--disable-pip-version-check", *pip])
        done.write_text("\n".join(sorted(have | set(pip))) + "\n")
    if pathlib.Path(sys.prefix).resolve() != venv.resolve():
        python = str(venv / "bin/python")
        os.execv(python, [python, *sys.argv])


def lock(path):
    file = open(path, "w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", nargs="*", help="all, a family, or family/case")
    parser.add_argument("--list", action="store_true", help="say which cases there are")
    parser.add_argument("--check", action="store_true", help="compare the captures there are with their truth")
    parser.add_argument("--facts", action="store_true", help="write what the captures there are show of TLS")
    parser.add_argument("--prefix", default="ctlab", help="prefix of the namespaces, so that two labs can run at once")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir(), "cleartap-lab"))
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parent.parent / "captures")
    args = parser.parse_args()
    if args.check:
        wrong = [f"{name}/{case.name}: {complaint}" for name, (module, chosen) in select(args.what or ["all"]).items()
                 for case in chosen for complaint in recheck(args.out, name, module, case)]
        print("\n".join(wrong) or "all captures show what their .toml says")
        return 1 if wrong else 0
    if args.facts:
        wrong = [f"{name}/{case.name}: {complaint}" for name, (_, chosen) in select(args.what or ["all"]).items()
                 for case in chosen for complaint in refresh(args.out, name, case)]
        print("\n".join(wrong) or "the .toml of every capture says what its bytes show of TLS")
        print(f"JA3: {refresh.compared[1]} compared with tshark's, {refresh.compared[0]} it does not read")
        return 1 if wrong else 0
    if args.list or not args.what:
        for name, (_, chosen) in select(args.what or ["all"]).items():
            for case in chosen:
                print(f"{name}/{case.name}: {case.proves}")
        return 0
    wanted = select(args.what)
    if os.getuid() != 0:
        sys.exit("lab: needs root for network namespaces")
    args.work.mkdir(mode=0o755, exist_ok=True)
    with lock(args.work / "install.lock"):
        install(args.work, [module for module, _ in wanted.values()])
    work = args.work / args.prefix
    work.mkdir(mode=0o755, exist_ok=True)
    own = lock(work / "lock")  # noqa: F841 (held until the end)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything is stopped and removed
    failed = []
    for name, (module, chosen) in wanted.items():
        lab = Lab(args.prefix, work)
        try:
            if hasattr(module, "setup"):
                lab.begin(name, Case())
                module.setup(lab)
            for case in chosen:
                start = time.monotonic()
                try:
                    size, packets, flows = make(lab, name, module, case, args.out)
                    print(f"ok   {name}/{case.name}: {flows} flows, {packets} packets, {size} bytes, "
                          f"{time.monotonic() - start:.1f} s", flush=True)
                except Exception as error:
                    failed.append(f"{name}/{case.name}")
                    print(f"FAIL {name}/{case.name}: {error}", flush=True)
                    if not isinstance(error, ValueError):
                        traceback.print_tb(error.__traceback__)
        finally:
            lab.close()
    if failed:
        print(f"{len(failed)} failed: {' '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
