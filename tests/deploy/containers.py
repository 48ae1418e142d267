#!/usr/bin/env python3
"""Containers: what the DaemonSet, the ECS task definition and the Dockerfile configure is in order for the sensor itself.

Argument: the sensor. The task definition is registered in an emulator, so that the API's own model of it is asked too.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import emulator
import yaml

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"


def check(configuration="", **environment):
    """`cleartap check` of this configuration and environment; what it complains of."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(configuration)
        file.flush()
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CLEARTAP_")}
        done = subprocess.run([sys.argv[1], "check", "--config", file.name], env={**clean, **environment}, capture_output=True, text=True,
                              timeout=60)
    return done.stderr + done.stdout if done.returncode else ""


class Containers(unittest.TestCase):
    def test_the_daemonset_configures_the_sensor_and_mounts_what_it_needs(self):
        every = list(yaml.safe_load_all((DEPLOY / "kubernetes/cleartap.yaml").read_text()))
        config, = (one for one in every if one["kind"] == "ConfigMap")
        self.assertEqual(check(config["data"]["cleartap.toml"]), "")
        pod = next(one for one in every if one["kind"] == "DaemonSet")["spec"]["template"]["spec"]
        container, = pod["containers"]
        self.assertEqual(container["args"], ["run", "--config", "/etc/cleartap/cleartap.toml"])
        mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
        self.assertEqual({one["name"] for one in pod["volumes"]}, set(mounts))
        self.assertEqual(mounts["config"], "/etc/cleartap")

    def test_the_task_definition_configures_the_sensor_and_can_be_registered(self):
        task = json.loads((DEPLOY / "container/ecs-task.json").read_text())
        container, = task["containerDefinitions"]
        self.assertEqual(check(**{one["name"]: one["value"] for one in container["environment"]}), "")
        with emulator.start("moto_server") as aws:
            made = aws.client("ecs").register_task_definition(**task)["taskDefinition"]
        self.assertEqual((made["family"], made["networkMode"]), ("cleartap", "host"))

    def test_the_image_configures_the_sensor(self):
        text = (DEPLOY / "container/Dockerfile").read_text()
        given = dict(re.findall(r"(CLEARTAP_\w+)=(\S+)", text))
        self.assertGreater(len(given), 2)
        self.assertEqual(check(**given), "")
        for command in re.findall(r'CMD \["/usr/bin/cleartap", (.*?)\]', text):
            words = json.loads(f"[{command}]")
            done = subprocess.run([sys.argv[1], words[0], "--help"], capture_output=True, text=True, timeout=60)
            for word in words:
                if word.startswith("--"):
                    self.assertIn(word, done.stdout)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
