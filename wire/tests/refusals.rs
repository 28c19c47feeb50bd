//! Commands that are refused: in which words, and what hostile JSON cannot do.

use fanfare_wire::code::ErrorCode;
use fanfare_wire::command::{Command, TOPICS_MAX, parse};
use proptest::prelude::*;

/// Id, code and message of the refusal.
fn refused(text: &str) -> (Option<&str>, u16, String) {
    match parse(text) {
        Err(fault) => (fault.id.map(|id| id.0), fault.code.number(), fault.message),
        Ok(parsed) => panic!("{text} was understood: {parsed:?}"),
    }
}

#[test]
fn what_is_not_json_is_told_as_bad_json() {
    let table = [
        "",
        " ",
        "hello",
        "{",
        r#"{"action":"list""#,
        r#"{"action":"list"}}"#,
        "[1",
        r#"{"a":01}"#,
        r#"{'action':'list'}"#,
        r#"{"action":"list",}"#,
        r#"{"action":"list"} x"#,
        "{\"a\":\"\n\"}",
        r#"{"a":"\x"}"#,
        r#"{"a":NaN}"#,
        r#"{"a" 1}"#,
        r#"{1:2}"#,
        "\u{feff}{}",
        "nul",
    ];
    for text in table {
        let fault = parse(text).expect_err(text);
        assert_eq!(
            (fault.id, fault.code),
            (None, ErrorCode::BadJson),
            "{text:?}"
        );
        assert!(!fault.message.is_empty());
    }
}

