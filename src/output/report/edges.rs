//! The edges of a report, small: a capture may hold hundreds of thousands of them, and most are never shown.
//!
//! Words that many edges share (scope, protocol, outcome ...) stand once in a list of kinds. An edge is 80 bytes in a block
//! that never moves, and 5 bytes in the table that finds it.

use std::{cmp::Ordering, hash::BuildHasher as _, net::IpAddr, sync::Arc};

use hashbrown::{HashMap, HashTable};

use super::Edge;
use crate::{
    model::{Credentials, Timestamp, record::Record},
    slab::Slab,
};

/// Who talks to whom in clear, each pair once for what it talks.
#[derive(Clone, Debug, Default)]
pub(super) struct Edges {
    kinds: Vec<Kind>,
    numbers: HashMap<Kind, u32, foldhash::fast::RandomState>,
    entries: Slab<Entry>,
    places: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
}

/// What many edges have in common. Ordered as edges of equal weight are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    scope: Arc<str>,
    app: Option<&'static str>,
    encryption: &'static str,
    outcome: &'static str,
    reason: Option<&'static str>,
}

#[derive(Clone, Debug)]
struct Entry {
    key: Key,
    credentials: Credentials,
    flows: u64,
    bytes: u64,
    first: Timestamp,
    last: Timestamp,
}

const _: () = assert!(size_of::<Entry>() <= 80, "edges are many");

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    kind: u32,
    client: IpAddr,
    server: IpAddr,
    port: u16,
}

impl Edges {
    /// Adds a flow in clear; false if its edge is new and there are `most` already.
    pub(super) fn add(&mut self, record: &Record, bytes: u64, most: usize) -> bool {
        let full = self.len() >= most;
        let kind = Kind::of(record);
        let known = self.numbers.get(&kind).copied();
        if full && known.is_none() {
            return false;
        }
        let next = u32::try_from(self.kinds.len()).unwrap_or(u32::MAX);
        let number = known.unwrap_or(next);
        let key = Key {
            kind: number,
            client: record.src_ip,
            server: record.dst_ip,
            port: record.dst_port,
        };
        let Self { entries, places, hasher, .. } = self;
        let hash = hasher.hash_one(key);
        let is_it = |at: &u32| entries.get(index(*at)).is_some_and(|entry| entry.key == key);
        if let Some(at) = places.find(hash, is_it).copied() {
            if let Some(entry) = entries.get_mut(index(at)) {
                entry.grow(record, bytes);
            }
            return true;
        }
        if full {
            return false;
        }
        let at = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let rehash =
            |at: &u32| entries.get(index(*at)).map_or(0, |entry| hasher.hash_one(entry.key));
        places.insert_unique(hash, at, rehash);
        let mut entry = Entry::new(key, record);
        entry.grow(record, bytes);
        entries.push(entry);
        if known.is_none() {
            self.numbers.insert(kind.clone(), number);
            self.kinds.push(kind);
        }
        true
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether any lies in a scope that has a name.
    pub(super) fn is_scoped(&self) -> bool {
        self.kinds.iter().any(|kind| &*kind.scope != "default")
    }

    /// The worst, at most so many, worst first.
    pub(super) fn worst(&self, most: usize) -> Vec<Edge> {
        let mut order: Vec<(&Kind, &Entry)> = self
            .entries
            .iter()
            .filter_map(|entry| Some((self.kinds.get(index(entry.key.kind))?, entry)))
            .collect();
        if most == 0 {
            return Vec::new();
        }
        if most < order.len() {
            order.select_nth_unstable_by(most - 1, worse);
            order.truncate(most);
        }
        order.sort_unstable_by(worse);
        order.into_iter().map(|(kind, entry)| entry.edge(kind)).collect()
    }
}

impl Kind {
    fn of(record: &Record) -> Self {
        Self {
            scope: Arc::clone(&record.scope),
            app: record.app,
            encryption: record.encryption,
            outcome: record.outcome,
            reason: record.plaintext_reason,
        }
    }

    /// In use before refused and attempted.
    fn in_use(&self) -> u8 {
        match self.outcome {
            "established" => 3,
            "unknown" => 2,
            "refused" => 1,
            _ => 0,
        }
    }

    /// Databases before the rest, name services last.
    fn gravity(&self) -> u8 {
        match self.app {
            Some("postgresql" | "mysql" | "redis") => 3,
            Some("http" | "http2") => 2,
            Some("dns") => 0,
            _ => 1,
        }
    }
}

impl Entry {
    const fn new(key: Key, record: &Record) -> Self {
        Self {
            key,
            credentials: Credentials::NONE,
            flows: 0,
            bytes: 0,
            first: record.ts_first,
            last: record.ts_last,
        }
    }

    fn grow(&mut self, record: &Record, bytes: u64) {
        self.flows += 1;
        self.bytes += bytes;
        if !record.credentials.is_empty() {
            self.credentials = self.credentials.with(Credentials::named(&record.credentials));
        }
        self.first = self.first.min(record.ts_first);
        self.last = self.last.max(record.ts_last);
    }

    /// Secrets that can be read and used at once weigh most.
    fn secret(&self) -> u8 {
        match self.credentials {
            Credentials::NONE => 0,
            Credentials::PASSWORD_HASH_CHALLENGE => 1,
            _ => 2,
        }
    }

    fn edge(&self, kind: &Kind) -> Edge {
        Edge {
            scope: Arc::clone(&kind.scope),
            protocol: kind.app,
            encryption: kind.encryption,
            client: self.key.client,
            server: self.key.server,
            port: self.key.port,
            flows: self.flows,
            bytes: self.bytes,
            outcome: kind.outcome,
            plaintext_reason: kind.reason,
            credentials: self.credentials.names().collect(),
            first_seen: self.first,
            last_seen: self.last,
        }
    }
}

/// In use before refused and attempted; readable secrets before hashes; then databases, then bytes. Ties by name.
fn worse(one: &(&Kind, &Entry), other: &(&Kind, &Entry)) -> Ordering {
    let weight = |(kind, entry): &(&Kind, &Entry)| {
        (kind.in_use(), entry.secret(), kind.gravity(), entry.bytes)
    };
    weight(other).cmp(&weight(one)).then_with(|| {
        let ((k, e), (l, f)) = (one, other);
        (&k.scope, k.app, k.encryption)
            .cmp(&(&l.scope, l.app, l.encryption))
            .then_with(|| {
                let ends = |key: &Key| (key.client, key.server, key.port);
                ends(&e.key).cmp(&ends(&f.key))
            })
            .then_with(|| (k.outcome, k.reason).cmp(&(l.outcome, l.reason)))
    })
}

fn index(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}
