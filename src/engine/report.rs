//! From a flow and its summary to a record.

use std::{
    borrow::Cow,
    net::IpAddr,
    sync::{Arc, LazyLock},
};

use hashbrown::HashMap;

use crate::{
    detect::DETECTORS,
    flow::{Direction, Flow, VantageTable},
    inspect::tls::{
        alert_name, cipher_name, compression_name, group_name, signature_name, sslv2_cipher_name,
    },
    model::{
        CommunityId, Network, Side, Timestamp, Verdict,
        record::{
            AlertRecord, CertificatesRecord, EvidenceRecord, HexCode, NamesRecord, Record,
            SCHEMA_VERSION, StrengthRecord, TlsRecord, VantageRecord,
        },
        tls::{
            CertificateCut, HandshakeOutcome, KeyExchange, Resumption, TlsAlert, TlsFacts,
            TlsVersion,
        },
    },
    strength::{self, Fault, Judgement, Profile, Strength},
};

/// What is the same for all records of a run.
#[derive(Clone, Debug)]
pub struct RecordContext {
    /// Capture name.
    pub capture: Option<Arc<str>>,
    /// Networks that count as inside; empty: private, ULA and shared address space.
    pub internal: Vec<Network>,
    /// Networks of AWS endpoints.
    pub aws_endpoint: Vec<Network>,
    /// Networks of scopes, by name.
    pub scopes: Vec<(String, Vec<Network>)>,
    /// Policy by which the strength of TLS is judged.
    pub profile: &'static Profile,
    /// Nobody reads more of a record than who, what and how much: TLS facts, layers, evidence and vantages are left out, and
    /// what name services answer is not read. No verdict changes by it.
    pub brief: bool,
}

impl Default for RecordContext {
    fn default() -> Self {
        Self {
            capture: None,
            internal: Vec::new(),
            aws_endpoint: Vec::new(),
            scopes: Vec::new(),
            profile: Profile::DEFAULT,
            brief: false,
        }
    }
}

/// The record of `flow` with `verdict`.
pub(super) fn record<T>(
    flow: &Flow<T>,
    verdict: Verdict,
    vantages: &VantageTable,
    scope: &Arc<str>,
    context: &RecordContext,
) -> Record {
    let key = flow.key();
    let (src, dst) = if flow.client() == 0 { (key.a, key.b) } else { (key.b, key.a) };
    let (c2s, exact_c2s) = flow.direction(Side::Client).elected();
    let (s2c, exact_s2c) = flow.direction(Side::Server).elected();
    let elected = [&c2s, &s2c];
    Record {
        schema: SCHEMA_VERSION,
        capture: context.capture.clone(),
        event: None,
        ts_first: flow.first,
        ts_last: flow.last,
        scope: Arc::clone(scope),
        community_id: CommunityId::new(key),
        src_ip: src.ip(),
        src_port: src.port(),
        dst_ip: dst.ip(),
        dst_port: dst.port(),
        roles: flow.roles.name(),
        transport: key.transport.name(),
        encryption: verdict.encryption.name(),
        outcome: verdict.outcome.name(),
        app: verdict.app,
        app_source: verdict.app_source.map(crate::model::AppSource::name),
        layers: verdict.layers,
        upgrade: verdict.upgrade,
        plaintext_reason: verdict.plaintext_reason.map(crate::model::PlaintextReason::name),
        credentials: verdict.credentials.names().collect(),
        confidence: verdict.confidence.map(crate::model::Confidence::name),
        unknown_reason: verdict.unknown_reason.map(crate::model::UnknownReason::name),
        boundary: context.boundary(src.ip(), dst.ip(), scope),
        tls: verdict.tls.map(|tls| Box::new(tls_record(*tls, flow.first, context.profile))),
        evidence: verdict.evidence.into_iter().map(EvidenceRecord::from).collect(),
        packets_c2s: c2s.packets,
        packets_s2c: s2c.packets,
        bytes_c2s: c2s.bytes,
        bytes_s2c: s2c.bytes,
        delta: None,
        counts: if exact_c2s && exact_s2c { "exact" } else { "partial" },
        origin: flow.origin.name(),
        state: flow.state.name(),
        vantages: if context.brief {
            Vec::new()
        } else {
            vantage_records(flow.directions.iter(), vantages)
        },
        truncated: elected.iter().map(|t| u64::from(t.truncated)).sum(),
        gaps: elected.iter().map(|t| u64::from(t.coverage.holes())).sum(),
        retransmits: elected.iter().map(|t| u64::from(t.retransmits)).sum(),
        expected_service: expected_service(dst.port()),
        host: verdict.host,
        names: NamesRecord::default(),
    }
}

