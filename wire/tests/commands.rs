//! Commands that are understood, and those that clients write.

use std::borrow::Cow;

use fanfare_wire::command::{
    Command, Id, Mode, OnSlow, Options, Since, TopicRequest, parse, put_check, put_ping,
    put_publish, put_subscribe, put_subscribe_each, put_unsubscribe,
};
use proptest::prelude::*;

/// A topic without options.
fn plain(topic: &str) -> TopicRequest<'_> {
    TopicRequest {
        topic: Cow::Borrowed(topic),
        options: Options::default(),
        since: None,
    }
}

fn understood(text: &str) -> (Option<&str>, Command<'_>) {
    match parse(text) {
        Ok(parsed) => (parsed.id.map(|id| id.0), parsed.command),
        Err(fault) => panic!("{text} was refused: {fault}"),
    }
}

#[test]
fn the_commands_on_the_page_of_the_protocol_are_understood() {
    let borrowed = Cow::Borrowed;
    let table = [
        (
            r#"{"action":"auth","id":1,"token":"eyJ…"}"#,
            (
                Some("1"),
                Command::Auth {
                    token: borrowed("eyJ…"),
                },
            ),
        ),
        (
            r#"{"action":"subscribe","symbols":["AAPL","GOOGL"]}"#,
            (
                None,
                Command::Subscribe {
                    topics: vec![plain("AAPL"), plain("GOOGL")],
                },
            ),
        ),
        (
            r#"{"action":"unsubscribe","id":5,"topics":["px.fx.*"]}"#,
            (
                Some("5"),
                Command::Unsubscribe {
                    topics: vec![borrowed("px.fx.*")],
                },
            ),
        ),
        (r#"{"action":"list","id":6}"#, (Some("6"), Command::List)),
        (
            r#"{"action":"publish","id":7,"topic":"AAPL","data":{"price":187.2},"key":"a1"}"#,
            (
                Some("7"),
                Command::Publish {
                    topic: borrowed("AAPL"),
                    data: r#"{"price":187.2}"#,
                    key: Some(borrowed("a1")),
                },
            ),
        ),
        (
            r#"{"action":"check","id":8,"topics":["AAPL"]}"#,
            (
                Some("8"),
                Command::Check {
                    topics: vec![borrowed("AAPL")],
                },
            ),
        ),
        (
            r#"{"action":"ping","id":9,"ts":123}"#,
            (Some("9"), Command::Ping { ts: Some("123") }),
        ),
        (r#"{"action":"ping"}"#, (None, Command::Ping { ts: None })),
    ];
    for (text, expected) in table {
        assert_eq!(understood(text), expected, "{text}");
    }
}

#[test]
fn a_topics_own_options_stand_over_those_of_the_command() {
    let text = r#"{"action":"subscribe","id":3,"mode":"all","snapshot":false,"on_slow":"close",
        "since":{"epoch":"k3f","seq":1},
        "topics":[{"topic":"ETH-USD","since":{"seq":88100,"epoch":"k4a"},
        "mode":"latest","min_interval_ms":100,"max_stale_ms":500},"BTC-USD"]}"#;
    let (_, Command::Subscribe { topics }) = understood(text) else {
        panic!("no subscribe");
    };
    let wide = Options {
        snapshot: Some(false),
        mode: Some(Mode::All),
        on_slow: Some(OnSlow::Close),
        ..Options::default()
    };
    let own = Options {
        mode: Some(Mode::Latest),
        min_interval_ms: Some(100),
        max_stale_ms: Some(500),
        ..wide
    };
    let since = |epoch, seq| {
        Some(Since {
            epoch: Cow::Borrowed(epoch),
            seq,
        })
    };
    let expected = [
        TopicRequest {
            topic: "ETH-USD".into(),
            options: own,
            since: since("k4a", 88100),
        },
        TopicRequest {
            topic: "BTC-USD".into(),
            options: wide,
            since: since("k3f", 1),
        },
    ];
    assert_eq!(topics, expected);
}

#[test]
fn set_takes_the_same_options_as_subscribe() {
    let text = r#"{"action":"set","id":4,"topics":["AAPL"],"mode":"latest","min_interval_ms":250}"#;
    let (_, Command::Set { topics }) = understood(text) else {
        panic!("no set");
    };
    assert_eq!(topics[0].options.mode, Some(Mode::Latest));
    assert_eq!(topics[0].options.min_interval_ms, Some(250));
}

#[test]
fn any_json_value_is_data_and_stays_as_it_came() {
    for data in [
        "null",
        "0",
        "-1.5e3",
        "true",
        r#""aé""#,
        "[]",
        r#"{ "a" : [1, 2 ] }"#,
    ] {
        let text = format!(r#"{{"data": {data} ,"topic":"t","action":"publish"}}"#);
        let expected = Command::Publish {
            topic: "t".into(),
            data,
            key: None,
        };
        assert_eq!(understood(&text), (None, expected));
    }
}

#[test]
fn ids_are_strings_or_integers_and_stay_raw() {
    for id in [
        "0",
        "-7",
        "123456789012345678901234567890",
        r#""a1""#,
        r#""é\"\n""#,
        r#""""#,
    ] {
        let text = format!(r#"{{"id":{id},"action":"list"}}"#);
        assert_eq!(understood(&text), (Some(id), Command::List));
    }
}

#[test]
fn unknown_keys_are_ignored() {
    let text = r#"{"x":[[{}]],"action":"list","y":null,"action2":"z","":{"action":"ping"}}"#;
    assert_eq!(understood(text), (None, Command::List));
}

#[test]
fn escapes_are_undone_in_keys_and_strings() {
    let text = r#"{"\u0061ction":"subscrib\u0065","topics":["A\u0041PL",{"top\u0069c":"a\/b"}],"mode":"\u0061ll"}"#;
    let (_, Command::Subscribe { topics }) = understood(text) else {
        panic!("no subscribe");
    };
    assert_eq!(topics[0].topic, "AAPL");
    assert_eq!(topics[1].topic, "a/b");
    assert_eq!(topics[1].options.mode, Some(Mode::All));
}

#[test]
fn names_without_escapes_are_borrowed_from_the_message() {
    let text = r#"{"action":"unsubscribe","topics":["AAPL","B\u0042"]}"#;
    let (_, Command::Unsubscribe { topics }) = understood(text) else {
        panic!("no unsubscribe");
    };
    assert!(matches!(topics[..], [Cow::Borrowed("AAPL"), Cow::Owned(_)]));
}

#[test]
fn a_topic_may_be_an_object_where_it_takes_no_options() {
    let text = r#"{"action":"check","topics":[{"topic":"a","mode":7},"b"]}"#;
    let topics = vec!["a".into(), "b".into()];
    assert_eq!(understood(text), (None, Command::Check { topics }));
}

#[test]
fn what_clients_write_is_what_the_server_understands() {
    let mut out = Vec::new();
    let mut written = |put: &dyn Fn(&mut Vec<u8>)| {
        out.clear();
        put(&mut out);
        String::from_utf8(out.clone()).unwrap()
    };
    let text = written(&|out| put_subscribe(out, Some(2), &["AAPL", "a\"b"], Some(true), None));
    let expected = r#"{"action":"subscribe","id":2,"topics":["AAPL","a\"b"],"snapshot":true}"#;
    assert_eq!(text, expected);
    assert!(
        matches!(understood(&text), (Some("2"), Command::Subscribe { topics }) if topics.len() == 2)
    );

    let text = written(&|out| put_subscribe(out, None, &["A"], None, None));
    assert_eq!(text, r#"{"action":"subscribe","topics":["A"]}"#);
    let since = Since {
        epoch: "k3f".into(),
        seq: 7,
    };
    let text = written(&|out| put_subscribe(out, None, &["A"], None, Some(&since)));
    assert!(
        matches!(understood(&text).1, Command::Subscribe { topics } if topics[0].since.as_ref() == Some(&since))
    );
    let options = Options {
        snapshot: None,
        mode: Some(Mode::Latest),
        on_slow: Some(OnSlow::Close),
        min_interval_ms: Some(100),
        max_stale_ms: Some(500),
    };
    let text = written(&|out| {
        let topics = [("A", Some(since.clone())), ("B", None)].into_iter();
        put_subscribe_each(out, Some(3), topics, &options);
    });
    let (_, Command::Subscribe { topics }) = understood(&text) else {
        panic!("{text}");
    };
    let seen: Vec<_> = topics
        .iter()
        .map(|topic| (&*topic.topic, topic.since.as_ref(), topic.options))
        .collect();
    assert_eq!(
        seen,
        [("A", Some(&since), options), ("B", None, options)],
        "{text}"
    );
    let text = written(&|out| put_unsubscribe(out, Some(5), &["px.*"]));
    assert_eq!(text, r#"{"action":"unsubscribe","id":5,"topics":["px.*"]}"#);
    let text = written(&|out| put_check(out, Some(8), &["A"]));
    assert_eq!(text, r#"{"action":"check","id":8,"topics":["A"]}"#);
    let text = written(&|out| put_ping(out, Some(9), Some(u64::MAX)));
    assert_eq!(
        text,
        r#"{"action":"ping","id":9,"ts":18446744073709551615}"#
    );
    assert_eq!(
        understood(&text).1,
        Command::Ping {
            ts: Some("18446744073709551615")
        }
    );
    let text = written(&|out| put_publish(out, Some(7), "A", br#"{"p": 1}"#, Some("k")));
    let key = Some("k".into());
    let expected = Command::Publish {
        topic: "A".into(),
        data: r#"{"p": 1}"#,
        key,
    };
    assert_eq!(understood(&text), (Some("7"), expected));
}

proptest! {
    #[test]
    fn any_topics_that_a_client_writes_are_read_back(
        topics in prop::collection::vec(any::<String>(), 1..6),
        id in any::<u64>(),
    ) {
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let mut out = Vec::new();
        put_check(&mut out, Some(id), &names);
        let text = String::from_utf8(out).unwrap();
        let parsed = parse(&text).unwrap();
        prop_assert_eq!(parsed.id, Some(Id(&id.to_string())));
        let topics = names.into_iter().map(Cow::Borrowed).collect();
        prop_assert_eq!(parsed.command, Command::Check { topics });
    }
}
