//! Edge: where records go.

#[cfg(feature = "live")]
pub mod alerts;
#[cfg(feature = "aws")]
pub(crate) mod aws;
#[cfg(feature = "book")]
pub mod book;
pub mod cloudwatch;
pub mod emf;
pub mod explain;
mod fault;
#[cfg(feature = "live")]
pub mod http;
pub mod inventory;
pub mod jsonl;
pub mod prometheus;
pub mod report;
pub mod sarif;
pub mod spool;
#[cfg(all(test, feature = "live"))]
pub(crate) mod stub;
pub mod table;

pub use fault::Fault;
pub use inventory::Inventory;
pub use jsonl::JsonLines;
pub use report::{Edge, Report};