/// Protocol whose usual port this is.
fn expected_service(port: u16) -> Option<&'static str> {
    static SERVICES: LazyLock<HashMap<u16, &'static str, foldhash::fast::FixedState>> =
        LazyLock::new(|| {
            let infos = DETECTORS.iter().map(|d| d.info());
            // The first that names a port has it.
            infos.rev().flat_map(|info| info.ports.iter().map(|port| (*port, info.name))).collect()
        });
    SERVICES.get(&port).copied()
}

fn vantage_records<'f>(
    directions: impl Iterator<Item = &'f Direction>,
    vantages: &VantageTable,
) -> Vec<VantageRecord> {
    let mut list: Vec<VantageRecord> = directions
        .flat_map(Direction::vantages)
        .filter_map(|vantage| vantages.get(vantage))
        .map(|v| VantageRecord { source: v.source, vni: v.vni })
        .collect();
    list.sort_unstable();
    list.dedup();
    list
}

/// Certificates are judged at `now`, strength by `profile`.
fn tls_record(facts: TlsFacts, now: Timestamp, profile: &Profile) -> TlsRecord {
    let certificates = CertificatesRecord::new(&facts, now);
    let strength = strength_record(&facts, profile);
    TlsRecord {
        version: facts.version.and_then(TlsVersion::name),
        version_offered: facts.version_offered.and_then(TlsVersion::name),
        versions_offered: version_names(&facts.versions_offered),
        cipher: facts.cipher.map(|id| named(cipher_name(id), id)).or_else(|| {
            let kind = facts.cipher_sslv2?;
            Some(named(sslv2_cipher_name(kind), kind))
        }),
        cipher_id: facts.cipher.map(u32::from).or(facts.cipher_sslv2).map(HexCode),
        ciphers_offered: facts.ciphers_offered,
        key_exchange: facts.key_exchange.map(KeyExchange::name),
        group: facts.group.map(|id| named(group_name(id), id)),
        groups_offered: facts.groups_offered.iter().map(|id| named(group_name(*id), *id)).collect(),
        pq: facts.pq,
        pq_offered: facts.pq_offered,
        dh_bits: facts.dh_bits,
        signature_algorithm: facts.signature_algorithm.map(|id| named(signature_name(id), id)),
        compression: facts.compression.map(|id| named(compression_name(id), id)),
        sni: facts.sni,
        alpn: facts.alpn,
        alpn_offered: facts.alpn_offered,
        ech_offered: facts.ech_offered,
        ech_grease: facts.ech_grease,
        resumed: facts.resumed,
        resumption: facts.resumption.map(Resumption::name),
        early_data: facts.early_data_offered,
        early_data_sent: facts.early_data_sent,
        early_data_accepted: facts.early_data_accepted,
        secure_renegotiation: facts.secure_renegotiation,
        renegotiated: facts.renegotiated,
        extended_master_secret: facts.extended_master_secret,
        hello_retry_request: facts.hello_retry_request,
        downgrade_sentinel: facts.downgrade_sentinel,
        outcome: facts.outcome.map(HandshakeOutcome::name),
        alert: facts.alert.map(alert_record),
        client_cert: match facts.client_cert_seen {
            Some(true) => "yes",
            Some(false) => "no",
            None => "unknown",
        },
        client_cert_seen: facts.client_cert_seen,
        client_cert_requested: facts.client_cert_requested,
        certificate_cut: facts.certificate_cut.map(CertificateCut::name),
        ja3: facts.ja3,
        ja4: facts.ja4,
        certificates,
        strength,
    }
}

