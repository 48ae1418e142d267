"""Media: RTSP with GStreamer's server, RTMP with nginx, RTP and MPEG transport streams with FFmpeg."""

import re
import subprocess
import time

import http_servers as web
import shape
from lab import Cases

APT = [*web.APT, "ffmpeg", "libnginx-mod-rtmp", "gir1.2-gst-rtsp-server-1.0", "gstreamer1.0-plugins-base",
       "gstreamer1.0-plugins-good", "python3-gi"]
cases = Cases()
CLEAR = {"encryption": "plaintext", "plaintext_reason": "no_in_band_upgrade", "outcome": "established"}
TONE = ["-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=8000", "-t", "1"]


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    begins = {"rtsp": (b"OPTIONS rtsp://", b"RTSP/1.0 200 OK"), "rtmp": (b"\3", b"\3"), "mpegts": (b"\x47", b"")}
    for said, begin in zip((c2s, s2c), begins.get(flow["app"], ()), strict=False):
        if flow["origin"] == "start" and said and not said.startswith(begin):
            yield f"port {flow['client_port']}: begins {said[:16]!r}"
    if flow["app"] == "rtp" and any(said and said[0] >> 6 != 2 for said in (c2s, s2c)):
        yield f"port {flow['client_port']}: not RTP: {c2s[:4]!r} {s2c[:4]!r}"


def version(package):
    said = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True).stdout
    return re.match(r"(?:\d+:)?([\w.]+)", said).group(1)


def ffmpeg(lab, *arguments, check=True):
    lab.client.run(["ffmpeg", "-nostdin", "-loglevel", "error", *arguments], check=check, timeout=40)
    lab.versions(client=f"FFmpeg {version('ffmpeg')}")


# --- RTSP -------------------------------------------------------------------------------------------------------------

SERVER = """
import sys, gi
gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer
Gst.init(None)
address, user, password, kind, certificate = sys.argv[1:]
server = GstRtspServer.RTSPServer(address=address, service="8554")
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch("( audiotestsrc num-buffers=8 samplesperbuffer=800 "
                   "! audio/x-raw,rate=8000 ! mulawenc ! rtppcmupay name=pay0 )")
auth = GstRtspServer.RTSPAuth()
if kind != "none":
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    if kind == "basic":
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    else:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(user, password, token)
    factory.add_role_from_structure(Gst.Structure.from_string(
        "user,media.factory.access=true,media.factory.construct=true")[0])
if certificate:
    from gi.repository import Gio
    auth.set_tls_certificate(Gio.TlsCertificate.new_from_files(*certificate.split(",")))
if kind != "none" or certificate:
    server.set_auth(auth)
server.get_mount_points().add_factory("/tone", factory)
server.attach(None)
GLib.MainLoop().run()
"""


def rtsp(lab, transport, kind="none", right=True):
    home, user, password = lab.directory("rtsp"), lab.canary("user"), lab.canary("pass")
    (home / "server.py").write_text(SERVER)
    process = lab.server.start(["/usr/bin/python3", str(home / "server.py"), lab.server.v4, user, password, kind, ""],
                               log=lab.log("rtsp"))
    lab.server.wait_port(8554, process)
    login = f"{user}:{password if right else lab.canary('wrong')}@" if kind != "none" else ""
    ffmpeg(lab, "-rtsp_transport", transport, "-i", f"rtsp://{login}{lab.server.v4}:8554/tone", "-t", "0.4",
           "-f", "null", "-", check=False)
    lab.versions(server=f"GStreamer RTSP server {version('gir1.2-gst-rtsp-server-1.0')}")


def control(lab, **facts):
    return lab.flow(**{"server_port": 8554, "app": "rtsp", "confidence": "both_sides", **CLEAR, **facts})


@cases.case("rtsp-interleaved", "RTSP: the sound comes between the answers")
def _(lab):
    rtsp(lab, "tcp")
    return [control(lab)]


@cases.case("rtsp-basic", "RTSP: a user and a password in Basic")
def _(lab):
    rtsp(lab, "tcp", "basic")
    return [control(lab, credentials=["basic_auth"])]


@cases.case("rtsp-digest", "RTSP: a user and a digest")
def _(lab):
    rtsp(lab, "tcp", "digest")
    return [control(lab, credentials=["password_hash_challenge"])]


@cases.case("rtsp-wrong-password", "RTSP: the password is wrong")
def _(lab):
    rtsp(lab, "tcp", "digest", right=False)
    return [control(lab, credentials=["password_hash_challenge"])]


