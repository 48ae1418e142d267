//! The inventory as CSV (RFC 4180): one line per server and certificate, or per server where none was seen.

use std::{collections::BTreeMap, io};

use super::{Inventory, Server, ServerKey, Shown};

impl Inventory {
    /// CSV with a header line. Counted values stand as `value=flows`, separated by spaces.
    pub fn csv(&self) -> io::Result<Vec<u8>> {
        let mut out = csv::Writer::from_writer(Vec::new());
        out.write_record(COLUMNS)?;
        for (key, server) in &self.servers {
            if server.certificates.is_empty() {
                out.write_record(self.row(key, server, None))?;
            }
            for (fingerprint, shown) in &server.certificates {
                out.write_record(self.row(key, server, Some((fingerprint, shown))))?;
            }
        }
        out.into_inner().map_err(|e| io::Error::other(e.to_string()))
    }

    fn row(
        &self,
        key: &ServerKey,
        server: &Server,
        shown: Option<(&String, &Shown)>,
    ) -> [String; 24] {
        let certificate = shown.map(|(_, shown)| &shown.certificate);
        let time = |time: Option<crate::model::Timestamp>| time.map(|t| t.to_string());
        let name = |name: Option<&crate::model::Name>| name.map(ToString::to_string);
        let fields = [
            Some(key.scope.clone()),
            name(key.sni.as_ref()),
            Some(key.address.to_string()),
            Some(key.port.to_string()),
            Some(pairs(&server.apps)),
            Some(server.flows.to_string()),
            Some(pairs(&server.outcomes)),
            Some(pairs(&server.versions)),
            Some(pairs(&server.ciphers)),
            Some(pairs(&server.groups)),
            Some(server.pq.yes.to_string()),
            Some(server.pq_offered.yes.to_string()),
            Some(pairs(&server.versions_offered)),
            Some(pairs(&server.strength)),
            Some(pairs(&server.strength_reasons)),
            Some(pairs(&server.client_cert)),
            certificate.and_then(|c| name(c.subject.as_ref())),
            certificate.and_then(|c| name(c.issuer.as_ref())),
            certificate.and_then(|c| c.not_after.clone()),
            shown.and_then(|(_, shown)| self.days_left(shown)).map(|days| days.to_string()),
            shown.map(|(fingerprint, _)| fingerprint.clone()),
            Some(server.certificate_unknown.to_string()),
            time(server.first_seen),
            time(server.last_seen),
        ];
        fields.map(Option::unwrap_or_default)
    }
}

fn pairs<K: std::fmt::Display>(values: &BTreeMap<K, u64>) -> String {
    let all: Vec<String> = values.iter().map(|(value, flows)| format!("{value}={flows}")).collect();
    all.join(" ")
}

const COLUMNS: [&str; 24] = [
    "scope",
    "sni",
    "address",
    "port",
    "apps",
    "flows",
    "outcomes",
    "versions",
    "ciphers",
    "groups",
    "pq_flows",
    "pq_offered_flows",
    "versions_offered",
    "strength",
    "strength_reasons",
    "client_cert",
    "certificate_subject",
    "certificate_issuer",
    "certificate_not_after",
    "certificate_days_left",
    "certificate_fingerprint_sha256",
    "certificate_unknown_flows",
    "first_seen",
    "last_seen",
];
