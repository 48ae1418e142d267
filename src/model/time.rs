//! Time as the packet carries it.

use std::fmt;

/// Nanoseconds since the Unix epoch, from the capture or from the receiving socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

/// Nanoseconds in a second.
pub const NS_PER_S: u64 = 1_000_000_000;

impl Timestamp {
    /// From whole seconds and nanoseconds.
    pub const fn new(seconds: u64, nanoseconds: u64) -> Self {
        Self(seconds.saturating_mul(NS_PER_S).saturating_add(nanoseconds))
    }

    /// Nanoseconds since `earlier`, zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole seconds since the epoch.
    pub const fn seconds(self) -> u64 {
        self.0 / NS_PER_S
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with nanoseconds: `2026-11-23T13:30:00.000000000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.seconds() / 86_400, self.seconds() % 86_400);
        // At most 584 years of nanoseconds: the days fit.
        let (year, month, day) = civil(days.cast_signed());
        let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
        let ns = self.0 % NS_PER_S;
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ns:09}Z")
    }
}

/// Gregorian date of a day count since 1970-01-01, years 0 and later (Hinnant, *chrono-Compatible Low-Level Date Algorithms*).
pub(super) const fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, doy - (153 * mp + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_rfc_3339() {
        assert_eq!(Timestamp::new(0, 0).to_string(), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(Timestamp::new(951_782_400, 5).to_string(), "2000-02-29T00:00:00.000000005Z");
        assert_eq!(Timestamp::new(1_795_440_600, 0).to_string(), "2026-11-23T13:30:00.000000000Z");
    }
}
