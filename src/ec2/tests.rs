use aws_sdk_ec2::config::Credentials;

use super::*;
use crate::output::stub::{Answer, Stub, say};

const SECRET: &str = "canary-secret-key";

fn ec2(stub: &Stub) -> Ec2 {
    let config = aws_sdk_ec2::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_ec2::config::Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("AKIDEXAMPLE", SECRET, None, None, "test"))
        .endpoint_url(stub.url())
        .retry_config(aws_config::retry::RetryConfig::standard().with_max_attempts(2))
        .interceptor(HttpsOnly)
        .build();
    Ec2 {
        client: Client::from_conf(config),
        access: AwsAccess::default(),
        region: "eu-central-1".to_owned(),
        page_entries: PAGE_ENTRIES_MAX,
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

fn page(interfaces: &[u32], next: Option<&str>) -> String {
    let items: Vec<String> = interfaces
        .iter()
        .map(|n| {
            format!(
                "<item><networkInterfaceId>eni-{n}</networkInterfaceId><ownerId>123456789012</ownerId>\
                 <interfaceType>lambda</interfaceType><description>AWS Lambda VPC ENI-f-{n}</description>\
                 <requesterId>x</requesterId><vpcId>vpc-1</vpcId><subnetId>subnet-1</subnetId>\
                 <availabilityZone>eu-central-1a</availabilityZone>\
                 <privateIpAddress>10.0.0.{n}</privateIpAddress>\
                 <attachment><attachTime>2026-11-23T13:30:00.000Z</attachTime></attachment>\
                 <privateIpAddressesSet><item><privateIpAddress>10.0.0.{n}</privateIpAddress>\
                 <association><publicIp>192.0.2.{n}</publicIp></association></item>\
                 <item><privateIpAddress>10.0.1.{n}</privateIpAddress></item></privateIpAddressesSet>\
                 <ipv6AddressesSet><item><ipv6Address>fd00::{n}</ipv6Address></item></ipv6AddressesSet>\
                 <tagSet><item><key>team</key><value>data</value></item></tagSet></item>"
            )
        })
        .collect();
    let next = next.map(|next| format!("<nextToken>{next}</nextToken>")).unwrap_or_default();
    format!(
        "<DescribeNetworkInterfacesResponse><networkInterfaceSet>{}</networkInterfaceSet>{next}\
         </DescribeNetworkInterfacesResponse>",
        items.concat()
    )
}

#[test]
fn a_list_is_read_page_by_page_to_its_end() {
    let answers = [say(200, page(&[1, 2], Some("more"))), say(200, page(&[3], None))];
    let stub = Stub::start(answers, "");
    let list = run(async { ec2(&stub).with_page_entries(5).interfaces().await.unwrap() });
    let ids: Vec<&str> = list.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(ids, ["eni-1", "eni-2", "eni-3"]);
    let asked: Vec<String> = stub.got().iter().map(crate::output::stub::Got::text).collect();
    assert!(asked[0].contains("MaxResults=5") && !asked[0].contains("NextToken"), "{asked:?}");
    assert!(asked[1].contains("NextToken=more"), "{asked:?}");
    let one = &list[0];
    let addresses: Vec<String> = one.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.1", "10.0.1.1", "fd00::1"]);
    assert_eq!(one.public, ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(one.tags["team"], "data");
    assert_eq!(one.attached_at.unwrap().to_string(), "2026-11-23T13:30:00.000000000Z");
    assert_eq!((one.kind.as_str(), one.vpc.as_str()), ("lambda", "vpc-1"));
}

#[test]
fn a_list_that_breaks_off_is_an_error_and_never_a_short_list() {
    let stub = Stub::start([say(200, page(&[1], Some("more"))), Answer::Cut, Answer::Cut], "");
    let result = run(async { ec2(&stub).interfaces().await });
    assert!(matches!(result, Err(Fault::Later(_))), "{result:?}");
}

#[test]
fn each_error_is_told_by_its_code_and_repeats_no_secret() {
    let error = |code: &str| {
        format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>{SECRET}</Message></Error></Errors>\
             <RequestID>1</RequestID></Response>"
        )
    };
    for (status, code, expected) in [
        (403, "UnauthorizedOperation", "credentials"),
        (401, "AuthFailure", "credentials"),
        (400, "UnauthorizedOperation", "credentials"),
        (400, "RequestExpired", "credentials"),
        (503, "RequestLimitExceeded", "later"),
        (400, "RequestLimitExceeded", "later"),
        (500, "InternalError", "later"),
        (400, "InvalidParameterValue", "invalid"),
    ] {
        let answer = say(status, error(code));
        let stub = Stub::start([answer.clone(), answer], "");
        let fault = run(async { ec2(&stub).subnets().await }).unwrap_err();
        let (got, told) = match fault {
            Fault::Later(told) => ("later", told),
            Fault::Credentials(told) => ("credentials", told),
            Fault::Invalid(told) => ("invalid", told),
        };
        assert_eq!(got, expected, "{code}: {told}");
        assert!(told.contains(code) && !told.contains(SECRET), "{told}");
    }
}

#[test]
fn it_is_spoken_to_in_clear_nowhere() {
    let access =
        AwsAccess { endpoint: Some("http://192.0.2.1".to_owned()), ..AwsAccess::default() };
    let error = run(Ec2::connect(&access)).unwrap_err();
    assert!(error.to_string().contains("https://HOST"), "{error}");
}
