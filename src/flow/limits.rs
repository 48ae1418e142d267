//! Bounds of the flow table, and what it met.

/// Bounds of the table.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most flows at once.
    pub flows_max: usize,
    /// TCP idle time.
    pub tcp_idle_ns: u64,
    /// TCP idle time before both ends have spoken.
    pub half_open_idle_ns: u64,
    /// UDP and ESP idle time.
    pub udp_idle_ns: u64,
    /// How long a closed TCP flow waits for late copies.
    pub linger_ns: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = |s: u64| s * crate::model::time::NS_PER_S;
        Self {
            flows_max: 1 << 20,
            tcp_idle_ns: seconds(300),
            half_open_idle_ns: seconds(20),
            udp_idle_ns: seconds(60),
            // A FIN without an answer is sent again with ever longer pauses.
            linger_ns: seconds(15),
        }
    }
}

/// What the table met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableCounters {
    /// Flows begun.
    pub flows: u64,
    /// Flows pushed out of a full table.
    pub evicted: u64,
    /// Connections told apart although their keys are equal (two networks under one scope).
    pub scope_collision: u64,
    /// Segments of a vantage that fit no connection known.
    pub stray: u64,
    /// Segments that fit none of the connections of their key, which are as many as can be told apart.
    pub siblings_crowded_out: u64,
    /// Resets whose sequence number lies far from the connection's, not believed.
    pub blind_resets: u64,
    /// Copies of flows from further vantages than are counted for one direction.
    pub copies_uncounted: u64,
    /// Ports used again by a new connection.
    pub port_reuse: u64,
}

impl TableCounters {
    /// Adds what another table met.
    pub const fn add(&mut self, other: &Self) {
        self.flows += other.flows;
        self.evicted += other.evicted;
        self.scope_collision += other.scope_collision;
        self.stray += other.stray;
        self.siblings_crowded_out += other.siblings_crowded_out;
        self.blind_resets += other.blind_resets;
        self.copies_uncounted += other.copies_uncounted;
        self.port_reuse += other.port_reuse;
    }
}
