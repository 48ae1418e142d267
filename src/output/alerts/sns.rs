//! Amazon SNS: `PublishBatch`, at most ten messages and 256 KiB.
#![allow(clippy::disallowed_methods, reason = "edge: talks to AWS")]

use aws_config::SdkConfig;
use aws_sdk_sns::{
    Client,
    types::{MessageAttributeValue, PublishBatchRequestEntry},
};

use super::{delivery::Sink, dispatcher::TIMEOUT_S};
use crate::{
    alerts::{Message, SnsTarget},
    output::{
        Fault,
        aws::{HttpsOnly, fault, load},
    },
};

/// A topic.
#[derive(Debug)]
pub(super) struct Sns {
    client: Client,
    target: SnsTarget,
}

impl Sns {
    pub(super) async fn connect(target: &SnsTarget) -> Self {
        let mut access = target.access.clone();
        // The topic says where it is.
        let region = target.topic_arn.split(':').nth(3).map(str::to_owned);
        access.region = access.region.or(region);
        Self::new(target, &load(&access, TIMEOUT_S).await)
    }

    pub(super) fn new(target: &SnsTarget, sdk: &SdkConfig) -> Self {
        let mut builder = aws_sdk_sns::config::Builder::from(sdk).interceptor(HttpsOnly);
        if let Some(endpoint) = &target.access.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        Self { client: Client::from_conf(builder.build()), target: target.clone() }
    }

    /// Whether the topic is there and may be seen, without telling anything.
    pub(super) async fn probe(&self) -> Result<String, Fault> {
        let arn = &self.target.topic_arn;
        let asked = self.client.get_topic_attributes().topic_arn(arn).send().await;
        asked.map(|_| format!("{arn} is there")).map_err(|error| fault(&error))
    }

    fn entry(&self, id: usize, message: &Message) -> Result<PublishBatchRequestEntry, Fault> {
        let text =
            if self.target.json { message.json(MESSAGE_BYTES_MAX) } else { message.text.clone() };
        let mut entry = PublishBatchRequestEntry::builder()
            .id(id.to_string())
            .subject(&message.subject)
            .message(text);
        for (name, value) in attributes(message) {
            // Empty values are refused.
            if !value.is_empty() {
                entry = entry.message_attributes(name, attribute(&value)?);
            }
        }
        // The ending is part of the name, and lower case (Amazon SNS developer guide, FIFO topics).
        if self.target.topic_arn.strip_suffix(".fifo").is_some() {
            entry = entry.message_deduplication_id(&message.key).message_group_id(message.about());
        }
        entry.build().map_err(|_| unmade())
    }
}

impl Sink for Sns {
    fn messages_max(&self) -> usize {
        10
    }

    async fn send(&mut self, messages: &[Message]) -> Result<Vec<Result<(), Fault>>, Fault> {
        let mut entries = Vec::with_capacity(messages.len());
        let mut bytes = 0;
        for (id, message) in messages.iter().enumerate() {
            let entry = self.entry(id, message)?;
            bytes += entry.message().len() + 4096;
            if bytes > REQUEST_BYTES_MAX && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        let count = entries.len();
        let request = self.client.publish_batch().topic_arn(&self.target.topic_arn);
        let request = request.set_publish_batch_request_entries(Some(entries));
        let answer = request.send().await.map_err(|error| fault(&error))?;
        let mut results: Vec<Result<(), Fault>> = (0..count).map(|_| Ok(())).collect();
        for failed in answer.failed() {
            let at = failed.id().parse().unwrap_or(usize::MAX);
            let why = "SNS failed an entry".to_owned();
            if let Some(result) = results.get_mut(at) {
                let fault =
                    if failed.sender_fault() { Fault::Invalid(why) } else { Fault::Later(why) };
                *result = Err(fault);
            }
        }
        Ok(results)
    }

    async fn reload(&mut self) {
        *self = Self::connect(&self.target).await;
    }
}

/// What subscriptions may filter by.
fn attributes(message: &Message) -> Vec<(&'static str, String)> {
    let mut list = vec![
        ("key", message.key.clone()),
        ("kind", message.kind.name().to_owned()),
        ("severity", message.severity.name().to_owned()),
    ];
    if let Some(alert) = &message.alert {
        list.extend([
            ("event", alert.event.name().to_owned()),
            ("finding", alert.id.to_string()),
            ("scope", alert.scope.clone()),
            ("protocol", alert.protocol.clone()),
            ("rule", alert.rule.clone()),
        ]);
    }
    list
}

fn attribute(value: &str) -> Result<MessageAttributeValue, Fault> {
    let attribute = MessageAttributeValue::builder().data_type("String").string_value(value);
    attribute.build().map_err(|_| unmade())
}

fn unmade() -> Fault {
    Fault::Invalid("the request could not be made".to_owned())
}

/// Most bytes of all messages of a request, and of one, attributes included.
const REQUEST_BYTES_MAX: usize = 256 << 10;
const MESSAGE_BYTES_MAX: usize = 240 << 10;