#[test]
fn an_id_of_another_type_is_refused_and_not_echoed() {
    for id in ["null", "true", "1.0", "1e3", "-0.5", "[]", "{}"] {
        let text = format!(r#"{{"id":{id},"action":"list"}}"#);
        let message = "id must be a string or an integer".to_owned();
        assert_eq!(refused(&text), (None, 1004, message), "{id}");
    }
    let long = format!(r#"{{"id":"{}","action":"list"}}"#, "x".repeat(255));
    assert_eq!(
        refused(&long),
        (None, 1004, "id must be at most 256 bytes".into())
    );
}

#[test]
fn json_that_is_no_object_is_told_so() {
    for text in [
        "[]",
        "7",
        "\"list\"",
        "null",
        "true",
        r#"[{"action":"list"}]"#,
    ] {
        let message = "a command must be a JSON object".to_owned();
        assert_eq!(refused(text), (None, 1004, message), "{text}");
    }
}

#[test]
fn an_unknown_action_is_told_with_its_name_but_not_all_of_it() {
    let text = r#"{"action":"subscrobe","id":"x"}"#;
    let message = r#"unknown action "subscrobe""#.to_owned();
    assert_eq!(refused(text), (Some("\"x\""), 1001, message));
    let long = format!(r#"{{"action":"{}"}}"#, "é".repeat(10_000));
    assert!(refused(&long).2.len() < 120);
}

#[test]
fn every_wrong_field_is_named_and_the_id_is_carried() {
    let millis = "must be an integer from 0 to 4294967295";
    let table = [
        (r#""x":1"#, "action is missing"),
        (r#""action":7"#, "action must be a string"),
        (r#""action":null"#, "action must be a string"),
        (r#""action":"list","action":"list""#, "action stands twice"),
        (
            r#""action":"list","topics":[],"topics":[]"#,
            "topics stands twice",
        ),
        (r#""action":"auth""#, "token is missing"),
        (r#""action":"auth","token":1"#, "token must be a string"),
        (r#""action":"subscribe""#, "topics is missing"),
        (
            r#""action":"subscribe","topics":[]"#,
            "topics must not be empty",
        ),
        (
            r#""action":"subscribe","symbols":[]"#,
            "symbols must not be empty",
        ),
        (
            r#""action":"subscribe","topics":"AAPL""#,
            "topics must be an array",
        ),
        (
            r#""action":"subscribe","topics":{}"#,
            "topics must be an array",
        ),
        (
            r#""action":"subscribe","topics":null"#,
            "topics must be an array",
        ),
        (
            r#""action":"subscribe","topics":["a"],"symbols":["a"]"#,
            "symbols is another name for topics: give one",
        ),
        (
            r#""action":"subscribe","topics":["a",7]"#,
            "topics[1] must be a string or an object",
        ),
        (
            r#""action":"subscribe","topics":[null]"#,
            "topics[0] must be a string or an object",
        ),
        (
            r#""action":"subscribe","symbols":[["a"]]"#,
            "symbols[0] must be a string or an object",
        ),
        (
            r#""action":"subscribe","topics":["\ud800"]"#,
            "topics[0] must be a string or an object",
        ),
        (
            r#""action":"subscribe","topics":[{}]"#,
            "topics[0].topic is missing",
        ),
        (
            r#""action":"subscribe","topics":[{"topic":1}]"#,
            "topics[0].topic must be a string",
        ),
        (
            r#""action":"subscribe","topics":[{"topic":"a","topic":"b"}]"#,
            "topics[0].topic stands twice",
        ),
        (
            r#""action":"subscribe","topics":["b",{"topic":"a","mode":1}]"#,
            r#"topics[1].mode must be "all" or "latest""#,
        ),
        (
            r#""action":"subscribe","topics":[{"topic":"a","since":{"epoch":"e"}}]"#,
            "topics[0].since.seq is missing",
        ),
        (
            r#""action":"subscribe","topics":["a"],"mode":"newest""#,
            r#"mode must be "all" or "latest""#,
        ),
        (
            r#""action":"subscribe","topics":["a"],"on_slow":true"#,
            r#"on_slow must be "conflate" or "close""#,
        ),
        (
            r#""action":"subscribe","topics":["a"],"snapshot":1"#,
            "snapshot must be true or false",
        ),
        (
            r#""action":"set","topics":["a"],"snapshot":"true""#,
            "snapshot must be true or false",
        ),
        (
            r#""action":"set","topics":["a"],"since":7"#,
            "since must be an object",
        ),
        (
            r#""action":"set","topics":["a"],"since":{"seq":1}"#,
            "since.epoch is missing",
        ),
        (
            r#""action":"set","topics":["a"],"since":{"epoch":"e","seq":-1}"#,
            "since.seq must be an integer from 0 to 2^64 - 1",
        ),
        (
            r#""action":"set","topics":["a"],"since":{"epoch":"e","seq":18446744073709551616}"#,
            "since.seq must be an integer from 0 to 2^64 - 1",
        ),
        (
            r#""action":"check","topics":[1]"#,
            "topics[0] must be a string or an object",
        ),
        (
            r#""action":"unsubscribe","topics":[{"topic":[]}]"#,
            "topics[0].topic must be a string",
        ),
        (r#""action":"publish","data":1"#, "topic is missing"),
        (r#""action":"publish","topic":"a""#, "data is missing"),
        (
            r#""action":"publish","topic":["a"],"data":1"#,
            "topic must be a string",
        ),
        (
            r#""action":"publish","topic":"a","data":1,"key":1"#,
            "key must be a string",
        ),
        (r#""action":"ping","ts":"1""#, "ts must be a number"),
        (r#""action":"ping","ts":null"#, "ts must be a number"),
    ];
    for (fields, message) in table {
        let text = format!(r#"{{"id":42,{fields}}}"#);
        assert_eq!(refused(&text), (Some("42"), 1004, message.into()), "{text}");
    }
    for value in [
        "-1",
        "1.0",
        "1e3",
        "4294967296",
        "99999999999999999999999",
        "\"1\"",
        "null",
    ] {
        for field in ["min_interval_ms", "max_stale_ms"] {
            let text = format!(r#"{{"action":"set","topics":["a"],"{field}":{value},"id":42}}"#);
            assert_eq!(
                refused(&text),
                (Some("42"), 1004, format!("{field} {millis}")),
                "{text}"
            );
        }
    }
}

#[test]
fn nesting_of_any_depth_does_not_exhaust_the_stack() {
    const DEPTH: usize = 100_000;
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let inner = if open == "[" { "" } else { "1" };
        let deep = format!("{}{inner}{}", open.repeat(DEPTH), close.repeat(DEPTH));
        let text = format!(r#"{{"action":"publish","topic":"t","data":{deep}}}"#);
        let Ok(Command::Publish { data, .. }) = parse(&text).map(|parsed| parsed.command) else {
            panic!("no publish");
        };
        assert_eq!(data, deep);
        for field in ["ignored", "token", "id", "topics", "since", "action"] {
            let text = format!(r#"{{"{field}":{deep},"action":"subscribe","topics":["a"]}}"#);
            assert_eq!(
                parse(&text).is_ok(),
                ["ignored", "token"].contains(&field),
                "{field}"
            );
        }
        let text = format!(r#"{{"action":"subscribe","topics":[{{"topic":{deep}}}]}}"#);
        assert!(parse(&text).is_err());
        assert!(parse(&open.repeat(DEPTH)).is_err());
        assert!(parse(&deep).is_err());
    }
}

#[test]
fn what_is_kept_or_echoed_is_limited() {
    let long = "9".repeat(257);
    let ping = format!(r#"{{"action":"ping","ts":{long}}}"#);
    assert_eq!(refused(&ping).2, "ts must be at most 256 bytes");
    let since =
        format!(r#"{{"action":"set","topics":["a"],"since":{{"epoch":"{long}","seq":1}}}}"#);
    assert_eq!(refused(&since).2, "since.epoch must be at most 256 bytes");
    let topics = |count| {
        let list = vec![r#""a""#; count].join(",");
        format!(r#"{{"action":"check","topics":[{list}]}}"#)
    };
    assert!(parse(&topics(TOPICS_MAX)).is_ok());
    assert_eq!(
        refused(&topics(TOPICS_MAX + 1)).2,
        "topics must be at most 65536"
    );
}

/// JSON made of the protocol's own words, mostly sound.
fn nearly_a_command() -> impl Strategy<Value = String> {
    let words = [
        "action",
        "subscribe",
        "publish",
        "set",
        "ping",
        "topics",
        "topic",
        "since",
        "epoch",
        "seq",
        "mode",
        "latest",
        "data",
        "id",
        "ts",
        "snapshot",
        "é\\n",
    ];
    let word = prop::sample::select(words.to_vec());
    let leaf = prop_oneof![
        4 => word.clone().prop_map(|word| format!("\"{word}\"")),
        1 => prop::sample::select(vec!["1", "-2.5e3", "true", "null", "1e999", "\"\\ud800\"", "}"]).prop_map(String::from),
    ];
    let value = leaf.prop_recursive(4, 30, 5, move |inner| {
        let field =
            (word.clone(), inner.clone()).prop_map(|(name, value)| format!("\"{name}\":{value}"));
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(field, 0..6)
                .prop_map(|fields| format!("{{{}}}", fields.join(", "))),
        ]
    });
    value.prop_map(|value| value.replacen('{', r#"{"action":"subscribe","#, 1))
}

proptest! {
    #[test]
    fn nothing_makes_the_parser_panic_and_every_refusal_has_words(text in nearly_a_command()) {
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        match parse(&text) {
            Ok(_) => prop_assert!(is_json),
            Err(fault) => {
                prop_assert_eq!(fault.code == ErrorCode::BadJson, !is_json);
                prop_assert!(!fault.message.is_empty());
            }
        }
    }
}
