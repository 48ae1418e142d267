//! Secrets of receivers: read when needed, never shown.
#![allow(clippy::disallowed_methods, reason = "edge: reads files and the environment")]

use std::{env, fmt, fs};

use crate::alerts::Secret;

/// A secret in memory; its `Debug` says nothing.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Hidden(String);

impl Hidden {
    pub(super) const fn new(text: String) -> Self {
        Self(text)
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden")
    }
}

/// Reads it; white space around it is not part of it.
///
/// # Errors
/// A sentence that names the place, not what is in it.
pub(super) fn read(secret: &Secret, key: &str) -> Result<Hidden, String> {
    let text = match (&secret.file, &secret.env) {
        (Some(file), None) => fs::read_to_string(file)
            .map_err(|error| format!("{key}.file: {}: {error}", file.display()))?,
        (None, Some(name)) => env::var(name).map_err(|_| {
            format!("{key}.env: the environment has no text in {}", name.escape_default())
        })?,
        _ => return Err(format!("{key}: expected `file` or `env`, one of the two")),
    };
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("{key}: is empty"));
    }
    Ok(Hidden(text.to_owned()))
}
