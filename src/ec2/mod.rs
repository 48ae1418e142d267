//! Edge: the EC2 API. What an account and Region holds: interfaces, instances, subnets, mirror sessions.
//!
//! [`Ec2`] is a client like every other of ours: standard credential chain, role, FIPS, HTTPS only. Lists are read page by
//! page to their end; a list that breaks off is an error, never a short list.
#![allow(clippy::disallowed_methods, reason = "edge: talks to AWS")]

mod convert;

use std::fmt;

use aws_sdk_ec2::{Client, error::ProvideErrorMetadata, error::SdkError};

use crate::{
    alerts::AwsAccess,
    inventory::{Instance, Interface, Listing, MirrorSession, Subnet},
    output::{
        Fault,
        aws::{HttpsOnly, load},
    },
};

/// Most entries of one page.
pub const PAGE_ENTRIES_MAX: i32 = 1000;
/// Most entries of one list: an account beyond it is asked by parts that do not exist yet, and says so.
pub const LIST_ENTRIES_MAX: usize = 500_000;
/// Seconds until a request that is not answered is given up.
const TIMEOUT_S: u32 = 30;

/// Why the EC2 API cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither configuration nor environment names a Region.
    #[error("{}", crate::output::aws::NO_REGION)]
    NoRegion,
    /// An endpoint that would be spoken to in clear.
    #[error("endpoint = \"{0}\": expected https://HOST (http:// only on loopback)")]
    Endpoint(String),
}

/// A client for one account and Region.
#[derive(Clone)]
pub struct Ec2 {
    client: Client,
    access: AwsAccess,
    region: String,
    page_entries: i32,
}

impl fmt::Debug for Ec2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ec2").field("region", &self.region).finish_non_exhaustive()
    }
}

/// Reads a list to its end.
macro_rules! list {
    ($self:ident, $operation:ident, $entries:ident, $convert:path) => {{
        let mut pages =
            $self.client.$operation().into_paginator().page_size($self.page_entries).send();
        let mut list = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| fault(&error))?;
            list.extend(page.$entries.unwrap_or_default().into_iter().map($convert));
            if list.len() > LIST_ENTRIES_MAX {
                let told = format!("more than {LIST_ENTRIES_MAX} entries in one list");
                return Err(Fault::Later(told));
            }
        }
        Ok(list)
    }};
}

impl Ec2 {
    /// Reads environment and profile; sends nothing, unless a role is assumed.
    pub async fn connect(access: &AwsAccess) -> Result<Self, ConnectError> {
        if let Some(endpoint) =
            access.endpoint.as_deref().filter(|e| !crate::model::is_safe_endpoint(e))
        {
            return Err(ConnectError::Endpoint(endpoint.escape_default().to_string()));
        }
        let sdk = load(access, TIMEOUT_S).await;
        let region = sdk.region().ok_or(ConnectError::NoRegion)?.to_string();
        let mut builder = aws_sdk_ec2::config::Builder::from(&sdk).interceptor(HttpsOnly);
        if let Some(endpoint) = &access.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        let client = Client::from_conf(builder.build());
        Ok(Self { client, access: access.clone(), region, page_entries: PAGE_ENTRIES_MAX })
    }

    /// The same, with pages of so many entries: 5 to [`PAGE_ENTRIES_MAX`].
    #[must_use]
    pub fn with_page_entries(self, entries: i32) -> Self {
        Self { page_entries: entries.clamp(5, PAGE_ENTRIES_MAX), ..self }
    }

    /// The client itself, for operations that are not wrapped here; their errors are told by [`fault`].
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// How it is reached.
    pub const fn access(&self) -> &AwsAccess {
        &self.access
    }

    /// Region that is asked.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Everything an inventory is made of.
    pub async fn listing(&self) -> Result<Listing, Fault> {
        Ok(Listing {
            region: self.region.clone(),
            interfaces: self.interfaces().await?,
            instances: self.instances().await?,
            subnets: self.subnets().await?,
            sessions: self.mirror_sessions().await?,
        })
    }

    /// Asks for permission to list, by dry runs: nothing is listed.
    pub async fn probe(&self) -> Vec<(&'static str, Result<String, Fault>)> {
        let client = &self.client;
        vec![
            (
                "ec2:DescribeNetworkInterfaces",
                allowed(client.describe_network_interfaces().dry_run(true).send().await),
            ),
            (
                "ec2:DescribeInstances",
                allowed(client.describe_instances().dry_run(true).send().await),
            ),
            ("ec2:DescribeSubnets", allowed(client.describe_subnets().dry_run(true).send().await)),
            (
                "ec2:DescribeTrafficMirrorSessions",
                allowed(client.describe_traffic_mirror_sessions().dry_run(true).send().await),
            ),
        ]
    }

    /// Every network interface.
    pub async fn interfaces(&self) -> Result<Vec<Interface>, Fault> {
        list!(self, describe_network_interfaces, network_interfaces, convert::interface)
    }

    /// Every instance that is not terminated.
    pub async fn instances(&self) -> Result<Vec<Instance>, Fault> {
        let reservations: Result<Vec<_>, Fault> =
            list!(self, describe_instances, reservations, convert::reservation);
        Ok(reservations?.into_iter().flatten().collect())
    }

    /// Every subnet.
    pub async fn subnets(&self) -> Result<Vec<Subnet>, Fault> {
        list!(self, describe_subnets, subnets, convert::subnet)
    }

    /// Every traffic mirror session.
    pub async fn mirror_sessions(&self) -> Result<Vec<MirrorSession>, Fault> {
        list!(self, describe_traffic_mirror_sessions, traffic_mirror_sessions, convert::session)
    }
}

/// What a dry run says. An emulator may answer as if it were none.
fn allowed<T, E: ProvideErrorMetadata>(answer: Result<T, SdkError<E>>) -> Result<String, Fault> {
    match answer {
        Err(error) if error.code() != Some("DryRunOperation") => Err(fault(&error)),
        Ok(_) | Err(_) => Ok("allowed".to_owned()),
    }
}

/// What an error of this API means. Only codes and numbers are told of it.
pub fn fault<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Fault {
    let code = error.code().unwrap_or_default();
    match crate::output::aws::fault(error) {
        // EC2 has words of its own for who may not, and for too much.
        Fault::Invalid(told) | Fault::Later(told) if CREDENTIAL_CODES.contains(&code) => {
            Fault::Credentials(told)
        }
        Fault::Invalid(told) if LATER_CODES.contains(&code) => Fault::Later(told),
        fault => fault,
    }
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>
const CREDENTIAL_CODES: [&str; 5] =
    ["AuthFailure", "Blocked", "OptInRequired", "PendingVerification", "UnauthorizedOperation"];
const LATER_CODES: [&str; 4] =
    ["InternalError", "RequestLimitExceeded", "RequestResourceCountExceeded", "Unavailable"];

#[cfg(test)]
mod tests;
