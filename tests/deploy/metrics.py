#!/usr/bin/env python3
"""Alarms and dashboards ask for metrics, dimensions and statistics that the sensor publishes, and for no others.

The list is deploy/metrics.md, whose table the tests of the sensor keep equal to its catalogue.
"""

import json
import pathlib
import re
import unittest

import template

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
CLASSES = set(re.findall(r"^    ([A-Z][a-z]+),$", (DEPLOY.parent / "src/policy/classes.rs").read_text(), re.M))
VALUES = {"Class": {name.lower() for name in CLASSES}, "Severity": {"critical", "high", "medium", "low", "info"}}


def catalogue():
    """Metric names with statistic and dimension sets."""
    metrics = {}
    for line in (DEPLOY / "metrics.md").read_text().splitlines():
        row = re.fullmatch(r"\| `(\w+)` \| (\w+) \| (\w+) \| (.*?) \| .* \|", line)
        if row:
            sets = {frozenset(re.findall(r"\w+", one)) for one in re.findall(r"\{(.*?)\}", row[4])}
            metrics[row[1]] = (row[3], sets)
    return metrics


def snake(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Asked(unittest.TestCase):
    def setUp(self):
        self.metrics = catalogue()
        self.assertGreater(len(self.metrics), 20)
        self.template = template.load("cleartap.yaml")

    def ask(self, where, name, dimensions, statistic):
        self.assertIn(name, self.metrics, f"{where}: no such metric")
        expected, sets = self.metrics[name]
        self.assertIn(frozenset(dimensions), sets, f"{where}: {name} is not published by {set(dimensions)}")
        self.assertEqual(statistic, expected, f"{where}: {name}")
        for dimension, value in dimensions.items():
            if value is not None and dimension in VALUES:
                self.assertIn(value, VALUES[dimension], f"{where}: {name}")

    def test_by_alarms(self):
        for name, one in template.of_type(self.template, "AWS::CloudWatch::Alarm").items():
            alarm = one["Properties"]
            if "Metrics" in alarm:  # of AWS itself
                continue
            dimensions = {d["Name"]: d["Value"] for d in alarm.get("Dimensions", [])}
            self.ask(name, alarm["MetricName"], dimensions, alarm["Statistic"])

    def test_by_the_cloudwatch_dashboard(self):
        body = self.template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
        for widget in json.loads(body)["widgets"]:
            properties = widget["properties"]
            for metric in properties.get("metrics", []):
                options = metric[-1] if isinstance(metric[-1], dict) else {}
                names = [part for part in metric if isinstance(part, str)]
                if "expression" in options:
                    self.search(properties["title"], options["expression"])
                if names:
                    dimensions = dict(zip(names[2::2], names[3::2]))
                    self.assertEqual(names[0], "${Namespace}")
                    self.ask(properties["title"], names[1], dimensions, options.get("stat", properties["stat"]))

    def search(self, where, expression):
        for schema, name, statistic in re.findall(r"SEARCH\('\{(.*?)\} MetricName=\"(\w+)\"', '(\w+)'", expression):
            namespace, *dimensions = schema.split(",")
            if namespace == "AWS/EC2":
                self.assertRegex(name, r"^NetworkPacketsSkipMirror(In|Out)$")
            else:
                self.assertIn(namespace, ("${Namespace}", "$namespace"))
                self.ask(where, name, dict.fromkeys(dimensions), statistic)

    def test_by_the_grafana_dashboard(self):
        dashboard = json.loads((DEPLOY / "grafana/cleartap.json").read_text())
        prometheus = {f"cleartap_{snake(name)}" for name in self.metrics}
        prometheus |= {f"{name}_total" for name in prometheus} | {"cleartap_build_info"}
        asked = 0
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                asked += 1
                if panel["datasource"]["type"] == "prometheus":
                    names = set(re.findall(r"cleartap_\w+", target["expr"]))
                    self.assertTrue(names and names <= prometheus, (panel["title"], names - prometheus))
                elif target.get("expression"):
                    self.search(panel["title"], target["expression"])
                else:
                    self.assertEqual(target["namespace"], "$namespace")
                    self.ask(panel["title"], target["metricName"], target["dimensions"], target["statistic"])
        self.assertGreater(asked, 20)

    def test_what_must_raise_an_alarm_has_one(self):
        alarmed = {one["Properties"].get("MetricName") for one in
                   template.of_type(self.template, "AWS::CloudWatch::Alarm").values()}
        for needed in ("PlaintextFlows", "CredentialsExposedFlows", "WeakTlsFlows", "SensorHeartbeat", "MirrorPackets",
                       "KernelDrops", "CanaryAgeSeconds"):
            self.assertIn(needed, alarmed)


if __name__ == "__main__":
    unittest.main()
