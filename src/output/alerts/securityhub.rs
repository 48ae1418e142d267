//! AWS Security Hub: `BatchImportFindings` in ASFF, at most a hundred findings.
//!
//! A finding keeps its `Id` for life: it is imported when it opens, updated when it changes and archived when it resolves or is
//! excepted. Severity and types go into `FindingProviderFields`; what belongs to those who work on it (`Workflow`, `Note`,
//! `VerificationState`) is never sent, so that an update cannot undo their work.
#![allow(clippy::disallowed_methods, reason = "edge: talks to AWS")]

use std::{collections::BTreeSet, net::IpAddr};

use aws_config::SdkConfig;
use aws_sdk_securityhub::{
    Client,
    types::{
        AwsSecurityFinding, FindingProviderFields, FindingProviderSeverity, Network,
        NetworkDirection, Partition, Recommendation, RecordState, Remediation, Resource,
        ResourceDetails, SeverityLabel,
    },
};

use super::{delivery::Sink, dispatcher::TIMEOUT_S};
use crate::{
    alerts::{Alert, Message, SecurityHubTarget},
    findings::EventKind,
    output::{
        Fault,
        aws::{HttpsOnly, fault, load},
    },
    policy::{Severity, Topic},
};

/// Security Hub of one account and Region.
#[derive(Debug)]
pub(super) struct SecurityHub {
    client: Client,
    target: SecurityHubTarget,
}

impl SecurityHub {
    pub(super) async fn connect(target: &SecurityHubTarget) -> Self {
        Self::new(target, &load(&target.access, TIMEOUT_S).await)
    }

    pub(super) fn new(target: &SecurityHubTarget, sdk: &SdkConfig) -> Self {
        let mut builder = aws_sdk_securityhub::config::Builder::from(sdk).interceptor(HttpsOnly);
        if let Some(endpoint) = &target.access.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        Self { client: Client::from_conf(builder.build()), target: target.clone() }
    }

    /// Whether Security Hub is on in this account and Region, without telling anything.
    pub(super) async fn probe(&self) -> Result<String, Fault> {
        let asked = self.client.describe_hub().send().await;
        let hub = asked.map_err(|error| fault(&error))?;
        Ok(format!("{} is on", hub.hub_arn().unwrap_or("the hub")))
    }
}

impl Sink for SecurityHub {
    fn messages_max(&self) -> usize {
        100
    }

    async fn send(&mut self, messages: &[Message]) -> Result<Vec<Result<(), Fault>>, Fault> {
        let mut ids = BTreeSet::new();
        let mut findings = Vec::new();
        let mut results = Vec::new();
        for message in messages {
            let Some(alert) = &message.alert else {
                results.push((None, Err(Fault::Invalid("it is no finding".to_owned()))));
                continue;
            };
            let id = id(&self.target, alert);
            // What became of a finding later goes into a request of its own.
            if !ids.insert(id.clone()) {
                break;
            }
            findings.push(finding(&self.target, &id, alert));
            results.push((Some(id), Ok(())));
        }
        if !findings.is_empty() {
            let request = self.client.batch_import_findings().set_findings(Some(findings));
            let answer = request.send().await.map_err(|error| fault(&error))?;
            for failed in answer.failed_findings() {
                let why = "Security Hub failed a finding".to_owned();
                let fault = match failed.error_code() {
                    Some("InvalidInput") => Fault::Invalid(why),
                    _ => Fault::Later(why),
                };
                let of = results.iter_mut().find(|(id, _)| id.as_deref() == failed.id());
                if let Some((_, result)) = of {
                    *result = Err(fault);
                }
            }
        }
        Ok(results.into_iter().map(|(_, result)| result).collect())
    }

    async fn reload(&mut self) {
        *self = Self::new(&self.target, &load(&self.target.access, TIMEOUT_S).await);
    }
}

fn region(target: &SecurityHubTarget) -> &str {
    target.access.region.as_deref().unwrap_or_default()
}

