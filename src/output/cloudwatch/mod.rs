//! Edge: data points to CloudWatch, by `PutMetricData`.
//!
//! A period's points are committed to the spool first; `Delivery` sends them from there, so that an endpoint that is
//! down, a throttle or a crash costs time and no data. Delivery is at least once: an answer that is lost, or a crash
//! between an answer and the next one, sends a request twice, and with the statistic `Sum` it then counts twice.

#[cfg(feature = "aws")]
mod client;
mod config;
#[cfg(feature = "aws")]
mod delivery;
#[cfg(feature = "aws")]
mod requests;

#[cfg(feature = "aws")]
pub use client::{CloudWatch, ConnectError};
pub use config::CloudWatchConfig;
#[cfg(feature = "aws")]
pub use delivery::{Delivery, DeliveryCounters, Outbox, Put};
#[cfg(feature = "aws")]
pub use requests::{REQUEST_BYTES_MAX, REQUEST_DATA_MAX, Sample, encode};
