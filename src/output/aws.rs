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
    assume(base(access, timeout_s).load().await, access).await
}

/// With the credentials of the role, where one is named.
async fn assume(sdk: SdkConfig, access: &AwsAccess) -> SdkConfig {
    let Some(role) = &access.role_arn else { return sdk };
    let mut provider = AssumeRoleProvider::builder(role).session_name("cleartap").configure(&sdk);
    if let Some(id) = &access.external_id {
        provider = provider.external_id(id);
    }
    let credentials = SharedCredentialsProvider::new(provider.build().await);
    sdk.into_builder().credentials_provider(credentials).build()
}

/// What is wrong where neither configuration nor environment names a Region.
pub(crate) const NO_REGION: &str = "no Region; set `region`, or AWS_REGION, or a profile's region";

/// Who asks, by `sts:GetCallerIdentity`: account and ARN, which are no secrets.
pub(crate) async fn identity(access: &AwsAccess, timeout_s: u32) -> Result<String, String> {
    let sdk = load(access, timeout_s).await;
    if sdk.region().is_none() {
        return Err(NO_REGION.to_owned());
    }
    let builder = aws_sdk_sts::config::Builder::from(&sdk).interceptor(HttpsOnly);
    let asked = aws_sdk_sts::Client::from_conf(builder.build()).get_caller_identity();
    match asked.send().await {
        Ok(identity) => Ok(identity.arn().unwrap_or("an identity without ARN").to_owned()),
        Err(error) => Err(format!("sts:GetCallerIdentity: {}", fault(&error))),
    }
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

#[cfg(test)]
mod tests {
    use aws_sdk_cloudwatch::config::Credentials;

    use super::*;
    use crate::output::stub::{Stub, say};

    const SECRET: &str = "canary-secret-key";

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(future)
    }

    fn with_key(loader: ConfigLoader) -> ConfigLoader {
        let credentials = Credentials::new("AKIDOWN", SECRET, None, None, "test");
        loader.credentials_provider(SharedCredentialsProvider::new(credentials))
    }

    const ASSUMED: &str = "<AssumeRoleResponse><AssumeRoleResult><AssumedRoleUser>\
        <Arn>arn:aws:sts::123456789012:assumed-role/cleartap/cleartap</Arn><AssumedRoleId>A:c</AssumedRoleId>\
        </AssumedRoleUser><Credentials><AccessKeyId>AKIDASSUMED</AccessKeyId>\
        <SecretAccessKey>canary-secret-key</SecretAccessKey><SessionToken>canary-session-token</SessionToken>\
        <Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";

    #[test]
    fn a_role_is_assumed_with_its_external_id_and_signs_what_follows() {
        let stub = Stub::start([say(200, ASSUMED)], [0xa0]);
        let access = AwsAccess {
            region: Some("eu-central-1".to_owned()),
            role_arn: Some("arn:aws:iam::123456789012:role/cleartap".to_owned()),
            external_id: Some("ticket-7".to_owned()),
            ..AwsAccess::default()
        };
        run(async {
            let sdk = with_key(base(&access, 10)).endpoint_url(stub.url()).load().await;
            let sdk = assume(sdk, &access).await;
            let client = aws_sdk_cloudwatch::Client::new(&sdk);
            client.put_metric_data().namespace("x").send().await.unwrap();
        });
        let got = stub.got();
        let (asked, put) = (&got[0], &got[1]);
        let form = asked.text();
        assert!(
            form.contains("Action=AssumeRole") && form.contains("ExternalId=ticket-7"),
            "{form}"
        );
        assert!(form.contains("role%2Fcleartap"), "{form}");
        assert!(asked.header("authorization").unwrap().contains("akidown/"));
        assert!(put.header("authorization").unwrap().contains("akidassumed/"));
        assert_eq!(put.header("x-amz-security-token"), Some("canary-session-token"));
    }

    /// Keeps the request from leaving, and where it would have gone.
    #[derive(Clone, Debug, Default)]
    struct Caught(std::sync::Arc<std::sync::Mutex<String>>);

    impl Intercept for Caught {
        fn name(&self) -> &'static str {
            "Caught"
        }

        fn read_before_transmit(
            &self,
            context: &BeforeTransmitInterceptorContextRef<'_>,
            _components: &RuntimeComponents,
            _config: &mut ConfigBag,
        ) -> Result<(), BoxError> {
            context.request().uri().clone_into(&mut self.0.lock().unwrap());
            Err("caught".into())
        }
    }

    #[test]
    fn fips_endpoints_are_asked_where_they_are_wanted() {
        for (region, fips, expected) in [
            ("us-east-1", true, "https://monitoring-fips.us-east-1.amazonaws.com/"),
            ("us-gov-west-1", true, "https://monitoring.us-gov-west-1.amazonaws.com/"),
            ("us-east-1", false, "https://monitoring.us-east-1.amazonaws.com/"),
            ("cn-north-1", false, "https://monitoring.cn-north-1.amazonaws.com.cn/"),
        ] {
            let access =
                AwsAccess { region: Some(region.to_owned()), fips, ..AwsAccess::default() };
            let caught = Caught::default();
            run(async {
                let sdk = with_key(base(&access, 10)).load().await;
                let config = aws_sdk_cloudwatch::config::Builder::from(&sdk);
                let client = aws_sdk_cloudwatch::Client::from_conf(
                    config.interceptor(caught.clone()).build(),
                );
                client.put_metric_data().namespace("x").send().await.unwrap_err();
            });
            let uri = caught.0.lock().unwrap();
            assert!(uri.starts_with(expected), "{region} {fips}: {uri}");
        }
    }
}
