//! JSON lines: the JSON form, one message a line, in a file that may be rotated.
#![allow(clippy::disallowed_methods, reason = "edge: writes a file")]

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
};

use super::delivery::Sink;
use crate::{
    alerts::{JsonLinesTarget, Message},
    output::Fault,
};

/// A file of JSON lines.
#[derive(Debug)]
pub(super) struct JsonLines {
    target: JsonLinesTarget,
}

impl JsonLines {
    pub(super) fn new(target: &JsonLinesTarget) -> Self {
        Self { target: target.clone() }
    }

    fn write(&self, text: &[u8]) -> io::Result<()> {
        if self.target.path.as_os_str() == "-" {
            let mut out = io::stdout().lock();
            out.write_all(text)?;
            return out.flush();
        }
        // Opened each time: the file may have been moved away.
        let mut file = OpenOptions::new().create(true).append(true).open(&self.target.path)?;
        file.write_all(text)?;
        file.sync_data()
    }
}

impl Sink for JsonLines {
    fn messages_max(&self) -> usize {
        100
    }

    async fn send(&mut self, messages: &[Message]) -> Result<Vec<Result<(), Fault>>, Fault> {
        let mut text = Vec::new();
        for message in messages {
            serde_json::to_writer(&mut text, message)
                .map_err(|_| Fault::Invalid("it cannot be written as JSON".to_owned()))?;
            text.push(b'\n');
        }
        self.write(&text).map_err(|error| Fault::Later(format!("the file: {}", error.kind())))?;
        Ok(messages.iter().map(|_| Ok(())).collect())
    }

    async fn reload(&mut self) {}
}
