//! What the EC2 API tells, against an emulator of it: interfaces, instances page by page, subnets, mirror sessions.
//!
//! Credentials come from the environment, so each test runs in a process of its own (this binary again).

use std::{
    collections::BTreeSet,
    env,
    io::{BufRead, BufReader},
    net::UdpSocket,
    process::{Command, Stdio},
    time::Duration,
};

use cleartap::{alerts::AwsAccess, ec2::Ec2};

use super::{
    capture::{Owned, frames, root},
    emulator::post,
    live::{datagram, skip},
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

/// Makes an interface at this address, as a service describes it; returns its id.
fn interface(moto: &Moto, subnet: &str, address: &str, description: &str) -> String {
    let description = description.replace(' ', "%20");
    let made = moto.ec2(&format!(
        "Action=CreateNetworkInterface&SubnetId={subnet}&PrivateIpAddress={address}&Description={description}"
    ));
    between(&made, "networkInterfaceId")
}

/// Waits for a line of the log.
fn await_line(log: &mut impl BufRead, part: &str) -> String {
    let mut line = String::new();
    loop {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the sensor ended before it said {part}");
        if line.contains(part) {
            return line;
        }
    }
}

/// An account in which 10.77.2.20 is a cache, mirrored from 127.0.0.1 with the VNI of a capture.
struct Account {
    moto: Moto,
    folder: tempfile::TempDir,
    vpc: String,
    subnet: String,
    cache: String,
    capture: Vec<Owned>,
}

impl Account {
    fn new() -> Self {
        let moto = Moto::start().unwrap();
        let vpc = between(&moto.ec2("Action=CreateVpc&CidrBlock=10.77.0.0/16"), "vpcId");
        let subnet = moto.ec2(&format!("Action=CreateSubnet&VpcId={vpc}&CidrBlock=10.77.2.0/24"));
        let subnet = between(&subnet, "subnetId");
        let cache = interface(&moto, &subnet, "10.77.2.20", "ElastiCache before-001");
        let source = interface(&moto, &subnet, "127.0.0.1", "mirrored");
        let target =
            moto.ec2(&format!("Action=CreateTrafficMirrorTarget&NetworkInterfaceId={cache}"));
        let target = between(&target, "trafficMirrorTargetId");
        let filter =
            between(&moto.ec2("Action=CreateTrafficMirrorFilter"), "trafficMirrorFilterId");
        let capture = frames(&root().join("captures/redis/cli-resp2.pcap"));
        let vni = u32::from_be_bytes(datagram(&capture[0])[4..8].try_into().unwrap()) >> 8;
        moto.ec2(&format!(
            "Action=CreateTrafficMirrorSession&NetworkInterfaceId={source}&TrafficMirrorTargetId={target}\
             &TrafficMirrorFilterId={filter}&SessionNumber=1&VirtualNetworkId={vni}"
        ));
        Self { moto, folder: tempfile::tempdir().unwrap(), vpc, subnet, cache, capture }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Starts a sensor that asks for the inventory every five seconds.
    fn sensor(&self) -> Command {
        let config = format!(
            "[inventory]\nrefresh_s = 5\nstate = {:?}\n[[inventory.ec2]]\nregion = \"us-east-1\"\nendpoint = {:?}\n",
            self.path("inventory.json"),
            self.moto.url()
        );
        std::fs::write(self.path("cleartap.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cleartap"));
        command
            .args(["run", "--listen", "127.0.0.1:0", "--config", &self.path("cleartap.toml")])
            .args(["--findings", &self.path("findings.db")])
            .args(["--records", &self.path("records.jsonl")])
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", CANARY)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stderr(Stdio::piped());
        command
    }

    /// Mirrors the capture with other client ports: other sessions.
    fn mirror(&self, address: &str, port_high: u8) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for frame in &self.capture {
            let mut copy = datagram(frame).to_vec();
            let ports = 8 + 14 + usize::from(copy[8 + 14] & 15) * 4;
            let from_server = copy[ports..ports + 2] == 6379_u16.to_be_bytes();
            copy[ports + if from_server { 2 } else { 0 }] = port_high;
            socket.send_to(&copy, address).unwrap();
        }
    }

    /// Server identity and name of every finding.
    fn findings(&self) -> BTreeSet<(String, String)> {
        let listed = process::output(
            Command::new(env!("CARGO_BIN_EXE_cleartap"))
                .args(["findings", "list", "--format", "json", "--findings"])
                .arg(self.path("findings.db")),
        );
        let findings: Vec<serde_json::Value> = serde_json::from_slice(&listed.stdout).unwrap();
        let of = |finding: &serde_json::Value| {
            assert_eq!(finding["edge"]["scope"], *self.vpc, "the mirror session's VPC");
            assert_eq!(finding["remedy"], "elasticache-redis", "{finding}");
            let server = finding["edge"]["server"].as_str().unwrap().to_owned();
            (server, finding["server_name"].as_str().unwrap().to_owned())
        };
        findings.iter().map(of).collect()
    }
}

#[test]
fn a_running_sensor_names_ends_and_scope_and_blames_no_former_owner() {
    if !Moto::is_installed() {
        return skip(NAME, "moto is not installed");
    }
    let account = Account::new();
    let mut sensor = process::spawn(&mut account.sensor());
    let mut log = BufReader::new(sensor.stderr.take().unwrap());
    let line = await_line(&mut log, "address=");
    let (_, address) = line.split_once("address=").unwrap();
    let address = address.split_whitespace().next().unwrap().to_owned();
    await_line(&mut log, "The inventory has changed");
    account.mirror(&address, 0xc0);
    std::thread::sleep(Duration::from_secs(2));
    // The address passes from one cache to another.
    account
        .moto
        .ec2(&format!("Action=DeleteNetworkInterface&NetworkInterfaceId={}", account.cache));
    interface(&account.moto, &account.subnet, "10.77.2.20", "ElastiCache after-001");
    await_line(&mut log, "passed_on=1");
    std::thread::sleep(Duration::from_millis(1500));
    account.mirror(&address, 0xc1);
    std::thread::sleep(Duration::from_secs(3));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(sensor.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(sensor.wait().unwrap().success());
    let cluster = |name: &str| {
        (format!("arn:aws:elasticache:us-east-1:123456789012:cluster:{name}"), name.to_owned())
    };
    assert_eq!(account.findings(), BTreeSet::from([cluster("after-001"), cluster("before-001")]));
    let records = std::fs::read_to_string(account.path("records.jsonl")).unwrap();
    assert!(records.contains("\"dst_name\":\"before-001\""), "{records}");
    let state = std::fs::read_to_string(account.path("inventory.json")).unwrap();
    assert!(state.contains("before-001") && state.contains("after-001"));
}

#[test]
fn check_asks_for_permission_by_dry_runs_and_repeats_no_secret() {
    if !Moto::is_installed() {
        return skip(NAME, "moto is not installed");
    }
    let account = Account::new();
    let check = |endpoint: &str| {
        let config = format!(
            "[[inventory.ec2]]\nregion = \"us-east-1\"\nendpoint = {endpoint:?}\n\
             [[alerts.channels]]\nname = \"team\"\n[alerts.channels.sns]\n\
             topic_arn = \"arn:aws:sns:us-east-1:123456789012:told\"\naccess = {{ endpoint = {endpoint:?} }}\n\
             [[alerts.channels]]\nname = \"bus\"\n[alerts.channels.eventbridge]\n\
             access = {{ region = \"us-east-1\", endpoint = {endpoint:?} }}\n\
             [[alerts.channels]]\nname = \"file\"\n[alerts.channels.json_lines]\npath = \"/dev/null\"\n"
        );
        std::fs::write(account.path("c.toml"), config).unwrap();
        process::output(
            Command::new(env!("CARGO_BIN_EXE_cleartap"))
                .args(["check", "--aws", "--changed", "--config", &account.path("c.toml")])
                .env("AWS_ACCESS_KEY_ID", "test")
                .env("AWS_SECRET_ACCESS_KEY", CANARY)
                .env("AWS_ENDPOINT_URL", endpoint)
                .env("AWS_EC2_METADATA_DISABLED", "true"),
        )
    };
    let form = "Action=CreateTopic&Name=told&Version=2010-03-31";
    post(account.moto.port, "/", "sns", &[], "application/x-www-form-urlencoded", form);
    let output = check(&account.moto.url());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in [
        "ok     inventory: ec2[0]: identity: arn:aws:",
        "ok     inventory: ec2[0]: ec2:DescribeNetworkInterfaces: allowed",
        "ok     inventory: ec2[0]: ec2:DescribeTrafficMirrorSessions: allowed",
        "ok     alerts: team: sns:GetTopicAttributes: arn:aws:sns:us-east-1:123456789012:told is there",
        "ok     alerts: bus: events:DescribeEventBus: bus default is there",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(output.status.success() && !text.contains(CANARY) && !text.contains("file:"), "{text}");
    let output = check("http://127.0.0.1:9");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let failed = text.lines().filter(|line| line.starts_with("FAILED")).count();
    assert!(failed >= 6 && !text.contains(CANARY), "{text}");
    assert_eq!(output.status.code(), Some(1));
}
