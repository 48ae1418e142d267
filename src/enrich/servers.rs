//! Per-server evidence: what proven flows tell of a server, for flows that were joined too late to prove anything.
//!
//! Such a flow inherits the *probable* application, marked `inferred`; whether it is encrypted stays `unknown`, because
//! one server may take both. An inferred application alone is never enough for an alert.

use std::{collections::VecDeque, net::IpAddr, sync::Arc};

use super::remembered::Remembered;
use crate::model::{AppSource, Confidence, record::Record};

/// Servers remembered at once; the one learnt first is forgotten first.
const SERVERS_MAX: usize = 65_536;
/// Records that may wait for evidence to come.
const WAITING_MAX: usize = 65_536;

/// What is known of servers, and the records that wait for it.
#[derive(Debug, Default)]
pub struct Servers {
    known: Remembered<ServerKey, App, SERVERS_MAX>,
    waiting: VecDeque<Box<Record>>,
    /// Records that could not wait to the end.
    pub hurried: u64,
}

/// One service: addresses are unique within a scope only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ServerKey {
    scope: Arc<str>,
    transport: &'static str,
    ip: IpAddr,
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum App {
    /// All proven flows spoke this.
    One(&'static str),
    /// They did not agree: nothing follows for others.
    Several,
}

impl Servers {
    /// Learns from a record and completes it with what is known by now: for records of flows that go on.
    pub fn complete(&mut self, record: &mut Record) {
        self.learn(record);
        if is_open_question(record) {
            self.infer(record);
        }
    }

    /// Learns from a record and passes it on; one that needs evidence waits for [`Self::finish`].
    pub fn take(&mut self, record: Box<Record>, emit: &mut dyn FnMut(&Record)) {
        self.learn(&record);
        if !is_open_question(&record) {
            emit(&record);
            return;
        }
        self.waiting.push_back(record);
        if self.waiting.len() > WAITING_MAX
            && let Some(mut oldest) = self.waiting.pop_front()
        {
            self.hurried += 1;
            self.infer(&mut oldest);
            emit(&oldest);
        }
    }

    /// Nothing more will be learnt: passes on what waited, in order.
    pub fn finish(&mut self, emit: &mut dyn FnMut(&Record)) {
        for mut record in std::mem::take(&mut self.waiting) {
            self.infer(&mut record);
            emit(&record);
        }
    }

    /// Servers forgotten to make room.
    pub const fn forgotten(&self) -> u64 {
        self.known.forgotten
    }

    fn learn(&mut self, record: &Record) {
        let (Some(app), true) = (record.app, is_proof(record)) else { return };
        let key = ServerKey::of(record);
        if let Some(known) = self.known.get_mut(&key) {
            if *known != App::One(app) {
                *known = App::Several;
            }
            return;
        }
        self.known.learn(key, App::One(app));
    }

    fn infer(&self, record: &mut Record) {
        if let Some(App::One(app)) = self.known.get(&ServerKey::of(record)) {
            record.app = Some(app);
            record.app_source = Some(AppSource::Inferred.name());
            if record.unknown_reason.is_some() {
                record.confidence = Some(Confidence::Inferred.name());
            }
        }
    }
}

impl ServerKey {
    fn of(record: &Record) -> Self {
        Self {
            scope: record.scope.clone(),
            transport: record.transport,
            ip: record.dst_ip,
            port: record.dst_port,
        }
    }
}

/// Whether the server took part in a session whose application its own bytes prove.
fn is_proof(record: &Record) -> bool {
    let inferred = [Some(AppSource::Inferred.name()), None].contains(&record.app_source);
    !inferred && record.outcome == "established"
}

/// Joined too late to show its application, where another flow may have.
fn is_open_question(record: &Record) -> bool {
    let late = record.origin == "midstream" || record.unknown_reason == Some("gap_at_start");
    let silent = record.unknown_reason == Some("no_payload");
    let sealed = ["unknown", "tls"].contains(&record.encryption);
    record.app.is_none() && late && sealed && !silent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{Engine, Settings},
        ingest::{CaptureFile, Input, Source},
        wire,
    };

    /// Any record will do as a mould.
    fn record(app: Option<&'static str>, encryption: &'static str, origin: &'static str) -> Record {
        let file = include_bytes!("../../captures/demo.pcap");
        let mut source =
            CaptureFile::from_reader("demo", &file[..], wire::link_supported).expect("a capture");
        let mut engine = Engine::new(Settings::default());
        let mut records = Vec::new();
        let mut keep = |emitted: crate::engine::Emitted| records.push(emitted.record);
        while let Ok(Input::Frame(frame)) = source.next() {
            engine.frame(&frame, &mut keep);
        }
        engine.finish(&mut keep);
        let unknown = encryption == "unknown";
        Record {
            app,
            app_source: app.map(|_| "payload"),
            encryption,
            origin,
            outcome: if unknown { "unknown" } else { "established" },
            confidence: (!unknown).then_some("both_sides"),
            unknown_reason: unknown.then_some("midstream_opaque"),
            scope: "default".into(),
            transport: "tcp",
            dst_ip: [10, 0, 0, 1].into(),
            dst_port: 4000,
            ..*records.swap_remove(0)
        }
    }

    fn pass(records: Vec<Record>) -> Vec<Record> {
        let mut servers = Servers::default();
        let mut out = Vec::new();
        for record in records {
            servers.take(Box::new(record), &mut |record| out.push(record.clone()));
        }
        servers.finish(&mut |record| out.push(record.clone()));
        out
    }

    #[test]
    fn a_late_flow_inherits_what_other_flows_of_its_server_prove_even_later() {
        let out = pass(vec![
            record(None, "unknown", "midstream"),
            record(None, "tls", "midstream"),
            record(Some("postgresql"), "plaintext", "start"),
        ]);
        let said: Vec<_> =
            out.iter().map(|r| (r.app, r.app_source, r.encryption, r.confidence)).collect();
        let probable = (Some("postgresql"), Some("inferred"));
        assert_eq!(
            said,
            [
                (Some("postgresql"), Some("payload"), "plaintext", Some("both_sides")),
                (probable.0, probable.1, "unknown", Some("inferred")),
                (probable.0, probable.1, "tls", Some("both_sides")),
            ]
        );
    }

    #[test]
    fn nothing_follows_where_flows_disagree_or_another_service_is_asked() {
        let elsewhere = [
            Record { dst_port: 4001, ..record(None, "unknown", "midstream") },
            Record { scope: "other".into(), ..record(None, "unknown", "midstream") },
            Record { transport: "udp", ..record(None, "unknown", "midstream") },
        ];
        let proof = record(Some("mysql"), "plaintext", "start");
        for late in elsewhere {
            assert_eq!(pass(vec![late, proof.clone()])[1].app, None);
        }
        let other = record(Some("redis"), "plaintext", "start");
        let late = record(None, "unknown", "midstream");
        assert_eq!(pass(vec![proof.clone(), other, late.clone()])[2].app, None);
        let attempt = Record { outcome: "attempt", ..proof };
        assert_eq!(pass(vec![attempt, late])[1].app, None, "the server did not take it");
    }

    #[test]
    fn a_flow_seen_from_its_start_speaks_for_itself() {
        let proof = record(Some("mysql"), "plaintext", "start");
        let out = pass(vec![proof.clone(), record(None, "unknown", "start")]);
        assert_eq!(out[1].app, None);
        let mut silent = record(None, "unknown", "midstream");
        silent.unknown_reason = Some("no_payload");
        assert_eq!(pass(vec![proof, silent])[1].app, None);
    }

    #[test]
    fn memory_is_bounded_and_what_it_costs_is_counted() {
        let mut servers = Servers::default();
        let proof = record(Some("mysql"), "plaintext", "start");
        for n in 0..=SERVERS_MAX {
            let ip = IpAddr::from(u32::try_from(n).expect("fits").to_be_bytes());
            servers.take(Box::new(Record { dst_ip: ip, ..proof.clone() }), &mut |_| {});
        }
        assert_eq!((servers.known.len(), servers.forgotten()), (SERVERS_MAX, 1));
        let late = record(None, "unknown", "midstream");
        let mut early = 0;
        for _ in 0..WAITING_MAX + 2 {
            servers.take(Box::new(late.clone()), &mut |_| early += 1);
        }
        assert_eq!((early, servers.hurried), (2, 2));
    }
}
