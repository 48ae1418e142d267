//! Requests: header, the beginnings of the bodies that prove most, SASL messages.
use super::super::frames::{self, Flaw, Read, need, printable, tag};
use crate::{
    bytes::{Cursor, holds},
    model::Credentials,
};

pub(super) const PRODUCE: u16 = 0;
pub(super) const FETCH: u16 = 1;
pub(super) const METADATA: u16 = 3;
pub(super) const SASL_HANDSHAKE: u16 = 17;
pub(super) const API_VERSIONS: u16 = 18;
pub(super) const SASL_AUTHENTICATE: u16 = 36;

/// The header of a request.
pub(super) struct Header {
    /// As declared, without itself.
    pub(super) size: usize,
    pub(super) key: u16,
    pub(super) version: u16,
    pub(super) correlation: u32,
    /// Whether the client gives its name.
    pub(super) named: bool,
    pub(super) flexible: bool,
    /// Where the body begins.
    pub(super) at: usize,
}

impl Header {
    /// Bytes of the request with its length field.
    pub(super) const fn whole(&self) -> usize {
        self.size.saturating_add(LENGTH_BYTES)
    }

    /// Bytes of the body.
    const fn body(&self) -> usize {
        self.whole().saturating_sub(self.at)
    }
}

/// Reads the header, judging from the first byte on.
pub(super) fn header(cursor: &mut Cursor<'_>) -> Read<Header> {
    let size = frames::length(cursor, HEADER_BYTES_MIN, BYTES_MAX)?;
    tag(cursor, &[0])?;
    let key = u16::from(cursor.u8()?);
    let (_, newest, flexible) = APIS.get(usize::from(key)).ok_or(Flaw::Bad)?;
    tag(cursor, &[0])?;
    let version = cursor.u8()?;
    need(version <= newest.saturating_add(VERSIONS_AHEAD))?;
    need(key == PRODUCE || size <= OTHER_BYTES_MAX)?;
    need(cursor.peek()? < 0x80)?;
    let correlation = cursor.u32_be()?;
    let mut named = false;
    if cursor.peek()? == 0 {
        cursor.skip(1)?;
        let length = usize::from(cursor.u8()?);
        need(length.saturating_add(HEADER_BYTES) <= size)?;
        frames::all(cursor, length, printable)?;
        named = length > 0;
    } else {
        tag(cursor, &[0xff, 0xff])?;
    }
    let flexible = version >= *flexible;
    if flexible {
        // Tagged fields: none are defined for the header.
        tag(cursor, &[0])?;
    }
    need(cursor.at() <= size.saturating_add(LENGTH_BYTES))?;
    let version = u16::from(version);
    Ok(Header { size, key, version, correlation, named, flexible, at: cursor.at() })
}

pub(super) fn name(key: u16) -> &'static str {
    APIS.get(usize::from(key)).map_or("request", |(name, ..)| name)
}

/// Whether the body is such that its beginning alone tells requests of this kind.
pub(super) const fn carries_records(header: &Header) -> bool {
    matches!(header.key, PRODUCE | FETCH)
}

/// Whether the body's beginning was checked; `false` where only the header was.
pub(super) fn body(header: &Header, cursor: &mut Cursor<'_>) -> Read<bool> {
    match header.key {
        // librdkafka before 1.0 wrote an empty array.
        API_VERSIONS if header.version < 3 && header.body() == 4 => tag(cursor, &[0; 4])?,
        API_VERSIONS if header.version < 3 => need(header.body() == 0)?,
        API_VERSIONS => {
            string(cursor, true, true)?;
            string(cursor, true, true)?;
            need(cursor.at().saturating_add(1) <= header.whole())?;
        }
        SASL_HANDSHAKE => {
            let length = string(cursor, false, true)?;
            need((3..=32).contains(&length) && cursor.at() == header.whole())?;
        }
        METADATA => metadata(header, cursor)?,
        PRODUCE => produce(header, cursor)?,
        FETCH if header.version < 15 => fetch(header, cursor)?,
        // FindCoordinator before version 4, and the requests that begin with the name of a group.
        8..=14 if header.key != 10 || header.version < 4 => {
            let length = string(cursor, header.flexible, true)?;
            need(length > 0 || header.named)?;
        }
        _ => return Ok(false),
    }
    need(cursor.at() <= header.whole())?;
    Ok(true)
}

