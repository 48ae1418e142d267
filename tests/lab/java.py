"""What Java speaks: its debugger, RMI, Derby's DRDA, ActiveMQ's OpenWire, and AJP behind Apache."""

import pathlib
import re
import subprocess

import net
import shape
from lab import Cases

APT = ["default-jdk-headless", "libderby-java", "libderbyclient-java", "activemq", "tomcat10", "apache2", "curl"]
cases = Cases()
CLEAR = {"encryption": "plaintext", "plaintext_reason": "no_in_band_upgrade", "confidence": "both_sides",
         "outcome": "established"}
BEGINS = {"jdwp": (b"JDWP-Handshake", b"JDWP-Handshake"), "java-rmi": (b"JRMI\0\2", b"N"),
          "ajp": (b"\x12\x34", b"AB"), "openwire": (b"\0\0", b"\0\0")}
JAVA = pathlib.Path("/usr/share/java")


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    if flow["origin"] == "midstream" or flow["encryption"] != "plaintext":
        return
    for said, begin in zip((c2s, s2c), BEGINS.get(flow["app"], ()), strict=False):
        if said and not said.startswith(begin):
            yield f"port {flow['client_port']}: begins {said[:16]!r}"
    if flow["app"] == "drda" and c2s[2:3] != b"\xd0":
        yield f"port {flow['client_port']}: no DSS: {c2s[:16]!r}"


def version(package):
    said = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True).stdout
    return re.match(r"(?:\d+:)?([\w.]+)", said).group(1)


def plain(lab, app, port, **facts):
    return lab.flow(**{"server_port": port, "app": app, **CLEAR, **facts})


def build(lab, jars="", **sources):
    """Compile small programs; the folder of their classes."""
    home = lab.directory("java")
    for name, source in sources.items():
        (home / f"{name}.java").write_text(source)
    lab.client.run(["javac", "-cp", jars, "-d", str(home), *map(str, home.glob("*.java"))])
    jdk = version("openjdk-17-jdk-headless")
    lab.versions(server=f"OpenJDK {jdk}", client=f"OpenJDK {jdk}")
    return home


# --- the debugger -----------------------------------------------------------------------------------------------------

def debug(lab):
    home = build(lab, Idle="""public class Idle { public static void main(String[] a) throws Exception {
Thread.sleep(60000); } }""")
    process = lab.server.start(["java", "-cp", str(home), "-agentlib:jdwp=transport=dt_socket,server=y,suspend=y,"
                                f"address={lab.server.v4}:5005", "Idle"], log=lab.log("jdwp"))
    lab.server.wait_port(5005, process)
    lab.client.run(["sh", "-c", "(sleep 1; echo run; sleep 2; echo threads; sleep 1; echo quit)"
                                f" | timeout 20 jdb -attach {lab.server.v4}:5005"], check=False)


@cases.case("jdwp", "a debugger attaches; its first questions are seen", shape=[shape.first(40)])
def _(lab):
    debug(lab)
    return [plain(lab, "jdwp", 5005)]


@cases.case("jdwp-program-only", "a debugged program, only what it sends", mirror=("server:out",),
            shape=[shape.first(20)])
def _(lab):
    debug(lab)
    return [plain(lab, "jdwp", 5005, confidence="one_side")]


# --- RMI --------------------------------------------------------------------------------------------------------------

HELLO = """import java.rmi.*;
public interface Hello extends Remote { String say(String what) throws RemoteException; }"""
SERVER = """import java.rmi.registry.*; import java.rmi.server.*;
public class Server implements Hello { public String say(String what) { return "hello " + what; }
public static void main(String[] a) throws Exception {
  Server s = new Server(); Hello h = (Hello) UnicastRemoteObject.exportObject(s, 1098);
  LocateRegistry.createRegistry(1099).bind("Hello", h); Thread.sleep(60000); } }"""
CLIENT = """import java.rmi.registry.*;
public class Client { public static void main(String[] a) throws Exception {
  Hello h = (Hello) LocateRegistry.getRegistry(a[0]).lookup("Hello");
  for (int i = 0; i < 3; i++) System.out.println(h.say(a[1])); } }"""


def rmi(lab):
    home = build(lab, Hello=HELLO, Server=SERVER, Client=CLIENT)
    process = lab.server.start(["java", "-cp", str(home), f"-Djava.rmi.server.hostname={lab.server.v4}", "Server"],
                               log=lab.log("rmi"))
    for port in (1098, 1099):
        lab.server.wait_port(port, process)
    lab.client.run(["java", "-cp", str(home), "Client", lab.server.v4, lab.canary("argument")])


@cases.case("rmi", "a name is looked up in a registry and called")
def _(lab):
    rmi(lab)
    return [plain(lab, "java-rmi", 1099), plain(lab, "java-rmi", 1098)]


@cases.case("rmi-server-side-only", "a registry and an object, only what they answer", mirror=("server:out",))
def _(lab):
    rmi(lab)
    return [plain(lab, "java-rmi", port, confidence="one_side") for port in (1099, 1098)]


