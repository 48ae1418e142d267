//! What a record gains from outside its own flow. Part of the control plane: records pass in order, one at a time, so that
//! shards know nothing of one another and the same capture gives the same records.
#![forbid(unsafe_code)]

mod servers;

pub use servers::Servers;
