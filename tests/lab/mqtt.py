"""MQTT: Mosquitto and Paho; logins, refusals, versions, TLS, views."""

import shape
from lab import Cases

APT = ["mosquitto"]
PIP = ["paho-mqtt"]
cases = Cases()
CLEAR = "password_cleartext"


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    if flow.get("app") != "mqtt" or flow["origin"] == "midstream":
        return
    if c2s and (c2s[:1] != b"\x10" or not (b"MQTT" in c2s[:8] or b"MQIsdp" in c2s[:10])):
        yield "the client does not begin with CONNECT"
    if s2c and s2c[:1] != b"\x20":
        yield "the server does not begin with CONNACK"
    flags = c2s[c2s.find(b"MQ") + (7 if b"MQIsdp" in c2s[:10] else 5):][:1]
    if flags and bool(flags[0] & 0x40) != (CLEAR in flow["credentials"]):
        yield "password flag and credentials differ"


def serve(lab, port=1883, tls=False, password=None):
    """Start Mosquitto; with `password`, that of the only user."""
    home = lab.directory("mosquitto")
    home.chmod(0o755)
    lines = [f"listener {port}", "persistence false", "user root", f"allow_anonymous {'false' if password else 'true'}"]
    if password:
        lab.server.run(["mosquitto_passwd", "-b", "-c", str(home / "users"), lab.canary("user"), password])
        lines.append(f"password_file {home / 'users'}")
    if tls:
        crt, key = lab.certs.server()
        lines += [f"certfile {crt}", f"keyfile {key}"]
    (home / "conf").write_text("\n".join(lines) + "\n")
    process = lab.server.start(["/usr/sbin/mosquitto", "-c", str(home / "conf")], log=lab.log("mosquitto"))
    lab.server.wait_port(port, process)
    lab.versions(server="Mosquitto 2.0.11", client="Paho")


def talk(lab, port=1883, tls=False, user=None, password=None, version=4, rounds=1, pause=0.0):
    """Subscribe, publish and wait for the message, `rounds` times."""
    address, topic, text = lab.server.v4, lab.canary("topic"), lab.canary("text")

    def client():
        import ssl
        import time

        import paho.mqtt.client as mqtt
        got, answered = [], []
        peer = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="lab", protocol=version)
        if user:
            peer.username_pw_set(user, password)
        if tls:
            peer.tls_set(cert_reqs=ssl.CERT_NONE)
            peer.tls_insecure_set(True)
        peer.on_connect = lambda c, _u, _f, reason, _p: (answered.append(reason), c.subscribe(topic, 1))
        peer.on_message = lambda *_: got.append(1)
        peer.on_subscribe = lambda c, *_: c.publish(topic, text, 1)
        peer.connect(address, port)
        peer.loop_start()
        for n in range(rounds * 20):
            time.sleep(0.05 + pause)
            if answered and answered[0].is_failure or len(got) >= rounds:
                break
            if got and len(got) <= n:
                peer.publish(topic, text, 1)
        peer.disconnect()
        peer.loop_stop()
    lab.client.call(client)


def plain(lab, **facts):
    return lab.flow(**{"server_port": 1883, "encryption": "plaintext", "app": "mqtt", "outcome": "established",
                       "plaintext_reason": "no_in_band_upgrade", "confidence": "both_sides", **facts})


@cases.case("plain-login", "MQTT 3.1.1 with a user and a password in clear")
def _(lab):
    serve(lab, password=lab.canary("pass"))
    talk(lab, user=lab.canary("user"), password=lab.canary("pass"))
    return [plain(lab, credentials=[CLEAR])]


@cases.case("anonymous-v5", "MQTT 5 without a login")
def _(lab):
    serve(lab)
    talk(lab, version=5)
    return [plain(lab)]


@cases.case("v31", "MQTT 3.1 (MQIsdp)")
def _(lab):
    serve(lab)
    talk(lab, version=3)
    return [plain(lab)]


@cases.case("wrong-password", "a wrong password: CONNACK 5, refused")
def _(lab):
    serve(lab, password="right")
    lab.canaries.clear()
    talk(lab, user="someone", password=lab.canary("wrong"))
    lab.canaries[:] = [lab.canary("wrong")]
    return [plain(lab, outcome="refused", credentials=[CLEAR])]


@cases.case("tls", "MQTT inside TLS from the first byte")
def _(lab):
    serve(lab, 8883, tls=True)
    talk(lab, 8883, tls=True)
    lab.canaries.clear()
    return [lab.flow(server_port=8883, encryption="tls", outcome="established", confidence="both_sides",
                     tls_version="TLSv1.3", sni=None)]


@cases.case("client-side-only", "only what the client sends is mirrored", mirror=("server:in",))
def _(lab):
    serve(lab)
    talk(lab)
    return [plain(lab, confidence="one_side")]


@cases.case("server-side-only", "only what the server sends is mirrored", mirror=("server:out",))
def _(lab):
    serve(lab)
    talk(lab)
    return [plain(lab, confidence="one_side")]


@cases.case("late", "the sensor joins after the login", shape=[shape.skip(12)])
def _(lab):
    serve(lab)
    talk(lab, rounds=6)
    return [plain(lab, origin="midstream", confidence="midstream")]