fn metadata(header: &Header, cursor: &mut Cursor<'_>) -> Read<()> {
    let topics = array(cursor, header.flexible)?;
    if topics == 0 {
        return need(header.whole().saturating_sub(cursor.at()) <= METADATA_OPTIONS_BYTES);
    }
    if header.version >= 10 {
        let id = cursor.array::<UUID_BYTES>()?;
        if cursor.peek()? == 0 {
            // A topic by its id.
            return need(is_random_uuid(id));
        }
    }
    topic(cursor, header.flexible)
}

fn produce(header: &Header, cursor: &mut Cursor<'_>) -> Read<()> {
    if header.version >= 3 && !null(cursor, header.flexible)? {
        string(cursor, header.flexible, true)?;
    }
    let acks = cursor.u16_be()?;
    need(matches!(acks, 0 | 1 | 0xffff))?;
    frames::length(cursor, 0, TIMEOUT_MS_MAX)?;
    need(array(cursor, header.flexible)? > 0)?;
    if header.version >= 13 {
        need(header.named)?;
        cursor.skip(UUID_BYTES)?;
        return need(array(cursor, true)? > 0);
    }
    topic(cursor, header.flexible)
}

fn fetch(header: &Header, cursor: &mut Cursor<'_>) -> Read<()> {
    // A consumer has no replica id; brokers give theirs.
    if cursor.peek()? == 0xff {
        tag(cursor, &[0xff; 4])?;
    } else {
        need(header.named)?;
        frames::length(cursor, 0, REPLICA_MAX)?;
    }
    frames::length(cursor, 0, TIMEOUT_MS_MAX)?;
    frames::length(cursor, 0, i32::MAX.unsigned_abs())?;
    if header.version >= 3 {
        frames::length(cursor, 0, i32::MAX.unsigned_abs())?;
    }
    if header.version >= 4 {
        need(cursor.u8()? <= 1)?;
    }
    if header.version >= 7 {
        frames::length(cursor, 0, i32::MAX.unsigned_abs())?;
        need(matches!(cursor.peek()?, 0..=0x7f | 0xff))?;
        cursor.skip(4)?;
    }
    // Only a session that was opened before may ask for nothing new.
    let topics = array(cursor, header.flexible)?;
    need(topics > 0 || header.version >= 7)?;
    if topics > 0 && header.version < 13 {
        topic(cursor, header.flexible)?;
    }
    Ok(())
}

/// Whether it is a UUID of version 4 (RFC 9562 section 5.4), as the ids of topics are.
const fn is_random_uuid(id: [u8; UUID_BYTES]) -> bool {
    let [_, _, _, _, _, _, version, _, variant, ..] = id;
    version >> 4 == 4 && variant >> 6 == 2
}

/// The name of a topic.
fn topic(cursor: &mut Cursor<'_>, compact: bool) -> Read<()> {
    let length = string_length(cursor, compact)?;
    need((1..=TOPIC_BYTES_MAX).contains(&length))?;
    let legal = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    frames::all(cursor, length, legal)?;
    Ok(())
}

/// Reads a string and returns its length.
fn string(cursor: &mut Cursor<'_>, compact: bool, text: bool) -> Read<usize> {
    let length = string_length(cursor, compact)?;
    frames::all(cursor, length, if text { printable } else { |_| true })?;
    Ok(length)
}

fn string_length(cursor: &mut Cursor<'_>, compact: bool) -> Read<usize> {
    if compact {
        return uvarint(cursor)?.checked_sub(1).ok_or(Flaw::Bad);
    }
    need(cursor.peek()? <= 3)?;
    Ok(usize::from(cursor.u16_be()?))
}

/// Passes over a null string, if it is one.
fn null(cursor: &mut Cursor<'_>, compact: bool) -> Read<bool> {
    let null: &[u8] = if compact { &[0] } else { &[0xff, 0xff] };
    if cursor.peek()? != *null.first().unwrap_or(&0) {
        return Ok(false);
    }
    tag(cursor, null)?;
    Ok(true)
}

