//! Configuration: one TOML file, the environment and flags over it.
//!
//! Two steps. [`Config`] is what is written, section by section; [`Settings`] is what has been validated, and the only
//! thing the rest of the program takes. Precedence: flag > environment (`CLEARTAP_SECTION__KEY`) > file > default; every
//! effective value knows its [`Origin`] and how a change of it takes effect ([`Reload`]).
//!
//! **Adding a section** is one struct with `Serialize`, `Deserialize`, `JsonSchema`, `Default`, `deny_unknown_fields` and
//! `#[serde(default)]`, and one field of [`Config`]. Every key says `x-reload` (a key without it needs a restart); checking, the
//! JSON Schema, the environment, the list of effective settings and reload follow from the struct. What a type cannot say
//! is checked in `Settings::new`.

mod check;
mod document;
mod effective;
mod error;
mod format;
mod inventory;
mod load;
mod outputs;
mod schema;
mod sections;
mod settings;

pub use effective::{Origin, Reload, Setting};
pub use error::{ConfigError, Place};
pub use inventory::InventorySection;
pub use load::{Flag, Loaded, Sources, load};
pub use outputs::{
    CanarySection, EmfSection, FINDINGS_PATH, FindingsSection, HealthSection, PrometheusSection,
};
pub use schema::json_schema;
pub use sections::{
    Capture, Config, CryptoInventory, Limits, Log, LogForm, Mirror, Networks, Records,
    ScopeNetworks, ScopeSection, Tls,
};
pub use settings::Settings;
