#!/usr/bin/env python3
"""The Debian package in clean Debian roots: installed, started by systemd, fed with mirrored packets, upgraded, removed.

    sudo tests/deploy/deb.py target/debian/cleartap_0.1.0-1_amd64.deb

Needs root, namespaces, debootstrap, a Debian mirror, and target/aws-emulators (`.ci/deps.sh test`). Two minutes; given up after
PATIENCE_S. Roots are made in a temporary folder, and what debootstrap brings is kept in target/debian-root.

1. A minimal root without systemd: apt resolves what the package needs, files and modes are as stated, scripts work, nothing is left.
2. A root with systemd as process 1 in the sensors' network namespace of the lab: the package starts its unit itself. What systemd
really does there: user, capabilities, name spaces, syscall filter, notify, watchdog, restart. What it cannot there: kernel settings
(sysctl is not the namespace's), memory pressure (`MemoryHigh` where the host has the first version of control groups), and the
instance's role: credentials of the emulator come by a drop-in.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE)]
sys.dont_write_bytecode = True
import chain  # noqa: E402 (goes on under the emulators' Python)
import lab as lablib  # noqa: E402
import emulator  # noqa: E402
import net  # noqa: E402
import stack  # noqa: E402
from machine import Machine, Root, run  # noqa: E402

PATIENCE_S = 900
CONFIG = "/etc/cleartap/cleartap.toml"
UNIT = "cleartap.service"
MODES = {
    "usr/bin/cleartap": 0o755, "etc/cleartap/cleartap.toml": 0o644, "etc/logrotate.d/cleartap": 0o644,
    "usr/lib/sysctl.d/90-cleartap.conf": 0o644, "usr/share/cleartap/cleartap.nft": 0o755,
    "usr/share/cleartap/cleartap-interface.conf": 0o644, "lib/systemd/system/cleartap.service": 0o644,
    "lib/systemd/system/cleartap-canary.service": 0o644, "lib/systemd/system/cleartap-canary@.service": 0o644,
    "usr/share/doc/cleartap/copyright": 0o644, "usr/share/doc/cleartap/README.md": 0o644,
    "usr/share/doc/cleartap/deploy/README.md": 0o644, "usr/share/doc/cleartap/deploy/cleartap.toml": 0o644,
}
CONFFILES = {"/etc/cleartap/cleartap.toml", "/etc/logrotate.d/cleartap"}
# Which units are enabled is configuration too: systemd's links, Debian's record of them, and the mask of a unit that is removed.
ENABLED = ("var/lib/systemd/deb-systemd-helper", "etc/systemd/system/cleartap", "etc/systemd/system/multi-user.target.wants/cleartap")


def say(text):
    print(f"  {text}", flush=True)


def newer(package, folder):
    """The same package as a later version, with another default configuration."""
    inside = folder / "newer"
    run(["dpkg-deb", "--raw-extract", package, inside])
    control = inside / "DEBIAN/control"
    text = control.read_text()
    version = next(line.split()[1] for line in text.splitlines() if line.startswith("Version:"))
    control.write_text(text.replace(f"Version: {version}", f"Version: {version}.1"))
    with open(inside / CONFIG[1:], "a") as config:
        config.write("\n# A default of the newer version.\n")
    out = folder / "newer.deb"
    run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", inside, out])
    return out, version, f"{version}.1"


def minimal(package, cache, folder):
    """1."""
    root = Root.fresh(folder / "minimal", cache)
    shutil.copy(package, root.path / "srv/cleartap.deb")
    assert not (root.path / "lib/systemd/systemd").exists()
    # What the package needs is what may be left behind.
    needs = root.run(["dpkg-deb", "--field", "/srv/cleartap.deb", "Depends"]).stdout
    before = root.files()
    root.install("/srv/cleartap.deb")
    status = root.run(["dpkg-query", "--show", "--showformat", "${Status} ${Version}\n${Conffiles}", "cleartap"]).stdout
    assert status.startswith("install ok installed"), status
    assert {line.split()[0] for line in status.splitlines()[1:] if line.strip()} == CONFFILES, status
    listed = set(root.run(["dpkg-query", "--listfiles", "cleartap"]).stdout.split())
    for path, mode in MODES.items():
        real = root.path / path
        assert real.is_file() and real.stat().st_mode & 0o7777 == mode and real.stat().st_uid == 0, path
        assert f"/{path}" in listed or f"/usr/{path}" in listed, (path, "belongs to the package")
    assert root.run(["cleartap", "--version"]).stdout.split()[1] == status.split()[3].split("-")[0]
    root.run(["cleartap", "check", "--config", CONFIG])
    assert (root.path / "etc/systemd/system/multi-user.target.wants/cleartap.service").is_symlink(), "enabled"
    say(f"minimal root: {status.split()[3]} installed, with {needs.strip()}; {len(listed)} paths, conffiles, modes; no systemd")

    root.run(["apt-get", "remove", "-qy", "cleartap"])
    assert (root.path / CONFIG[1:]).exists(), "removal keeps the configuration"
    root.run(["apt-get", "purge", "-qy", "cleartap"])
    # What it needs stays until `apt-get autoremove`; the other root is looked at as a whole.
    left = {one for one in root.files() - before if "cleartap" in one}
    assert not left, left
    say("minimal root: removed and purged, nothing is left")

    # As an instance of the stack does it: its configuration is there before the package.
    config = root.path / CONFIG[1:]
    config.parent.mkdir()
    config.write_text("# Written by CloudFormation.\n")
    root.run(["dpkg", "--force-confold", "--install", "/srv/cleartap.deb"])
    assert config.read_text() == "# Written by CloudFormation.\n"
    root.remove()


def prepared(package, cache, folder):
    """A root with systemd and all that the package needs, as a server has it; the package is not there yet."""
    machine = Machine.fresh(folder / "machine", cache)
    shutil.copy(package, machine.path / "srv/cleartap.deb")
    machine.install("systemd", "systemd-sysv", "dbus", "nftables", "logrotate", "procps")
    # Fetched now: the machine will be in the lab, which has no way out.
    machine.install("/srv/cleartap.deb", more=("--download-only",))
    wanted = [one.split()[0] for one in machine.run(["dpkg-deb", "--field", "/srv/cleartap.deb", "Depends"]).stdout.split(", ")]
    machine.install(*wanted)
    return machine


def main_pid(machine):
    """The sensor's process, by its number on this host, with what the kernel says of it."""
    inside = machine.show(UNIT, "MainPID")
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            told = dict(line.split(":", 1) for line in status.read_text().splitlines())
            if told["Name"].strip() == "cleartap" and inside in told["NSpid"].split()[1:]:
                return int(status.parent.name), {name: value.strip() for name, value in told.items()}
    raise AssertionError(f"no process {inside}")


