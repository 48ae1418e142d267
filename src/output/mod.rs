//! Edge: where records go.

pub mod explain;
pub mod jsonl;
pub mod report;
pub mod table;

pub use jsonl::JsonLines;
pub use report::{Edge, Report};
