//! The same capture gives the same bytes out.

use super::capture::{all, frames, records};

#[test]
fn twice_the_same() {
    for path in all() {
        let frames = frames(&path);
        assert_eq!(records(&frames), records(&frames), "{}", path.display());
    }
}
