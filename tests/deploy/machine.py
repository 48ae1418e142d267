"""A clean Debian root, and systemd booted in it as process 1 of namespaces of its own.

The network namespace is one that is there (the lab's, where the copies come to). Real systemd, so units are started as on a
host: DynamicUser, capabilities, name spaces, syscall filter, notify and watchdog are its own doing.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import time

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
QUIET = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
CGROUP = "cleartap-deb"


def run(command, check=True, timeout=300, **kwargs):
    """Run, and return it completed with its output as text; a failure says what was printed."""
    done = subprocess.run([str(one) for one in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
                          **kwargs)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.returncode}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done


class Root:
    """A directory with Debian in it."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    @classmethod
    def fresh(cls, path, cache):
        """A minimal one; the first is kept in `cache` as an archive."""
        archive = pathlib.Path(cache, f"{SUITE}.tar")
        if not archive.exists():
            print(f"  debootstrap {SUITE}: once, kept in {archive}", flush=True)
            new = pathlib.Path(cache, f"{SUITE}.new")
            shutil.rmtree(new, ignore_errors=True)
            new.parent.mkdir(parents=True, exist_ok=True)
            run(["debootstrap", "--variant=minbase", SUITE, new, MIRROR], timeout=900)
            run(["tar", "--numeric-owner", "-C", new, "-cf", f"{archive}.new", "."])
            os.replace(f"{archive}.new", archive)
            shutil.rmtree(new)
        root = cls(path)
        root.path.mkdir(parents=True)
        run(["tar", "--numeric-owner", "-C", path, "-xpf", archive])
        shutil.copy("/etc/resolv.conf", root.path / "etc/resolv.conf")
        # As Debian's own installer does: nothing is started in a root that is not running.
        root.refuse_starts(True)
        root.run(["apt-get", "-qq", "update"])
        return root

    def refuse_starts(self, refuse):
        policy = self.path / "usr/sbin/policy-rc.d"
        if refuse:
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
        else:
            policy.unlink()

    def run(self, command, check=True, timeout=300, **kwargs):
        return run(["chroot", self.path, *command], check, timeout, env=QUIET, **kwargs)

    def install(self, *what, more=()):
        return self.run(["apt-get", "install", "-qy", "--no-install-recommends", *more, *what])

    def files(self):
        """Everything there is, but what packages and systemd themselves write when they work."""
        skip = ("proc", "sys", "dev", "run", "tmp", "srv", "var/tmp", "var/cache", "var/lib/apt", "var/lib/dpkg", "var/log/apt", "var/log/dpkg.log",
                "var/log/journal", "var/lib/systemd/random-seed", "var/lib/systemd/timers", "var/lib/systemd/catalog", "var/lib/logrotate", "etc/ld.so.cache")
        found = set()
        for folder, folders, names in os.walk(self.path):
            at = pathlib.Path(folder).relative_to(self.path)
            folders[:] = [one for one in folders if str(at / one) not in skip]
            found |= {str(at / one) for one in folders + names if str(at / one) not in skip}
        return found

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


class Machine(Root):
    """A root with systemd running in it."""

    process = None

    def boot(self, netns):
        """Boots in the network namespace `netns`."""
        self.refuse_starts(False)
        command = ["ip", "netns", "exec", netns, "unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--cgroup",
                   "sh", "-c", BOOT, "boot", self.path]
        self.groups = [folder / CGROUP for folder in hierarchies()]
        for group in self.groups:
            group.mkdir(exist_ok=True)
            if (group / "cpuset.cpus").exists() and not (group / "cgroup.controllers").exists():
                for name in ("cpuset.cpus", "cpuset.mems"):
                    (group / name).write_text((group.parent / name).read_text())

        def enter():
            for group in self.groups:
                (group / "cgroup.procs").write_text("0")

        log = open(self.path.parent / "boot.log", "wb")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=enter)
        end = time.monotonic() + 60
        while self.state() not in ("running", "degraded"):
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError(f"systemd does not come up: {(self.path.parent / 'boot.log').read_text()[-3000:]}")
            time.sleep(0.2)

    def state(self):
        try:
            return self.run(["systemctl", "is-system-running"], check=False, timeout=20).stdout.strip()
        except (RuntimeError, subprocess.TimeoutExpired):
            return ""

    def init(self):
        """The host's number of the machine's process 1."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        found = children.read_text().split() if children.exists() else []
        return found[0] if found else None

    def run(self, command, check=True, timeout=300, **kwargs):
        if self.process is None:
            return super().run(command, check, timeout, **kwargs)
        init = self.init()
        if init is None:
            raise RuntimeError("the machine does not run")
        return run(["nsenter", "--target", init, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd",
                    *command], check, timeout, env=QUIET, **kwargs)

    def show(self, unit, name):
        return self.run(["systemctl", "show", "--property", name, "--value", unit]).stdout.strip()

    def stop(self):
        if self.process is None:
            return
        init = self.init()
        if init:
            os.kill(int(init), signal.SIGKILL)  # takes its whole namespace with it
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.process = None
        for group in self.groups:
            for folder in sorted(group.rglob("*"), reverse=True):
                if folder.is_dir():
                    try_rmdir(folder)
            try_rmdir(group)


def try_rmdir(folder):
    end = time.monotonic() + 5
    while folder.exists() and time.monotonic() < end:
        try:
            return folder.rmdir()
        except OSError:
            time.sleep(0.1)


def hierarchies():
    """Where control groups are mounted on this host."""
    found = []
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind in ("cgroup", "cgroup2") and where.startswith("/sys/fs/cgroup"):
            found.append(pathlib.Path(where))
    return found


# Argument: the root. Control groups are mounted anew, so that the machine sees its own part of them only.
BOOT = r"""
set -eu
root="$1"
# `ip netns exec` has put a new /sys over them.
groups="$(awk '$3 == "cgroup" || $3 == "cgroup2" {print $2, $3, $4}' /proc/1/mounts | grep "^/sys/fs/cgroup")"
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
if echo "$groups" | grep -q "^/sys/fs/cgroup cgroup2"; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
    mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
    echo "$groups" | while read -r where kind options; do
        mkdir -p "$root$where"
        case "$kind" in
            cgroup2) mount -t cgroup2 cgroup2 "$root$where" ;;
            *) mount -t cgroup -o "$(echo "$options" | tr , '\n' | grep -vE '^(rw|ro|relatime|nosuid|nodev|noexec)$' |
                sed 's/^name=/none,name=/' | paste -sd,)" cgroup "$root$where" ;;
        esac
    done
fi
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
cd "$root"
pivot_root . mnt
umount -l /mnt
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=console --show-status=0
"""