fn strength_record(facts: &TlsFacts, profile: &Profile) -> StrengthRecord {
    let Judgement { strength, reasons, unjudged } = strength::judge(&facts.into(), profile);
    StrengthRecord {
        strength: strength.map(Strength::name),
        strength_reasons: reasons.into_iter().map(Fault::name).collect(),
        strength_unjudged: unjudged,
    }
}

fn alert_record(alert: TlsAlert) -> AlertRecord {
    let description = alert_name(alert.description);
    AlertRecord {
        direction: alert.side.direction(),
        level: if alert.level == 1 { "warning" } else { "fatal" },
        description: description.map_or_else(|| alert.description.to_string(), str::to_owned),
    }
}

/// The versions that have a name, once each: drafts are called after what became of them.
fn version_names(versions: &[TlsVersion]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for name in versions.iter().filter_map(|version| version.name()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// A code by its name, or as a number.
fn named(name: Option<&'static str>, id: impl Into<u32>) -> Cow<'static, str> {
    name.map_or_else(|| HexCode(id.into()).to_string().into(), Cow::Borrowed)
}

impl RecordContext {
    /// Where a flow of `scope` runs (design section 3).
    fn boundary(&self, src: IpAddr, dst: IpAddr, scope: &str) -> &'static str {
        if is_link_local(src) || is_link_local(dst) {
            return "link_local";
        }
        let within = |ip: IpAddr, networks: &[Network]| networks.iter().any(|n| n.contains(ip));
        if within(src, &self.aws_endpoint) || within(dst, &self.aws_endpoint) {
            return "aws_endpoint";
        }
        let inside = |ip: IpAddr| match self.internal.as_slice() {
            [] => is_private(ip),
            networks => within(ip, networks),
        };
        // Addresses repeat across scopes: what is ours is ours, whoever else has it too.
        let own = |ip: IpAddr| self.scopes.iter().any(|(n, of)| n == scope && within(ip, of));
        let another = |ip: IpAddr| !own(ip) && self.scopes.iter().any(|(_, of)| within(ip, of));
        let crosses = another(src) || another(dst);
        let known = |ip: IpAddr| inside(ip) || own(ip) || another(ip);
        match (known(src) && known(dst), crosses) {
            (true, true) => "cross_scope",
            (true, false) => "east_west",
            (false, _) => "internet",
        }
    }
}

const fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.is_loopback(),
    }
}

/// RFC 1918, RFC 6598 (shared address space) and RFC 4193 (unique local).
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || a == 100 && (64..128).contains(&b)
        }
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries() {
        let net = |text: &str| vec![text.parse::<Network>().unwrap()];
        let context = RecordContext {
            aws_endpoint: net("10.0.9.0/24"),
            scopes: vec![
                ("prod".to_owned(), net("10.0.0.0/16")),
                ("dev".to_owned(), net("10.0.0.0/8")),
                ("partner".to_owned(), net("203.0.113.0/24")),
            ],
            ..RecordContext::default()
        };
        let check = |src: &str, dst: &str, scope, expected| {
            let ip = |text: &str| text.parse::<IpAddr>().unwrap();
            assert_eq!(context.boundary(ip(src), ip(dst), scope), expected, "{src} {dst} {scope}");
        };
        check("10.0.0.1", "10.0.0.2", "prod", "east_west");
        check("10.0.0.1", "10.1.0.2", "prod", "cross_scope");
        check("10.0.0.1", "10.1.0.2", "dev", "east_west");
        check("10.0.0.1", "203.0.113.1", "prod", "cross_scope");
        check("10.0.0.1", "100.64.0.1", "prod", "east_west");
        check("10.0.0.1", "8.8.8.8", "prod", "internet");
        check("10.0.0.1", "10.0.9.7", "prod", "aws_endpoint");
        check("10.0.0.1", "169.254.169.254", "prod", "link_local");
        let internal = RecordContext { internal: net("8.8.0.0/16"), ..RecordContext::default() };
        let ip = |last| IpAddr::from([8, 8, 1, last]);
        assert_eq!(internal.boundary(ip(1), ip(8), "default"), "east_west");
    }
}
