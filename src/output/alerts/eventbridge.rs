//! Amazon EventBridge: `PutEvents`, at most ten entries and 1 MB; what of it failed is sent again.
#![allow(clippy::disallowed_methods, reason = "edge: talks to AWS")]

use aws_config::SdkConfig;
use aws_sdk_eventbridge::{Client, primitives::DateTime, types::PutEventsRequestEntry};

use super::{delivery::Sink, dispatcher::TIMEOUT_S};
use crate::{
    alerts::{EventBridgeTarget, Message, MessageKind},
    model::Timestamp,
    output::{
        Fault,
        aws::{HttpsOnly, fault, load},
    },
};

/// An event bus.
#[derive(Debug)]
pub(super) struct EventBridge {
    client: Client,
    target: EventBridgeTarget,
}

impl EventBridge {
    pub(super) async fn connect(target: &EventBridgeTarget) -> Result<Self, String> {
        let sdk = load(&target.access, TIMEOUT_S).await;
        if sdk.region().is_none() {
            let problem = "eventbridge.access.region: no Region; set it, or AWS_REGION";
            return Err(problem.to_owned());
        }
        Ok(Self::new(target, &sdk))
    }

    pub(super) fn new(target: &EventBridgeTarget, sdk: &SdkConfig) -> Self {
        let mut builder = aws_sdk_eventbridge::config::Builder::from(sdk).interceptor(HttpsOnly);
        if let Some(endpoint) = &target.access.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        Self { client: Client::from_conf(builder.build()), target: target.clone() }
    }

    /// Whether the bus is there and may be seen, without telling anything.
    pub(super) async fn probe(&self) -> Result<String, Fault> {
        let bus = &self.target.bus;
        let asked = self.client.describe_event_bus().name(bus).send().await;
        asked.map(|_| format!("bus {bus} is there")).map_err(|error| fault(&error))
    }

    fn entry(&self, message: &Message) -> PutEventsRequestEntry {
        let at = message.at.parse::<Timestamp>().unwrap_or_default();
        let seconds = i64::try_from(at.seconds()).unwrap_or_default();
        let arn = message.alert.as_ref().map(|alert| alert.server.as_str());
        let arn = arn.filter(|server| server.starts_with("arn:")).map(str::to_owned);
        PutEventsRequestEntry::builder()
            .event_bus_name(&self.target.bus)
            .source(&self.target.source)
            .detail_type(match message.kind {
                MessageKind::Alert | MessageKind::Group => "cleartap finding",
                MessageKind::Digest => "cleartap digest",
            })
            .time(DateTime::from_secs(seconds))
            .set_resources(arn.map(|arn| vec![arn]))
            .detail(message.json(REQUEST_BYTES_MAX))
            .build()
    }
}

impl Sink for EventBridge {
    fn messages_max(&self) -> usize {
        10
    }

    async fn send(&mut self, messages: &[Message]) -> Result<Vec<Result<(), Fault>>, Fault> {
        let mut entries = Vec::with_capacity(messages.len());
        let mut bytes = 0;
        for message in messages {
            let entry = self.entry(message);
            bytes += entry.detail().map_or(0, str::len) + 1024;
            if bytes > REQUEST_BYTES_MAX && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        let count = entries.len();
        let request = self.client.put_events().set_entries(Some(entries));
        let answer = request.send().await.map_err(|error| fault(&error))?;
        if answer.failed_entry_count() == 0 {
            return Ok((0..count).map(|_| Ok(())).collect());
        }
        // Answers come in the order of the entries.
        let judged = answer.entries().iter().take(count).map(|entry| match entry.error_code() {
            None => Ok(()),
            Some(code) if INVALID_CODES.contains(&code) => {
                Err(Fault::Invalid("EventBridge refused an entry".to_owned()))
            }
            Some(_) => Err(Fault::Later("EventBridge failed an entry".to_owned())),
        });
        let mut results: Vec<Result<(), Fault>> = judged.collect();
        results
            .resize(count, Err(Fault::Later("EventBridge did not answer for an entry".to_owned())));
        Ok(results)
    }

    async fn reload(&mut self) {
        let sdk = load(&self.target.access, TIMEOUT_S).await;
        *self = Self::new(&self.target, &sdk);
    }
}

/// Entries that will be refused for ever.
const INVALID_CODES: [&str; 4] = [
    "InvalidArgument",
    "MalformedDetail",
    "ValidationException",
    "NotAuthorizedForSourceException",
];

/// Most bytes of a request; what is counted besides the details is little.
const REQUEST_BYTES_MAX: usize = 900 << 10;
