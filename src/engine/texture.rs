//! What unrecognised bytes look like, for the reason given with `unknown`.

use crate::{bytes, model::UnknownReason};

/// Fewer bytes than this prove nothing.
const SHORT_BYTES: usize = 8;
/// Sample size from which randomness can be judged.
const SAMPLE_BYTES_MIN: usize = 128;

/// The reason for bytes nobody recognised; `datagrams`: two-byte lengths stand between them.
pub(super) fn reason(a: &[u8], b: &[u8], datagrams: bool) -> UnknownReason {
    let framing = if datagrams { 2 } else { 0 };
    let total = a.len().saturating_sub(framing) + b.len().saturating_sub(framing);
    match total {
        0 => UnknownReason::NoPayload,
        1..SHORT_BYTES => UnknownReason::TooShort,
        _ if looks_random(a) || looks_random(b) => UnknownReason::HighEntropy,
        _ => UnknownReason::Binary,
    }
}

/// Readable: no control characters but line ends and tabs (bytes above ASCII may be UTF-8).
pub(super) fn is_text(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes::is_text(bytes)
}

/// Chi-square against uniform bytes: random samples of n bytes give about 255, text and structured binary far more.
fn looks_random(sample: &[u8]) -> bool {
    if sample.len() < SAMPLE_BYTES_MIN {
        return false;
    }
    let mut counts = [0_u32; 256];
    for byte in sample {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let n = sample.len() as u64;
    let squares: u64 = counts.iter().map(|c| u64::from(*c) * u64::from(*c)).sum();
    // chi2 = 256/n * sum(c^2) - n; the 99.9 % point for 255 degrees of freedom is about 330.
    256 * squares < n * (n + 340)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons() {
        assert_eq!(reason(b"", b"", false), UnknownReason::NoPayload);
        assert_eq!(reason(b"abc", b"", false), UnknownReason::TooShort);
        assert_eq!(reason(&[7; 300], b"", false), UnknownReason::Binary);
        let mut x = 1_u32;
        let random: Vec<u8> = std::iter::repeat_with(|| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        })
        .take(1024)
        .collect();
        assert_eq!(reason(&random, b"", false), UnknownReason::HighEntropy);
    }
}
