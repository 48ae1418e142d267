//! Edge: where records go.

pub mod cloudwatch;
pub mod emf;
pub mod explain;
#[cfg(feature = "live")]
pub mod http;
pub mod inventory;
pub mod jsonl;
pub mod prometheus;
pub mod report;
pub mod spool;
pub mod table;

pub use inventory::Inventory;
pub use jsonl::JsonLines;
pub use report::{Edge, Report};