/// The number of elements; a null array has none.
pub(super) fn array(cursor: &mut Cursor<'_>, compact: bool) -> Read<usize> {
    if compact {
        return Ok(uvarint(cursor)?.saturating_sub(1));
    }
    if cursor.peek()? == 0xff {
        tag(cursor, &[0xff; 4])?;
        return Ok(0);
    }
    frames::length(cursor, 0, ELEMENTS_MAX)
}

/// A variable-length number of at most two bytes.
pub(super) fn uvarint(cursor: &mut Cursor<'_>) -> Read<usize> {
    let low = cursor.u8()?;
    if low < 0x80 {
        return Ok(usize::from(low));
    }
    let high = cursor.u8()?;
    need(high < 0x80)?;
    Ok(usize::from(high) << 7 | usize::from(low & 0x7f))
}

/// The mechanism's message in a `SaslAuthenticate` request, or its beginning.
pub(super) fn sasl_bytes<'a>(header: &Header, cursor: &mut Cursor<'a>) -> Read<&'a [u8]> {
    let length = if header.flexible {
        uvarint(cursor)?.saturating_sub(1)
    } else {
        frames::length(cursor, 0, SASL_BYTES_MAX)?
    };
    need(length <= header.body())?;
    Ok(cursor.take(length.min(SASL_BYTES_READ))?)
}

/// Which mechanism a message is of, by its form.
pub(super) fn sasl_kind(message: &[u8]) -> (Credentials, &'static str) {
    let gs2 = matches!(message, [b'n' | b'y', b',', ..] | [b'p', b'=', ..]);
    let has = |what: &[u8]| holds(message, what);
    if gs2 && (has(b"\x01auth=Bearer ") || has(b"\x01auth=bearer ")) {
        return (Credentials::BEARER_TOKEN, "OAUTHBEARER");
    }
    if gs2 && has(b"n=") && has(b",r=") {
        return (Credentials::PASSWORD_HASH_CHALLENGE, "SCRAM");
    }
    let mut parts = message.split(|b| *b == 0);
    let plain = [parts.next(), parts.next(), parts.next(), parts.next()];
    match plain {
        // Authorisation id, user, password (RFC 4616).
        [Some(id), Some(user), Some(password), None]
            if !user.is_empty()
                && !password.is_empty()
                && id.iter().chain(user).chain(password).all(printable) =>
        {
            (Credentials::SASL_PLAIN, "PLAIN")
        }
        _ => (Credentials::NONE, "SASL"),
    }
}

const LENGTH_BYTES: usize = 4;
/// Key, version, correlation id, length of the client's name.
const HEADER_BYTES: usize = 10;
const HEADER_BYTES_MIN: u32 = 10;
/// `socket.request.max.bytes`.
const BYTES_MAX: u32 = 100 << 20;
const OTHER_BYTES_MAX: usize = 4 << 20;
const ELEMENTS_MAX: u32 = 100_000;
const TIMEOUT_MS_MAX: u32 = 3_600_000;
const REPLICA_MAX: u32 = 1 << 24;
const METADATA_OPTIONS_BYTES: usize = 8;
const UUID_BYTES: usize = 16;
const TOPIC_BYTES_MAX: usize = 249;
pub(super) const SASL_BYTES_MAX: u32 = 512 << 10;
pub(super) const SASL_BYTES_READ: usize = 1024;
/// Versions that may come before this table learns of them.
const VERSIONS_AHEAD: u8 = 2;
const NEVER: u8 = u8::MAX;

