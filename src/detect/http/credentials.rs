//! Where HTTP carries secrets: header fields, query and form parameters. RFC 9110 section 11, RFC 7617, RFC 6750.
//!
//! Kinds only: values are looked at for their first word (the authentication scheme) and for being there at all.
use crate::model::{CANARY_RULE, Credentials, Mark, Side};

/// Credential kinds, and the words that say where they stood.
pub(in crate::detect) type Found = (Credentials, &'static str);

/// What a header field may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::detect) enum Field {
    /// The value itself is the secret.
    Secret(Found),
    /// The value begins with an authentication scheme.
    Authorization {
        /// For a proxy.
        proxy: bool,
    },
}

impl Field {
    /// What the value adds; `begins` tells whether it begins with a word, in any case.
    pub(in crate::detect) fn with_value(self, begins: impl Fn(&[u8]) -> bool) -> Option<Found> {
        let proxy = match self {
            Self::Secret(found) => return Some(found),
            Self::Authorization { proxy } => proxy,
        };
        let (_, kind, constant) = SCHEMES.iter().find(|(word, ..)| begins(word))?;
        Some((*kind, if proxy { "proxy-authorization" } else { constant }))
    }
}

/// The field whose lower-case name `is` accepts.
pub(in crate::detect) fn field(is: impl Fn(&[u8]) -> bool) -> Option<Field> {
    FIELDS.iter().find(|(name, _)| is(name)).map(|(_, field)| *field)
}

/// Whether `text` begins with the lower-case `word`, in any case.
pub(in crate::detect) fn begins(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word))
}

/// Secrets in `name=value` pairs joined by `&`: a query, or the visible start of a form.
pub(super) fn parameters(text: &[u8]) -> Option<Found> {
    let mut kinds = Credentials::NONE;
    let mut first = None;
    let mut user = false;
    let mut pass = false;
    for pair in text.split(|b| *b == b'&') {
        let Some(at) = pair.iter().position(|b| *b == b'=') else { continue };
        let Some((name, [_, value @ ..])) = pair.split_at_checked(at) else { continue };
        if value.is_empty() {
            continue;
        }
        user |= name == b"u";
        pass |= name == b"p";
        let known = PARAMETERS.iter().find(|(known, ..)| name.eq_ignore_ascii_case(known));
        if let Some((_, kind, constant)) = known {
            kinds = kinds.with(*kind);
            first = first.or(Some(*constant));
        }
    }
    // InfluxDB 1.x: user and password as `u` and `p`.
    if user && pass {
        kinds = kinds.with(Credentials::PASSWORD_CLEARTEXT);
        first = first.or(Some("u= p="));
    }
    first.map(|constant| (kinds, constant))
}

/// Points at credentials; `None` when their kinds were all pointed at before in this layer (`seen`: one bit each).
pub(in crate::detect) fn mark(
    seen: &mut u8,
    rule: &'static str,
    side: Side,
    (kinds, constant): Found,
    length: usize,
) -> Option<Mark> {
    let mut bits = *seen;
    for (kind, bit) in KINDS {
        if kinds.contains(*kind) {
            bits |= bit;
        }
    }
    let new = bits != *seen;
    *seen = bits;
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    new.then_some(Mark { rule, side, offset: 0, length, constant })
}

static KINDS: &[(Credentials, u8)] = &[
    (Credentials::PASSWORD_CLEARTEXT, 1),
    (Credentials::PASSWORD_HASH_CHALLENGE, 2),
    (Credentials::BASIC_AUTH, 4),
    (Credentials::BEARER_TOKEN, 8),
    (Credentials::SESSION_SECRET, 16),
];

