//! The capture file reader on arbitrary bytes: frames, then one clear error or the end.
#![no_main]

use std::io::Cursor;

use cleartap::{
    ingest::{CaptureFile, Input, Source},
    wire,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let reader = Cursor::new(data.to_vec());
    let Ok(mut source) = CaptureFile::from_reader("fuzz", reader, wire::link_supported) else {
        return;
    };
    let mut errors = 0;
    loop {
        match source.next() {
            Ok(Input::Frame(frame)) => assert!(frame.bytes.len() <= data.len() * 2000 + 65536),
            Ok(Input::Tick(_)) => {}
            Ok(Input::End) => break,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                errors += 1;
                assert!(errors < 100, "an error must be followed by the end");
            }
        }
    }
});
