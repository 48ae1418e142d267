//! One file per protocol: what its bytes look like, and what its later messages tell.
//!
//! A [`Detector`] answers in two steps. [`Detector::probe`] recognises the protocol in the first bytes of a layer: a pure
//! function of what both sides have said so far. [`Detector::follow`] then reads the same bytes again from the layer's
//! start, message by message, for what can only come later: an upgrade, credentials, a refusal, the other side's answer.
//! Neither sees ports, addresses or time, allocates, or panics; the same bytes in other segments give the same answer.
//!
//! Adding a protocol: one file here with `impl Detector`, one line in `detectors!` below.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::as_conversions))]

use std::fmt;

use crate::{
    bytes::Short,
    model::{Credentials, Encryption, Mark, PlaintextReason, Side, Transport},
};

/// Declares each protocol's module and lists its detector: the registry. Order is priority where two could match.
macro_rules! detectors {
    ($($module:ident :: $type:ident,)+) => {
        $(mod $module;)+
        /// Every detector, strongest signature first.
        pub static DETECTORS: &[&dyn Detector] = &[$(&$module::$type,)+];
    };
}

detectors! {
    // Before TLS: a client's hello may answer this greeting.
    nats::Nats,
    // Over TCP it carries TLS, which a late view would find inside.
    openvpn::Openvpn,
    tls::Tls,
    proxy::Proxy,
    postgresql::Postgresql,
    tds::Tds,
    http2::Http2,
    http::Http,
    amqp::Amqp,
    stomp::Stomp,
    openwire::Openwire,
    zmtp::Zmtp,
    nsq::Nsq,
    mqtt::Mqtt,
    git::Git,
    svn::Svn,
    bittorrent::Bittorrent,
    sip::Sip,
    rtsp::Rtsp,
    ssdp::Ssdp,
    stun::Stun,
    socks::Socks,
    ssh::Ssh,
    ldap::Ldap,
    xmpp::Xmpp,
    irc::Irc,
    sieve::Sieve,
    imap::Imap,
    smtp::Smtp,
    lmtp::Lmtp,
    nntp::Nntp,
    pop3::Pop3,
    ftp::Ftp,
    mysql::Mysql,
    memcached::Memcached,
    redis::Redis,
    mongodb::Mongodb,
    giop::Giop,
    elasticsearch::Elasticsearch,
    gearman::Gearman,
    jdwp::Jdwp,
    ceph::Ceph,
    java_rmi::JavaRmi,
    dubbo::Dubbo,
    fastcgi::Fastcgi,
    ajp::Ajp,
    thrift::Thrift,
    kafka::Kafka,
    uwsgi::Uwsgi,
    json_rpc::JsonRpc,
    zookeeper::Zookeeper,
    beanstalkd::Beanstalkd,
    bolt::Bolt,
    dax::Dax,
    clickhouse::Clickhouse,
    cassandra::Cassandra,
    drda::Drda,
    oracle::Oracle,
    mysqlx::Mysqlx,
    couchbase::Couchbase,
    aerospike::Aerospike,
    rtmp::Rtmp,
    rtp::Rtp,
    websocket::Websocket,
    vnc::Vnc,
    rsync::Rsync,
    nbd::Nbd,
    x11::X11,
    iscsi::Iscsi,
    smb::Smb,
    rdp::Rdp,
    s7comm::S7comm,
    cotp::Cotp,
    nfs::Nfs,
    sunrpc::Sunrpc,
    bjnp::Bjnp,
    dhcp::Dhcp,
    nbns::Nbns,
    nbdgm::Nbdgm,
    snmp::Snmp,
    slp::Slp,
    xdmcp::Xdmcp,
    tftp::Tftp,
    dhcpv6::Dhcpv6,
    rip::Rip,
    ntp::Ntp,
    telnet::Telnet,
    rlogin::Rlogin,
    rsh::Rsh,
    quic::Quic,
    dtls::Dtls,
    mdns::Mdns,
    llmnr::Llmnr,
    dns::Dns,
    coap::Coap,
    rmcp::Rmcp,
    netflow::Netflow,
    ipfix::Ipfix,
    sflow::Sflow,
    bgp::Bgp,
    modbus::Modbus,
    bacnet::Bacnet,
    dnp3::Dnp3,
    wsd::Wsd,
    opcua::Opcua,
    mgcp::Mgcp,
    ethernetip::Ethernetip,
    iec104::Iec104,
    ibmmq::Ibmmq,
    firebird::Firebird,
    tarantool::Tarantool,
    rethinkdb::Rethinkdb,
    pulsar::Pulsar,
    hbase::Hbase,
    hadoop::Hadoop,
    hazelcast::Hazelcast,
    monetdb::Monetdb,
    spice::Spice,
    pptp::Pptp,
    l2tp::L2tp,
    gtp::Gtp,
    tinc::Tinc,
    ike::Ike,
    wireguard::Wireguard,
    dnscrypt::Dnscrypt,
    rtps::Rtps,
    bitcoin::Bitcoin,
    arangodb::Arangodb,
    dropbox::Dropbox,
    capwap::Capwap,
    knxnet::Knxnet,
    ldp::Ldp,
    bfd::Bfd,
    hsrp::Hsrp,
    pcp::Pcp,
    wccp::Wccp,
    mpegts::Mpegts,
    someip::Someip,
    skinny::Skinny,
    zabbix::ZABBIX,
    check_mk::CHECK_MK,
    dicom::DICOM,
    hl7::HL7,
    fix::FIX,
    kerberos::KERBEROS,
    diameter::DIAMETER,
    jetdirect::JETDIRECT,
    lumberjack::LUMBERJACK,
    fluentd::FLUENTD,
    smpp::SMPP,
    tacacs::TACACS,
    nrpe::NRPE,
    radius::RADIUS,
    collectd::COLLECTD,
    ganglia::GANGLIA,
    gelf::GELF,
    syslog::SYSLOG,
    munin::MUNIN,
    graphite::GRAPHITE,
    statsd::STATSD,
    influx_line::INFLUX_LINE,
    lpd::LPD,
    whois::WHOIS,
    finger::FINGER,
}

