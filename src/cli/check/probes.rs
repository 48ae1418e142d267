//! What `check --aws` tries, without harm: who asks, whether it may, whether the endpoint answers.

use crate::config::Settings;

/// Something outside that a configuration needs, tried without harm. What uses an API adds its own to [`PROBES`].
pub(super) trait Probe: Sync {
    /// Which section of the file.
    fn section(&self) -> &'static str;
    /// Tries it; nothing where the section is not in use.
    fn try_it(&self, settings: &Settings) -> Vec<Tried>;
}

/// One thing that was tried.
#[derive(Debug, serde::Serialize)]
pub(super) struct Tried {
    /// What: `identity`, `cloudwatch:PutMetricData`, `security-team: sns:GetTopicAttributes`.
    pub(super) what: String,
    /// Whether it went well.
    pub(super) ok: bool,
    /// What was found, or what is wrong and what to do.
    pub(super) found: String,
}

/// Every probe.
pub(super) const PROBES: &[&dyn Probe] = &[
    #[cfg(feature = "aws")]
    &aws::CloudWatchProbe,
    #[cfg(feature = "aws")]
    &aws::AlertsProbe,
    #[cfg(feature = "inventory")]
    &aws::InventoryProbe,
];

#[cfg(feature = "aws")]
mod aws {
    use super::{Probe, Settings, Tried};
    use crate::output::{Fault, alerts, aws::identity, cloudwatch::CloudWatch};

    /// Seconds until a request that is not answered is given up.
    const TIMEOUT_S: u32 = 30;

    /// Runs what asks; without a runtime that is what failed.
    fn asked(ask: impl Future<Output = Vec<Tried>>) -> Vec<Tried> {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Err(error) => vec![tried("start", Err(error.to_string()))],
            Ok(runtime) => runtime.block_on(ask),
        }
    }

    fn tried(what: impl Into<String>, result: Result<String, String>) -> Tried {
        let ok = result.is_ok();
        Tried { what: what.into(), ok, found: result.unwrap_or_else(|wrong| wrong) }
    }

    fn told(fault: Fault) -> String {
        match fault {
            Fault::Credentials(told) => format!("not allowed: {told}"),
            Fault::Invalid(told) | Fault::Later(told) => told,
        }
    }

    /// CloudWatch.
    pub(super) struct CloudWatchProbe;

    impl Probe for CloudWatchProbe {
        fn section(&self) -> &'static str {
            "cloudwatch"
        }

        fn try_it(&self, settings: &Settings) -> Vec<Tried> {
            let config = &settings.config.cloudwatch;
            if !config.enabled {
                return Vec::new();
            }
            asked(async {
                let identity = CloudWatch::identity(config).await;
                let reached = match CloudWatch::connect(config).await {
                    Ok(client) => client.probe().await.map_err(told),
                    Err(error) => Err(error.to_string()),
                };
                vec![tried("identity", identity), tried("cloudwatch:PutMetricData", reached)]
            })
        }
    }

    /// Every channel of alerts that is an AWS service.
    pub(super) struct AlertsProbe;

    impl Probe for AlertsProbe {
        fn section(&self) -> &'static str {
            "alerts"
        }

        fn try_it(&self, settings: &Settings) -> Vec<Tried> {
            let channels = &settings.config.alerts.channels;
            asked(async {
                let mut list = Vec::new();
                for channel in channels {
                    let Some(access) = channel.access() else { continue };
                    let name = &channel.name;
                    let identity = identity(&access, TIMEOUT_S).await;
                    list.push(tried(format!("{name}: identity"), identity));
                    list.push(match alerts::probe(channel).await {
                        Ok((what, result)) => {
                            tried(format!("{name}: {what}"), result.map_err(told))
                        }
                        Err(problem) => tried(format!("{name}: connect"), Err(problem)),
                    });
                }
                list
            })
        }
    }

    /// Every account and Region whose EC2 API is asked.
    #[cfg(feature = "inventory")]
    pub(super) struct InventoryProbe;

    #[cfg(feature = "inventory")]
    impl Probe for InventoryProbe {
        fn section(&self) -> &'static str {
            "inventory"
        }

        fn try_it(&self, settings: &Settings) -> Vec<Tried> {
            let accounts = &settings.config.inventory.ec2;
            asked(async {
                let mut list = Vec::new();
                for (at, access) in accounts.iter().enumerate() {
                    let identity = identity(access, TIMEOUT_S).await;
                    list.push(tried(format!("ec2[{at}]: identity"), identity));
                    match crate::ec2::Ec2::connect(access).await {
                        Err(error) => {
                            list.push(tried(format!("ec2[{at}]"), Err(error.to_string())));
                        }
                        Ok(client) => {
                            for (what, result) in client.probe().await {
                                let result = result.map_err(told);
                                list.push(tried(format!("ec2[{at}]: {what}"), result));
                            }
                        }
                    }
                }
                list
            })
        }
    }
}
