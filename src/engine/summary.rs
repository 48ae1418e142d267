//! What is known of a flow's conversation, and the verdict that follows from it.

use std::hash::{Hash as _, Hasher};

use super::reached::Reached;
use crate::{
    detect::{Facts, Match},
    flow::{Direction, Flow},
    inspect::{Reader, esp},
    model::{
        AppSource, Confidence, Credentials, Encryption, Evidence, Hostname, Mark, Origin, Outcome,
        PlaintextReason, Roles, Segment, Side, State, Transport, UnknownReason, Verdict,
        evidence::EVIDENCE_MAX,
        tls::{CertificateCut, HandshakeOutcome, TlsFacts},
        verdict::LAYERS_MAX,
    },
};

/// Everything learnt so far; only ever gains (design: the lattice).
#[allow(clippy::struct_excessive_bools, reason = "independent facts, each set by name")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    layers: Vec<&'static str>,
    evidence: Vec<Evidence>,
    app: Option<(&'static str, AppSource)>,
    encryption: Option<Encryption>,
    /// Name of the upgrade that led to the present layer, counted only if TLS follows.
    pending_upgrade: Option<&'static str>,
    upgrade: Option<&'static str>,
    /// A layer began and its bytes were not recognised.
    opaque_layer: bool,
    reason: Option<PlaintextReason>,
    credentials: Credentials,
    fits: [bool; 2],
    mismatch: [bool; 2],
    refused: bool,
    /// The server has taken the session.
    accepted: bool,
    /// The proof lies in a stream whose beginning was not seen.
    midstream: bool,
    unknown: Option<UnknownReason>,
    /// Nobody recognised it, but it is evidently text.
    heuristic: bool,
    /// The connection was closed.
    ended: bool,
    tls: Option<Box<(TlsFacts, Outcome)>>,
    /// Host that a request in clear was for.
    host: Option<Hostname>,
    /// Bounds that were reached.
    pub(super) reached: Reached,
}

/// Level of an alert that ends a connection.
const FATAL: u8 = 2;
/// Pieces of evidence kept where memory is short.
const EVIDENCE_KEPT: usize = 2;
/// Names of layers that only carry others.
const CARRIERS: [&str; 1] = ["proxy"];
/// Names of layers whose server passes on what it is told: it is the application, whatever runs inside.
const TUNNELS: [&str; 1] = ["socks"];

/// Names of layers that are the same whether what they carry is sealed or not.
const SEALABLE: [&str; 1] = ["rtp"];

