//! What every AWS output shares: the standard credential chain, HTTPS only, and what each error means.
#![allow(clippy::disallowed_methods, reason = "edge: talks to AWS")]

use std::time::Duration;

use aws_config::{
    BehaviorVersion, ConfigLoader, Region, SdkConfig, retry::RetryConfig, sts::AssumeRoleProvider,
    timeout::TimeoutConfig,
};
use aws_sdk_cloudwatch::{
    config::{
        ConfigBag, Intercept, RuntimeComponents, SharedCredentialsProvider,
        interceptors::BeforeTransmitInterceptorContextRef,
    },
    error::{BoxError, ProvideErrorMetadata, SdkError},
};

use super::Fault;
use crate::{alerts::AwsAccess, model::is_safe_endpoint};

/// Timeouts, retries, Region and FIPS as configured; the rest is the environment's.
pub(crate) fn base(access: &AwsAccess, timeout_s: u32) -> ConfigLoader {
    let timeout = Duration::from_secs(u64::from(timeout_s.max(1)));
    let limits = TimeoutConfig::builder()
        .connect_timeout(timeout.min(Duration::from_secs(10)))
        .operation_attempt_timeout(timeout)
        .build();
    // Few of its own: the SDK corrects a wrong clock between attempts, the delivery waits between requests.
    let retries = RetryConfig::standard().with_max_attempts(2);
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(limits)
        .retry_config(retries);
    if let Some(region) = &access.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if access.fips {
        loader = loader.use_fips(true);
    }
    loader
}

/// What the clients of a service are made of; reads environment and profile, and assumes the role.
pub(crate) async fn load(access: &AwsAccess, timeout_s: u32) -> SdkConfig {
    let sdk = base(access, timeout_s).load().await;
    let Some(role) = &access.role_arn else { return sdk };
    let mut provider = AssumeRoleProvider::builder(role).session_name("cleartap").configure(&sdk);
    if let Some(id) = &access.external_id {
        provider = provider.external_id(id);
    }
    let credentials = SharedCredentialsProvider::new(provider.build().await);
    sdk.into_builder().credentials_provider(credentials).build()
}

/// Whether the network is to blame. Credentials that cannot be had, and an endpoint that is refused, are told without a kind.
fn is_transient<E>(error: &SdkError<E>) -> bool {
    let SdkError::DispatchFailure(failure) = error else { return false };
    failure.is_io() || failure.is_timeout() || failure.as_other().is_some()
}

/// What an error means. Only codes and numbers are told of it.
pub(crate) fn fault<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Fault {
    let status = error.raw_response().map(|response| response.status().as_u16());
    // A code is a word; what else a server may write there is not told.
    let is_word = |code: &&str| code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric());
    let code = error.code().filter(is_word).unwrap_or("no code");
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
        (Some(401 | 403), _) | (None, SdkError::ConstructionFailure(_)) => Fault::Credentials(told),
        (Some(400 | 413), SdkError::ServiceError(_)) => Fault::Invalid(told),
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

/// A topic or a bus that is not there is a matter of configuration: nothing is dropped for it.
const LATER_CODES: [&str; 17] = [
    "InvalidAccessException",
    "KMSAccessDenied",
    "KMSDisabled",
    "KMSThrottling",
    "LimitExceededException",
    "NotFound",
    "NotFoundException",
    "ResourceNotFoundException",
    "Throttled",
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
pub(crate) struct HttpsOnly;

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
        if is_safe_endpoint(context.request().uri()) {
            Ok(())
        } else {
            Err("the endpoint is not https".into())
        }
    }
}