def hardened(machine):
    """The process is what its unit says."""
    pid, told = main_pid(machine)
    assert told["Uid"].split()[0] != "0", told["Uid"]
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(told[kind], 16) == 0, (kind, told[kind])
    assert (told["NoNewPrivs"], told["Seccomp"], told["Umask"]) == ("1", "2", "0077"), told
    limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
    assert [line.split()[4] for line in limits.splitlines() if line.startswith("Max core")] == ["0"], limits
    assert [line.split()[3] for line in limits.splitlines() if line.startswith("Max open files")] == ["4096"], limits
    mounts = {line.split()[1]: line.split()[3].split(",")[0] for line in pathlib.Path(f"/proc/{pid}/mounts").read_text().splitlines()}
    assert mounts["/"] == "ro" and mounts["/var/lib/private/cleartap"] == "rw", mounts
    own = lambda name: os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/{machine.init()}/ns/{name}")
    assert own("user") and own("mnt") and own("ipc") and not own("net")
    folder = (machine.path / "var/lib/private/cleartap").stat()
    assert folder.st_mode & 0o777 == 0o750, oct(folder.st_mode)
    return told


def started(machine):
    assert machine.show(UNIT, "ActiveState") == "active", machine.run(["journalctl", "-u", UNIT, "-n", "30"], check=False).stdout


def findings(machine):
    told = json.loads(machine.run(["cleartap", "findings", "export", "--format", "json", "--config", CONFIG]).stdout)
    return {one["id"]: one for one in (told["findings"] if isinstance(told, dict) else told)}


def installed(machine):
    """Installs; the unit starts by itself, with the package's own configuration."""
    before = machine.files()
    machine.install("/srv/cleartap.deb")
    started(machine)
    assert machine.show(UNIT, "UnitFileState") == "enabled"
    told = hardened(machine)
    assert "uptime_s" in json.loads(machine.run(["cleartap", "status", "--json", "--config", CONFIG]).stdout)
    # Its watchdog is fed, and a sensor that dies comes back.
    assert machine.show(UNIT, "WatchdogUSec") == "30s" and machine.show(UNIT, "Type") == "notify"
    pid, _ = main_pid(machine)
    os.kill(pid, signal.SIGKILL)
    chain.wait(lambda: machine.show(UNIT, "NRestarts") == "1" and machine.show(UNIT, "ActiveState") == "active", "it is started again")
    assert main_pid(machine)[0] != pid
    say(f"installed and started by its own unit: user {told['Uid'].split()[0]}, no capability, seccomp; killed, and started again")
    return before


