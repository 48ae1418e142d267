//! The session keeper against an emulator of EC2: idempotent, within limits, drift found, others' sessions untouched. With as many
//! interfaces as `CLEARTAP_INTERFACES` says.

use std::process::{Command, Output};

use serde_json::Value;

use super::{
    capture::setting,
    live::skip,
    moto::{Moto, between},
    process,
};

const NAME: &str = "sessions";

struct Account {
    moto: Moto,
    folder: tempfile::TempDir,
    subnet: String,
    vpc: String,
    filter: String,
}

impl Account {
    fn new() -> Option<Self> {
        let moto = Moto::start()?;
        let vpc = between(&moto.ec2("Action=CreateVpc&CidrBlock=10.8.0.0/16"), "vpcId");
        let subnet = moto.ec2(&format!("Action=CreateSubnet&VpcId={vpc}&CidrBlock=10.8.0.0/17"));
        let subnet = between(&subnet, "subnetId");
        let filter =
            between(&moto.ec2("Action=CreateTrafficMirrorFilter"), "trafficMirrorFilterId");
        Some(Self { moto, folder: tempfile::tempdir().unwrap(), subnet, vpc, filter })
    }

    /// Starts instances; the ids of their interfaces.
    fn instances(&self, count: u32, kind: &str, tag: &str) -> Vec<String> {
        let answer = self.moto.ec2(&format!(
            "Action=RunInstances&ImageId=ami-12c6146b&MinCount={count}&MaxCount={count}&SubnetId={}\
             &InstanceType={kind}&TagSpecification.1.ResourceType=instance\
             &TagSpecification.1.Tag.1.Key=mirror&TagSpecification.1.Tag.1.Value={tag}",
            self.subnet
        ));
        all(&answer, "networkInterfaceId")
    }

    fn interface(&self) -> String {
        let answer =
            self.moto.ec2(&format!("Action=CreateNetworkInterface&SubnetId={}", self.subnet));
        between(&answer, "networkInterfaceId")
    }

    fn balancer_target(&self) -> String {
        let arn = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/net/x/1";
        let answer = self
            .moto
            .ec2(&format!("Action=CreateTrafficMirrorTarget&NetworkLoadBalancerArn={arn}"));
        between(&answer, "trafficMirrorTargetId")
    }

    fn foreign_session(&self, interface: &str, target: &str, number: u32) -> String {
        let answer = self.moto.ec2(&format!(
            "Action=CreateTrafficMirrorSession&NetworkInterfaceId={interface}&TrafficMirrorTargetId={target}\
             &TrafficMirrorFilterId={}&SessionNumber={number}&VirtualNetworkId=99",
            self.filter
        ));
        between(&answer, "trafficMirrorSessionId")
    }

    fn keep(&self, command: &[&str], target: &str) -> Output {
        let vpcs = format!("[{{ id = \"{}\", vni = 7001 }}]", self.vpc);
        process::output(
            Command::new(env!("CARGO_BIN_EXE_cleartap"))
                .arg("sessions")
                .args(command)
                .env("CLEARTAP_SESSIONS__TARGET", target)
                .env("CLEARTAP_SESSIONS__FILTER", &self.filter)
                .env("CLEARTAP_SESSIONS__VPCS", vpcs)
                .env("CLEARTAP_SESSIONS__TAGS", "[\"mirror=yes\"]")
                .env("CLEARTAP_SESSIONS__REPORT", self.folder.path().join("coverage.json"))
                .env("CLEARTAP_SESSIONS__ACCESS__ENDPOINT", self.moto.url())
                .env("CLEARTAP_SESSIONS__ACCESS__REGION", "us-east-1")
                .env("AWS_ACCESS_KEY_ID", "test")
                .env("AWS_SECRET_ACCESS_KEY", "canary-secret-key")
                .env("AWS_EC2_METADATA_DISABLED", "true"),
        )
    }

    /// The summary of the coverage report.
    fn summary(&self) -> Value {
        let text = std::fs::read(self.folder.path().join("coverage.json")).unwrap();
        serde_json::from_slice::<Value>(&text).unwrap()["summary"].clone()
    }

    /// Sessions there are: id, interface, number.
    fn sessions(&self) -> Vec<(String, String, String)> {
        let answer = self.moto.ec2("Action=DescribeTrafficMirrorSessions");
        let (ids, interfaces) =
            (all(&answer, "trafficMirrorSessionId"), all(&answer, "networkInterfaceId"));
        let numbers = all(&answer, "sessionNumber");
        ids.into_iter().zip(interfaces).zip(numbers).map(|((a, b), c)| (a, b, c)).collect()
    }
}

/// The texts of every element of this name.
fn all(text: &str, tag: &str) -> Vec<String> {
    let (begin, end) = (format!("<{tag}>"), format!("</{tag}>"));
    text.split(&begin).skip(1).map(|part| part.split(&end).next().unwrap().to_owned()).collect()
}

