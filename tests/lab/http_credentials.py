"""HTTP/1.x: the places secrets stand in."""

import http_servers as web
from http_servers import cases, curl, nginx, plain, python_server, talk, text, url
from net import sh


def with_password(lab):
    """nginx that asks for Basic credentials; returns "user:password"."""
    user, password = lab.canary("user"), lab.canary("pass")
    crypted = sh(["openssl", "passwd", "-apr1", password]).strip()
    path = lab.work / "htpasswd"
    path.write_text(f"{user}:{crypted}\n")
    nginx(lab, f"auth_basic lab; auth_basic_user_file {path}; location / {{ try_files /x @y; }}"
               f"location @y {{ return 200 '{text(lab)}'; }}")
    return f"{user}:{password}"


@cases.case("basic-after-401", "Basic: asked for with 401, then sent on the same connection")
def _(lab):
    said = curl(lab, "--anyauth", "-u", with_password(lab), url(lab))
    assert "401 Unauthorized" in said and "200 OK" in said
    return [plain(lab, credentials=["basic_auth"])]


@cases.case("basic-requests", "requests sends Basic without being asked")
def _(lab):
    def get(address, secret):
        import requests
        requests.get(address, auth=tuple(secret.split(":")), timeout=5).raise_for_status()
        return requests.__version__
    secret = with_password(lab)
    lab.versions(client="requests " + lab.client.call(get, url(lab), secret))
    return [plain(lab, credentials=["basic_auth"])]


@cases.case("basic-wrong-password", "a wrong password: 401, and it was sent in clear")
def _(lab):
    user = with_password(lab).split(":")[0]
    said = curl(lab, "-u", f"{user}:{lab.canary('wrong')}", url(lab))
    assert "401 Unauthorized" in said
    return [plain(lab, credentials=["basic_auth"], why="the request is refused, the conversation is HTTP")]


@cases.case("asked-but-not-sent", "401 with WWW-Authenticate, and the client has no credentials")
def _(lab):
    with_password(lab)
    curl(lab, url(lab))
    return [plain(lab)]


@cases.case("digest", "Digest: 401, then the answer to the challenge on the same connection (lighttpd)")
def _(lab):
    user, password = lab.canary("user"), lab.canary("pass")
    home = lab.directory("lighttpd")
    (home / "users").write_text(f"{user}:lab:{sh_md5(f'{user}:lab:{password}')}\n")
    (home / "page").write_text(text(lab))
    (home / "conf").write_text(f"""server.port = 80
server.document-root = "{home}"
server.modules = ("mod_auth", "mod_authn_file", "mod_rewrite")
auth.backend = "htdigest"
auth.backend.htdigest.userfile = "{home}/users"
auth.require = ("" => ("method" => "digest", "realm" => "lab", "require" => "valid-user"))
url.rewrite-once = (".*" => "/page")
""")
    process = lab.server.start(["/usr/sbin/lighttpd", "-D", "-f", str(home / "conf")], log=lab.log("lighttpd"))
    lab.server.wait_port(80, process)
    said = curl(lab, "--digest", "-u", f"{user}:{password}", url(lab))
    assert "401 Unauthorized" in said and "200 OK" in said, said
    lab.versions(server="lighttpd " + web.version(["/usr/sbin/lighttpd", "-v"], r"lighttpd/(\S+)"))
    return [plain(lab, credentials=["password_hash_challenge"])]


def sh_md5(value):
    import hashlib
    return hashlib.md5(value.encode()).hexdigest()


@cases.case("bearer", "a bearer token")
def _(lab):
    nginx(lab)
    curl(lab, "-H", f"Authorization: Bearer {lab.canary('token')}", url(lab))
    return [plain(lab, credentials=["bearer_token"])]


@cases.case("bearer-second-request", "the second request on a connection carries a bearer token, the first does not")
def _(lab):
    nginx(lab)
    curl(lab, url(lab, "one"), "--next", "-sv", "--oauth2-bearer", lab.canary("token"), url(lab, "two"))
    return [plain(lab, credentials=["bearer_token"])]


