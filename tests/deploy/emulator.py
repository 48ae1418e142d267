"""Emulators of AWS on loopback, from target/aws-emulators (made by `.ci/deps.sh test`)."""

import contextlib
import os
import pathlib
import socket
import subprocess
import time

import boto3

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = ROOT / "target/aws-emulators/bin"
REGION = "us-east-1"


class Emulator:
    """A running emulator; `client("ec2")` speaks to it."""

    def __init__(self, port, process):
        self.url, self._process = f"http://127.0.0.1:{port}", process

    def client(self, service):
        return boto3.client(service, endpoint_url=self.url, region_name=REGION,
                            aws_access_key_id="test", aws_secret_access_key="test")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def start(name):
    """Start `ministack` or `moto_server`, and end it whatever happens."""
    port = free_port()
    command = [BIN / name] if name == "ministack" else [BIN / name, "-H", "127.0.0.1", "-p", str(port)]
    env = {**os.environ, "GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "AWS_EC2_METADATA_DISABLED": "true"}
    process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{name} did not start")
            time.sleep(0.1)
        yield Emulator(port, process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
