"""Tarantool: its own console client, as guest and with a password."""

from lab import Cases

APT = ["tarantool"]
cases = Cases()


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    if s2c[:10] != b"Tarantool ":
        yield f"no greeting: {s2c[:16]!r}"


def session(lab, user, password=""):
    home = lab.directory("tarantool")
    script = (f"box.cfg{{listen='{lab.server.v4}:3301', work_dir='{home}', log='{home}/log', memtx_memory=33554432}} "
              f"box.schema.user.grant('guest','super',nil,nil,{{if_not_exists=true}}) "
              f"if '{password}' ~= '' then box.schema.user.create('{user}',{{password='{password}'}}) "
              f"box.schema.user.grant('{user}','super') end "
              "require('fiber').sleep(60)")
    process = lab.server.start(["tarantool", "-e", script], log=lab.log("tarantool"))
    lab.server.wait_port(3301, process)
    login = f"{user}:{password}@" if password else ""
    lab.client.run(["tarantool", "-e", f"local c = require('net.box').connect('{login}{lab.server.v4}:3301') "
                    f"assert(c:ping()) c:eval('return ...', {{'{lab.canary('value')}'}}) c:close() os.exit(0)"])
    lab.versions(server="Tarantool 2.6.0", client="Tarantool 2.6.0")


def flow(lab, **facts):
    return lab.flow(**{"server_port": 3301, "encryption": "plaintext", "app": "tarantool", "outcome": "established",
                       "plaintext_reason": "no_in_band_upgrade", "confidence": "both_sides", **facts})


@cases.case("guest", "a guest pings and evaluates")
def _(lab):
    session(lab, "guest")
    return [flow(lab)]


@cases.case("password", "a user logs in with chap-sha1")
def _(lab):
    session(lab, lab.canary("user"), lab.canary("pass"))
    lab.canaries[:] = [c for c in lab.canaries if "pass" not in c]  # only its hash is sent
    return [flow(lab, credentials=["password_hash_challenge"])]