fn text(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("canary-secret-key") && !log.contains("canary-secret-key"));
    text + &log
}

#[test]
fn interfaces_of_a_whole_account_are_kept_mirrored() {
    if !Moto::is_installed() {
        return skip(NAME, "moto is not installed");
    }
    // The emulator takes a minute and more for 1,200.
    let count = setting("CLEARTAP_INTERFACES").unwrap_or(130);
    let account = Account::new().unwrap();
    let sources = account.instances(u32::try_from(count).unwrap(), "m7i.large", "yes");
    let count = usize::try_from(count).unwrap();
    account.instances(10, "t2.micro", "yes");
    account.instances(10, "m7i.large", "no");
    let target = account.balancer_target();
    let vendor = account.foreign_session(&sources[0], &target, 1);
    let before = account.sessions();

    let planned = account.keep(&["plan"], &target);
    assert_eq!(planned.status.code(), Some(0), "{}", text(&planned));
    assert_eq!(account.sessions(), before, "a plan changes nothing");
    let applied = account.keep(&["apply"], &target);
    assert_eq!(applied.status.code(), Some(0), "{}", text(&applied));
    let after = account.sessions();
    assert_eq!(after.len(), count + 1);
    let told = text(&applied);
    let words = format!("{count} interfaces mirrored, 10 not, 10 blind by design");
    assert!(told.contains(&words), "{told}");
    let summary = account.summary();
    assert_eq!(summary["behind_others"], 1, "the vendor's session comes first there");
    assert_eq!(summary["reasons"]["instance_type"], 10);

    let again = account.keep(&["apply"], &target);
    assert!(text(&again).contains("Nothing to change"), "{}", text(&again));
    assert_eq!(account.sessions(), after, "idempotent");

    // Somebody removes one of ours and changes another; the vendor's stays as it is.
    let ours = |session: &&(String, String, String)| session.0 != vendor;
    let gone = &after.iter().find(ours).unwrap().0;
    account.moto.ec2(&format!("Action=DeleteTrafficMirrorSession&TrafficMirrorSessionId={gone}"));
    let drift = account.keep(&["drift"], &target);
    assert_eq!(drift.status.code(), Some(3));
    assert!(text(&drift).contains("1 changes:"), "{}", text(&drift));
    assert_eq!(account.keep(&["apply"], &target).status.code(), Some(0));
    assert_eq!(account.keep(&["drift"], &target).status.code(), Some(0));
    assert!(account.sessions().contains(&before[0]), "the vendor's session is untouched");
    assert_eq!(account.sessions().len(), count + 1);
}

#[test]
fn an_interface_as_target_takes_ten_and_a_mass_removal_needs_a_word() {
    if !Moto::is_installed() {
        return skip(NAME, "moto is not installed");
    }
    let account = Account::new().unwrap();
    account.instances(25, "m7i.large", "yes");
    let sensor = account.interface();
    let answer =
        account.moto.ec2(&format!("Action=CreateTrafficMirrorTarget&NetworkInterfaceId={sensor}"));
    let target = between(&answer, "trafficMirrorTargetId");
    let applied = account.keep(&["apply"], &target);
    assert_eq!(applied.status.code(), Some(0), "{}", text(&applied));
    assert_eq!(account.sessions().len(), 10);
    assert_eq!(account.summary()["reasons"]["target_full"], 15);

    // A load balancer takes the others too; ours move there.
    let balancer = account.balancer_target();
    let applied = account.keep(&["apply"], &balancer);
    if applied.status.code() == Some(0) {
        assert_eq!(account.sessions().len(), 25);
    }
    let tags = [("CLEARTAP_SESSIONS__TAGS", "[\"mirror=never\"]")];
    let refused = process::output(
        Command::new(env!("CARGO_BIN_EXE_cleartap"))
            .args(["sessions", "apply"])
            .envs(tags)
            .env("CLEARTAP_SESSIONS__TARGET", &balancer)
            .env("CLEARTAP_SESSIONS__FILTER", &account.filter)
            .env("CLEARTAP_SESSIONS__VPCS", format!("[{{ id = \"{}\", vni = 7001 }}]", account.vpc))
            .env("CLEARTAP_SESSIONS__ACCESS__ENDPOINT", account.moto.url())
            .env("CLEARTAP_SESSIONS__ACCESS__REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "canary-secret-key")
            .env("AWS_EC2_METADATA_DISABLED", "true"),
    );
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("--remove-many"), "{}", text(&refused));
}

#[test]
fn what_is_missing_is_told_by_key() {
    let output =
        process::output(Command::new(env!("CARGO_BIN_EXE_cleartap")).args(["sessions", "plan"]));
    assert!(
        text(&output).contains("sessions.target: name the traffic mirror target"),
        "{}",
        text(&output)
    );
    assert_eq!(output.status.code(), Some(1));
}
