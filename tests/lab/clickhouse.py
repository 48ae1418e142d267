"""ClickHouse's native protocol: a login with a password, a refused one."""

from lab import Cases

APT = ["clickhouse-server", "clickhouse-client"]
cases = Cases()

CONFIG = """<yandex><logger><level>error</level><console>1</console></logger><tcp_port>9000</tcp_port>
<listen_host>{address}</listen_host><path>{home}/</path><tmp_path>{home}/tmp/</tmp_path>
<users_config>{home}/users.xml</users_config><default_profile>default</default_profile><default_database>default</default_database>
<mark_cache_size>1048576</mark_cache_size></yandex>"""
USERS = """<yandex><profiles><default/></profiles><quotas><default/></quotas><users><{user}><password>{password}</password>
<networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota></{user}></users></yandex>"""


def serve(lab, password):
    home = lab.directory("clickhouse")
    (home / "config.xml").write_text(CONFIG.format(address=lab.server.v4, home=home))
    (home / "users.xml").write_text(USERS.format(user=lab.canary("user"), password=password))
    server = lab.server.start(["clickhouse-server", f"--config-file={home}/config.xml"], log=lab.log("clickhouse"))
    lab.server.wait_port(9000, server, timeout=60)
    lab.versions(server="ClickHouse 18.16.1", client="clickhouse-client 18.16.1")


def query(lab, password, check=True):
    lab.client.run(["clickhouse-client", "--host", lab.server.v4, "--user", lab.canary("user"), "--password", password,
                    "--query", f"SELECT '{lab.canary('literal')}'"], check=check)


def plain(lab, **facts):
    return lab.flow(**{"server_port": 9000, "encryption": "plaintext", "app": "clickhouse", "outcome": "established",
                       "plaintext_reason": "no_in_band_upgrade", "confidence": "both_sides",
                       "credentials": ["password_cleartext"], **facts})


@cases.case("query", "a login and a query: the password stands in Hello")
def _(lab):
    serve(lab, lab.canary("password"))
    query(lab, lab.canary("password"))
    return [plain(lab)]


@cases.case("wrong-password", "a wrong password is answered by an exception")
def _(lab):
    serve(lab, "right")
    query(lab, lab.canary("password"), check=False)
    lab.canaries.remove(lab.canary("literal"))
    return [plain(lab, outcome="refused")]
