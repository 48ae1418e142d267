//! Data points as CloudWatch embedded metric format: JSON lines that CloudWatch Logs, or the agent, turns into metrics
//! without an API call (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>).

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::PathBuf,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::metrics::{Datum, Points};

/// Most metrics in one line.
pub const METRICS_MAX: usize = 100;

/// `[emf]`. Every key: reload `restart`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EmfConfig {
    /// File to append to; `-` for standard output. None: no EMF.
    pub path: Option<PathBuf>,
    /// Namespace; else that of `[cloudwatch]`.
    pub namespace: Option<String>,
}

/// Writes `points`: one line for each set of labels, and each [`METRICS_MAX`] metrics of it.
pub fn write(out: &mut dyn Write, namespace: &str, points: &Points) -> io::Result<()> {
    let mut groups = BTreeMap::<&[(String, String)], Vec<&Datum>>::new();
    for datum in points.data.iter().filter(|datum| datum.value.is_finite()) {
        groups.entry(&datum.dimensions).or_default().push(datum);
    }
    for (labels, data) in groups {
        for part in data.chunks(METRICS_MAX) {
            serde_json::to_writer(&mut *out, &line(namespace, points.time_s, labels, part))?;
            out.write_all(b"\n")?;
        }
    }
    out.flush()
}

fn line(namespace: &str, time_s: u64, labels: &[(String, String)], data: &[&Datum]) -> Value {
    let names: Vec<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
    let metrics: Vec<Value> = data
        .iter()
        .map(|datum| json!({"Name": datum.name, "Unit": datum.unit, "StorageResolution": 60}))
        .collect();
    let directive = json!({"Namespace": namespace, "Dimensions": [names], "Metrics": metrics});
    let mut line = Map::new();
    let head = json!({
        "Timestamp": time_s.saturating_mul(1000),
        "CloudWatchMetrics": [directive],
    });
    line.insert("_aws".to_owned(), head);
    for (name, value) in labels {
        line.insert(name.clone(), json!(value));
    }
    for datum in data {
        line.insert(datum.name.clone(), json!(datum.value));
    }
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datum(name: &str, labels: &[(&str, &str)], value: f64) -> Datum {
        let dimensions = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Datum { name: name.to_owned(), dimensions, unit: "Count".to_owned(), value }
    }

    fn lines(data: Vec<Datum>) -> Vec<Value> {
        let mut out = Vec::new();
        write(&mut out, "cleartap", &Points { time_s: 60, data }).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn each_label_set_is_a_line_that_names_its_metrics() {
        let got = lines(vec![
            datum("PlaintextFlows", &[("Scope", "a\"b")], 3.0),
            datum("PlaintextFlows", &[], 3.0),
            datum("TlsFlows", &[], 0.0),
        ]);
        assert_eq!(got.len(), 2);
        let scoped = &got[1];
        assert_eq!(scoped["Scope"], "a\"b");
        assert_eq!(scoped["PlaintextFlows"], 3.0);
        assert_eq!(scoped["_aws"]["Timestamp"], 60_000);
        let directive = &scoped["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "cleartap");
        assert_eq!(directive["Dimensions"], json!([["Scope"]]));
        let metric = json!({"Name": "PlaintextFlows", "Unit": "Count", "StorageResolution": 60});
        assert_eq!(directive["Metrics"], json!([metric]));
        assert_eq!(got[0]["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([[]]));
    }

    #[test]
    fn a_line_holds_at_most_a_hundred_metrics_and_no_odd_number() {
        let mut data: Vec<Datum> = (0..250).map(|n| datum(&format!("M{n}"), &[], 1.0)).collect();
        data.push(datum("Odd", &[], f64::NAN));
        let got = lines(data);
        let counts: Vec<usize> = got
            .iter()
            .map(|l| l["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap().len())
            .collect();
        assert_eq!(counts, [100, 100, 50]);
    }
}
