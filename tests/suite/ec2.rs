//! What the EC2 API tells, against an emulator of it: interfaces, instances page by page, subnets, mirror sessions.
//!
//! Credentials come from the environment, so each test runs in a process of its own (this binary again).

use std::{env, process::Command};

use cleartap::{alerts::AwsAccess, ec2::Ec2};

use super::{
    live::skip,
    moto::{Moto, between},
    process,
};

const NAME: &str = "ec2";
const CANARY: &str = "canary-secret-key";

/// Whether this is the process with an environment; else starts it, and fails as it does.
fn in_own_process(name: &str) -> bool {
    if env::var("AWS_SECRET_ACCESS_KEY").is_ok_and(|key| key == CANARY) {
        return true;
    }
    let output = process::output(
        Command::new(env::current_exe().unwrap())
            .args(["--exact", &format!("ec2::{name}"), "--nocapture"])
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", CANARY)
            .env("AWS_EC2_METADATA_DISABLED", "true"),
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}\n{log}");
    assert!(!text.contains(CANARY) && !log.contains(CANARY));
    false
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

fn connect(moto: &Moto) -> Ec2 {
    let access = AwsAccess {
        region: Some("us-east-1".to_owned()),
        endpoint: Some(moto.url()),
        ..AwsAccess::default()
    };
    run(Ec2::connect(&access)).unwrap()
}

#[test]
fn a_listing_holds_what_the_account_holds() {
    if !Moto::is_installed() {
        return skip(NAME, "moto is not installed");
    }
    if !in_own_process("a_listing_holds_what_the_account_holds") {
        return;
    }
    let moto = Moto::start().unwrap();
    let vpc = between(&moto.ec2("Action=CreateVpc&CidrBlock=10.8.0.0/16"), "vpcId");
    let subnet = moto.ec2(&format!("Action=CreateSubnet&VpcId={vpc}&CidrBlock=10.8.1.0/24"));
    let subnet = between(&subnet, "subnetId");
    let eni = moto.ec2(&format!(
        "Action=CreateNetworkInterface&SubnetId={subnet}&PrivateIpAddress=10.8.1.9\
         &Description=ElastiCache%20sessions-001\
         &TagSpecification.1.ResourceType=network-interface\
         &TagSpecification.1.Tag.1.Key=team&TagSpecification.1.Tag.1.Value=payments"
    ));
    let eni = between(&eni, "networkInterfaceId");
    moto.ec2(&format!(
        "Action=RunInstances&ImageId=ami-12c6146b&MinCount=7&MaxCount=7&SubnetId={subnet}\
         &TagSpecification.1.ResourceType=instance\
         &TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=web"
    ));
    let target = moto.ec2(&format!("Action=CreateTrafficMirrorTarget&NetworkInterfaceId={eni}"));
    let filter = moto.ec2("Action=CreateTrafficMirrorFilter");
    let (target, filter) =
        (between(&target, "trafficMirrorTargetId"), between(&filter, "trafficMirrorFilterId"));
    moto.ec2(&format!(
        "Action=CreateTrafficMirrorSession&NetworkInterfaceId={eni}&TrafficMirrorTargetId={target}\
         &TrafficMirrorFilterId={filter}&SessionNumber=1&VirtualNetworkId=4711"
    ));
    // Seven instances in pages of five: two pages.
    let listing = run(connect(&moto).with_page_entries(5).listing()).unwrap();
    let web = listing.instances.iter().filter(|i| i.tags.get("Name").is_some_and(|n| n == "web"));
    assert_eq!(web.count(), 7);
    let found = listing.interfaces.iter().find(|one| one.id == eni).unwrap();
    assert_eq!(found.description, "ElastiCache sessions-001");
    assert_eq!((&found.vpc, &found.subnet), (&vpc, &subnet));
    assert_eq!(found.primary.unwrap().to_string(), "10.8.1.9");
    assert_eq!(found.tags["team"], "payments");
    let attached = listing.interfaces.iter().filter(|one| one.instance.is_some()).count();
    assert_eq!(attached, 7);
    assert!(listing.subnets.iter().any(|one| one.id == subnet && one.vpc == vpc));
    let session = &listing.sessions[0];
    assert_eq!((session.interface.as_str(), session.vni), (eni.as_str(), Some(4711)));
    assert_eq!((&session.target, &session.filter), (&target, &filter));
    assert_eq!(listing.region, "us-east-1");
}