# --- Derby ------------------------------------------------------------------------------------------------------------

ASK = """import java.sql.*;
public class Ask { public static void main(String[] a) throws Exception {
  try (Connection c = DriverManager.getConnection(a[0]); Statement s = c.createStatement()) {
    ResultSet r = s.executeQuery(a[1]); r.next(); System.out.println(r.getString(1)); } } }"""


def derby(lab, mechanism, ssl=False, right=True):
    home, user, password = lab.directory("derby"), lab.canary("user"), lab.canary("pass")
    jars = ":".join(str(JAVA / f"{name}.jar") for name in ("derby", "derbynet", "derbyclient"))
    stores = []
    if ssl:
        crt, private = lab.certs.server()
        lab.server.run(["openssl", "pkcs12", "-export", "-in", str(crt), "-inkey", str(private), "-out",
                        str(home / "keys"), "-passout", "pass:changeit"])
        stores = [f"-Djavax.net.ssl.keyStore={home}/keys", "-Djavax.net.ssl.keyStorePassword=changeit"]
    process = lab.server.start(["java", "-cp", jars, f"-Dderby.system.home={home}", *stores,
                                "-Dderby.connection.requireAuthentication=true",
                                "-Dderby.authentication.provider=BUILTIN", f"-Dderby.user.{user}={password}",
                                "org.apache.derby.drda.NetworkServerControl", "start", "-noSecurityManager",
                                "-h", lab.server.v4, *(["-ssl", "basic"] if ssl else [])],
                               log=lab.log("derby"), cwd=home)
    lab.server.wait_port(1527, process)
    url = (f"jdbc:derby://{lab.server.v4}:1527/lab;create=true;user={user};"
           f"password={password if right else lab.canary('wrong')};securityMechanism={mechanism}"
           + (";ssl=basic" if ssl else ""))
    classes = build(lab, Ask=ASK)
    lab.client.run(["java", "-cp", f"{classes}:{jars}", "Ask", url, f"values '{lab.canary('value')}'"],
                   check=right, cwd=home)
    derby = version("libderby-java")
    lab.versions(server=f"Derby {derby}", client=f"Derby {derby}")


@cases.case("drda-password", "Derby: a user and a password that can be read (EBCDIC or UTF-8)")
def _(lab):
    derby(lab, 3)
    return [plain(lab, "drda", 1527, credentials=["password_cleartext"])]


@cases.case("drda-strong-substitute", "Derby: the password is proven by a digest with both sides' seeds")
def _(lab):
    derby(lab, 8)
    return [plain(lab, "drda", 1527, credentials=["password_hash_challenge"])]


@cases.case("drda-wrong-password", "Derby: the password is wrong")
def _(lab):
    derby(lab, 3, right=False)
    return [plain(lab, "drda", 1527, credentials=["password_cleartext"], outcome="refused")]


@cases.case("drda-tls", "Derby over TLS")
def _(lab):
    derby(lab, 3, ssl=True)
    return [lab.flow(server_port=1527, encryption="tls", outcome="established", confidence="both_sides")]


# --- ActiveMQ ---------------------------------------------------------------------------------------------------------

BROKER = """import org.apache.activemq.broker.*; import org.apache.activemq.security.*; import java.util.*;
public class Broker { public static void main(String[] a) throws Exception {
  BrokerService b = new BrokerService(); b.setPersistent(false); b.setUseJmx(false); b.setBrokerName("lab");
  b.setPlugins(new BrokerPlugin[] { new SimpleAuthenticationPlugin(
    List.of(new AuthenticationUser(a[1], a[2], "users"))) });
  b.addConnector(a[0]); b.start(); Thread.sleep(60000); } }"""
QUEUE = """import javax.jms.*; import org.apache.activemq.*;
public class Queue { public static void main(String[] a) throws Exception {
  Connection c = new ActiveMQConnectionFactory(a[1], a[2], a[0]).createConnection(); c.start();
  Session s = c.createSession(false, Session.AUTO_ACKNOWLEDGE); Destination d = s.createQueue("lab");
  s.createProducer(d).send(s.createTextMessage(a[3])); s.createConsumer(d).receive(5000); c.close(); } }"""


