"""Subversion's own transport: svnserve and svn."""

from lab import Cases
from net import sh

APT = ["subversion"]
cases = Cases()


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    if not c2s.startswith(b"( 2 ( ") or not s2c.startswith(b"( success ( 2 2 ("):
        yield "not svnserve"


def talk(lab, password=None, wrong=False):
    home = lab.directory("svn")
    sh(["svnadmin", "create", str(home / "a")])
    settings = home / "a/conf/svnserve.conf"
    if password:
        settings.write_text("[general]\nanon-access = none\nauth-access = write\npassword-db = passwd\n")
        (home / "a/conf/passwd").write_text(f"[users]\nsomeone = {'other' if wrong else password}\n")
    process = lab.server.start(["svnserve", "-d", "--foreground", "-r", str(home)], log=lab.log("svn"))
    lab.server.wait_port(3690, process)
    login = ["--username", "someone", "--password", password] if password else []
    lab.client.run(["svn", "ls", "--non-interactive", "--no-auth-cache", "--config-dir", str(home / "config"), *login,
                    f"svn://{lab.server.v4}/a"], check=False)
    version = sh(["svn", "--version", "--quiet"]).strip()
    lab.versions(server=f"svnserve {version}", client=f"svn {version}")


def plain(lab, **facts):
    return lab.flow(**{"server_port": 3690, "encryption": "plaintext", "app": "svn", "outcome": "established",
                       "plaintext_reason": "no_in_band_upgrade", "confidence": "both_sides", **facts})


@cases.case("anonymous", "no login")
def _(lab):
    talk(lab)
    return [plain(lab)]


@cases.case("cram-md5", "a login with CRAM-MD5")
def _(lab):
    talk(lab, "secret")
    return [plain(lab, credentials=["password_hash_challenge"])]


@cases.case("refused", "a wrong password")
def _(lab):
    talk(lab, "secret", wrong=True)
    return [plain(lab, credentials=["password_hash_challenge"], outcome="refused")]
