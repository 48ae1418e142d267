use aws_config::Region;
use aws_sdk_cloudwatch::config::{Credentials, SharedCredentialsProvider};

use super::{super::delivery::Delivery, *};
use crate::{
    metrics::{Datum, Metric, Points},
    model::Timestamp,
    output::{
        aws::base,
        spool::{Spool, SpoolOptions},
        stub::{Answer, Got, Stub},
    },
};

const SECRET: &str = "canary-secret-key";
/// An empty answer in CBOR.
const TAKEN: [u8; 1] = [0xa0];

async fn connect(endpoint: String) -> CloudWatch {
    let config = CloudWatchConfig { endpoint: Some(endpoint), ..CloudWatchConfig::default() };
    let credentials = Credentials::new("AKIDEXAMPLE", SECRET, None, None, "test");
    let sdk = base(&access(&config), 30)
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .load()
        .await;
    CloudWatch { client: client(&sdk, &config), config }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

fn samples(count: u32) -> Vec<Sample> {
    let sample = |n: u32| Sample {
        time_s: 1_795_000_020,
        datum: Datum::new(Metric::PlaintextFlows, &[], f64::from(n)).unwrap(),
    };
    (0..count).map(sample).collect()
}

fn put(stub: &Stub, count: u32) -> Result<(), Fault> {
    let endpoint = stub.url();
    run(async { connect(endpoint).await.put(&samples(count)).await })
}

fn data(request: &Got) -> usize {
    request.plain().windows(10).filter(|window| *window == b"MetricName").count()
}

#[test]
fn a_full_request_is_compressed_and_keeps_the_original_time() {
    let stub = Stub::start([], TAKEN);
    put(&stub, 1000).unwrap();
    let got = stub.got();
    assert_eq!((got.len(), data(&got[0])), (1, 1000));
    assert_eq!(got[0].header("content-encoding"), Some("gzip"));
    assert!(got[0].body.len() < 100_000, "{}", got[0].body.len());
    let plain = got[0].plain();
    // Tag 1 (epoch time), then the seconds as a 32-bit integer or a double (RFC 8949 section 3.4.2).
    let integer = [&[0xc1, 0x1a], 1_795_000_020_u32.to_be_bytes().as_slice()].concat();
    let double = [&[0xc1, 0xfb], 1_795_000_020_f64.to_be_bytes().as_slice()].concat();
    let stands = |bytes: &[u8]| plain.windows(bytes.len()).any(|window| window == bytes);
    assert!(stands(&integer) || stands(&double));
}

#[test]
fn each_error_is_met_as_it_deserves() {
    let twice = |answer: Answer| [answer.clone(), answer];
    for (answer, kind) in [
        (Answer::Error(400, "Throttling", 0), "later"),
        (Answer::Error(429, "TooManyRequests", 0), "later"),
        (Answer::Error(500, "InternalServiceError", 0), "later"),
        (Answer::Error(503, "ServiceUnavailable", 0), "later"),
        (Answer::Cut, "later"),
        (Answer::Error(400, "InvalidParameterValueException", 0), "invalid"),
        (Answer::Error(413, "RequestEntityTooLarge", 0), "invalid"),
        (Answer::Error(403, "AccessDenied", 0), "credentials"),
        (Answer::Error(403, "ExpiredToken", 0), "credentials"),
        (Answer::Error(400, "ExpiredTokenException", 0), "credentials"),
        (Answer::Error(403, "InvalidClientTokenId", 0), "credentials"),
    ] {
        let fault = put(&Stub::start(twice(answer.clone()), TAKEN), 2).unwrap_err();
        let got = match &fault {
            Fault::Later(_) => "later",
            Fault::Credentials(_) => "credentials",
            Fault::Invalid(_) => "invalid",
        };
        assert_eq!(got, kind, "{answer:?}: {fault:?}");
        assert!(!format!("{fault:?}").contains(SECRET));
    }
}

#[test]
fn nobody_listening_is_a_reason_to_wait() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let got =
        run(async { connect(format!("http://127.0.0.1:{port}")).await.put(&samples(1)).await });
    assert!(matches!(got, Err(Fault::Later(_))), "{got:?}");
}

#[test]
fn a_wrong_clock_is_corrected_by_the_answer() {
    let stub = Stub::start([Answer::Error(403, "RequestTimeTooSkewed", 7200)], TAKEN);
    put(&stub, 1).unwrap();
    let got = stub.got();
    let dates: Vec<&str> = got.iter().map(|g| g.header("x-amz-date").unwrap()).collect();
    assert_eq!(dates.len(), 2);
    assert_ne!(dates[0].get(..11), dates[1].get(..11), "two hours later: {dates:?}");
}

#[test]
fn nothing_leaves_the_machine_in_clear() {
    let got = run(async { connect("http://192.0.2.1".to_owned()).await.put(&samples(1)).await });
    assert!(got.is_err(), "refused before it is sent");
}

#[test]
fn through_every_fault_each_datum_arrives() {
    let answers = [
        Answer::Error(503, "ServiceUnavailable", 0),
        Answer::Cut,
        Answer::Error(400, "Throttling", 0),
        Answer::Error(429, "TooManyRequests", 0),
        Answer::Cut,
        Answer::Error(500, "InternalFailure", 0),
    ];
    let stub = Stub::start(answers, TAKEN);
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(SpoolOptions::new(folder.path().into(), 1 << 20)).unwrap();
    run(async {
        let put = connect(stub.url()).await;
        let mut delivery = Delivery::new(put, spool);
        let data: Vec<Datum> = samples(300).into_iter().map(|s| s.datum).collect();
        delivery.outbox().commit(&Points { time_s: 1_795_000_020, data }).unwrap();
        let mut now = 1_795_000_080;
        while !delivery.drain(Timestamp::new(now, 0)).await.unwrap() {
            now += 1;
        }
        assert!(delivery.counters().retries >= 3);
    });
    let got = stub.got();
    assert_eq!(data(got.last().unwrap()), 300);
}
