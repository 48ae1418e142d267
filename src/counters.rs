//! Every counter of the sensor and its name. No string names elsewhere.

use crate::{flow::TableCounters, ingest::Drops, model::Encryption, wire};

/// What the sensor met, by name. Kept by the shard, summed across shards.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Frames read.
    pub frames: u64,
    /// Captured bytes read.
    pub frame_bytes: u64,
    /// Segments decoded.
    pub segments: u64,
    /// Frames skipped, by reason.
    pub skipped: Skipped,
    /// What the flow table met.
    pub table: TableCounters,
    /// What the decoder met that is no skip.
    pub decoder: wire::Counters,
    /// Frames of an outer source or VNI that is not allowed.
    pub not_allowed: u64,
    /// Segments of vantages beyond the number that can be told apart.
    pub vantages_crowded_out: u64,
    /// Copies of flows that a second vantage mirrored.
    pub duplicates: u64,
    /// Sessions closed because the memory bound was reached.
    pub memory_closed: u64,
    /// Most memory held by sessions at once, in bytes.
    pub session_bytes_peak: u64,
    /// Most memory held by what is known of settled flows, in bytes.
    pub settled_bytes_peak: u64,
    /// Settled flows of which only what the verdict rests on was kept, or not all protocols offered.
    pub facts_trimmed: u64,
    /// Packet times that lay more than an hour from those before.
    pub time_jumps: u64,
    /// Flows with more layers than are looked into.
    pub layers_exceeded: u64,
    /// Flows of which more could have been read after the match.
    pub follow_exceeded: u64,
    /// Holes in streams being read that were passed over as lost.
    pub holes_passed: u64,
    /// Segments behind a hole for which there was no room.
    pub held_dropped: u64,
    /// Most flows at once.
    pub flows_peak: u64,
    /// Servers whose proven flows were forgotten to make room for others.
    pub servers_forgotten: u64,
    /// Names heard of servers that were forgotten to make room for others.
    pub names_forgotten: u64,
    /// Records of flows joined late that could not wait for evidence of other flows.
    pub records_hurried: u64,
    /// Flows that ended, by `encryption`.
    pub verdicts: [u64; Encryption::ALL.len()],
    /// Answers of name services for which there was no room on their way to naming servers.
    pub answers_dropped: u64,
    /// Periods of metrics that the control plane did not fetch in time.
    pub periods_dropped: u64,
    /// Records that an output could not take.
    pub records_dropped: u64,
    /// New configurations taken while running.
    pub config_reloads: u64,
    /// New configurations that were not in order, and changed nothing.
    pub config_rejected: u64,
    /// Segments let go because more came than could be taken, of flows of which only the counters would have moved.
    pub shed: u64,
    /// Their payload, in bytes.
    pub shed_bytes: u64,
    /// Segments that the kernel gave to the wrong shard.
    pub missteered: u64,
    /// Segments that a shard handed to the one that owns their flow.
    pub handed_over: u64,
    /// Segments that found no room on their way to another shard.
    pub handed_dropped: u64,
    /// Lost before us.
    pub drops: Drops,
}

/// Flows in cleartext whose edge found no room in the report: its own counter, not the sensor's.
pub const FLOWS_NOT_LISTED: &str = "edges_not_listed";

/// Frames skipped, by [`wire::Skip`].
#[derive(Clone, Debug, Default)]
pub struct Skipped([u64; wire::Skip::ALL.len()]);

impl Skipped {
    /// Counts one.
    pub fn count(&mut self, skip: wire::Skip) {
        if let Some(count) = self.0.get_mut(skip.index()) {
            *count += 1;
        }
    }

    fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }

    /// Reasons and their counts.
    pub fn iter(&self) -> impl Iterator<Item = (wire::Skip, u64)> {
        wire::Skip::ALL.iter().copied().zip(self.0)
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl Counters {
    /// Counts a flow that ended with this verdict.
    pub fn count_verdict(&mut self, encryption: &str) {
        let at = Encryption::ALL.iter().position(|e| e.name() == encryption);
        if let Some(count) = at.and_then(|at| self.verdicts.get_mut(at)) {
            *count += 1;
        }
    }

    /// Flows that ended with this verdict.
    pub fn verdict(&self, encryption: &str) -> u64 {
        let at = Encryption::ALL.iter().position(|e| e.name() == encryption);
        at.and_then(|at| self.verdicts.get(at)).copied().unwrap_or(0)
    }

    /// Adds what another shard met: peaks are of all shards together, at most; every shard sees each jump of time.
    pub fn add(&mut self, other: &Self) {
        self.frames += other.frames;
        self.frame_bytes += other.frame_bytes;
        self.segments += other.segments;
        self.skipped.add(&other.skipped);
        self.table.add(&other.table);
        self.decoder.add(&other.decoder);
        self.not_allowed += other.not_allowed;
        self.vantages_crowded_out += other.vantages_crowded_out;
        self.duplicates += other.duplicates;
        self.memory_closed += other.memory_closed;
        self.session_bytes_peak += other.session_bytes_peak;
        self.settled_bytes_peak += other.settled_bytes_peak;
        self.facts_trimmed += other.facts_trimmed;
        self.time_jumps = self.time_jumps.max(other.time_jumps);
        self.layers_exceeded += other.layers_exceeded;
        self.follow_exceeded += other.follow_exceeded;
        self.holes_passed += other.holes_passed;
        self.held_dropped += other.held_dropped;
        self.flows_peak += other.flows_peak;
        self.servers_forgotten += other.servers_forgotten;
        self.names_forgotten += other.names_forgotten;
        self.records_hurried += other.records_hurried;
        for (sum, count) in self.verdicts.iter_mut().zip(other.verdicts) {
            *sum += count;
        }
        self.answers_dropped += other.answers_dropped;
        self.periods_dropped += other.periods_dropped;
        self.records_dropped += other.records_dropped;
        self.shed += other.shed;
        self.shed_bytes += other.shed_bytes;
        self.missteered += other.missteered;
        self.handed_over += other.handed_over;
        self.handed_dropped += other.handed_dropped;
        self.config_reloads += other.config_reloads;
        self.config_rejected += other.config_rejected;
        self.drops.kernel += other.drops.kernel;
        self.drops.interface += other.drops.interface;
    }

    /// Every counter with its name, zero or not, in a fixed order.
    pub fn list(&self) -> Vec<(&'static str, u64)> {
        let mut list = vec![
            ("frames", self.frames),
            ("frame_bytes", self.frame_bytes),
            ("segments", self.segments),
            ("flows", self.table.flows),
            ("servers_forgotten", self.servers_forgotten),
            ("names_forgotten", self.names_forgotten),
            ("records_hurried", self.records_hurried),
            ("flows_peak", self.flows_peak),
            ("evicted", self.table.evicted),
            ("memory_closed", self.memory_closed),
            ("session_bytes_peak", self.session_bytes_peak),
            ("settled_bytes_peak", self.settled_bytes_peak),
            ("facts_trimmed", self.facts_trimmed),
            ("port_reuse", self.table.port_reuse),
            ("scope_collision", self.table.scope_collision),
            ("stray", self.table.stray),
            ("siblings_crowded_out", self.table.siblings_crowded_out),
            ("blind_resets", self.table.blind_resets),
            ("copies_uncounted", self.table.copies_uncounted),
            ("time_jumps", self.time_jumps),
            ("layers_exceeded", self.layers_exceeded),
            ("follow_exceeded", self.follow_exceeded),
            ("holes_passed", self.holes_passed),
            ("held_dropped", self.held_dropped),
            ("duplicates", self.duplicates),
            ("vantages_crowded_out", self.vantages_crowded_out),
            ("not_allowed", self.not_allowed),
            ("answers_dropped", self.answers_dropped),
            ("periods_dropped", self.periods_dropped),
            ("records_dropped", self.records_dropped),
            ("shed", self.shed),
            ("shed_bytes", self.shed_bytes),
            ("missteered", self.missteered),
            ("handed_over", self.handed_over),
            ("handed_dropped", self.handed_dropped),
            ("config_reloads", self.config_reloads),
            ("config_rejected", self.config_rejected),
            ("kernel_drops", self.drops.kernel),
            ("interface_drops", self.drops.interface),
        ];
        let wire::Counters {
            fragments_reassembled,
            fragments_expired,
            fragments_evicted,
            segments_truncated,
            tunnel_fallbacks,
        } = self.decoder;
        list.extend([
            ("fragments_reassembled", fragments_reassembled),
            ("fragments_expired", fragments_expired),
            ("fragments_evicted", fragments_evicted),
            ("segments_truncated", segments_truncated),
            ("tunnel_fallbacks", tunnel_fallbacks),
        ]);
        list.extend(self.skipped.iter().map(|(skip, n)| (skip.name(), n)));
        list
    }
}