mod cgi;
#[cfg(test)]
mod check;
mod datagram;
mod exchange;
mod fit;
mod frames;
mod grammar;
mod headline;
mod lines;
mod login;
mod mcbp;
mod metrics;
mod rpc;
mod sql;
mod store;
mod tpkt;
mod whole;

/// Recognises one protocol.
pub trait Detector: Sync {
    /// Static facts: name, specification, usual ports.
    fn info(&self) -> &'static Info;

    /// Is this the protocol? `No` and `Match` are final: more bytes never change them. Only a `No` to a server alone is
    /// asked again once its client has spoken.
    ///
    /// Where both sides have spoken and the client's bytes are another protocol, the answer is `No`. Where only the
    /// server's bytes disagree with a client that fits, it is `Match` (the class is what the client spoke).
    fn probe(&self, view: &View<'_>) -> Probe;

    /// Reads on in a matched layer. `said.bytes` starts at the first byte of `side` not yet consumed (first call: at the
    /// layer's start, the bytes `probe` saw). Called again whenever either side has more, until `Next::Done`.
    ///
    /// Not called for protocols whose `probe` answers `Encryption::Tls` (the handshake has a reader of its own).
    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let (_, _, _) = (state, side, said);
        Step::DONE
    }
}

/// Static facts of a protocol, for documentation and policy. Ports never decide a verdict.
#[derive(Debug)]
pub struct Info {
    /// Registry name, lower case.
    pub name: &'static str,
    /// Full name for people.
    pub title: &'static str,
    /// Where the signature is specified.
    pub spec: &'static str,
    /// Usual ports (IANA or vendor).
    pub ports: &'static [u16],
    /// Transports it runs on.
    pub transports: &'static [Transport],
    /// What each direction alone can prove.
    pub directions: Directions,
    /// Whether it is recognised when joined late.
    pub midstream: bool,
    /// Ways it leads to TLS within the connection: values of the record's `upgrade`.
    pub upgrades: &'static [&'static str],
    /// Credential kinds it can report.
    pub credentials: Credentials,
}

