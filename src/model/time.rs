//! Time as the packet carries it.

use std::{fmt, str::FromStr};

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

    /// Calls `take` with the time as text; every record holds some, so the digits are written by hand.
    pub(super) fn with_text<R>(self, take: impl FnOnce(&str) -> R) -> R {
        let (days, second) = (self.seconds() / SECONDS_PER_DAY, self.seconds() % SECONDS_PER_DAY);
        // At most 584 years of nanoseconds: the days fit, and the year has four digits.
        let (year, month, day) = civil(days.cast_signed());
        let date = [year, month, day].map(i64::unsigned_abs);
        let clock = [second / 3600, second / 60 % 60, second % 60];
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        let [year, month, day] = date;
        let [h, m, s] = clock;
        let numbers =
            [(0..4, year), (5..7, month), (8..10, day), (11..13, h), (14..16, m), (17..19, s)];
        for (place, number) in numbers.into_iter().chain([(20..29, self.0 % NS_PER_S)]) {
            digits(text.get_mut(place).unwrap_or_default(), number);
        }
        take(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with nanoseconds: `2026-11-23T13:30:00.000000000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(text))
    }
}

impl FromStr for Timestamp {
    type Err = BadTime;

    /// RFC 3339 in UTC (`Z`), with up to nine digits of a second: what records hold.
    fn from_str(text: &str) -> Result<Self, BadTime> {
        let bad = || BadTime(text.to_owned());
        let (date, clock) =
            text.strip_suffix('Z').and_then(|t| t.split_once('T')).ok_or_else(bad)?;
        let date: Date = date.parse().map_err(|_| bad())?;
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
        let [h, m, s] = numbers(clock, ':', [2, 2, 2]).ok_or_else(bad)?;
        let digits = fraction.len();
        let fraction: u64 = fraction.parse().map_err(|_| bad())?;
        // A leap second is the second after.
        if h > 23 || m > 59 || s > 60 || digits > 9 {
            return Err(bad());
        }
        let scale = 10_u64.pow(9_u32.saturating_sub(u32::try_from(digits).unwrap_or(9)));
        let seconds = u64::from(date.0) * SECONDS_PER_DAY + h * 3600 + m * 60 + s;
        Ok(Self::new(seconds, fraction.saturating_mul(scale)))
    }
}

/// Text that is no time or date.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no date: expected YYYY-MM-DD, or YYYY-MM-DDThh:mm:ssZ where a time is asked for")]
pub struct BadTime(String);

/// A day in UTC: days since 1970-01-01.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(pub u32);

impl Date {
    /// The day of a time.
    pub fn of(time: Timestamp) -> Self {
        Self(u32::try_from(time.seconds() / SECONDS_PER_DAY).unwrap_or(u32::MAX))
    }

    /// The last second of it.
    pub const fn end(self) -> Timestamp {
        Timestamp::new((self.0 as u64 + 1) * SECONDS_PER_DAY - 1, 0)
    }

    /// Its first moment.
    pub const fn start(self) -> Timestamp {
        Timestamp::new(self.0 as u64 * SECONDS_PER_DAY, 0)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.start().to_string();
        f.write_str(time.split('T').next().unwrap_or_default())
    }
}

impl FromStr for Date {
    type Err = BadTime;

    fn from_str(text: &str) -> Result<Self, BadTime> {
        let bad = || BadTime(text.to_owned());
        let [year, month, day] = numbers(text, '-', [4, 2, 2]).ok_or_else(bad)?;
        // Nanoseconds since the epoch end in 2554.
        if !(1970..=2553).contains(&year) || !(1..=12).contains(&month) {
            return Err(bad());
        }
        let date = Self(u32::try_from(days(year, month, day)).map_err(|_| bad())?);
        // The 31st of a shorter month would be another day.
        if date.to_string() == text { Ok(date) } else { Err(bad()) }
    }
}

const SECONDS_PER_DAY: u64 = 86_400;

/// Writes `number` in as many digits as there is room for.
fn digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10).to_le_bytes().first().copied().unwrap_or_default();
        number /= 10;
    }
}

/// Three numbers of the given widths between separators.
fn numbers(text: &str, separator: char, widths: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(separator);
    let mut out = [0; 3];
    for (out, width) in out.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *out = part.parse().ok()?;
    }
    parts.next().is_none().then_some(out)
}

/// Day count of a Gregorian date since 1970-01-01 (Hinnant, as below); `year` from 1970.
const fn days(year: u64, month: u64, day: u64) -> u64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y / 400;
    let yoe = y % 400;
    let mp = (month + 9) % 12;
    let doy = (153 * mp + 2) / 5 + day.saturating_sub(1);
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
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

    #[test]
    fn dates_and_times_read_what_they_print() {
        for text in ["1970-01-01", "2000-02-29", "2026-11-23", "2099-12-31"] {
            assert_eq!(text.parse::<Date>().unwrap().to_string(), text);
        }
        for text in
            ["2026-02-29", "2026-13-01", "2026-1-1", "1969-12-31", "26-01-01", "", "2026-01-00"]
        {
            assert!(text.parse::<Date>().is_err(), "{text}");
        }
        for text in ["2026-11-23T13:30:00.000000001Z", "1970-01-01T00:00:00.000000000Z"] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), text);
        }
        assert_eq!("1970-01-01T00:00:01.5Z".parse(), Ok(Timestamp(1_500_000_000)));
        for text in ["2026-11-23", "2026-11-23T24:00:00Z", "2026-11-23T13:30:00", "xT00:00:00Z"] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
        assert_eq!(Date::of(Timestamp::new(86_399, 0)), Date(0));
    }
}