fn partition(target: &SecurityHubTarget) -> &str {
    target.partition.as_deref().unwrap_or("aws")
}

fn id(target: &SecurityHubTarget, alert: &Alert) -> String {
    format!("{}/{}/cleartap/{}", region(target), target.account_id, alert.id)
}

fn finding(target: &SecurityHubTarget, id: &str, alert: &Alert) -> AwsSecurityFinding {
    let account = &target.account_id;
    let region = region(target);
    let product = format!(
        "arn:{}:securityhub:{region}:{account}:product/{account}/default",
        partition(target)
    );
    let ended = matches!(alert.event, EventKind::Resolved | EventKind::Excepted);
    let title =
        format!("{} from {} to {}:{}", heading(alert), alert.client, alert.server, alert.port);
    let mut finding = AwsSecurityFinding::builder()
        .schema_version("2018-10-08")
        .id(id)
        .product_arn(product)
        .generator_id(format!("cleartap/{}", alert.rule))
        .aws_account_id(account)
        .region(region)
        .created_at(time(&alert.first_seen))
        .updated_at(time(&alert.at))
        .first_observed_at(time(&alert.first_seen))
        .last_observed_at(time(&alert.last_seen))
        .title(cut(&title, 256))
        .description(cut(&description(alert), 1024))
        .record_state(if ended { RecordState::Archived } else { RecordState::Active })
        .resources(resource(target, alert))
        .network(network(alert))
        .remediation(remediation(alert))
        .finding_provider_fields(
            FindingProviderFields::builder()
                .severity(FindingProviderSeverity::builder().label(label(alert.severity)).build())
                .set_types(Some(types(alert)))
                .build(),
        );
    for (name, value) in fields(alert) {
        finding = finding.product_fields(format!("cleartap/{name}"), cut(&value, 2048));
    }
    finding.build()
}

fn heading(alert: &Alert) -> String {
    match alert.topic {
        Topic::Cleartext => format!("{} in clear", alert.protocol),
        Topic::Tls => format!("Weak encryption of {}", alert.protocol),
        Topic::Certificate => format!("Certificate of {}", alert.protocol),
        Topic::Service => format!("Unexpected service {}", alert.protocol),
    }
}

fn description(alert: &Alert) -> String {
    let mut parts = vec![alert.why.clone()];
    if let Some(reason) = &alert.plaintext_reason {
        parts.push(format!("Why in clear: {reason}."));
    }
    if !alert.credentials.is_empty() {
        parts.push(format!("Credentials seen in clear: {}.", alert.credentials.join(", ")));
    }
    parts.push(format!(
        "Seen {} flows, {} bytes since {}. Client's side: {} What breaks: {}",
        alert.flows,
        alert.bytes,
        time(&alert.first_seen),
        alert.remedy.client,
        alert.remedy.breaks
    ));
    parts.join(" ")
}

fn remediation(alert: &Alert) -> Remediation {
    let recommendation = Recommendation::builder()
        .text(cut(&alert.remedy.server, 512))
        .url(&alert.remedy.vendor_page)
        .build();
    Remediation::builder().recommendation(recommendation).build()
}

fn resource(target: &SecurityHubTarget, alert: &Alert) -> Resource {
    let details = ResourceDetails::builder()
        .other("address", &alert.server_address)
        .other("port", alert.port.to_string())
        .other("protocol", &alert.protocol)
        .other("client", &alert.client)
        .other("scope", &alert.scope)
        .build();
    Resource::builder()
        .r#type(resource_type(&alert.server))
        .id(cut(&alert.server, 512))
        .partition(Partition::from(partition(target)))
        .region(region(target))
        .resource_role("Target")
        .details(details)
        .build()
}