@cases.case("rtsp-server-side-only", "RTSP: only the answers are seen", mirror=("server:out",))
def _(lab):
    rtsp(lab, "tcp")
    return [control(lab, confidence="one_side")]


@cases.case("rtsp-late", "RTSP: recorded in the middle of the sound",
            shape=[shape.late(lambda p: p.sport == 8554 and p.payload.startswith(b"$\0"))])
def _(lab):
    rtsp(lab, "tcp")
    return [control(lab, origin="midstream", confidence="midstream")]


# --- RTP --------------------------------------------------------------------------------------------------------------

def sink(address, port, count):
    """Takes datagrams, so that nothing answers that nobody listens."""
    import socket
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind((address, port))
        sock.settimeout(20)
        for _ in range(count):
            sock.recv(65536)
        time.sleep(5)


def sent(lab, url, ports, *arguments):
    for port in ports:
        lab.server.spawn(sink, lab.server.v4, port, 1)
        lab.server.wait_port(port, kind="udp")
    ffmpeg(lab, *TONE, *arguments, url)


def datagrams(lab, app, port, **facts):
    return lab.flow(**{"transport": "udp", "server_port": port, "app": app, **CLEAR, "outcome": "attempt",
                       "confidence": "one_side", **facts})


@cases.case("rtp", "RTP: a tone in PCMU, and RTCP with the sender's name", shape=[shape.first(40)])
def _(lab):
    sent(lab, f"rtp://{lab.server.v4}:5004?localport=6004&pkt_size=200", (5004, 5005), "-c:a", "pcm_mulaw", "-f", "rtp")
    # A single report without a description proves nothing.
    return [datagrams(lab, "rtp", 5004), datagrams(lab, "rtp", 5005, accept=["unknown"])]


@cases.case("srtp", "SRTP: the same tone, encrypted", shape=[shape.first(40)])
def _(lab):
    sent(lab, f"srtp://{lab.server.v4}:5004?localport=6004&pkt_size=200", (5004, 5005), "-c:a", "pcm_mulaw",
         "-srtp_out_suite", "AES_CM_128_HMAC_SHA1_80", "-srtp_out_params", "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0",
         "-f", "rtp")
    facts = {"encryption": "other-encrypted", "plaintext_reason": None, "accept": ["unknown"]}
    return [datagrams(lab, "rtp", port, **facts) for port in (5004, 5005)]


@cases.case("mpegts", "a transport stream over UDP", shape=[shape.first(12)])
def _(lab):
    sent(lab, f"udp://{lab.server.v4}:1234?pkt_size=1316&localport=6004", (1234,), "-c:a", "mp2", "-f", "mpegts")
    return [datagrams(lab, "mpegts", 1234)]


# --- RTMP -------------------------------------------------------------------------------------------------------------

def rtmp(lab):
    home = lab.directory("nginx-rtmp")
    (home / "conf").write_text(f"""load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
daemon off; master_process off; pid {home}/pid; user root; error_log stderr; events {{}}
rtmp {{ server {{ listen {lab.server.v4}:1935; application live {{ live on; }} }} }}
""")
    process = lab.server.start(["/usr/sbin/nginx", "-p", str(home), "-e", "stderr", "-c", str(home / "conf")],
                               log=lab.log("nginx"))
    lab.server.wait_port(1935, process)
    ffmpeg(lab, *TONE, "-c:a", "aac", "-ar", "44100", "-b:a", "16k", "-f", "flv",
           f"rtmp://{lab.server.v4}:1935/live/{lab.canary('key')}")
    lab.versions(server=f"nginx RTMP module {version('libnginx-mod-rtmp')}")


@cases.case("rtmp", "RTMP: a stream is published; its key can be read")
def _(lab):
    rtmp(lab)
    return [lab.flow(server_port=1935, app="rtmp", confidence="both_sides", **CLEAR)]


@cases.case("rtmp-server-side-only", "RTMP: only what the server sends", mirror=("server:out",))
def _(lab):
    rtmp(lab)
    return [lab.flow(server_port=1935, app="rtmp", confidence="one_side", **CLEAR)]


@cases.case("rtmp-late", "RTMP: recorded after the handshake", shape=[shape.late(
    lambda p: p.dport == 1935 and b"releaseStream" in p.payload)])
def _(lab):
    rtmp(lab)
    return [lab.flow(server_port=1935, app="rtmp", confidence="midstream", origin="midstream", **CLEAR)]