/// How health checks begin their `User-Agent` (load balancers, kubelet, Route 53, Consul), and our own canary.
pub(super) static PROBERS: &[(&[u8], &str, &str)] = &[
    (b"elb-healthchecker/", "ELB-HealthChecker/", "http.health-check"),
    (b"kube-probe/", "kube-probe/", "http.health-check"),
    (b"googlehc/", "GoogleHC/", "http.health-check"),
    (b"amazon-route53-health", "Amazon-Route53-Health", "http.health-check"),
    (b"consul health check", "Consul Health Check", "http.health-check"),
    (b"cleartap-canary/", "cleartap-canary/", CANARY_RULE),
];

/// Authentication schemes. Signatures (AWS4-HMAC-SHA256, `SharedKey`, OAuth 1) reveal no secret and are left out.
static SCHEMES: &[(&[u8], Credentials, &str)] = &[
    (b"basic ", Credentials::BASIC_AUTH, "authorization: basic"),
    (b"bearer ", Credentials::BEARER_TOKEN, "authorization: bearer"),
    (b"token ", Credentials::BEARER_TOKEN, "authorization: token"),
    (b"apikey ", Credentials::BEARER_TOKEN, "authorization: apikey"),
    (b"splunk ", Credentials::BEARER_TOKEN, "authorization: splunk"),
    // A bare JSON Web Token: `{"` in base64.
    (b"eyj", Credentials::BEARER_TOKEN, "authorization: jwt"),
    (b"digest ", Credentials::PASSWORD_HASH_CHALLENGE, "authorization: digest"),
    (b"ntlm ", Credentials::PASSWORD_HASH_CHALLENGE, "authorization: ntlm"),
    (b"negotiate ", Credentials::PASSWORD_HASH_CHALLENGE, "authorization: negotiate"),
    (b"scram-sha-", Credentials::PASSWORD_HASH_CHALLENGE, "authorization: scram"),
];

const fn token(constant: &'static str) -> Field {
    Field::Secret((Credentials::BEARER_TOKEN, constant))
}

const fn session(constant: &'static str) -> Field {
    Field::Secret((Credentials::SESSION_SECRET, constant))
}

static FIELDS: &[(&[u8], Field)] = &[
    (b"authorization", Field::Authorization { proxy: false }),
    (b"proxy-authorization", Field::Authorization { proxy: true }),
    (b"cookie", session("cookie")),
    (b"set-cookie", session("set-cookie")),
    (b"x-amz-security-token", session("x-amz-security-token")),
    (b"x-aws-ec2-metadata-token", session("x-aws-ec2-metadata-token")),
    (b"x-api-key", token("x-api-key")),
    (b"api-key", token("api-key")),
    (b"apikey", token("apikey")),
    (b"x-goog-api-key", token("x-goog-api-key")),
    (b"private-token", token("private-token")),
    (b"x-vault-token", token("x-vault-token")),
    (b"x-consul-token", token("x-consul-token")),
    (b"x-nomad-token", token("x-nomad-token")),
    (b"x-auth-token", token("x-auth-token")),
    (b"x-subject-token", token("x-subject-token")),
    (b"x-access-token", token("x-access-token")),
];

static PARAMETERS: &[(&[u8], Credentials, &str)] = &[
    (b"password", Credentials::PASSWORD_CLEARTEXT, "password="),
    (b"passwd", Credentials::PASSWORD_CLEARTEXT, "passwd="),
    (b"pwd", Credentials::PASSWORD_CLEARTEXT, "pwd="),
    (b"j_password", Credentials::PASSWORD_CLEARTEXT, "j_password="),
    (b"client_secret", Credentials::PASSWORD_CLEARTEXT, "client_secret="),
    (b"access_token", Credentials::BEARER_TOKEN, "access_token="),
    (b"refresh_token", Credentials::BEARER_TOKEN, "refresh_token="),
    (b"private_token", Credentials::BEARER_TOKEN, "private_token="),
    (b"api_key", Credentials::BEARER_TOKEN, "api_key="),
    (b"apikey", Credentials::BEARER_TOKEN, "apikey="),
    (b"x-amz-security-token", Credentials::SESSION_SECRET, "x-amz-security-token="),
];