/// Which directions prove a protocol on their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directions {
    /// Either side alone.
    Either,
    /// Only the client's bytes.
    Client,
    /// Only the server's bytes.
    Server,
    /// Both are needed.
    Both,
}

/// What both sides have said so far in one layer.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Transport of the flow.
    pub transport: Transport,
    /// The client's bytes.
    pub client: Said<'a>,
    /// The server's bytes.
    pub server: Said<'a>,
    /// Whether this is all there will ever be: the flow ended.
    pub ended: bool,
}

/// What one side has said: contiguous bytes.
#[derive(Clone, Copy)]
pub struct Said<'a> {
    /// TCP: stream bytes. UDP: datagrams, each behind a two-byte big-endian length (see [`Said::datagrams`]).
    pub bytes: &'a [u8],
    /// Whether the first byte is the first byte this side sent in this layer.
    pub start: Start,
}

impl fmt::Debug for Said<'_> {
    /// Lengths only: wire bytes are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Said")
            .field("bytes", &self.bytes.len())
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

/// Whether a side's first byte is known to be its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Beginning of the stream or of the layer.
    Known,
    /// Joined late, or after a gap: the first byte is the start of a captured segment, perhaps of a message.
    Unknown,
}

impl<'a> Said<'a> {
    /// Nothing said yet.
    pub const NOTHING: Self = Self { bytes: &[], start: Start::Known };

    /// The datagrams of a UDP side, oldest first.
    pub const fn datagrams(self) -> Datagrams<'a> {
        Datagrams(self.bytes)
    }
}

impl<'a> View<'a> {
    /// A conversation that may go on.
    pub const fn new(transport: Transport, client: Said<'a>, server: Said<'a>) -> Self {
        Self { transport, client, server, ended: false }
    }

    /// What `side` has said.
    pub const fn side(&self, side: Side) -> Said<'a> {
        match side {
            Side::Client => self.client,
            Side::Server => self.server,
        }
    }

    /// The same conversation with the roles exchanged.
    #[must_use]
    pub const fn swapped(&self) -> Self {
        Self { client: self.server, server: self.client, ..*self }
    }
}

/// Iterator over the datagrams of one side.
#[derive(Clone)]
pub struct Datagrams<'a>(&'a [u8]);

impl fmt::Debug for Datagrams<'_> {
    /// Lengths only: wire bytes are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagrams").field("bytes", &self.0.len()).finish_non_exhaustive()
    }
}

impl<'a> Datagrams<'a> {
    /// The datagrams in `bytes`, each behind its length.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What was not yet taken.
    pub const fn rest(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Iterator for Datagrams<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<2>()?;
        let (datagram, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        self.0 = rest;
        Some(datagram)
    }
}

/// Answer of [`Detector::probe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Not this protocol, whatever follows.
    No,
    /// Cannot tell yet.
    More,
    /// This protocol.
    Match(Match),
}

impl From<Short> for Probe {
    /// Running out of bytes means: wait for more.
    fn from(_: Short) -> Self {
        Self::More
    }
}

/// A recognised protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// What an observer can read; `None` while a preamble leaves it open (PostgreSQL SSLRequest, PROXY header).
    pub encryption: Option<Encryption>,
    /// The proof.
    pub mark: Mark,
}

impl Match {
    /// A protocol in clear.
    pub const fn plaintext(mark: Mark) -> Probe {
        Probe::Match(Self { encryption: Some(Encryption::Plaintext), mark })
    }

    /// A preamble: the protocol is known, `follow` will say what comes of it.
    pub const fn preamble(mark: Mark) -> Probe {
        Probe::Match(Self { encryption: None, mark })
    }

