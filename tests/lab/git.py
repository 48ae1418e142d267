"""Git's own transport: git daemon and git."""

from lab import Cases
from net import sh

APT = ["git"]
cases = Cases()


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    if b"git-upload-pack /" not in c2s[:24] or (s2c[4:8] not in (b"vers", b"ERR ") and b" HEAD\0" not in s2c[:60]):
        yield "not the Git protocol"


def serve(lab):
    home = lab.directory("git")
    repository = home / "a"
    name = ["-c", "user.name=lab", "-c", "user.email=lab@lab.internal"]
    sh(["git", "init", "-q", str(repository)])
    (repository / "file").write_text(lab.canary("text"))
    sh(["git", "-C", str(repository), "add", "file"])
    sh(["git", "-C", str(repository), *name, "commit", "-q", "-m", "first"])
    sh(["git", "-C", str(repository), "branch", lab.canary("branch")])
    daemon = ["git", "daemon", "--reuseaddr", "--export-all", f"--base-path={home}", str(home)]
    process = lab.server.start(daemon, log=lab.log("git"), env={"GIT_CONFIG_COUNT": "1",
                               "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"})
    lab.server.wait_port(9418, process)
    version = sh(["git", "--version"]).split()[-1]
    lab.versions(server=f"git daemon {version}", client=f"git {version}")
    lab.canaries[:] = [lab.canary("branch")]  # the file is compressed


def plain(lab, **facts):
    return lab.flow(**{"server_port": 9418, "encryption": "plaintext", "app": "git", "outcome": "established",
                       "plaintext_reason": "no_in_band_upgrade", "confidence": "both_sides", **facts})


@cases.case("ls-remote", "references, protocol version 2")
def _(lab):
    serve(lab)
    lab.client.run(["git", "ls-remote", f"git://{lab.server.v4}/a"])
    return [plain(lab)]


@cases.case("clone-v0", "a clone, protocol version 0")
def _(lab):
    serve(lab)
    target = lab.directory("clone")
    lab.client.run(["git", "-c", "protocol.version=0", "clone", "-q", f"git://{lab.server.v4}/a", str(target)])
    return [plain(lab)]


@cases.case("no-such-repository", "ERR")
def _(lab):
    serve(lab)
    lab.canaries.clear()
    lab.client.run(["git", "ls-remote", f"git://{lab.server.v4}/{lab.canary('nowhere')}"], check=False)
    return [plain(lab, outcome="refused")]
