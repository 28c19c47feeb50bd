//! Events: the bytes that are written, and that what is written is read back.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare_wire::code::ErrorCode;
use fanfare_wire::command::{Id, Mode, OnSlow, Options};
use fanfare_wire::event::*;
use proptest::prelude::*;

fn written(put: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    put(&mut out);
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// The same event with its keys in another order, so that no fixed order can help in reading it.
fn shuffled(text: &str) -> String {
    let map: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> =
        serde_json::from_str(text).expect("an object");
    serde_json::to_string(&map).expect("an object")
}

/// Reads the event in the order it was written and in another; both must give the same.
fn read_back(text: &str, check: impl Fn(Event<'_>)) {
    for text in [text, &shuffled(text)] {
        check(parse(text).expect("an event"));
    }
}

#[test]
fn the_bytes_are_those_on_the_page_of_the_protocol() {
    let id = |raw| Some(Id(raw));
    let hello = Hello {
        conn: "n1-7f3a",
        time_us: 1_790_000_000_123_456,
        heartbeat_s: 15,
        auth: "none",
        subscriptions: 1024,
        frame_bytes: 65_536,
        commands_per_s: 50,
    };
    let topic = SubscribedTopic {
        topic: "ETH-USD",
        epoch: "k3f",
        seq: 88140,
        alias: None,
        recovered: Some(Recovered::Full(40)),
    };
    let fault = TopicFault {
        topic: "vip.x",
        code: ErrorCode::Forbidden,
        message: "not allowed",
    };
    let data = br#"{"price":187.1}"#;
    let options = Options {
        snapshot: Some(true),
        mode: Some(Mode::Latest),
        on_slow: Some(OnSlow::Conflate),
        min_interval_ms: Some(100),
        max_stale_ms: Some(500),
    };
    let none = Options::default();
    let table = [
        (
            written(|out| put_hello(out, &hello)),
            r#"{"type":"hello","version":1,"conn":"n1-7f3a","time":1790000000123456,"heartbeat_s":15,"auth":"none","limits":{"subscriptions":1024,"frame_bytes":65536,"commands_per_s":50}}"#,
        ),
        (
            written(|out| put_ok(out, id("1"))),
            r#"{"type":"ok","id":1}"#,
        ),
        (written(|out| put_ok(out, None)), r#"{"type":"ok"}"#),
        (
            written(|out| {
                put_subscribed(out, id("3"), [Granted::Topic(topic)].into_iter(), &[fault])
            }),
            r#"{"type":"subscribed","id":3,"topics":[{"topic":"ETH-USD","epoch":"k3f","seq":88140,"recovered":"full","count":40}],"errors":[{"topic":"vip.x","code":2003,"message":"not allowed"}]}"#,
        ),
        (
            written(|out| {
                let recovered = Some(Recovered::None);
                let topic = SubscribedTopic {
                    alias: Some(17),
                    recovered,
                    ..topic
                };
                let plain = SubscribedTopic {
                    topic: "A",
                    alias: None,
                    recovered: None,
                    ..topic
                };
                let filter = Granted::Filter {
                    filter: "px.*",
                    matched: 12,
                };
                let lines = [Granted::Topic(topic), filter, Granted::Topic(plain)];
                put_subscribed(out, id("\"x\""), lines.into_iter(), &[]);
            }),
            r#"{"type":"subscribed","id":"x","topics":[{"topic":"ETH-USD","epoch":"k3f","seq":88140,"alias":17,"recovered":"none"},{"topic":"px.*","matched":12},{"topic":"A","epoch":"k3f","seq":88140}]}"#,
        ),
        (
            written(|out| {
                put_data(
                    out,
                    DataKind::Snapshot,
                    "AAPL",
                    88120,
                    1_790_000_000_100_000,
                    Encoding::Json,
                    data,
                );
            }),
            r#"{"type":"snapshot","topic":"AAPL","seq":88120,"ts":1790000000100000,"data":{"price":187.1}}"#,
        ),
        (
            written(|out| {
                put_data(
                    out,
                    DataKind::History,
                    "A",
                    0,
                    -1,
                    Encoding::Text,
                    b"say \"\xff\"",
                );
            }),
            "{\"type\":\"history\",\"topic\":\"A\",\"seq\":0,\"ts\":-1,\"encoding\":\"text\",\"data\":\"say \\\"\u{fffd}\\\"\"}",
        ),
        (
            written(|out| {
                put_data(
                    out,
                    DataKind::Update,
                    "A",
                    u64::MAX,
                    0,
                    Encoding::Base64,
                    b"\x00\xff",
                );
            }),
            r#"{"type":"update","topic":"A","seq":18446744073709551615,"ts":0,"encoding":"base64","data":"AP8="}"#,
        ),
        (
            written(|out| put_skip(out, "AAPL", 88122, 88125, SkipWhy::Slow)),
            r#"{"type":"skip","topic":"AAPL","from":88122,"to":88125,"why":"slow"}"#,
        ),
        (
            written(|out| put_gap(out, "AAPL", 88126, GapWhy::Epoch, "k4a")),
            r#"{"type":"gap","topic":"AAPL","from":88126,"why":"epoch","epoch":"k4a"}"#,
        ),
        (
            written(|out| put_unsubscribed(out, id("5"), 1)),
            r#"{"type":"unsubscribed","id":5,"count":1}"#,
        ),
        (
            written(|out| {
                put_subscriptions(out, id("6"), [("a", &options), ("b", &none)].into_iter());
            }),
            r#"{"type":"subscriptions","id":6,"topics":[{"topic":"a","snapshot":true,"mode":"latest","on_slow":"conflate","min_interval_ms":100,"max_stale_ms":500},{"topic":"b"}]}"#,
        ),
        (
            written(|out| put_published(out, id("7"), "AAPL", "k3f", 88126)),
            r#"{"type":"published","id":7,"topic":"AAPL","epoch":"k3f","seq":88126}"#,
        ),
        (
            written(|out| put_state(out, id("8"), [("AAPL", "k3f", 88126)].into_iter(), &[])),
            r#"{"type":"state","id":8,"topics":[{"topic":"AAPL","epoch":"k3f","seq":88126}]}"#,
        ),
        (
            written(|out| put_heartbeat(out, 1_790_000_015_123_456)),
            r#"{"type":"heartbeat","time":1790000015123456}"#,
        ),
        (
            written(|out| put_pong(out, id("9"), Some("123"), 5)),
            r#"{"type":"pong","id":9,"ts":123,"time":5}"#,
        ),
        (
            written(|out| put_notice_drain(out, 30_000, (0, 20_000))),
            r#"{"type":"notice","kind":"drain","in_ms":30000,"reconnect_ms":[0,20000]}"#,
        ),
        (
            written(|out| put_error(out, id("2"), ErrorCode::BadTopic, "empty segment")),
            r#"{"type":"error","id":2,"code":1003,"name":"bad_topic","message":"empty segment"}"#,
        ),
        (
            written(|out| put_retry_error(out, None, ErrorCode::Rate, "wait", 250)),
            r#"{"type":"error","code":3000,"name":"rate","message":"wait","retry_ms":250}"#,
        ),
    ];
    for (got, expected) in table {
        assert_eq!(got, expected);
        parse(&got).unwrap();
    }
}

#[test]
fn data_in_the_written_order_is_borrowed_and_in_any_other_is_parsed() {
    let text = written(|out| {
        put_data(
            out,
            DataKind::Update,
            "AAPL",
            7,
            -8,
            Encoding::Json,
            b"{\"a\": [1]}",
        );
    });
    read_back(&text, |event| {
        let expected = Data {
            kind: DataKind::Update,
            topic: Cow::Borrowed("AAPL"),
            seq: 7,
            ts_us: -8,
            encoding: Encoding::Json,
            data: "{\"a\": [1]}",
        };
        assert_eq!(event, Event::Data(expected));
    });
}

#[test]
fn hello_says_its_limits() {
    let hello = Hello {
        conn: "c\"1",
        time_us: -5,
        heartbeat_s: 1,
        auth: "jwt",
        subscriptions: 2,
        frame_bytes: 3,
        commands_per_s: 4,
    };
    read_back(&written(|out| put_hello(out, &hello)), |event| {
        let expected = HelloRead {
            conn: "c\"1".into(),
            time_us: -5,
            heartbeat_s: 1,
            auth: "jwt".into(),
            subscriptions: 2,
            frame_bytes: 3,
            commands_per_s: 4,
        };
        assert_eq!(event, Event::Hello(expected));
    });
}

#[test]
fn a_line_of_subscribed_tells_where_the_topic_stands_or_what_the_filter_covers() {
    for line in [r#"{"topic":"A","seq":1}"#, r#"{"topic":"A","epoch":"e"}"#] {
        let text = format!(r#"{{"type":"subscribed","topics":[{line}]}}"#);
        assert!(parse(&text).is_err(), "{text}");
    }
}

#[test]
fn subscribed_tells_topics_and_errors() {
    let topic = SubscribedTopic {
        topic: "A",
        epoch: "e",
        seq: 5,
        alias: Some(17),
        recovered: Some(Recovered::Full(40)),
    };
    let lost = SubscribedTopic {
        topic: "B",
        alias: None,
        recovered: Some(Recovered::None),
        ..topic
    };
    let fault = TopicFault {
        topic: "C",
        code: ErrorCode::Forbidden,
        message: "\"no\"",
    };
    let filter = Granted::Filter {
        filter: "px.>",
        matched: 3,
    };
    let lines = [Granted::Topic(topic), Granted::Topic(lost), filter];
    let text = written(|out| put_subscribed(out, Some(Id("\"x\"")), lines.into_iter(), &[fault]));
    read_back(&text, |event| {
        let read = |topic, alias, recovered, count| SubscribedTopicRead {
            topic: Cow::Borrowed(topic),
            epoch: "e".into(),
            seq: 5,
            alias,
            recovered: Some(recovered),
            count,
            matched: None,
        };
        let filter = SubscribedTopicRead {
            topic: "px.>".into(),
            epoch: "".into(),
            seq: 0,
            alias: None,
            recovered: None,
            count: None,
            matched: Some(3),
        };
        let topics = vec![
            read("A", Some(17), RecoveredRead::Full, Some(40)),
            read("B", None, RecoveredRead::None, None),
            filter,
        ];
        let errors = vec![Fault {
            topic: "C".into(),
            code: 2003,
            message: "\"no\"".into(),
        }];
        assert_eq!(
            event,
            Event::Subscribed {
                id: Some(Id("\"x\"")),
                topics,
                errors
            }
        );
    });
}

#[test]
fn every_other_answer_is_read_back() {
    let id = Some(Id("1"));
    let state = written(|out| {
        let fault = TopicFault {
            topic: "..",
            code: ErrorCode::BadTopic,
            message: "m",
        };
        put_state(out, id, [("A", "e", 3)].into_iter(), &[fault]);
    });
    read_back(&state, |event| {
        let topics = vec![StateTopic {
            topic: "A".into(),
            epoch: "e".into(),
            seq: 3,
        }];
        let errors = vec![Fault {
            topic: "..".into(),
            code: 1003,
            message: "m".into(),
        }];
        assert_eq!(event, Event::State { id, topics, errors });
    });
    let published = written(|out| put_published(out, id, "A", "e", 3));
    read_back(&published, |event| {
        let (topic, epoch) = ("A".into(), "e".into());
        assert_eq!(
            event,
            Event::Published {
                id,
                topic,
                epoch,
                seq: 3
            }
        );
    });
    let unsubscribed = written(|out| put_unsubscribed(out, id, 2));
    read_back(&unsubscribed, |event| {
        assert_eq!(event, Event::Unsubscribed { id, count: 2 });
    });
    let list = written(|out| put_subscriptions(out, id, [("A", &Options::default())].into_iter()));
    read_back(&list, |event| {
        assert_eq!(
            event,
            Event::Subscriptions {
                id,
                topics: r#"[{"topic":"A"}]"#
            }
        );
    });
    let ok = written(|out| put_ok(out, None));
    read_back(&ok, |event| assert_eq!(event, Event::Ok { id: None }));
    let error = written(|out| put_error(out, id, ErrorCode::Rate, "slow\ndown"));
    read_back(&error, |event| {
        let (name, message) = ("rate".into(), "slow\ndown".into());
        assert_eq!(
            event,
            Event::Error {
                id,
                code: 3000,
                name,
                message
            }
        );
    });
    let heartbeat = written(|out| put_heartbeat(out, 9));
    read_back(&heartbeat, |event| {
        assert_eq!(event, Event::Heartbeat { time_us: 9 });
    });
    let pong = written(|out| put_pong(out, id, Some("1.5"), 9));
    read_back(&pong, |event| {
        assert_eq!(
            event,
            Event::Pong {
                id,
                ts: Some("1.5"),
                time_us: 9
            }
        );
    });
    let notice = written(|out| put_notice_drain(out, 10, (0, 20)));
    read_back(&notice, |event| {
        let (kind, reconnect_ms) = ("drain".into(), (0, 20));
        assert_eq!(
            event,
            Event::Notice {
                kind,
                in_ms: 10,
                reconnect_ms
            }
        );
    });
}

#[test]
fn every_reason_of_a_skip_or_a_gap_is_read_back() {
    for reason in [SkipWhy::Slow, SkipWhy::Rate, SkipWhy::Stale] {
        read_back(&written(|out| put_skip(out, "A", 3, 5, reason)), |event| {
            let (topic, why) = ("A".into(), Some(reason));
            assert_eq!(
                event,
                Event::Skip {
                    topic,
                    from: 3,
                    to: 5,
                    why
                }
            );
        });
    }
    for reason in [GapWhy::Epoch, GapWhy::History, GapWhy::Overflow] {
        read_back(&written(|out| put_gap(out, "A", 3, reason, "e")), |event| {
            let (topic, epoch, why) = ("A".into(), "e".into(), Some(reason));
            assert_eq!(
                event,
                Event::Gap {
                    topic,
                    from: 3,
                    why,
                    epoch
                }
            );
        });
    }
}

#[test]
fn what_a_newer_server_says_is_not_an_error() {
    let other = parse(r#"{"type":"weather","topic":7}"#).unwrap();
    assert_eq!(other, Event::Other("weather".into()));
    let skip =
        parse(r#"{"type":"skip","topic":"A","from":1,"to":2,"why":"mood","by":"x"}"#).unwrap();
    assert!(matches!(skip, Event::Skip { why: None, .. }));
}

#[test]
fn what_is_no_event_is_refused() {
    let table = [
        "",
        "{}",
        "[]",
        "7",
        "pong",
        r#"{"type":7}"#,
        r#"{"type":"ok""#,
        r#"{"type":"update"}"#,
        r#"{"type":"heartbeat"}"#,
        r#"{"type":"update","topic":"A","seq":-1,"ts":2,"data":1}"#,
        r#"{"type":"update","topic":"A","seq":01,"ts":2,"data":1}"#,
        r#"{"type":"update","topic":"A","seq":+1,"ts":2,"data":1}"#,
        r#"{"type":"update","topic":"A","seq":18446744073709551616,"ts":2,"data":1}"#,
        r#"{"type":"update","topic":"A","seq":1,"ts":-,"data":1}"#,
        r#"{"type":"update","topic":"A","seq":1,"ts":2,"encoding":"x","data":1}"#,
        r#"{"type":"update","topic":"A","seq":1,"ts":2,"data":1"#,
        r#"{"type":"update","topic":7,"seq":1,"ts":2,"data":1}"#,
        "{\"type\":\"update\",\"topic\":\"A\x1a\",\"seq\":1,\"ts\":2,\"data\":1}",
    ];
    for text in table {
        assert!(parse(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn any_data_is_read_back(
        kind in prop::sample::select(vec![DataKind::Snapshot, DataKind::History, DataKind::Update]),
        topic in any::<String>(),
        seq in any::<u64>(),
        ts_us in any::<i64>(),
        payload in prop::collection::vec(any::<u8>(), 0..2000),
        encoding in prop::sample::select(vec![Encoding::Json, Encoding::Text, Encoding::Base64]),
    ) {
        let payload = match encoding {
            Encoding::Base64 => payload,
            Encoding::Text => String::from_utf8_lossy(&payload).into_owned().into_bytes(),
            Encoding::Json => serde_json::to_vec(&payload).unwrap(),
        };
        let text = written(|out| put_data(out, kind, &topic, seq, ts_us, encoding, &payload));
        for text in [text.clone(), shuffled(&text)] {
            let Event::Data(data) = parse(&text).unwrap() else {
                panic!("no data: {text}");
            };
            prop_assert_eq!((data.kind, data.seq, data.ts_us, data.encoding), (kind, seq, ts_us, encoding));
            prop_assert_eq!(&*data.topic, &*topic);
            let carried = match encoding {
                Encoding::Json => data.data.as_bytes().to_vec(),
                Encoding::Text => serde_json::from_str::<String>(data.data).unwrap().into_bytes(),
                Encoding::Base64 => STANDARD.decode(data.data.trim_matches('"')).unwrap(),
            };
            prop_assert_eq!(&carried, &payload);
        }
    }

    #[test]
    fn any_error_is_valid_json_and_read_back(message in any::<String>(), id in any::<String>()) {
        let raw = serde_json::to_string(&id).unwrap();
        let text = written(|out| put_error(out, Some(Id(&raw)), ErrorCode::Internal, &message));
        let expected = Event::Error {
            id: Some(Id(&raw)),
            code: 5000,
            name: "internal".into(),
            message: Cow::Borrowed(&message),
        };
        prop_assert_eq!(parse(&text).unwrap(), expected);
    }
}
