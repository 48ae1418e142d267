//! Who has which address, and since when: what an EC2 account or a file lists.
//!
//! Pure: listings are handed in with their time. [`Listing`] is one look at an account and Region, [`Inventory`] all of it over time, so that an address that is used again is not blamed on whom it
//! belonged to before.
#![forbid(unsafe_code)]

mod file;
mod history;
mod listing;
mod resource;

pub use file::{COLUMNS, Form, Wrong, read};
pub use history::{
    Changed, Held, Inventory, MirrorSource, Realm, TENURES_MAX, Tenure, held, mirror_sources,
};
pub use listing::{Instance, Interface, Listing, MirrorSession, Subnet, Tags};
pub use resource::{NAME_CHARS_MAX, TagKeys};
