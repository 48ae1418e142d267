//! cleartap answers one question for a cloud security team: *what inside our VPC still talks in cleartext, who does it, and
//! how do we turn it off?* It is passive: it never decrypts, answers, blocks or keeps payload.
//!
//! ```text
//! file, interface, UDP 4789 ─ Source ─ Frame ─ wire ─ Segment ─ flow ─ two Streams ─ detect ─ Verdict ─ Record ─ output
//! ```
//!
//! | module | holds | may use |
//! |---|---|---|
//! | [`bytes`], [`model`], [`slab`] | the bounded reader; the shared nouns; places for what is many | nothing of ours (`model`: `bytes`) |
//! | [`wire`], [`detect`] | decapsulation; one file per protocol | `bytes`, `model` |
//! | [`inspect`] | facts of a matched layer, once per flow | `bytes`, `model`, `detect` (its view of a stream) |
//! | [`flow`] | flow table, streams, vantages | `bytes`, `model`, `slab` |
//! | [`strength`] | how good the TLS is by a named policy | `model` |
//! | [`metrics`] | what is counted per period, and its data points | `model`, `counters` |
//! | [`engine`] | the loop, from a frame to a record | all of the above, `counters`, `ingest::Source` |
//! | [`policy`] | whether a record matters, why, and what turns it off | `model` |
//! | [`findings`] | edges that matter, and their life | `model`, `policy` |
//! | [`alerts`] | which of their events are told, to whom, in which words | `model`, `policy`, `findings` |
//! | [`enrich`] | what a record gains from other flows: control plane | `model`, `inventory` |
//! | [`inventory`] | who has which address, and since when | `model` |
//! | [`sessions`] | the session keeper: which interfaces are mirrored, which should be, which cannot | `model`, `inventory`, `alerts` (how AWS is reached) |
//! | [`clock`] | edge: the wall clock | `model` |
//! | [`ingest`], [`output`] | edges: where bytes come from, where records, metrics and findings go | `model`, `clock`, `wire` (frames), `slab`, `counters`, `metrics`, `policy`, `findings`, `alerts` |
//! | `ec2` | edge: what an account holds, as the EC2 API tells it | `model`, `alerts` (how AWS is reached), `inventory`, `output` (the AWS chain) |
//! | [`config`] | the configuration file: written, then validated | `model`, `inventory` (which tags), `policy`, `strength`, `alerts`, sections of `metrics`, `output` and `sessions` |
//! | [`cli`] | the command line | everything |
//!
//! Invariants, as absences: no payload byte in anything that leaves; no port in a detector; no clock below the edges; no
//! allocation per packet in `wire` and `detect`; no verdict that turns from encrypted to plaintext or back.

pub mod alerts;
pub mod bytes;
pub mod cli;
pub mod clock;
pub mod config;
pub mod counters;
pub mod detect;
#[cfg(feature = "inventory")]
pub mod ec2;
pub mod engine;
pub mod enrich;
pub mod findings;
pub mod flow;
pub mod ingest;
pub mod inspect;
pub mod inventory;
pub mod metrics;
pub mod model;
pub mod output;
pub mod policy;
pub mod sessions;
pub mod slab;
pub mod strength;
pub mod wire;
