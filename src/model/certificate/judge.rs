//! Judgements on a certificate at the time of a packet: pure, and `None` where the facts do not suffice.

use std::net::IpAddr;

use super::{AltName, Certificate, Chain, Reason, SECONDS_PER_DAY, UtcTime};
use crate::model::Timestamp;

/// A certificate's validity at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Its end has passed.
    Expired,
    /// Its beginning has not come.
    NotYetValid,
    /// Neither.
    Valid,
}

/// How a certificate names a server (RFC 9525 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameMatch {
    /// A subject alternative name does.
    AltName,
    /// There is no alternative name of the kind, and the common name does: clients of today refuse that.
    CommonName,
    /// It does not.
    No,
}

impl Certificate {
    /// Validity at `now`; both ends belong to it (RFC 5280 section 4.1.2.5).
    pub fn validity(&self, now: Timestamp) -> Option<Validity> {
        let now = UtcTime::of(now);
        match (self.not_before, self.not_after) {
            (_, Some(end)) if now > end => Some(Validity::Expired),
            (Some(begin), _) if now < begin => Some(Validity::NotYetValid),
            (Some(_), Some(_)) => Some(Validity::Valid),
            _ => None,
        }
    }

    /// Whole days until it ends, negative once it has.
    pub fn days_left(&self, now: Timestamp) -> Option<i64> {
        let left = self.not_after?.0.saturating_sub(UtcTime::of(now).0);
        Some(left.div_euclid(SECONDS_PER_DAY))
    }

    /// Whether it ends within `days`, and has not yet.
    pub fn expires_within(&self, days: u32, now: Timestamp) -> Option<bool> {
        let left = self.not_after?.0.saturating_sub(UtcTime::of(now).0);
        Some((0..=i64::from(days) * SECONDS_PER_DAY).contains(&left))
    }
}

impl Chain {
    /// How the peer's certificate covers the server name of the hello. `None` if the certificate cannot be read far enough
    /// to deny it.
    pub fn covers(&self, server_name: &str) -> Option<NameMatch> {
        let leaf = self.leaf.as_ref()?;
        let wanted = server_name.strip_suffix('.').unwrap_or(server_name);
        let address: Option<IpAddr> = wanted.parse().ok();
        let by_san = leaf.san.iter().any(|name| match (name, address) {
            (AltName::Ip(ip), Some(wanted)) => *ip == wanted,
            (AltName::Dns(name), None) => matches(name.as_str(), wanted),
            _ => false,
        });
        if by_san {
            return Some(NameMatch::AltName);
        }
        let unread = [Reason::SanCut, Reason::ExtensionsUnreadable, Reason::SanOdd];
        if wanted.is_empty() || unread.into_iter().any(|reason| self.reasons.has(reason)) {
            return None;
        }
        // RFC 6125 section 6.4.4: the common name counts only where no alternative name identifies a server.
        let by_common_name = leaf.san_sent == 0
            && leaf.common_name.as_ref().is_some_and(|name| match address {
                Some(wanted) => name.as_str().parse() == Ok(wanted),
                None => matches(name.as_str(), wanted),
            });
        if by_common_name {
            return Some(NameMatch::CommonName);
        }
        let no_name_read = leaf.san_sent == 0 && leaf.subject.is_none();
        if no_name_read { None } else { Some(NameMatch::No) }
    }
}

