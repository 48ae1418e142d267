"""RabbitMQ for the lab: one server for a family, with its STOMP and AMQP 1.0 plugins."""

import shutil


class Rabbit:
    def __init__(self, lab, tls=False):
        self.lab = lab
        home = lab.directory("rabbitmq")
        self.user, self.password = lab.canary("user", shared=True), lab.canary("pass", shared=True)
        lab.canaries.clear()
        crt, key = lab.certs.server()
        (home / "plugins").write_text("[rabbitmq_stomp,rabbitmq_amqp1_0].\n")
        (home / "rabbitmq.conf").write_text(
            f"loopback_users = none\ndefault_user = {self.user}\ndefault_pass = {self.password}\n"
            f"listeners.ssl.default = 5671\nssl_options.certfile = {crt}\nssl_options.keyfile = {key}\n"
            f"stomp.listeners.tcp.1 = 61613\n")
        shutil.chown(home, "root")
        env = {"HOME": str(home), "RABBITMQ_NODENAME": "lab@localhost", "RABBITMQ_MNESIA_BASE": str(home / "data"),
               "RABBITMQ_LOG_BASE": str(home / "log"), "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq"),
               "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"), "RABBITMQ_DIST_PORT": "25672",
               "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}",
               "ERL_EPMD_ADDRESS": "127.0.0.1"}
        process = lab.server.start(["/usr/lib/rabbitmq/bin/rabbitmq-server"], log=lab.log("rabbitmq"), env=env)
        for port in (5672, 61613):
            lab.server.wait_port(port, process, timeout=90)

    def login(self):
        """The user and password of the server, planted in this case."""
        return self.lab.plant(self.user), self.lab.plant(self.password)
