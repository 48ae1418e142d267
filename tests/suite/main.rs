//! One binary for all integration tests. Each module holds one promise; see its first line.
#![expect(clippy::tests_outside_test_module, reason = "this whole binary is tests")]
#![allow(clippy::disallowed_methods, reason = "tests read captures and start programs")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::string_slice,
    clippy::format_push_string,
    clippy::missing_panics_doc,
    reason = "a test that panics has failed as it should"
)]
#![allow(missing_docs, unreachable_pub, reason = "nothing is exported from a test binary")]

#[cfg(feature = "aws")]
mod alarms;
#[cfg(feature = "aws")]
mod alerts;
mod alloc;
mod bounds;
mod build;
mod capture;
mod cipher_names;
mod cli;
#[cfg(feature = "aws")]
mod cloudwatch;
mod config;
mod degrade;
#[cfg(feature = "inventory")]
mod ec2;
#[cfg(feature = "live")]
mod emulator;
#[cfg(feature = "live")]
mod findings;
#[cfg(feature = "book")]
mod flood;
mod golden;
#[cfg(feature = "live")]
mod health;
mod inputs;
mod inventory;
#[cfg(feature = "live")]
mod live;
mod lookalikes;
mod metrics;
mod mistakes;
#[cfg(feature = "aws")]
mod moto;
mod names;
mod outputs;
mod policy;
mod ports;
mod process;
mod props;
mod random;
mod reconfigure;
mod repeat;
mod schema;
mod scopes;
mod secrets;
#[cfg(feature = "inventory")]
mod sessions;
mod tidy;
mod tls;
mod truth;
mod unknown;
mod updates;
mod vantages;