@cases.case("cookies", "Set-Cookie, and the cookie in the next request of the connection")
def _(lab):
    nginx(lab, f"location / {{ add_header Set-Cookie 'sid={lab.canary('session')}; Path=/; HttpOnly'; "
               f"return 200 '{text(lab)}'; }}")
    said = curl(lab, "-b", "/dev/null", url(lab, "one"), url(lab, "two"))
    assert "> Cookie: sid=" in said
    return [plain(lab, credentials=["session_secret"])]


@cases.case("set-cookie-only", "only the server's Set-Cookie")
def _(lab):
    python_server(lab, text(lab), headers=[("Set-Cookie", f"sid={lab.canary('session')}; Path=/")])
    curl(lab, url(lab))
    return [plain(lab, credentials=["session_secret"])]


@cases.case("api-key", "X-Api-Key, lower case, from httpx to HAProxy")
def _(lab):
    def get(address, secret):
        import httpx
        httpx.get(address, headers={"x-api-key": secret}).raise_for_status()
        return httpx.__version__
    web.haproxy(lab, "frontend f\n  bind :80\n  http-request return status 200\n", 80, host=lab.server)
    lab.versions(client="httpx " + lab.client.call(get, url(lab), lab.canary("key")))
    return [plain(lab, credentials=["bearer_token"])]


@cases.case("form-password", "a login form: the password in the body of a POST, which answers with a session cookie")
def _(lab):
    python_server(lab, text(lab), headers=[("Set-Cookie", f"sid={lab.canary('session')}; Path=/")])
    curl(lab, "--data-urlencode", f"username={lab.canary('user')}", "--data-urlencode",
         f"password={lab.canary('pass')}", url(lab))
    return [plain(lab, credentials=["password_cleartext", "session_secret"])]


@cases.case("form-password-own-segment", "a login form whose body comes in a segment after the header")
def _(lab):
    python_server(lab, text(lab))
    data = web.request(lab, "POST", headers=["Connection: close", "Content-Type: application/x-www-form-urlencoded"],
                       body=f"password={lab.canary('pass')}&user={lab.canary('user')}".encode())
    cut = data.index(b"\r\n\r\n") + 4
    lab.client.call(talk, lab.server.v4, 80, [data[:cut], data[cut:]])
    lab.versions(client="a Python socket")
    return [plain(lab, credentials=["password_cleartext"])]


@cases.case("query-token", "access_token in the query of a URL")
def _(lab):
    nginx(lab)
    curl(lab, url(lab, query=f"?id=7&access_token={lab.canary('token')}"))
    return [plain(lab, credentials=["bearer_token"])]


@cases.case("sigv4", "an AWS Signature Version 4 request with a session token (the token is the secret)")
def _(lab):
    python_server(lab, text(lab))
    curl(lab, "--aws-sigv4", "aws:amz:eu-central-1:execute-api", "-u", f"{lab.canary('keyid')}:{lab.canary('secret')}",
         "-H", f"X-Amz-Security-Token: {lab.canary('token')}", url(lab))
    return [plain(lab, credentials=["session_secret"])]


@cases.case("sigv4-long-lived", "an AWS Signature Version 4 request with a long-lived key: no secret is on the wire")
def _(lab):
    python_server(lab, text(lab))
    curl(lab, "--aws-sigv4", "aws:amz:eu-central-1:execute-api", "-u", f"{lab.canary('keyid')}:{lab.canary('secret')}",
         url(lab))
    return [plain(lab)]


@cases.case("credentials-after-large-post", "a bearer token in a request that comes after a body of 12 KB")
def _(lab):
    python_server(lab, text(lab))
    path = lab.work / "upload"
    path.write_text(text(lab, 12000, "upload"))
    curl(lab, "--data-binary", f"@{path}", "-H", "Expect:", "-H", "Content-Type: text/plain", url(lab, "one"),
         "--next", "-sv", "-H", f"Authorization: Bearer {lab.canary('token')}", url(lab, "two"))
    return [plain(lab, credentials=["bearer_token"])]
