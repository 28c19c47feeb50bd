//! Binary records: the bytes that are written, that what is written is read back, and what is refused.

use fanfare_wire::binary::*;
use fanfare_wire::event::{DataKind, GapWhy, SkipWhy};
use fanfare_wire::topic::TopicError;
use proptest::prelude::*;

fn written(record: &Record<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match *record {
        Record::Data(data) => put_data(&mut out, &data),
        Record::Skip {
            alias,
            from,
            to,
            why,
        } => put_skip(&mut out, alias, from, to, why),
        Record::Gap {
            alias,
            from,
            why,
            epoch,
        } => put_gap(&mut out, alias, from, why, epoch),
        Record::Alias { alias, topic } => put_alias(&mut out, alias, topic),
    }
    out
}

/// A head with these fields, as the table of the protocol has it.
fn head(kind: u8, flags: u8, alias: u32, seq: u64, ts_us: i64) -> Vec<u8> {
    let mut head = vec![kind, flags, 0, 0];
    head.extend(alias.to_le_bytes());
    head.extend(seq.to_le_bytes());
    head.extend(ts_us.to_le_bytes());
    head
}

#[test]
fn the_bytes_are_those_of_the_table() {
    let data = |kind, is_json, payload| {
        Record::Data(Data {
            kind,
            is_json,
            alias: 17,
            seq: 258,
            ts_us: -2,
            payload,
        })
    };
    let begin = [
        17, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 254, 255, 255, 255, 255, 255, 255, 255,
    ];
    let table: [(Record<'_>, Vec<u8>); 9] = [
        (
            data(DataKind::Snapshot, true, b"{}"),
            [&[1, 1, 0, 0][..], &begin, b"{}"].concat(),
        ),
        (
            data(DataKind::History, false, b"\xff"),
            [&[2, 0, 0, 0][..], &begin, b"\xff"].concat(),
        ),
        (
            data(DataKind::Update, true, b""),
            [&[3, 1, 0, 0][..], &begin].concat(),
        ),
        (
            Record::Skip {
                alias: 1 << 24,
                from: 3,
                to: 1 << 56,
                why: SkipWhy::Slow,
            },
            [
                5, 0, 0, 0, 0, 0, 0, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                0, 0, 0, 1, 1,
            ]
            .into(),
        ),
        (
            Record::Skip {
                alias: 0,
                from: 1,
                to: 1,
                why: SkipWhy::Rate,
            },
            [head(5, 0, 0, 1, 0), vec![1, 0, 0, 0, 0, 0, 0, 0, 2]].concat(),
        ),
        (
            Record::Skip {
                alias: 0,
                from: 1,
                to: 1,
                why: SkipWhy::Stale,
            },
            [head(5, 0, 0, 1, 0), vec![1, 0, 0, 0, 0, 0, 0, 0, 3]].concat(),
        ),
        (
            Record::Gap {
                alias: 9,
                from: 88126,
                why: GapWhy::Epoch,
                epoch: "k4a",
            },
            [&head(6, 0, 9, 88126, 0)[..], b"\x01k4a"].concat(),
        ),
        (
            Record::Gap {
                alias: 9,
                from: 0,
                why: GapWhy::Overflow,
                epoch: "e",
            },
            [&head(6, 0, 9, 0, 0)[..], b"\x03e"].concat(),
        ),
        (
            Record::Alias {
                alias: u32::MAX,
                topic: "px.fx.EUR-USD",
            },
            [
                &[7, 0, 0, 0, 255, 255, 255, 255][..],
                &[0; 16],
                b"px.fx.EUR-USD",
            ]
            .concat(),
        ),
    ];
    for (record, bytes) in table {
        assert_eq!(written(&record), bytes, "{record:?}");
        assert_eq!(parse(&bytes), Ok(record));
    }
}

#[test]
fn what_is_not_as_the_table_has_it_is_refused_for_what_is_wrong() {
    use BinaryError::*;
    let skip = |tail: &[u8]| [&head(5, 0, 1, 2, 0)[..], tail].concat();
    let gap = |tail: &[u8]| [&head(6, 0, 1, 2, 0)[..], tail].concat();
    let alias = |tail: &[u8]| [&head(7, 0, 1, 0, 0)[..], tail].concat();
    let with = |mut bytes: Vec<u8>, at: usize, byte| {
        bytes[at] = byte;
        bytes
    };
    let table = [
        (vec![], Truncated),
        (head(3, 1, 1, 1, 1)[..23].into(), Truncated),
        (head(0, 0, 1, 1, 1), UnknownKind(0)),
        (head(4, 0, 1, 1, 1), UnknownKind(4)),
        (head(8, 0, 1, 1, 1), UnknownKind(8)),
        (head(3, 2, 1, 1, 1), UnknownFlags(2)),
        (head(3, 0x81, 1, 1, 1), UnknownFlags(0x81)),
        (with(alias(b"a"), 1, 1), UnknownFlags(1)),
        (with(head(3, 0, 1, 1, 1), 2, 1), NotZero),
        (with(head(3, 0, 1, 1, 1), 3, 1), NotZero),
        (with(skip(&[2, 0, 0, 0, 0, 0, 0, 0, 1]), 16, 1), NotZero),
        (with(gap(b"\x01e"), 23, 1), NotZero),
        (with(alias(b"a"), 8, 1), NotZero),
        (with(alias(b"a"), 16, 1), NotZero),
        (skip(&[2, 0, 0, 0, 0, 0, 0]), Truncated),
        (skip(&[2, 0, 0, 0, 0, 0, 0, 0]), Truncated),
        (skip(&[2, 0, 0, 0, 0, 0, 0, 0, 1, 0]), TooLong),
        (skip(&[2, 0, 0, 0, 0, 0, 0, 0, 0]), UnknownWhy(0)),
        (skip(&[2, 0, 0, 0, 0, 0, 0, 0, 4]), UnknownWhy(4)),
        (
            skip(&[1, 0, 0, 0, 0, 0, 0, 0, 1]),
            EmptySkip { from: 2, to: 1 },
        ),
        (
            with(skip(&[2, 0, 0, 0, 0, 0, 0, 0, 1]), 8, 0),
            EmptySkip { from: 0, to: 2 },
        ),
        (gap(b""), Truncated),
        (gap(b"\x00e"), UnknownWhy(0)),
        (gap(b"\x04e"), UnknownWhy(4)),
        (gap(b"\x01"), NoEpoch),
        (gap(b"\x01\xff"), NotUtf8),
        (alias(b""), BadTopic(TopicError::Empty)),
        (alias(b"a\xc3"), NotUtf8),
        (alias(b"a..b"), BadTopic(TopicError::EmptySegment)),
        (alias(b"px.*"), BadTopic(TopicError::Wildcard)),
    ];
    for (bytes, error) in table {
        assert_eq!(parse(&bytes), Err(error), "{bytes:02x?}");
    }
}

#[test]
fn records_say_the_same_in_the_words_of_the_json_protocol_once_their_alias_is_told() {
    let mut aliases = Aliases::default();
    aliases.learn_from(r#"{"type":"subscribed","id":1,"topics":[{"topic":"A","epoch":"e","seq":3,"alias":17},{"topic":"b.*","matched":0}]}"#);
    let data = |alias, is_json, payload| {
        let kind = DataKind::Update;
        Record::Data(Data {
            kind,
            is_json,
            alias,
            seq: 4,
            ts_us: 5,
            payload,
        })
    };
    let table = [
        (
            data(17, true, b"{}"),
            Ok(r#"{"type":"update","topic":"A","seq":4,"ts":5,"data":{}}"#),
        ),
        (data(18, true, b"1"), Err(AliasError::Unknown(18))),
        (
            Record::Alias {
                alias: 18,
                topic: "b.c",
            },
            Ok(""),
        ),
        (
            data(18, true, b"1"),
            Ok(r#"{"type":"update","topic":"b.c","seq":4,"ts":5,"data":1}"#),
        ),
        (
            data(18, false, b"hi"),
            Ok(r#"{"type":"update","topic":"b.c","seq":4,"ts":5,"encoding":"text","data":"hi"}"#),
        ),
        (
            data(18, false, b"\xff"),
            Ok(
                r#"{"type":"update","topic":"b.c","seq":4,"ts":5,"encoding":"base64","data":"/w=="}"#,
            ),
        ),
        (
            Record::Skip {
                alias: 18,
                from: 5,
                to: 7,
                why: SkipWhy::Rate,
            },
            Ok(r#"{"type":"skip","topic":"b.c","from":5,"to":7,"why":"rate"}"#),
        ),
        (
            Record::Gap {
                alias: 17,
                from: 8,
                why: GapWhy::Epoch,
                epoch: "f",
            },
            Ok(r#"{"type":"gap","topic":"A","from":8,"why":"epoch","epoch":"f"}"#),
        ),
        (
            Record::Alias {
                alias: 17,
                topic: "C",
            },
            Ok(""),
        ),
        (
            data(17, true, b"2"),
            Ok(r#"{"type":"update","topic":"C","seq":4,"ts":5,"data":2}"#),
        ),
    ];
    for (record, expected) in table {
        let mut out = Vec::new();
        let put = aliases.put_event(&mut out, &written(&record));
        let said = put.map(|()| String::from_utf8(out).unwrap());
        assert_eq!(said.as_deref(), expected.as_deref(), "{record:?}");
    }
    let cut_off = aliases.put_event(&mut Vec::new(), b"");
    assert_eq!(cut_off, Err(AliasError::Record(BinaryError::Truncated)));
}

prop_compose! {
    fn any_data()(
        kind in prop::sample::select(vec![DataKind::Snapshot, DataKind::History, DataKind::Update]),
        (is_json, alias, seq, ts_us) in any::<(bool, u32, u64, i64)>(),
        payload in prop::collection::vec(any::<u8>(), 0..100),
    ) -> (DataKind, bool, u32, u64, i64, Vec<u8>) {
        (kind, is_json, alias, seq, ts_us, payload)
    }
}

proptest! {
    #[test]
    fn data_is_read_as_it_was_written((kind, is_json, alias, seq, ts_us, payload) in any_data()) {
        let record = Record::Data(Data { kind, is_json, alias, seq, ts_us, payload: &payload });
        let bytes = written(&record);
        prop_assert_eq!(bytes.len(), HEAD_BYTES + payload.len());
        prop_assert_eq!(parse(&bytes), Ok(record));
    }

    #[test]
    fn what_concerns_one_subscriber_is_read_as_it_was_written(
        alias in any::<u32>(),
        (from, more) in (1..=u64::MAX / 2, 0..=u64::MAX / 2),
        skip_why in prop::sample::select(vec![SkipWhy::Slow, SkipWhy::Rate, SkipWhy::Stale]),
        gap_why in prop::sample::select(vec![GapWhy::Epoch, GapWhy::History, GapWhy::Overflow]),
        epoch in "\\PC{1,20}",
        topic in "[A-Za-z0-9_@:/!%-]{1,20}(\\.[a-z]{1,9}){0,3}",
    ) {
        for record in [
            Record::Skip { alias, from, to: from + more, why: skip_why },
            Record::Gap { alias, from, why: gap_why, epoch: &epoch },
            Record::Alias { alias, topic: &topic },
        ] {
            let bytes = written(&record);
            prop_assert_eq!(parse(&bytes), Ok(record));
            prop_assert!(parse(&bytes[..HEAD_BYTES - 1]).is_err());
        }
    }

    #[test]
    fn any_bytes_are_refused_or_have_one_spelling(bytes in prop::collection::vec(any::<u8>(), 0..60), kind in 0..9u8) {
        let mut bytes = bytes;
        if bytes.len() >= 4 {
            // Nearly all heads are refused at their first bytes otherwise.
            bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
        }
        if let Ok(record) = parse(&bytes) {
            prop_assert_eq!(written(&record), bytes);
        }
    }
}
