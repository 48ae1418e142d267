#!/usr/bin/env python3
"""Writes deploy/grafana/cleartap.json: the same questions to CloudWatch and to Prometheus. `--check` only compares."""

import json
import pathlib
import re
import sys

PATH = pathlib.Path(__file__).resolve().parents[2] / "deploy/grafana/cleartap.json"

# title, unit, [(metric, statistic, dimension shown or None, fixed value or None)]
QUESTIONS = [
    ("Protocols in clear", "short", [("PlaintextFlows", "Sum", ("Scope", "Protocol"), None)]),
    ("Classes in clear", "short", [("PlaintextFlows", "Sum", ("Class",), None)]),
    ("TLS by version", "short", [("TlsFlows", "Sum", ("TlsVersion",), None)]),
    ("Open findings", "short", [("OpenFindings", "Maximum", ("Severity",), None)]),
    ("Credentials and weak TLS", "short", [("CredentialsExposedFlows", "Sum", (), None), ("WeakTlsFlows", "Sum", (), None),
                                           ("PlaintextRefusedFlows", "Sum", (), None)]),
    ("Unknown", "short", [("UnknownFlows", "Sum", (), None), ("EncryptedNonTlsFlows", "Sum", (), None)]),
    ("Certificates: days left", "d", [("CertificateDaysLeft", "Minimum", (), None)]),
    ("Sensors alive", "short", [("SensorHeartbeat", "Sum", (), None)]),
    ("Canary: age", "s", [("CanaryAgeSeconds", "Minimum", (), None)]),
    ("Lost", "short", [("KernelDrops", "Sum", (), None), ("RecordsDropped", "Sum", (), None),
                       ("FlowTableEvictions", "Sum", (), None), ("SeriesDropped", "Sum", (), None)]),
    ("Mirror", "short", [("MirrorPackets", "Sum", (), None), ("MirrorDuplicatePackets", "Sum", (), None),
                         ("MirrorTruncatedPackets", "Sum", (), None), ("MirrorSkippedPackets", "Sum", (), None)]),
]
FUNCTIONS = {"Sum": "sum", "Maximum": "max", "Minimum": "min"}


def snake(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def cloudwatch(letter, metric, statistic, dimensions):
    if dimensions:
        schema = ",".join(("$namespace", *dimensions))
        return {"refId": letter, "region": "$region", "id": letter.lower(), "queryMode": "Metrics", "metricEditorMode": 1,
                "metricQueryType": 0, "expression": f"SEARCH('{{{schema}}} MetricName=\"{metric}\"', '{statistic}', 300)"}
    return {"refId": letter, "region": "$region", "id": letter.lower(), "queryMode": "Metrics", "metricEditorMode": 0,
            "metricQueryType": 0, "namespace": "$namespace", "metricName": metric, "statistic": statistic,
            "dimensions": {}, "matchExact": True, "period": "300"}


def prometheus(letter, metric, statistic, dimensions):
    labels = [snake(one) for one in dimensions]
    # A metric stands there with each of its label sets: those with exactly these labels are meant.
    others = [one for one in ("scope", "protocol", "service", "tls_version", "severity", "class") if one not in labels]
    wanted = [f'{one}!=""' for one in labels] + [f'{one}=""' for one in others]
    expression = f"{FUNCTIONS[statistic]} by ({', '.join(labels)}) (cleartap_{snake(metric)}{{{', '.join(wanted)}}})"
    return {"refId": letter, "expr": expression, "legendFormat": " ".join(f"{{{{{one}}}}}" for one in labels) or metric}


def dashboard():
    panels, y = [], 0
    ratio = 'sum(cleartap_plaintext_decided_flows{scope=""}) / clamp_min(sum(cleartap_decided_flows{scope=""}), 1)'
    for source, make in (("cloudwatch", cloudwatch), ("prometheus", prometheus)):
        panels.append({"type": "row", "title": f"From {source}", "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        y += 1
        datasource = {"type": source, "uid": f"${{{source}}}"}
        if source == "cloudwatch":
            targets = [cloudwatch("A", "PlaintextDecidedFlows", "Sum", ()), cloudwatch("B", "DecidedFlows", "Sum", ()),
                       {"refId": "C", "region": "$region", "id": "c", "queryMode": "Metrics", "metricEditorMode": 1,
                        "metricQueryType": 0, "expression": "a / IF(b > 0, b, 1)"}]
        else:
            targets = [{"refId": "A", "expr": ratio, "legendFormat": "plaintext"}]
        asked = [("Plaintext share of decided flows", "percentunit", targets)]
        for title, unit, metrics in QUESTIONS:
            asked.append((title, unit, [make(chr(65 + n), *one[:3]) for n, one in enumerate(metrics)]))
        for number, (title, unit, targets) in enumerate(asked):
            panels.append({"type": "timeseries", "title": title, "datasource": datasource, "targets": targets,
                           "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
                           "gridPos": {"x": number % 3 * 8, "y": y + number // 3 * 7, "w": 8, "h": 7}})
        y += (len(asked) + 2) // 3 * 7
    for number, panel in enumerate(panels, 1):
        panel["id"] = number
    variables = [{"name": source, "type": "datasource", "query": source, "label": source} for source in ("cloudwatch", "prometheus")]
    variables.append({"name": "region", "type": "textbox", "query": "us-east-1", "label": "Region"})
    variables.append({"name": "namespace", "type": "textbox", "query": "cleartap", "label": "Namespace"})
    return {"title": "cleartap", "uid": "cleartap", "schemaVersion": 39, "version": 1, "editable": True, "refresh": "1m",
            "tags": ["cleartap"], "time": {"from": "now-24h", "to": "now"}, "templating": {"list": variables},
            "panels": panels}


text = json.dumps(dashboard(), indent=1) + "\n"
if "--check" in sys.argv:
    sys.exit(0 if PATH.read_text() == text else f"{PATH} is not what tests/deploy/grafana.py writes")
PATH.parent.mkdir(exist_ok=True)
PATH.write_text(text)
