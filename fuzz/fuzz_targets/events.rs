//! Any text as the id of a stream of events, and any bytes as an event's data: what is read is what is written again, and no data
//! begins a line of its own.

#![no_main]

use fanfare_wire::sse::{EVENT_BYTES, LINE_BYTES, positions, put_event, put_id};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        id(text);
    }
    event(data);
});

fn id(text: &str) {
    let read: Vec<_> = positions(text).collect();
    // What the server writes has topics and epochs that were judged; these are all that come through unchanged.
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic() && !b",=:".contains(&byte));
    let sound: Vec<_> = read.into_iter().filter(|position| plain(position.topic) && plain(position.epoch)).collect();
    let mut line = Vec::new();
    put_id(&mut line, sound.iter().copied());
    if sound.is_empty() {
        return assert!(line.is_empty());
    }
    let line = std::str::from_utf8(&line).expect("text");
    let value = line.strip_prefix("id: ").and_then(|rest| rest.strip_suffix('\n')).expect("one line");
    assert!(!value.contains(['\n', '\r', '\0']));
    assert!(positions(value).eq(sound));
}

fn event(data: &[u8]) {
    let mut out = Vec::new();
    put_event(&mut out, data);
    let breaks = data.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    assert!(out.len() <= EVENT_BYTES + data.len() + breaks * LINE_BYTES);
    let lines = out.strip_suffix(b"\n\n").expect("an event ends with an empty line");
    let mut read = Vec::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let value = line.strip_prefix(b"data: ").expect("nothing but data");
        assert!(!value.contains(&b'\r'));
        read.push(value);
    }
    let expected: Vec<_> = data.split(|byte| matches!(byte, b'\n' | b'\r')).collect();
    assert_eq!(read, expected);
}
