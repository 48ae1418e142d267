//! The SDK's side: the standard credential chain, HTTPS only, and what each error means.
#![allow(clippy::disallowed_methods, reason = "edge: talks to AWS")]

use std::time::Duration;

use aws_config::{
    BehaviorVersion, ConfigLoader, Region, SdkConfig, retry::RetryConfig, sts::AssumeRoleProvider,
    timeout::TimeoutConfig,
};
use aws_sdk_cloudwatch::{
    Client,
    config::{
        ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextRef,
    },
    error::{BoxError, ProvideErrorMetadata, SdkError},
    operation::put_metric_data::PutMetricDataError,
    primitives::DateTime,
    types::{Dimension, MetricDatum, StandardUnit},
};

use super::{
    config::{CloudWatchConfig, is_safe},
    delivery::{Fault, Put},
    requests::Sample,
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
        let sdk = load(config).await;
        if sdk.region().is_none() {
            return Err(ConnectError::NoRegion);
        }
        let client = client(&sdk, config);
        Ok(Self { client, config: config.clone() })
    }
}

impl Put for CloudWatch {
    async fn put(&mut self, samples: &[Sample]) -> Result<(), Fault> {
        let mut data = Vec::with_capacity(samples.len());
        for sample in samples {
            data.push(datum(sample)?);
        }
        let request = self.client.put_metric_data().namespace(&self.config.namespace);
        match request.set_metric_data(Some(data)).send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(fault(&error)),
        }
    }

    async fn reload(&mut self) {
        let sdk = load(&self.config).await;
        self.client = client(&sdk, &self.config);
    }
}

/// Timeouts, retries, Region and FIPS as configured; the rest is the environment's.
fn base(config: &CloudWatchConfig) -> ConfigLoader {
    let timeout = Duration::from_secs(u64::from(config.timeout_s.max(1)));
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(timeout.min(Duration::from_secs(10)))
        .operation_attempt_timeout(timeout)
        .build();
    // Few of its own: the SDK corrects a wrong clock between attempts, the delivery waits between requests.
    let retries = RetryConfig::standard().with_max_attempts(2);
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(timeouts)
        .retry_config(retries);
    if let Some(region) = &config.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if config.fips {
        loader = loader.use_fips(true);
    }
    loader
}

async fn load(config: &CloudWatchConfig) -> SdkConfig {
    let sdk = base(config).load().await;
    let Some(role) = &config.role_arn else { return sdk };
    let mut provider = AssumeRoleProvider::builder(role).session_name("cleartap").configure(&sdk);
    if let Some(id) = &config.external_id {
        provider = provider.external_id(id);
    }
    let credentials =
        aws_sdk_cloudwatch::config::SharedCredentialsProvider::new(provider.build().await);
    sdk.into_builder().credentials_provider(credentials).build()
}

fn client(sdk: &SdkConfig, config: &CloudWatchConfig) -> Client {
    let mut builder = aws_sdk_cloudwatch::config::Builder::from(sdk).interceptor(HttpsOnly);
    if let Some(endpoint) = &config.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    Client::from_conf(builder.build())
}

fn datum(sample: &Sample) -> Result<MetricDatum, Fault> {
    let seconds = i64::try_from(sample.time_s).unwrap_or(i64::MAX);
    let dimensions = sample.datum.dimensions.iter();
    let dimensions =
        dimensions.map(|(name, value)| Dimension::builder().name(name).value(value).build());
    Ok(MetricDatum::builder()
        .metric_name(&sample.datum.name)
        .set_dimensions(Some(dimensions.collect()))
        .timestamp(DateTime::from_secs(seconds))
        .value(sample.datum.value)
        .unit(StandardUnit::from(sample.datum.unit.as_str()))
        .build())
}

/// Whether the network is to blame. Credentials that cannot be had, and an endpoint that is refused, are told without a kind.
fn is_transient(error: &SdkError<PutMetricDataError>) -> bool {
    let SdkError::DispatchFailure(failure) = error else { return false };
    failure.is_io() || failure.is_timeout() || failure.as_other().is_some()
}

/// What an error means. Only codes and numbers are told of it.
fn fault(error: &SdkError<PutMetricDataError>) -> Fault {
    let status = error.raw_response().map(|response| response.status().as_u16());
    let code = error.code().unwrap_or("no code");
    let told = match status {
        Some(status) => format!("HTTP {status}, {code}"),
        None => match error {
            SdkError::TimeoutError(_) => "no answer in time".to_owned(),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => {
                "no answer in time".to_owned()
            }
            SdkError::DispatchFailure(_) if is_transient(error) => {
                "the connection was refused or cut".to_owned()
            }
            SdkError::DispatchFailure(_) => {
                "the request could not be sent: credentials, or TLS".to_owned()
            }
            SdkError::ConstructionFailure(_) => {
                "the request could not be made: credentials, or endpoint".to_owned()
            }
            _ => "the answer could not be read".to_owned(),
        },
    };
    if CREDENTIAL_CODES.contains(&code) {
        return Fault::Credentials(told);
    }
    if LATER_CODES.contains(&code) {
        return Fault::Later(told);
    }
    match (status, error) {
        (Some(401 | 403), _) => Fault::Credentials(told),
        (Some(400 | 413), SdkError::ServiceError(_)) => Fault::Invalid(told),
        (None, SdkError::ConstructionFailure(_)) => Fault::Credentials(told),
        (None, SdkError::DispatchFailure(_)) if !is_transient(error) => Fault::Credentials(told),
        _ => Fault::Later(told),
    }
}

/// Common errors of AWS services about who asks, and when
/// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CommonErrors.html>).
const CREDENTIAL_CODES: [&str; 11] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "MissingAuthenticationToken",
    "AccessDenied",
    "AccessDeniedException",
    "RequestExpired",
];

const LATER_CODES: [&str; 8] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "LimitExceeded",
    "ServiceUnavailable",
    "InternalServiceFault",
    "RequestTimeout",
];

/// Lets no request leave the machine in clear, wherever its endpoint comes from: a sensor for cleartext must not make any.
#[derive(Debug)]
struct HttpsOnly;

impl Intercept for HttpsOnly {
    fn name(&self) -> &'static str {
        "HttpsOnly"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if is_safe(context.request().uri()) {
            Ok(())
        } else {
            Err("the endpoint is not https".into())
        }
    }
}

#[cfg(test)]
mod tests;
