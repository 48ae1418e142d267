//! What is wrong with a configuration: where, which key, what was expected.

use std::fmt;

use serde::Serialize;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{place}: {}{message}", if key.is_empty() { String::new() } else { format!("{key}: ") })]
pub struct ConfigError {
    /// Where it is written.
    pub place: Place,
    /// The key, from the top: `policy.rules[2].when.app`.
    pub key: String,
    /// What is wrong, what was expected, and what may have been meant.
    pub message: String,
}

/// Where a value is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In the file; line and column count from 1, columns in characters.
    File {
        /// Its path, as given.
        path: String,
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// The file as a whole.
    WholeFile {
        /// Its path, as given.
        path: String,
    },
    /// In the environment.
    Environment {
        /// The variable.
        name: String,
    },
    /// On the command line.
    Flag {
        /// The flag.
        name: String,
    },
    /// Several values that do not go together.
    Together,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{path}:{line}:{column}"),
            Self::WholeFile { path } => f.write_str(path),
            Self::Environment { name } => write!(f, "environment {name}"),
            Self::Flag { name } => f.write_str(name),
            Self::Together => f.write_str("configuration"),
        }
    }
}