/// The application a layer belongs to: a WebSocket joined late is an HTTP connection.
fn application(layer: &'static str) -> &'static str {
    if layer == "websocket" { "http" } else { layer }
}

impl Summary {
    /// An ESP flow: encrypted by its IP protocol number (RFC 4303), unless its first packet shows that it is only signed.
    pub(super) fn esp(segment: &Segment<'_>) -> Self {
        let whole = usize::try_from(segment.payload_len) == Ok(segment.payload.len());
        let null = whole && esp::is_null(segment.payload);
        let (rule, constant, encryption) = if null {
            ("ipsec.esp_null", "ESP, NULL encryption", Encryption::Plaintext)
        } else {
            ("ipsec.esp", "IP protocol 50", Encryption::Ipsec)
        };
        let mark = Mark { rule, side: Side::Client, offset: 0, length: 0, constant };
        let mut summary = Self::default();
        summary.matched("esp", Match { encryption: Some(encryption), mark }, 0, true);
        summary.reason = null.then_some(PlaintextReason::NullCipher);
        summary
    }

    /// Whether it is known for which host the requests are.
    pub(super) const fn has_host(&self) -> bool {
        self.host.is_some()
    }

    /// The host that a request in clear was for, if it names one.
    pub(super) fn set_host(&mut self, host: Option<Hostname>) {
        self.host = host;
    }

    /// Whether another layer may begin.
    pub(super) fn has_room_for_layer(&self) -> bool {
        self.layers.len() < LAYERS_MAX
    }

    /// A layer was recognised. `offset`: stream offset of the bytes the mark refers to.
    pub(super) fn matched(&mut self, name: &'static str, found: Match, offset: u64, known: bool) {
        // Nearly always the only one.
        self.layers.reserve_exact(1);
        self.layers.push(name);
        self.opaque_layer = false;
        self.midstream = !known;
        self.fits = [false; 2];
        self.mismatch = [false; 2];
        (self.refused, self.accepted) = (false, false);
        self.fit(found.mark.side);
        self.prove(found.mark, offset);
        match found.encryption {
            Some(Encryption::Tls | Encryption::Dtls) => {
                self.upgrade = self.pending_upgrade.take().or(self.upgrade);
                self.app = self.app.map(|(app, _)| (app, AppSource::Upgrade));
            }
            _ if CARRIERS.contains(&name) || self.is_tunnel() => {}
            _ => self.app = Some((application(name), AppSource::Payload)),
        }
        self.encryption = found.encryption.or(self.encryption);
    }

    fn is_tunnel(&self) -> bool {
        self.app.is_some_and(|(app, _)| TUNNELS.contains(&app))
    }

    /// A message of a recognised layer was read; true if it told anything new.
    pub(super) fn learn(&mut self, side: Side, facts: Facts, offset: u64) -> bool {
        if facts == Facts::NONE {
            return false;
        }
        let before = self.gist();
        if facts.fits {
            self.fit(side);
        }
        if facts.mismatch
            && let Some(mismatch) = self.mismatch.get_mut(index(side))
        {
            *mismatch = true;
        }
        // A refused upgrade is not the end if the session then goes on in clear.
        let goes_on = self.encryption.is_none() && facts.encryption.is_some();
        self.refused = (self.refused && !goes_on && !facts.accepted) || facts.refused;
        self.accepted |= facts.accepted;
        self.credentials = self.credentials.with(facts.credentials);
        self.reason = facts.reason.or(self.reason);
        self.encryption = facts.encryption.or(self.encryption);
        if let Some(mark) = facts.mark {
            self.prove(mark, offset);
        }
        self.gist() != before
    }

    /// What messages of a layer can change.
    fn gist(&self) -> impl PartialEq + use<> {
        let told = (self.encryption, self.reason, self.credentials, self.evidence.len());
        (told, self.fits, self.mismatch, self.refused, self.accepted)
    }

    /// Both sides were heard, the server took the session, and it is known whether it is in clear: more can only add to it.
    pub(super) fn is_in_use(&self) -> bool {
        self.fits == [true, true] && self.accepted && self.encryption.is_some()
    }

    /// A new layer begins behind the present one.
    pub(super) fn layer(&mut self, upgrade: Option<&'static str>) {
        self.pending_upgrade = upgrade;
    }

    /// Adds what a handshake reader knows.
    pub(super) fn handshake(&mut self, reader: &Reader) {
        for side in [Side::Client, Side::Server] {
            if reader.spoke(side) {
                self.fit(side);
            }
            if reader.mismatch(side) {
                self.misfit(side);
            }
        }
        if self.encryption.is_none() {
            self.unwrapped(reader.sealed());
        }
        self.tls(reader.finish(), reader.outcome(), reader.null_cipher());
    }

    /// A handshake inside another protocol's packets shows what it seals: all that follows, or a part.
    fn unwrapped(&mut self, sealed: Option<bool>) {
        match sealed {
            Some(true) => {
                self.encryption = Some(Encryption::Tls);
                self.upgrade = self.pending_upgrade.take().or(self.upgrade);
                self.app = self.app.map(|(app, _)| (app, AppSource::Upgrade));
                if self.has_room_for_layer() {
                    self.layers.push("tls");
                }
            }
            Some(false) => self.encryption = Some(Encryption::Partial),
            None => {}
        }
    }

    /// What the handshake reader knows, and how the handshake stands.
    fn tls(&mut self, facts: TlsFacts, outcome: Outcome, null_cipher: bool) {
        if null_cipher {
            self.encryption = Some(Encryption::Plaintext);
            self.reason = Some(PlaintextReason::NullCipher);
        }
        // TLS 1.3 hides the choice; of a single offer there is none.
        let only_offer = match facts.alpn_offered.as_slice() {
            [one] if facts.server_hello && !facts.alpn_cut => Some(one),
            _ => None,
        };
        if self.app.is_none()
            && let Some(alpn) =
                facts.alpn.as_ref().or(only_offer).and_then(|alpn| alpn_app(alpn.as_str()))
        {
            self.app = Some((alpn, AppSource::Alpn));
        }
        self.tls = Some(Box::new((facts, outcome)));
    }

    /// Watching ended without a match.
    pub(super) fn unrecognised(&mut self, reason: UnknownReason) {
        if self.layers.is_empty() {
            self.unknown = Some(reason);
        } else if reason != UnknownReason::NoPayload {
            self.opaque_layer = true;
            self.unknown = Some(reason);
        }
    }

    /// Watching ended without a match, but these sides' bytes (so many) can be read by anyone.
    pub(super) fn readable(&mut self, sides: [Option<usize>; 2], known: bool) {
        self.encryption = Some(Encryption::Plaintext);
        (self.heuristic, self.opaque_layer, self.midstream) = (true, false, !known);
        (self.fits, self.mismatch) = ([false; 2], [false; 2]);
        for (side, bytes) in [Side::Client, Side::Server].into_iter().zip(sides) {
            let Some(bytes) = bytes else { continue };
            self.fit(side);
            let length = u32::try_from(bytes).unwrap_or(u32::MAX);
            let constant = "printable text";
            self.prove(Mark { rule: "text.readable", side, offset: 0, length, constant }, 0);
        }
    }

    /// The connection was closed: both sides have said all they had to say.
    pub(super) const fn close(&mut self) {
        self.ended = true;
    }

    /// TLS was granted, and did not come yet.
    pub(super) const fn is_upgrading(&self) -> bool {
        self.pending_upgrade.is_some()
    }

    /// Evidence only: `side` spoke this layer's protocol.
    pub(super) fn fit(&mut self, side: Side) {
        if let Some(fits) = self.fits.get_mut(index(side)) {
            *fits = true;
        }
    }

    /// `side` spoke something else.
    pub(super) fn misfit(&mut self, side: Side) {
        if let Some(mismatch) = self.mismatch.get_mut(index(side)) {
            *mismatch = true;
        }
    }

    fn prove(&mut self, mark: Mark, offset: u64) {
        let Mark { rule, side, length, constant, .. } = mark;
        let known = self.evidence.iter().any(|e| e.rule == rule && e.side == side);
        if !known && self.evidence.len() < EVIDENCE_MAX {
            let offset = offset + u64::from(mark.offset);
            self.evidence.reserve_exact(1);
            self.evidence.push(Evidence { rule, side, offset, length, constant });
        }
    }

    /// Memory held, in bytes.
    pub(super) fn memory(&self) -> usize {
        let facts = self.tls.as_ref().map_or(0, |tls| {
            let (facts, _) = &**tls;
            size_of::<(TlsFacts, Outcome)>() + facts.memory()
        });
        size_of::<Self>()
            + self.layers.capacity() * size_of::<&str>()
            + self.evidence.capacity() * size_of::<Evidence>()
            + facts
            + self.host.as_ref().map_or(0, Hostname::memory)
    }

    /// Whether it says what other flows can hardly share: names, certificates, fingerprints.
    pub(super) const fn is_of_its_own(&self) -> bool {
        self.tls.is_some() || self.host.is_some()
    }

    /// Hashes what tells summaries apart best.
    pub(super) fn hash_proof(&self, state: &mut impl Hasher) {
        (&self.layers, self.encryption, self.fits, self.unknown).hash(state);
        for Evidence { rule, offset, length, .. } in &self.evidence {
            (rule.as_ptr(), offset, length).hash(state);
        }
    }

    /// Nobody reads the evidence.
    pub(super) fn drop_evidence(&mut self) {
        self.evidence = Vec::new();
    }

    /// Nothing more will be learnt: gives back what was reserved for it.
    pub(super) fn shrink(&mut self) {
        self.layers.shrink_to_fit();
        self.evidence.shrink_to_fit();
        if let Some((facts, _)) = self.tls.as_deref_mut() {
            facts.alpn_offered.shrink_to_fit();
        }
    }

    /// Drops what the verdict does not rest on; true if there was any.
    pub(super) fn trim(&mut self) -> bool {
        let before = self.memory();
        self.evidence.truncate(EVIDENCE_KEPT);
        if let Some((facts, _)) = self.tls.as_deref_mut() {
            if !facts.alpn_offered.is_empty() {
                (facts.alpn_offered, facts.alpn_cut) = (Vec::new(), true);
            }
            (facts.versions_offered, facts.groups_offered) = (Vec::new(), Vec::new());
            if facts.certificates.take().is_some() {
                facts.certificate_cut = Some(CertificateCut::Memory);
            }
            if facts.client_certificates.take().is_some() {
                facts.client_certificate_cut = Some(CertificateCut::Memory);
            }
        }
        self.shrink();
        self.memory() < before
    }

    /// Whether the client offered more protocols than are kept.
    pub(super) fn is_cut(&self) -> bool {
        self.tls.as_deref().is_some_and(|(facts, _)| facts.alpn_cut)
    }

    /// The verdict on `flow`. While its session is open, only what later bytes cannot take back is said.
    pub fn verdict<T>(&self, flow: &Flow<T>, stage: Stage) -> Verdict {
        Verdict {
            layers: self.layers.clone(),
            evidence: self.evidence.clone(),
            host: self.host.clone(),
            tls: self.tls.as_deref().map(|(facts, _)| {
                let outcome = Some(handshake_outcome(facts, flow));
                Box::new(TlsFacts { outcome, ..facts.clone() })
            }),
            ..self.judge(flow, stage)
        }
    }

    /// The last verdict on `flow`: nothing will be asked any more.
    pub(super) fn into_verdict<T>(self, flow: &Flow<T>) -> Verdict {
        let verdict = self.judge(flow, Stage::Over);
        let tls = self.tls.map(|tls| {
            let (facts, _) = *tls;
            let outcome = Some(handshake_outcome(&facts, flow));
            Box::new(TlsFacts { outcome, ..facts })
        });
        Verdict { layers: self.layers, evidence: self.evidence, host: self.host, tls, ..verdict }
    }

    /// The same without its lists and TLS facts.
    pub(super) fn brief_verdict<T>(&self, flow: &Flow<T>) -> Verdict {
        self.judge(flow, Stage::Over)
    }

    /// The outcome alone.
    pub(super) fn final_outcome<T>(&self, flow: &Flow<T>) -> Outcome {
        self.outcome(flow)
    }

    /// The verdict without its lists and TLS facts.
    fn judge<T>(&self, flow: &Flow<T>, stage: Stage) -> Verdict {
        let preamble_only = self.is_preamble_only(flow);
        let encryption = match self.encryption {
            _ if stage == Stage::Open && self.may_turn() => Encryption::Unknown,
            Some(encryption) if !self.opaque_layer => encryption,
            None if preamble_only => Encryption::Plaintext,
            _ => Encryption::Unknown,
        };
        let decided = encryption != Encryption::Unknown;
        let plaintext = matches!(encryption, Encryption::Plaintext | Encryption::Partial);
        let app = self.app.filter(|_| decided || stage == Stage::Over);
        let outcome = match self.outcome(flow) {
            outcome if stage == Stage::Over => outcome,
            Outcome::Established if decided && ran_on(flow) => Outcome::Established,
            _ => Outcome::Unknown,
        };
        Verdict {
            encryption,
            outcome,
            app: app.map(|(name, _)| name),
            app_source: app.map(|(_, source)| source),
            layers: Vec::new(),
            upgrade: self.upgrade,
            plaintext_reason: if preamble_only && self.refused {
                Some(PlaintextReason::ServerRefused)
            } else {
                self.reason.filter(|_| plaintext)
            },
            credentials: self.credentials,
            confidence: decided.then(|| self.confidence()),
            unknown_reason: (!decided).then(|| self.unknown_reason(flow)),
            evidence: Vec::new(),
            tls: None,
            host: None,
        }
    }

    /// Whether what comes next may yet decide: a preamble, or a handshake whose cipher is not known (it may be NULL).
    fn may_turn(&self) -> bool {
        let hello_only = self.tls.as_deref().is_some_and(|(facts, _)| !facts.server_hello);
        let may_be_null = self.encryption != Some(Encryption::Quic);
        self.encryption.is_none() || hello_only && may_be_null && !self.midstream
    }

    /// A preamble, all of it seen, led to nothing: what was said could be read. Both sides spoke it, or only the server
    /// greeted. Of a connection that was not closed this cannot be said: it may go on to ask for TLS.
    fn is_preamble_only<T>(&self, flow: &Flow<T>) -> bool {
        let sealable = self.layers.iter().any(|layer| SEALABLE.contains(layer));
        let open = self.encryption.is_none() && self.pending_upgrade.is_none() && !sealable;
        let greeted = self.fits == [false, true] && !flow.has_payload(Side::Client);
        let spoken = self.fits == [true, true] || greeted;
        self.ended && open && !self.opaque_layer && spoken && is_whole(flow)
    }

    fn confidence(&self) -> Confidence {
        match (self.midstream, self.fits) {
            _ if self.heuristic => Confidence::Heuristic,
            (true, _) => Confidence::Midstream,
            (false, [true, true]) => Confidence::BothSides,
            (false, _) => Confidence::OneSide,
        }
    }

    /// What became of it. Where bytes are missing, one of them may have been the refusal, or the answer: then only a
    /// session that the server was seen to take, or that ran on, counts as established.
    fn outcome<T>(&self, flow: &Flow<T>) -> Outcome {
        let whole = is_whole(flow);
        // Of a connection that was not closed the end may be missing.
        let closed = flow.state == State::Closed || flow.key().transport != Transport::Tcp;
        let taken = self.accepted || self.is_handshake_done() && is_gapless(flow);
        match self.outcome_seen(flow) {
            Outcome::Refused if !whole => Outcome::Unknown,
            Outcome::Established if !(taken || ran_on(flow) || whole && closed) => Outcome::Unknown,
            outcome => outcome,
        }
    }

    /// What became of it, if all of it was seen.
    fn outcome_seen<T>(&self, flow: &Flow<T>) -> Outcome {
        if self.layers.is_empty() && !self.heuristic {
            return Outcome::Unknown;
        }
        if self.refused || self.mismatch.contains(&true) {
            return Outcome::Refused;
        }
        if self.opaque_layer || self.accepted {
            return Outcome::Established;
        }
        if let Some((_, outcome @ (Outcome::Established | Outcome::Refused))) = self.tls.as_deref()
        {
            return *outcome;
        }
        match self.fits {
            [true, true] if self.tls.is_none() => Outcome::Established,
            [true, true] => Outcome::Unknown,
            [client, server] => {
                let silent = if client { Side::Server } else { Side::Client };
                debug_assert!(client || server, "a match fits at least one side");
                self.one_sided(flow, silent)
            }
        }
    }

    /// TLS: both sides have reached protection.
    fn is_handshake_done(&self) -> bool {
        matches!(self.tls.as_deref(), Some((_, Outcome::Established)))
    }

    /// One side proved the protocol: did the other answer?
    fn one_sided<T>(&self, flow: &Flow<T>, silent: Side) -> Outcome {
        // The speaker's acknowledgements tell of an answer that was not mirrored.
        let speaker = flow.direction(silent.other());
        let answered = flow.has_payload(silent) || speaker.acks_payload();
        let unseen = !flow.direction(silent).is_seen();
        match flow.key().transport {
            // A handshake is judged by its own reader.
            Transport::Tcp if answered && self.tls.is_some() => Outcome::Unknown,
            Transport::Tcp if answered => Outcome::Established,
            // Joined late, or nothing of that side was captured: it may have spoken.
            Transport::Tcp if self.midstream || unseen && speaker.acked().is_none() => {
                if ran_on(flow) { Outcome::Established } else { Outcome::Unknown }
            }
            // A datagram of the server answers one that was not seen.
            Transport::Udp | Transport::Esp if silent == Side::Client => Outcome::Established,
            _ => Outcome::Attempt,
        }
    }

    fn unknown_reason<T>(&self, flow: &Flow<T>) -> UnknownReason {
        if !flow.has_payload(Side::Client) && !flow.has_payload(Side::Server) {
            return UnknownReason::NoPayload;
        }
        let late = flow.origin == Origin::Midstream && flow.roles != Roles::Handshake;
        match self.unknown {
            Some(UnknownReason::Binary | UnknownReason::HighEntropy) if late => {
                UnknownReason::MidstreamOpaque
            }
            Some(reason) => reason,
            None => UnknownReason::TooShort,
        }
    }
}

/// Whether a verdict is given on a session that goes on or on one that has told all it could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// More may be learnt.
    Open,
    /// Nothing more will be learnt.
    Over,
}

