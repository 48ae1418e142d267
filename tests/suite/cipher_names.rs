//! Names of cipher suites are those of the IANA registry, for every code.

use std::{collections::BTreeMap, fs};

use cleartap::inspect::tls::cipher_name;

use super::capture::root;

/// Code and name of each row of `tests/data/tls-cipher-suites.csv`.
fn registry() -> BTreeMap<u16, String> {
    let text = fs::read_to_string(root().join("tests/data/tls-cipher-suites.csv")).unwrap();
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text.as_bytes());
    let row = |row: Result<csv::StringRecord, csv::Error>| {
        let row = row.unwrap();
        let code = row[0].replace("0x", "").replace(',', "");
        (u16::from_str_radix(&code, 16).unwrap(), row[1].to_owned())
    };
    reader.records().map(row).collect()
}

/// Codes with a name that the rows do not have: signalling values and AEGIS, which are registered; the 56-bit suites of an
/// expired draft and Thread's EC J-PAKE, which never were but are met on the wire.
const OTHERS: [u16; 12] = [
    0x0060, 0x0061, 0x0062, 0x0063, 0x0064, 0x0065, 0x0066, 0x00ff, 0x1306, 0x1307, 0x5600, 0xc0ff,
];

#[test]
fn every_cipher_suite_of_the_registry_has_its_name_and_no_other_code_has_one() {
    let registry = registry();
    assert!(registry.len() >= 348, "{}", registry.len());
    for id in 0..=u16::MAX {
        let expected = registry.get(&id).map(String::as_str);
        if expected.is_some() || !OTHERS.contains(&id) {
            assert_eq!(cipher_name(id), expected, "{id:04x}");
        }
    }
}
