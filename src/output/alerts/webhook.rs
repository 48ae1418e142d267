//! A webhook: one POST per message, signed.
//!
//! The signature is HMAC-SHA256 (RFC 2104) with the key over the time, a full stop and the body, in hexadecimal. A receiver
//! checks it over the bytes it got, refuses times that are long past, and knows a second copy by `Idempotency-Key`.
#![allow(clippy::disallowed_methods, reason = "edge: talks to a receiver, reads the clock")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::Full;
use hyper::{Request, StatusCode, Uri, body::Bytes};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use sha2::Sha256;

use super::{
    delivery::Sink,
    https,
    secret::{self, Hidden},
};
use crate::{
    alerts::{Message, WebhookForm, WebhookTarget},
    model::is_safe_endpoint,
    output::Fault,
};

/// Header that holds seconds since the epoch.
pub const TIMESTAMP_HEADER: &str = "cleartap-timestamp";

/// Header that holds `v1=` and the signature.
pub const SIGNATURE_HEADER: &str = "cleartap-signature";

/// The signature of a body sent at `timestamp_s`.
pub fn signature(key: &[u8], timestamp_s: u64, body: &[u8]) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(timestamp_s.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

/// A webhook.
#[derive(Debug)]
pub(super) struct Webhook {
    target: WebhookTarget,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: Hidden,
    key: Option<Hidden>,
}

impl Webhook {
    pub(super) fn connect(target: &WebhookTarget) -> Result<Self, String> {
        let (url, key) = secrets(target)?;
        let tls = if url.expose().to_ascii_lowercase().starts_with("https://") {
            https::client_config(target.ca_file.as_deref())
        } else {
            https::loopback_config()
        };
        let tls = tls.map_err(|problem| format!("webhook.{problem}"))?;
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { target: target.clone(), client, url, key })
    }

    fn request(&self, message: &Message) -> Result<Request<Full<Bytes>>, Fault> {
        let body = body(self.target.form, message)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut request = Request::post(self.url.expose())
            .header("content-type", "application/json")
            .header("user-agent", concat!("cleartap/", env!("CARGO_PKG_VERSION")))
            .header("idempotency-key", &message.key)
            .header(TIMESTAMP_HEADER, now.to_string());
        if let Some(key) = &self.key {
            let signature = signature(key.expose().as_bytes(), now, &body);
            request = request.header(SIGNATURE_HEADER, format!("v1={signature}"));
        }
        // The error may repeat the URL.
        request
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| Fault::Credentials("the request could not be made: URL".to_owned()))
    }
}

impl Sink for Webhook {
    fn messages_max(&self) -> usize {
        1
    }

    async fn send(&mut self, messages: &[Message]) -> Result<Vec<Result<(), Fault>>, Fault> {
        let mut results = Vec::with_capacity(messages.len());
        for message in messages {
            let answer = self.client.request(self.request(message)?);
            let status = match tokio::time::timeout(TIMEOUT, answer).await {
                Ok(Ok(answer)) => answer.status(),
                Ok(Err(error)) if error.is_connect() => {
                    return Err(Fault::Later(
                        "no connection, or no TLS that can be trusted".to_owned(),
                    ));
                }
                Ok(Err(_)) => return Err(Fault::Later("the connection was cut".to_owned())),
                Err(_) => return Err(Fault::Later("no answer in time".to_owned())),
            };
            results.push(judged(status));
        }
        Ok(results)
    }

    async fn reload(&mut self) {
        // What cannot be read now stays as it was.
        if let Ok(anew) = Self::connect(&self.target) {
            *self = anew;
        }
    }
}

fn secrets(target: &WebhookTarget) -> Result<(Hidden, Option<Hidden>), String> {
    let url = match (&target.url, &target.url_from) {
        (Some(url), _) => Hidden::new(url.clone()),
        (None, Some(from)) => secret::read(from, "webhook.url_from")?,
        (None, None) => return Err("webhook: expected `url` or `url_from`".to_owned()),
    };
    if !is_safe_endpoint(url.expose()) || url.expose().parse::<Uri>().is_err() {
        return Err("webhook.url: expected https://HOST/... (http:// only on loopback)".to_owned());
    }
    let key = target.signing_key_from.as_ref();
    let key = key.map(|from| secret::read(from, "webhook.signing_key_from")).transpose()?;
    Ok((url, key))
}

fn body(form: WebhookForm, message: &Message) -> Result<Vec<u8>, Fault> {
    let body = match form {
        WebhookForm::Json => serde_json::to_vec(message),
        WebhookForm::Slack => serde_json::to_vec(&serde_json::json!({ "text": message.short })),
    };
    body.map_err(|_| Fault::Invalid("it cannot be written as JSON".to_owned()))
}

/// What a status means. An address that is gone, or moved, is a matter of configuration: nothing is dropped for it.
fn judged(status: StatusCode) -> Result<(), Fault> {
    let told = format!("HTTP {}", status.as_u16());
    match status.as_u16() {
        200..=299 => Ok(()),
        401 | 403 => Err(Fault::Credentials(told)),
        400 | 413 | 422 => Err(Fault::Invalid(told)),
        _ => Err(Fault::Later(told)),
    }
}

/// How long a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(15);