/// RFC 9525 section 6.3: letters compare without case; `*` stands for exactly the left-most label, and for all of it.
fn matches(presented: &str, wanted: &str) -> bool {
    let presented = presented.strip_suffix('.').unwrap_or(presented);
    match presented.strip_prefix("*.") {
        None => presented.eq_ignore_ascii_case(wanted),
        Some(domain) => wanted.split_once('.').is_some_and(|(label, rest)| {
            !label.is_empty() && !domain.contains('*') && rest.eq_ignore_ascii_case(domain)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Name, certificate::Reasons};

    fn dns(name: &str) -> AltName {
        AltName::Dns(Name::from_wire(name.as_bytes()))
    }

    fn chain(common_name: Option<&str>, san: Vec<AltName>) -> Chain {
        let leaf = Certificate {
            subject: Some(Name::from_wire(b"O=Example")),
            common_name: common_name.map(|name| Name::from_wire(name.as_bytes())),
            san_sent: u32::try_from(san.len()).unwrap(),
            san,
            ..Certificate::default()
        };
        Chain { leaf: Some(leaf), ..Chain::default() }
    }

    #[test]
    fn a_name_is_covered_as_rfc_9525_says() {
        for (presented, wanted, covered) in [
            ("db.example.com", "db.example.com", true),
            ("DB.Example.COM", "db.example.com", true),
            ("db.example.com.", "db.example.com", true),
            ("db.example.com", "db.example.com.", true),
            ("*.example.com", "db.example.com", true),
            ("*.example.com", "DB.EXAMPLE.COM", true),
            ("*.example.com", "a.db.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*", "localhost", false),
            ("*.*.example.com", "a.b.example.com", false),
            ("d*.example.com", "db.example.com", false),
            ("db.*.com", "db.example.com", false),
            ("example.com", "db.example.com", false),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", true),
            ("10.0.0.1", "10.0.0.1", false),
        ] {
            let expected = if covered { NameMatch::AltName } else { NameMatch::No };
            let got = chain(None, vec![dns(presented)]).covers(wanted);
            assert_eq!(got, Some(expected), "{presented} {wanted}");
        }
    }

    #[test]
    fn an_address_is_covered_by_an_address_only() {
        let chain =
            chain(Some("10.0.0.2"), vec![AltName::Ip([10, 0, 0, 1].into()), dns("*.0.0.3")]);
        assert_eq!(chain.covers("10.0.0.1"), Some(NameMatch::AltName));
        assert_eq!(chain.covers("10.0.0.2"), Some(NameMatch::No));
        assert_eq!(chain.covers("10.0.0.3"), Some(NameMatch::No));
    }

    #[test]
    fn the_common_name_counts_only_without_alternative_names() {
        let old = chain(Some("*.example.com"), Vec::new());
        assert_eq!(old.covers("db.example.com"), Some(NameMatch::CommonName));
        assert_eq!(old.covers("other.example.org"), Some(NameMatch::No));
        let new = chain(Some("db.example.com"), vec![dns("other.example.com")]);
        assert_eq!(new.covers("db.example.com"), Some(NameMatch::No));
    }

    #[test]
    fn what_was_not_read_is_not_denied() {
        for reason in [Reason::SanCut, Reason::SanOdd, Reason::ExtensionsUnreadable] {
            let mut chain = chain(None, vec![dns("a.example.com")]);
            let mut reasons = Reasons::default();
            reasons.add(reason);
            chain.reasons = reasons;
            assert_eq!(chain.covers("b.example.com"), None);
            assert_eq!(chain.covers("a.example.com"), Some(NameMatch::AltName));
        }
        assert_eq!(Chain::default().covers("a.example.com"), None);
        assert_eq!(chain(None, vec![dns("a.example.com")]).covers(""), None);
    }

    #[test]
    fn validity_holds_both_ends_and_days_count_down() {
        let certificate = Certificate {
            not_before: Some(UtcTime(1000)),
            not_after: Some(UtcTime(1000 + 10 * SECONDS_PER_DAY)),
            ..Certificate::default()
        };
        let at = |seconds: i64| Timestamp::new(u64::try_from(1000 + seconds).unwrap(), 0);
        let day = SECONDS_PER_DAY;
        for (now, validity, days) in [
            (-1, Validity::NotYetValid, 10),
            (0, Validity::Valid, 10),
            (1, Validity::Valid, 9),
            (10 * day, Validity::Valid, 0),
            (10 * day + 1, Validity::Expired, -1),
        ] {
            assert_eq!(certificate.validity(at(now)), Some(validity), "{now}");
            assert_eq!(certificate.days_left(at(now)), Some(days), "{now}");
        }
        assert_eq!(certificate.expires_within(10, at(1)), Some(true));
        assert_eq!(certificate.expires_within(9, at(1)), Some(false));
        assert_eq!(certificate.expires_within(30, at(11 * day)), Some(false));
        assert_eq!(Certificate::default().validity(at(0)), None);
        assert_eq!(Certificate::default().days_left(at(0)), None);
    }

    #[test]
    fn an_end_in_the_past_is_expired_whatever_the_beginning() {
        let certificate = Certificate { not_after: Some(UtcTime(-5)), ..Certificate::default() };
        assert_eq!(certificate.validity(Timestamp::new(0, 0)), Some(Validity::Expired));
    }
}
