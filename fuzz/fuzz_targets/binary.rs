//! Any bytes as a binary record: what is accepted is just what is written, and its texts are what they say.

#![no_main]

use fanfare_wire::binary::{self, Record};
use fanfare_wire::topic;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(record) = binary::parse(bytes) else {
        return;
    };
    let mut out = Vec::new();
    match record {
        Record::Data(data) => binary::put_data(&mut out, &data),
        Record::Skip {
            alias,
            from,
            to,
            why,
        } => {
            assert!(1 <= from && from <= to);
            binary::put_skip(&mut out, alias, from, to, why);
        }
        Record::Gap {
            alias,
            from,
            why,
            epoch,
        } => {
            binary::put_gap(&mut out, alias, from, why, epoch);
        }
        Record::Alias { alias, topic } => {
            assert!(topic::check_topic(topic).is_ok());
            binary::put_alias(&mut out, alias, topic);
        }
    }
    assert_eq!(out, bytes);
});