    /// A protocol that is encrypted by itself.
    pub const fn encrypted(encryption: Encryption, mark: Mark) -> Probe {
        Probe::Match(Self { encryption: Some(encryption), mark })
    }
}

/// State of [`Detector::follow`] between calls: at most 32 bytes, meaning private to the detector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowState {
    /// Phase of the client's and the server's stream.
    pub phase: [u8; 2],
    /// Flags.
    pub flags: u16,
    /// Counters or lengths.
    pub words: [u32; 6],
}

const _: () = assert!(size_of::<FollowState>() <= 32, "FollowState is bounded");

/// Result of one [`Detector::follow`] call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes of this side dealt with; may exceed what was given (the rest is passed over as it comes). Zero: wait.
    pub consumed: usize,
    /// What was learnt.
    pub facts: Facts,
    /// How to go on.
    pub next: Next,
}

/// How to go on after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Call again: at once if something was consumed, else when either side has more.
    Continue,
    /// Nothing more to learn from either side.
    Done,
    /// A new layer begins on both sides: on this one right after `consumed`, on the other where its reading stands now
    /// (a detector that expects a layer leaves the other side unread at that place). All detectors start afresh there.
    Layer {
        /// Value of `upgrade` if the new layer is TLS.
        upgrade: Option<&'static str>,
        /// Where the other side's layer begins.
        other: OtherSide,
    },
    /// A TLS handshake begins inside this protocol's own packets, on both sides where their reading stands.
    Wrapped {
        /// Value of `upgrade` if all that follows is TLS.
        upgrade: &'static str,
        /// Whether the data will be sealed, or the login alone; `None` if the sides have not shown it.
        sealed: Option<bool>,
    },
}

/// Where the other side's new layer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherSide {
    /// Where its reading stands.
    Here,
    /// Somewhere later, not known (that side was not seen to agree): its start becomes [`Start::Unknown`].
    Somewhere,
}

impl Step {
    /// Nothing can be read yet.
    pub const WAIT: Self = Self { consumed: 0, facts: Facts::NONE, next: Next::Continue };
    /// Nothing more to learn.
    pub const DONE: Self = Self { consumed: 0, facts: Facts::NONE, next: Next::Done };

    /// `consumed` bytes read, with `facts`.
    pub const fn read(consumed: usize, facts: Facts) -> Self {
        Self { consumed, facts, next: Next::Continue }
    }
}

impl From<Short> for Step {
    /// Running out of bytes means: wait for more.
    fn from(_: Short) -> Self {
        Self::WAIT
    }
}

#[allow(clippy::struct_excessive_bools, reason = "independent facts, each set by name")]
/// What one step adds to the verdict. Facts only ever add (design: the lattice).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// This side's bytes fit the protocol's grammar (counts towards `both_sides` and `established`).
    pub fits: bool,
    /// This side's bytes are another protocol: the conversation was refused, or was never one.
    pub mismatch: bool,
    /// The server rejected the session (error before any data, access denied, too many connections).
    pub refused: bool,
    /// The server has taken the session (logged in, answered): it is in use, and what was refused before was a first
    /// attempt.
    pub accepted: bool,
    /// Settles what a preamble left open, or that a cleartext protocol now seals its data.
    pub encryption: Option<Encryption>,
    /// Credential kinds seen in clear.
    pub credentials: Credentials,
    /// Why it is in clear.
    pub reason: Option<PlaintextReason>,
    /// Proof of any of this, relative to the bytes given.
    pub mark: Option<Mark>,
}

impl Facts {
    /// Nothing new.
    pub const NONE: Self = Self {
        fits: false,
        mismatch: false,
        refused: false,
        accepted: false,
        encryption: None,
        credentials: Credentials::NONE,
        reason: None,
        mark: None,
    };

    /// This side's bytes fit the grammar.
    pub const FITS: Self = Self { fits: true, ..Self::NONE };

    /// This side speaks another protocol.
    pub const MISMATCH: Self = Self { mismatch: true, ..Self::NONE };
}
