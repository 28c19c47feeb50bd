//! Any text as a command and as an event: it is bad JSON exactly when serde_json says so, what is
//! echoed is JSON, and data that was read is read again when it is written.

#![no_main]

use fanfare_wire::code::ErrorCode;
use fanfare_wire::command::{self, Command};
use fanfare_wire::event::{self, Encoding, Event};
use fanfare_wire::topic;
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

fuzz_target!(|text: &str| {
    command(text);
    event(text);
    if let Ok(has_wildcards) = topic::check_filter(text) {
        assert_eq!(topic::check_topic(text).is_ok(), !has_wildcards);
    }
});

fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

fn command(text: &str) {
    let mut out = Vec::new();
    match command::parse(text) {
        Ok(parsed) => {
            assert!(is_json(text));
            match parsed.command {
                Command::Publish { data, .. } => assert!(is_json(data)),
                Command::Ping { ts } => event::put_pong(&mut out, parsed.id, ts, 0),
                Command::Subscribe { topics } | Command::Set { topics } => {
                    let answer = topics
                        .iter()
                        .map(|request| (&*request.topic, &request.options));
                    event::put_subscriptions(&mut out, parsed.id, answer);
                }
                _ => event::put_ok(&mut out, parsed.id),
            }
        }
        Err(fault) => {
            assert_eq!(fault.code == ErrorCode::BadJson, !is_json(text));
            event::put_error(&mut out, fault.id, fault.code, &fault.message);
        }
    }
    if !out.is_empty() {
        let answer = std::str::from_utf8(&out).expect("an answer is UTF-8");
        event::parse(answer).expect("an answer is an event");
    }
}

fn event(text: &str) {
    let Ok(Event::Data(data)) = event::parse(text) else {
        return;
    };
    // A payload is not looked into, so what is no JSON is only told where the event is parsed as such.
    if data.encoding != Encoding::Json || !is_json(data.data) {
        return;
    }
    let mut out = Vec::new();
    let payload = data.data.as_bytes();
    event::put_data(
        &mut out,
        data.kind,
        &data.topic,
        data.seq,
        data.ts_us,
        data.encoding,
        payload,
    );
    let again = std::str::from_utf8(&out).expect("an event is UTF-8");
    assert_eq!(
        event::parse(again).expect("what was written"),
        Event::Data(data)
    );
}