def configured(machine, aws):
    """CloudWatch switched on; the credentials that an instance's role would bring come by a drop-in."""
    config = machine.path / CONFIG[1:]
    config.write_text(config.read_text() + f'\n[cloudwatch]\nenabled = true\nregion = "us-east-1"\nendpoint = "{aws.url}"\n')
    machine.run(["cleartap", "check", "--config", CONFIG])
    drop_in = machine.path / "etc/systemd/system/cleartap.service.d/test.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nEnvironment=AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_EC2_METADATA_DISABLED=true\n")
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "restart", UNIT])
    started(machine)


def delivers(machine, lab, aws, traffic):
    """Mirrored packets become findings, metrics and alarms."""
    begun = time.time()
    lab.net.mirror("client", "server", "middle")
    traffic.sealed()
    traffic.clear()
    chain.wait(lambda: len(findings(machine)) >= 4, "every leg in clear is a finding")
    found = findings(machine)
    records = [json.loads(line) for line in (machine.path / "var/log/private/cleartap/flows.jsonl").read_text().splitlines()]
    assert {"plaintext", "tls"} <= {one["encryption"] for one in records}
    runbook(machine, found)
    on_interface(machine, lab, traffic)
    machine.run(["systemctl", "stop", UNIT], timeout=160)
    assert machine.show(UNIT, "Result") == "success", machine.show(UNIT, "Result")
    raised = chain.plaintext_alarms(aws, begun)
    assert raised == chain.PLAINTEXT, raised
    published = chain.totals(aws, "cleartap")
    assert published["PlaintextFlows"] >= 4 and published["TlsFlows"] >= 4 and published["MirrorPackets"] > 100, published
    log = machine.run(["journalctl", "-u", UNIT, "-o", "cat"]).stdout
    assert traffic.postgres.password not in log and "secret" not in log
    say(f"mirrored packets: {len(found)} findings, {len(records)} records, metrics {published['PlaintextFlows']:.0f} in clear and "
        f"{published['TlsFlows']:.0f} TLS flows, alarms {', '.join(sorted(raised))}")
    return found


def runbook(machine, found):
    """The commands of deploy/README.md that need neither AWS nor a shell."""
    told = machine.run(["cleartap", "findings", "--config", CONFIG]).stdout
    assert "postgresql" in told and "10.77.1.10" in told, told
    told = machine.run(["cleartap", "status", "--config", CONFIG]).stdout
    assert "packets" in told, told
    assert machine.run(["journalctl", "--unit", "cleartap", "--output", "cat"]).stdout.strip()
    machine.run(["cleartap", "check", "--config", CONFIG])
    machine.run(["cleartap", "findings", "show", sorted(found)[0], "--config", CONFIG])
    machine.run(["logrotate", "--force", "/etc/logrotate.d/cleartap"])
    logs = machine.path / "var/log/private/cleartap"
    assert (logs / "flows.jsonl.1").stat().st_size > 0 and (logs / "flows.jsonl").stat().st_size == 0, list(logs.iterdir())


def on_interface(machine, lab, traffic):
    """The drop-in for capturing on an interface: one capability, and no other."""
    kept = (machine.path / CONFIG[1:]).read_text()
    (machine.path / CONFIG[1:]).write_text(kept + '\n[capture]\ninterface = "br0"\n')
    drop_in = machine.path / "etc/systemd/system/cleartap.service.d/interface.conf"
    shutil.copy(machine.path / "usr/share/cleartap/cleartap-interface.conf", drop_in)
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "restart", UNIT])
    started(machine)
    _, told = main_pid(machine)
    assert int(told["CapEff"], 16) == int(told["CapBnd"], 16) == 1 << 13, (told["CapEff"], told["CapBnd"])
    packets = lambda: json.loads(machine.run(["cleartap", "status", "--json", "--config", CONFIG]).stdout)["capture"]["packets"]
    traffic.redis.cli("ping", port=6379)
    chain.wait(lambda: packets() > 0, "copies are captured on the interface")
    drop_in.unlink()
    (machine.path / CONFIG[1:]).write_text(kept)
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "restart", UNIT])
    started(machine)
    say("captured on an interface with CAP_NET_RAW alone, and back")


def silent(machine, lab, traffic):
    """Nobody listens: without the rules the kernel would answer the copies, to their sources."""
    machine.run(["nft", "-f", "/usr/share/cleartap/cleartap.nft"])
    traffic.redis.cli("ping", port=6379)
    time.sleep(1)
    counted = json.loads(machine.run(["nft", "-j", "list", "table", "inet", "cleartap"]).stdout)
    drops = [part["counter"]["packets"] for one in counted["nftables"] if "rule" in one for part in one["rule"]["expr"] if "counter" in part]
    assert drops[0] > 0, counted
    machine.run(["nft", "delete", "table", "inet", "cleartap"])
    lab.net.mirror()
    say(f"while it is stopped: {drops[0]} answers of the kernel to copies dropped by the nftables rules")