/// How the handshake ended. What rests on absence (it was left half-way, another protocol answered, all that was sealed
/// has the size of an alert) needs a view without a gap, and to the end.
fn handshake_outcome<T>(facts: &TlsFacts, flow: &Flow<T>) -> HandshakeOutcome {
    let whole = is_whole(flow);
    let fatal = facts.alert.is_some_and(|alert| alert.level == FATAL);
    match facts.outcome.unwrap_or(HandshakeOutcome::Unknown) {
        HandshakeOutcome::Unknown if whole && facts.client_hello && flow.is_seen_to_its_end() => {
            HandshakeOutcome::Abandoned
        }
        HandshakeOutcome::Abandoned if !whole => HandshakeOutcome::Unknown,
        HandshakeOutcome::Alert if !whole && !fatal => HandshakeOutcome::Unknown,
        outcome => outcome,
    }
}

/// Whether both directions were seen from their beginning, without a gap or a cut.
fn is_whole<T>(flow: &Flow<T>) -> bool {
    let begun = flow.directions.iter().all(|direction| direction.isn().is_some());
    is_gapless(flow) && (begun || flow.key().transport != Transport::Tcp)
}

/// Whether both directions were seen without a gap or a cut, as far as the other end acknowledged them.
fn is_gapless<T>(flow: &Flow<T>) -> bool {
    let [a, b] = &flow.directions;
    a.is_whole(b.acked()) && b.is_whole(a.acked())
}

/// Packets after which a session is in use, whatever was missed: refused logins are shorter.
const RAN_ON_PACKETS: u64 = 24;

/// Whether the flow went on as no refused session does.
fn ran_on<T>(flow: &Flow<T>) -> bool {
    flow.directions.iter().map(Direction::elected_packets).sum::<u64>() >= RAN_ON_PACKETS
}

/// Application by ALPN protocol id (IANA TLS ALPN registry), where the id names one.
fn alpn_app(id: &str) -> Option<&'static str> {
    Some(match id {
        "h2" => "http2",
        "http/1.1" | "http/1.0" => "http",
        "postgresql" => "postgresql",
        "dot" => "dns",
        "tds/8.0" => "tds",
        _ => return None,
    })
}

/// Position of a side in per-side arrays.
pub(super) const fn index(side: Side) -> usize {
    match side {
        Side::Client => 0,
        Side::Server => 1,
    }
}