/// ASFF's name for what an ARN names.
fn resource_type(server: &str) -> &'static str {
    let mut parts = server.split(':');
    let service = if parts.next() == Some("arn") { parts.nth(1) } else { None };
    let rest = server.splitn(6, ':').nth(5).unwrap_or_default();
    match service {
        Some("rds") if rest.starts_with("db:") => "AwsRdsDbInstance",
        Some("rds") if rest.starts_with("cluster:") => "AwsRdsDbCluster",
        Some("ec2") if rest.starts_with("instance/") => "AwsEc2Instance",
        Some("ec2") if rest.starts_with("network-interface/") => "AwsEc2NetworkInterface",
        Some("elasticloadbalancing") => "AwsElbv2LoadBalancer",
        Some("lambda") => "AwsLambdaFunction",
        Some("redshift") => "AwsRedshiftCluster",
        Some("es") => "AwsOpenSearchServiceDomain",
        _ => "Other",
    }
}

fn network(alert: &Alert) -> Network {
    let v4 =
        |text: &str| text.parse::<IpAddr>().ok().filter(IpAddr::is_ipv4).map(|ip| ip.to_string());
    let v6 =
        |text: &str| text.parse::<IpAddr>().ok().filter(IpAddr::is_ipv6).map(|ip| ip.to_string());
    let protocol = cut(&alert.protocol, 16).to_owned();
    Network::builder()
        .direction(NetworkDirection::In)
        .protocol(protocol)
        .set_source_ipv4(v4(&alert.client_address))
        .set_source_ipv6(v6(&alert.client_address))
        .set_destination_ipv4(v4(&alert.server_address))
        .set_destination_ipv6(v6(&alert.server_address))
        .destination_port(i32::from(alert.port))
        .build()
}

fn types(alert: &Alert) -> Vec<String> {
    let mut list = vec![
        "Software and Configuration Checks/AWS Security Best Practices/Network Security".to_owned(),
    ];
    if alert.topic == Topic::Cleartext {
        list.push("Effects/Data Exposure".to_owned());
    }
    if !alert.credentials.is_empty() {
        list.push("Sensitive Data Identifications/Passwords".to_owned());
        list.push("TTPs/Credential Access".to_owned());
    }
    list
}

fn fields(alert: &Alert) -> Vec<(&'static str, String)> {
    let controls: Vec<String> =
        alert.controls.iter().map(|c| format!("{} {}", c.framework, c.id)).collect();
    let mut list = vec![
        ("finding", alert.id.to_string()),
        ("rule", alert.rule.clone()),
        ("scope", alert.scope.clone()),
        ("client", alert.client.clone()),
        ("state", alert.state.name().to_owned()),
        ("event", alert.event.name().to_owned()),
        ("remedy", alert.remedy.id.clone()),
        ("controls", controls.join(", ")),
        ("credentials", alert.credentials.join(", ")),
        ("exception", alert.exception.clone().unwrap_or_default()),
    ];
    list.retain(|(_, value)| !value.is_empty());
    list
}

const fn label(severity: Severity) -> SeverityLabel {
    match severity {
        Severity::Critical => SeverityLabel::Critical,
        Severity::High => SeverityLabel::High,
        Severity::Medium => SeverityLabel::Medium,
        Severity::Low => SeverityLabel::Low,
        Severity::Info => SeverityLabel::Informational,
    }
}

/// RFC 3339 with milliseconds.
fn time(text: &str) -> String {
    text.get(..23).map_or_else(|| text.to_owned(), |time| format!("{time}Z"))
}

fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_says_what_it_names() {
        for (server, kind) in [
            ("arn:aws:rds:eu-central-1:123456789012:db:users", "AwsRdsDbInstance"),
            ("arn:aws:rds:eu-central-1:123456789012:cluster:users", "AwsRdsDbCluster"),
            ("arn:aws:ec2:eu-central-1:123456789012:instance/i-1", "AwsEc2Instance"),
            ("arn:aws:sqs:eu-central-1:123456789012:q", "Other"),
            ("10.0.0.9", "Other"),
        ] {
            assert_eq!(resource_type(server), kind, "{server}");
        }
    }
}