def upgraded(machine, package, found, version):
    """A later version: the administrator's configuration stays, and so do findings."""
    machine.run(["systemctl", "start", UNIT])
    kept, pid = (machine.path / CONFIG[1:]).read_text(), main_pid(machine)[0]
    shutil.copy(package, machine.path / "srv/newer.deb")
    machine.install("/srv/newer.deb", more=("-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"))
    assert machine.run(["dpkg-query", "--show", "--showformat", "${Version}", "cleartap"]).stdout == version
    assert (machine.path / CONFIG[1:]).read_text() == kept
    assert "newer version" in (machine.path / f"{CONFIG[1:]}.dpkg-dist").read_text()
    started(machine)
    assert main_pid(machine)[0] != pid, "restarted"
    assert set(findings(machine)) == set(found)
    hardened(machine)
    say(f"upgraded to {version}: configuration kept, started anew, the same {len(found)} findings")


def removed(machine, before):
    """Removal leaves the configuration, purge nothing."""
    machine.run(["systemctl", "enable", "--now", "cleartap-canary.service", "cleartap-canary@127.0.0.1:7780.service"])
    chain.wait(lambda: machine.show("cleartap-canary@127.0.0.1:7780.service", "ActiveState") == "active", "the canary runs")
    ask = lambda: machine.run(["cleartap", "canary", "ask", "--server", "127.0.0.1:7780", "--once"], check=False)
    chain.wait(lambda: ask().returncode == 0, f"the canary answers: {machine.run(['journalctl', '-n', '20', '-u', 'cleartap-canary'])}", 15)
    shutil.rmtree(machine.path / "etc/systemd/system/cleartap.service.d")
    machine.run(["apt-get", "remove", "-qy", "cleartap"])
    running = machine.run(["systemctl", "list-units", "--no-legend", "--plain", "--state=active", "cleartap*"]).stdout
    assert "service" not in running, running
    left = {one for one in machine.files() - before if not one.startswith(ENABLED)}
    wanted = {"etc/cleartap", CONFIG[1:], f"{CONFIG[1:]}.dpkg-dist", "etc/logrotate.d/cleartap"}
    assert left == wanted, left ^ wanted
    machine.run(["apt-get", "purge", "-qy", "cleartap"])
    left = machine.files() - before
    assert not left, left
    users = (machine.path / "etc/passwd").read_text()
    assert "cleartap" not in users
    say("removed: its configuration is left; purged: nothing is")


def lintian(package):
    if not shutil.which("lintian"):
        return say("lintian: SKIPPED, it is not installed")
    done = run(["lintian", "--tag-display-limit", "0", "--fail-on", "error,warning", package], check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    say("lintian: no error, no warning" + (f"; {done.stdout.strip()}" if done.stdout.strip() else ""))


def give_up(*_):
    raise TimeoutError(f"not done after {PATIENCE_S} s")


def main():
    package = pathlib.Path(sys.argv[1]).resolve()
    why = chain.unable()
    if why is None and not shutil.which("debootstrap"):
        why = "debootstrap is not installed"
    if why:
        print(f"SKIPPED deb-check, the Debian package in a clean root: {why}", file=sys.stderr)
        return
    chain.install()
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE_S)
    cache = ROOT / "target/debian-root"
    folder = pathlib.Path(tempfile.mkdtemp(prefix="cleartap-deb-"))
    folder.chmod(0o755)
    lab, machine = None, None
    try:
        lintian(package)
        minimal(package, cache, folder)
        machine = prepared(package, cache, folder)
        second, _, version = newer(package, folder)
        work = folder / "lab"
        work.mkdir()
        lab = lablib.Lab("deb", work)
        chain.prepare(lab)
        machine.boot(lab.sensor.ns)
        traffic = chain.Traffic(lab)
        with chain.inside(lab.sensor.ns), emulator.start("ministack") as aws, emulator.start("moto_server") as moto:
            ids, _ = stack.mirror(moto)
            stack.deploy(aws, ids, Mode="single", SessionKeeper="off")
            before = installed(machine)
            configured(machine, aws)
            found = delivers(machine, lab, aws, traffic)
            silent(machine, lab, traffic)
            upgraded(machine, second, found, version)
            removed(machine, before)
        print("the package holds")
    finally:
        signal.alarm(0)
        if machine:
            machine.stop()
        if lab:
            lab.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
