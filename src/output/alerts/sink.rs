//! The target of a channel, connected.

#[cfg(feature = "securityhub")]
use super::securityhub::SecurityHub;
use super::{delivery::Sink, json_lines::JsonLines, syslog::Syslog, webhook::Webhook};
#[cfg(feature = "aws")]
use super::{eventbridge::EventBridge, sns::Sns};
use crate::{
    alerts::{ChannelConfig, Message},
    output::Fault,
};

/// One of the targets.
#[derive(Debug)]
pub(super) enum Target {
    #[cfg(feature = "aws")]
    EventBridge(EventBridge),
    JsonLines(JsonLines),
    #[cfg(feature = "securityhub")]
    SecurityHub(Box<SecurityHub>),
    #[cfg(feature = "aws")]
    Sns(Sns),
    Syslog(Box<Syslog>),
    Webhook(Box<Webhook>),
}

impl Target {
    /// Reads secrets, environment and profile; sends nothing.
    ///
    /// # Errors
    /// What is wrong, in words for the user.
    pub(super) async fn connect(channel: &ChannelConfig) -> Result<Self, String> {
        if let Some(target) = &channel.webhook {
            return Webhook::connect(target).map(Box::new).map(Self::Webhook);
        }
        if let Some(target) = &channel.syslog {
            return Syslog::new(target).map(Box::new).map(Self::Syslog);
        }
        if let Some(target) = &channel.json_lines {
            return Ok(Self::JsonLines(JsonLines::new(target)));
        }
        Self::aws(channel).await
    }

    async fn aws(channel: &ChannelConfig) -> Result<Self, String> {
        #[cfg(feature = "aws")]
        if let Some(target) = &channel.sns {
            return Ok(Self::Sns(Sns::connect(target).await));
        }
        #[cfg(feature = "aws")]
        if let Some(target) = &channel.eventbridge {
            return EventBridge::connect(target).await.map(Self::EventBridge);
        }
        #[cfg(feature = "securityhub")]
        if let Some(target) = &channel.securityhub {
            return Ok(Self::SecurityHub(Box::new(SecurityHub::connect(target).await)));
        }
        let kind = channel.kind().unwrap_or("no target");
        let feature = if channel.securityhub.is_some() { "securityhub" } else { "aws" };
        Err(format!("{kind}: this program was built without it (feature `{feature}`)"))
    }
}

/// What a probe asked for, and what came of it.
#[cfg(feature = "aws")]
pub type Probed = (&'static str, Result<String, Fault>);

/// Asks the AWS service of a channel whether it would take alerts, without telling any.
///
/// # Errors
/// What is wrong with the configuration, in words for the user.
#[cfg(feature = "aws")]
pub async fn probe(channel: &ChannelConfig) -> Result<Probed, String> {
    Ok(match Target::connect(channel).await? {
        Target::EventBridge(target) => ("events:DescribeEventBus", target.probe().await),
        #[cfg(feature = "securityhub")]
        Target::SecurityHub(target) => ("securityhub:DescribeHub", target.probe().await),
        Target::Sns(target) => ("sns:GetTopicAttributes", target.probe().await),
        Target::JsonLines(_) | Target::Syslog(_) | Target::Webhook(_) => {
            return Err("no AWS service".to_owned());
        }
    })
}

/// Calls the same of each.
macro_rules! each {
    ($self:expr, $sink:ident => $call:expr) => {
        match $self {
            #[cfg(feature = "aws")]
            Target::EventBridge($sink) => $call,
            Target::JsonLines($sink) => $call,
            #[cfg(feature = "securityhub")]
            Target::SecurityHub($sink) => $call,
            #[cfg(feature = "aws")]
            Target::Sns($sink) => $call,
            Target::Syslog($sink) => $call,
            Target::Webhook($sink) => $call,
        }
    };
}

impl Sink for Target {
    fn messages_max(&self) -> usize {
        each!(self, sink => sink.messages_max())
    }

    async fn send(&mut self, messages: &[Message]) -> Result<Vec<Result<(), Fault>>, Fault> {
        each!(self, sink => sink.send(messages).await)
    }

    async fn reload(&mut self) {
        each!(self, sink => sink.reload().await);
    }
}
