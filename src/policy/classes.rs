//! Which kind of service a protocol is: one class for every name of the registry (a test keeps the two equal).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Kinds of service that rules can speak of.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Databases and search engines.
    Database,
    /// Caches and data grids.
    Cache,
    /// Message brokers and queues.
    Broker,
    /// Directories, authentication, authorisation.
    Directory,
    /// Remote control of machines and programs.
    Admin,
    /// The Web, and gateways that carry it.
    Http,
    /// Calls between programs.
    Rpc,
    /// Coordination and cluster traffic.
    Coordination,
    /// Mail.
    Mail,
    /// Chat and news.
    Messaging,
    /// Files, blocks, backups, source code.
    File,
    /// Measurements, logs, management.
    Monitoring,
    /// Health records and images.
    Healthcare,
    /// Orders and trades.
    Finance,
    /// Telephony, sound, pictures.
    Media,
    /// Industry and buildings.
    Industrial,
    /// Names, addresses, time, routing, discovery.
    Network,
    /// Tunnels and proxies: what runs inside decides.
    Tunnel,
    /// Sealed by design.
    Sealed,
    /// Printers, and what belongs to homes rather than servers.
    Consumer,
}

impl Class {
    /// Its word, as in rules.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Cache => "cache",
            Self::Broker => "broker",
            Self::Directory => "directory",
            Self::Admin => "admin",
            Self::Http => "http",
            Self::Rpc => "rpc",
            Self::Coordination => "coordination",
            Self::Mail => "mail",
            Self::Messaging => "messaging",
            Self::File => "file",
            Self::Monitoring => "monitoring",
            Self::Healthcare => "healthcare",
            Self::Finance => "finance",
            Self::Media => "media",
            Self::Industrial => "industrial",
            Self::Network => "network",
            Self::Tunnel => "tunnel",
            Self::Sealed => "sealed",
            Self::Consumer => "consumer",
        }
    }
}

/// The class of a registry name, as a word.
pub fn class_name(app: &str) -> Option<&'static str> {
    class(app).map(Class::name)
}

/// The class of a registry name.
pub fn class(app: &str) -> Option<Class> {
    NAMES.iter().find(|(_, names)| names.contains(&app)).map(|(class, _)| *class)
}

/// Every registry name whose protocol can travel in clear.
pub fn in_clear() -> impl Iterator<Item = &'static str> {
    let clear = NAMES.iter().filter(|(class, _)| *class != Class::Sealed);
    clear.flat_map(|(_, names)| names.iter().copied())
}

/// Every registry name, by class.
pub const NAMES: &[(Class, &[&str])] = &[
    (
        Class::Database,
        &[
            "postgresql",
            "mysql",
            "mysqlx",
            "tds",
            "oracle",
            "mongodb",
            "cassandra",
            "drda",
            "clickhouse",
            "elasticsearch",
            "bolt",
            "couchbase",
            "aerospike",
            "firebird",
            "tarantool",
            "rethinkdb",
            "arangodb",
            "monetdb",
            "hbase",
        ],
    ),
    (Class::Cache, &["redis", "memcached", "dax", "hazelcast"]),
    (
        Class::Broker,
        &[
            "amqp",
            "stomp",
            "openwire",
            "zmtp",
            "nsq",
            "mqtt",
            "nats",
            "kafka",
            "beanstalkd",
            "gearman",
            "pulsar",
            "ibmmq",
        ],
    ),
    (Class::Directory, &["ldap", "radius", "tacacs", "diameter", "kerberos"]),
    (
        Class::Admin,
        &[
            "telnet", "rlogin", "rsh", "vnc", "x11", "xdmcp", "rdp", "spice", "rmcp", "jdwp",
            "tftp", "ftp", "nrpe",
        ],
    ),
    (Class::Http, &["http", "http2", "websocket", "fastcgi", "ajp", "uwsgi"]),
    (
        Class::Rpc,
        &["thrift", "dubbo", "java-rmi", "giop", "json-rpc", "sunrpc", "hadoop", "someip", "rtps"],
    ),
    (Class::Coordination, &["zookeeper", "ceph"]),
    (Class::Mail, &["smtp", "lmtp", "imap", "pop3", "sieve"]),
    (Class::Messaging, &["xmpp", "irc", "nntp", "smpp"]),
    (Class::File, &["nfs", "smb", "rsync", "iscsi", "nbd", "git", "svn"]),
    (
        Class::Monitoring,
        &[
            "snmp",
            "syslog",
            "statsd",
            "graphite",
            "influx-line",
            "collectd",
            "ganglia",
            "gelf",
            "munin",
            "zabbix",
            "check-mk",
            "lumberjack",
            "fluentd",
            "netflow",
            "ipfix",
            "sflow",
        ],
    ),
    (Class::Healthcare, &["hl7", "dicom"]),
    (Class::Finance, &["fix"]),
    (Class::Media, &["sip", "rtsp", "rtp", "rtmp", "mgcp", "skinny", "mpegts", "stun"]),
    (
        Class::Industrial,
        &[
            "modbus",
            "bacnet",
            "dnp3",
            "s7comm",
            "cotp",
            "opcua",
            "ethernetip",
            "iec104",
            "knxnet",
            "coap",
        ],
    ),
    (
        Class::Network,
        &[
            "dns", "mdns", "llmnr", "nbns", "nbdgm", "dhcp", "dhcpv6", "ntp", "ssdp", "slp", "wsd",
            "bgp", "rip", "bfd", "hsrp", "ldp", "pcp", "wccp", "capwap", "whois", "finger",
        ],
    ),
    (Class::Tunnel, &["proxy", "socks", "pptp", "l2tp", "gtp"]),
    (
        Class::Sealed,
        &["tls", "dtls", "quic", "ssh", "ike", "wireguard", "openvpn", "tinc", "dnscrypt"],
    ),
    (Class::Consumer, &["bittorrent", "bitcoin", "dropbox", "bjnp", "jetdirect", "lpd"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_has_two_classes() {
        let mut names: Vec<&str> =
            NAMES.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert_eq!(class("postgresql"), Some(Class::Database));
        assert_eq!(class("postgres"), None);
        assert_eq!(class_name("hl7"), Some("healthcare"));
        for (class, _) in NAMES {
            assert_eq!(serde_json::to_value(class).unwrap(), class.name());
        }
    }
}
