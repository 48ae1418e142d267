//! Who has which address, and since when: what an EC2 account or a file lists.
//!
//! Pure: listings are handed in with their time. [`Listing`] is one look at an account and Region.
#![forbid(unsafe_code)]

mod listing;

pub use listing::{Instance, Interface, Listing, MirrorSession, Subnet, Tags};