/// Name, newest version, first version with tagged fields; the key is the index.
static APIS: &[(&str, u8, u8)] = &[
    ("Produce", 13, 9),
    ("Fetch", 18, 12),
    ("ListOffsets", 11, 6),
    ("Metadata", 13, 9),
    ("LeaderAndIsr", 7, 4),
    ("StopReplica", 4, 2),
    ("UpdateMetadata", 8, 6),
    ("ControlledShutdown", 3, 3),
    ("OffsetCommit", 10, 8),
    ("OffsetFetch", 10, 6),
    ("FindCoordinator", 6, 3),
    ("JoinGroup", 9, 6),
    ("Heartbeat", 4, 4),
    ("LeaveGroup", 5, 4),
    ("SyncGroup", 5, 4),
    ("DescribeGroups", 6, 5),
    ("ListGroups", 5, 3),
    ("SaslHandshake", 1, NEVER),
    ("ApiVersions", 4, 3),
    ("CreateTopics", 7, 5),
    ("DeleteTopics", 6, 4),
    ("DeleteRecords", 2, 2),
    ("InitProducerId", 6, 2),
    ("OffsetForLeaderEpoch", 4, 4),
    ("AddPartitionsToTxn", 5, 3),
    ("AddOffsetsToTxn", 4, 3),
    ("EndTxn", 5, 3),
    ("WriteTxnMarkers", 2, 1),
    ("TxnOffsetCommit", 5, 3),
    ("DescribeAcls", 3, 2),
    ("CreateAcls", 3, 2),
    ("DeleteAcls", 3, 2),
    ("DescribeConfigs", 4, 4),
    ("AlterConfigs", 2, 2),
    ("AlterReplicaLogDirs", 2, 2),
    ("DescribeLogDirs", 5, 2),
    ("SaslAuthenticate", 2, 2),
    ("CreatePartitions", 3, 2),
    ("CreateDelegationToken", 3, 2),
    ("RenewDelegationToken", 2, 2),
    ("ExpireDelegationToken", 2, 2),
    ("DescribeDelegationToken", 3, 2),
    ("DeleteGroups", 2, 2),
    ("ElectLeaders", 2, 2),
    ("IncrementalAlterConfigs", 1, 1),
    ("AlterReassignments", 1, 0),
    ("ListReassignments", 0, 0),
    ("OffsetDelete", 0, NEVER),
    ("DescribeClientQuotas", 1, 1),
    ("AlterClientQuotas", 1, 1),
    ("DescribeUserScram", 0, 0),
    ("AlterUserScram", 0, 0),
    ("Vote", 2, 0),
    ("BeginQuorumEpoch", 1, 1),
    ("EndQuorumEpoch", 1, 1),
    ("DescribeQuorum", 2, 0),
    ("AlterPartition", 3, 0),
    ("UpdateFeatures", 2, 0),
    ("Envelope", 0, 0),
    ("FetchSnapshot", 1, 0),
    ("DescribeCluster", 2, 0),
    ("DescribeProducers", 0, 0),
    ("BrokerRegistration", 4, 0),
    ("BrokerHeartbeat", 1, 0),
    ("UnregisterBroker", 0, 0),
    ("DescribeTransactions", 0, 0),
    ("ListTransactions", 2, 0),
    ("AllocateProducerIds", 0, 0),
    ("ConsumerGroupHeartbeat", 1, 0),
    ("ConsumerGroupDescribe", 1, 0),
    ("ControllerRegistration", 0, 0),
    ("GetTelemetry", 0, 0),
    ("PushTelemetry", 0, 0),
    ("AssignReplicasToDirs", 0, 0),
    ("ListConfigResources", 1, 0),
    ("DescribeTopicPartitions", 0, 0),
    ("ShareGroupHeartbeat", 1, 0),
    ("ShareGroupDescribe", 1, 0),
    ("ShareFetch", 2, 0),
    ("ShareAcknowledge", 2, 0),
    ("AddRaftVoter", 1, 0),
    ("RemoveRaftVoter", 0, 0),
    ("UpdateRaftVoter", 0, 0),
    ("InitializeShareState", 0, 0),
    ("ReadShareState", 1, 0),
    ("WriteShareState", 1, 0),
    ("DeleteShareState", 0, 0),
    ("ReadShareStateSummary", 1, 0),
    ("StreamsGroupHeartbeat", 0, 0),
    ("StreamsGroupDescribe", 0, 0),
    ("DescribeShareOffsets", 1, 0),
    ("AlterShareOffsets", 0, 0),
    ("DeleteShareOffsets", 0, 0),
];