def activemq(lab, scheme="tcp", wire=""):
    """A broker with one user, and a client that sends and takes one message."""
    jars = ":".join(str(JAVA / f"{name}.jar") for name in (
        "activemq-broker", "activemq-client", "activemq-jaas", "activemq-openwire-legacy", "geronimo-jms_1.1_spec",
        "hawtbuf", "geronimo-j2ee-management-1.1-spec", "slf4j-api", "slf4j-nop"))
    home = lab.directory("broker")
    crt, private = lab.certs.server()
    lab.server.run(["openssl", "pkcs12", "-export", "-in", str(crt), "-inkey", str(private), "-out",
                    str(home / "keys"), "-passout", "pass:changeit"])
    lab.server.run(["keytool", "-importcert", "-noprompt", "-alias", "ca", "-file", str(lab.certs.ca), "-keystore",
                    str(home / "trust"), "-storepass", "changeit"])
    classes, user, password = build(lab, jars, Broker=BROKER, Queue=QUEUE), lab.canary("user"), lab.canary("pass")
    stores = [f"-Djavax.net.ssl.{name}Store{more}" for name, more in (
        ("key", f"={home}/keys"), ("key", "Password=changeit"), ("trust", f"={home}/trust"),
        ("trust", "Password=changeit"))]
    port = 61617 if scheme == "ssl" else 61616
    java = ["java", *stores, "-cp", f"{classes}:{jars}"]
    process = lab.server.start([*java, "Broker", f"{scheme}://{lab.server.v4}:{port}{wire}", user, password],
                               log=lab.log("broker"))
    lab.server.wait_port(port, process, timeout=30)
    host = f"server.{net.DOMAIN}" if scheme == "ssl" else lab.server.v4
    lab.client.run([*java, "Queue", f"{scheme}://{host}:{port}", user, password,
                    lab.canary("message")])
    software = f"ActiveMQ {version('activemq')}"
    lab.versions(server=software, client=software)


@cases.case("openwire", "ActiveMQ: a login, a message is sent and taken")
def _(lab):
    activemq(lab)
    return [plain(lab, "openwire", 61616, credentials=["password_cleartext"])]


@cases.case("openwire-loose", "ActiveMQ without tight encoding, cache and size prefix compression")
def _(lab):
    activemq(lab, wire="?wireFormat.tightEncodingEnabled=false&wireFormat.cacheEnabled=false")
    return [plain(lab, "openwire", 61616, credentials=["password_cleartext"])]


@cases.case("openwire-broker-only", "ActiveMQ: only what the broker sends", mirror=("server:out",))
def _(lab):
    activemq(lab)
    return [plain(lab, "openwire", 61616, confidence="one_side")]


@cases.case("openwire-tls", "ActiveMQ over TLS")
def _(lab):
    activemq(lab, scheme="ssl")
    return [lab.flow(server_port=61617, encryption="tls", outcome="established", confidence="both_sides",
                     tls_version="TLSv1.3", sni=f"server.{net.DOMAIN}")]


# --- AJP --------------------------------------------------------------------------------------------------------------

def ajp(lab):
    """Tomcat on the server, Apache on the client's host, so that AJP crosses the network."""
    home, secret = lab.directory("tomcat"), lab.canary("secret")
    for part in ("conf", "logs", "temp", "work", "webapps/ROOT"):
        (home / part).mkdir(parents=True)
    (home / "conf/server.xml").write_text(f"""<Server port="-1"><Service name="Catalina">
<Connector protocol="AJP/1.3" address="{lab.server.v4}" port="8009" secret="{secret}"
  allowedRequestAttributesPattern=".*"/>
<Engine name="Catalina" defaultHost="localhost"><Host name="localhost" appBase="webapps"/></Engine></Service></Server>
""")
    (home / "conf/web.xml").write_text(pathlib.Path("/usr/share/tomcat10/etc/web.xml").read_text())
    (home / "webapps/ROOT/hello.txt").write_text(lab.canary("body") + "\n")
    tomcat = lab.server.start(["/usr/share/tomcat10/bin/catalina.sh", "run"], log=lab.log("tomcat"),
                              env={"CATALINA_BASE": str(home), "CATALINA_HOME": "/usr/share/tomcat10"})
    lab.server.wait_port(8009, tomcat, timeout=40)
    web = lab.directory("apache")
    modules = "".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
                      for name in ("mpm_event", "authz_core", "proxy", "proxy_ajp"))
    (web / "conf").write_text(f"""ServerRoot {web}
ServerName localhost
Listen 127.0.0.1:8080
PidFile {web}/pid
ErrorLog {web}/log
User nobody
Group nogroup
DefaultRuntimeDir {web}
{modules}ProxyPass / ajp://{lab.server.v4}:8009/ secret={secret}
""")
    apache = lab.client.start(["apache2", "-f", str(web / "conf"), "-X"], log=lab.log("apache"))
    lab.client.wait_port(8080, apache)
    lab.client.run(["curl", "-sf", "-u", f"{lab.canary('user')}:{lab.canary('pass')}",
                    "-b", f"id={lab.canary('cookie')}",
                    "http://127.0.0.1:8080/hello.txt", "http://127.0.0.1:8080/absent.txt"], check=False)
    lab.versions(server=f"Tomcat {version('tomcat10')}", client=f"Apache {version('apache2')}")


@cases.case("ajp", "AJP: Apache asks Tomcat, with the visitor's Basic credentials and cookie")
def _(lab):
    ajp(lab)
    return [plain(lab, "ajp", 8009, credentials=["basic_auth", "session_secret"])]


@cases.case("ajp-container-only", "AJP: only what the container answers", mirror=("server:out",))
def _(lab):
    ajp(lab)
    return [plain(lab, "ajp", 8009, confidence="one_side")]
