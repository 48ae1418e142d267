//! The SDK's side: the standard credential chain, HTTPS only, and what each error means.
#![allow(clippy::disallowed_methods, reason = "edge: talks to AWS")]

use aws_config::SdkConfig;
use aws_sdk_cloudwatch::{
    Client,
    primitives::DateTime,
    types::{Dimension, MetricDatum, StandardUnit},
};

use super::{config::CloudWatchConfig, delivery::Put, requests::Sample};
use crate::{
    alerts::AwsAccess,
    output::{
        Fault,
        aws::{self, HttpsOnly, fault, load},
    },
};

/// Why CloudWatch cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A key of the configuration.
    #[error("{0}")]
    Config(String),
    /// Neither configuration nor environment names a Region.
    #[error("cloudwatch.region: no Region; set it, or AWS_REGION, or a profile's region")]
    NoRegion,
}

/// A client for one namespace.
#[derive(Clone, Debug)]
pub struct CloudWatch {
    client: Client,
    config: CloudWatchConfig,
}

impl CloudWatch {
    /// Reads environment and profile; sends nothing.
    pub async fn connect(config: &CloudWatchConfig) -> Result<Self, ConnectError> {
        if let Some(problem) = config.problem() {
            return Err(ConnectError::Config(problem));
        }
        let sdk = load(&access(config), config.timeout_s).await;
        if sdk.region().is_none() {
            return Err(ConnectError::NoRegion);
        }
        let client = client(&sdk, config);
        Ok(Self { client, config: config.clone() })
    }

    /// Who asks, by `sts:GetCallerIdentity`: account and ARN, which are no secrets.
    pub async fn identity(config: &CloudWatchConfig) -> Result<String, String> {
        aws::identity(&access(config), config.timeout_s).await
    }

    /// Asks for permission without writing: a request without data, which CloudWatch turns down only after it has looked
    /// at who asks.
    pub async fn probe(&self) -> Result<String, Fault> {
        let request = self.client.put_metric_data().namespace(&self.config.namespace);
        let place = self.config.endpoint.as_deref().unwrap_or("the Region's endpoint");
        match request.send().await {
            Ok(_) => Ok(format!("allowed at {place}")),
            Err(error) => match fault(&error) {
                Fault::Invalid(_) => Ok(format!("allowed at {place}")),
                fault => Err(fault),
            },
        }
    }
}

impl Put for CloudWatch {
    async fn put(&mut self, samples: &[Sample]) -> Result<(), Fault> {
        let mut data = Vec::with_capacity(samples.len());
        for sample in samples {
            data.push(datum(sample));
        }
        let request = self.client.put_metric_data().namespace(&self.config.namespace);
        match request.set_metric_data(Some(data)).send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(fault(&error)),
        }
    }

    async fn reload(&mut self) {
        let sdk = load(&access(&self.config), self.config.timeout_s).await;
        self.client = client(&sdk, &self.config);
    }
}

fn access(config: &CloudWatchConfig) -> AwsAccess {
    AwsAccess {
        region: config.region.clone(),
        endpoint: config.endpoint.clone(),
        fips: config.fips,
        role_arn: config.role_arn.clone(),
        external_id: config.external_id.clone(),
    }
}

fn client(sdk: &SdkConfig, config: &CloudWatchConfig) -> Client {
    let mut builder = aws_sdk_cloudwatch::config::Builder::from(sdk).interceptor(HttpsOnly);
    if let Some(endpoint) = &config.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    Client::from_conf(builder.build())
}

fn datum(sample: &Sample) -> MetricDatum {
    let seconds = i64::try_from(sample.time_s).unwrap_or(i64::MAX);
    let dimensions = sample.datum.dimensions.iter();
    let dimensions =
        dimensions.map(|(name, value)| Dimension::builder().name(name).value(value).build());
    MetricDatum::builder()
        .metric_name(&sample.datum.name)
        .set_dimensions(Some(dimensions.collect()))
        .timestamp(DateTime::from_secs(seconds))
        .value(sample.datum.value)
        .unit(StandardUnit::from(sample.datum.unit.as_str()))
        .build()
}

#[cfg(test)]
mod tests;
