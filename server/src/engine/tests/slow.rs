//! Readers that cannot or will not take everything: marks, skips, intervals, ages, and the end of patience.

use fanfare_wire::event::SkipWhy;

use super::{publish, seqs};
use crate::engine::account::Account;
use crate::engine::disconnect::Disconnect;
use crate::engine::settings::Settings;
use crate::engine::testing::{Heard, NOTHING, World, masked};
use fanfare_wire::frame::Opcode;

/// One shard, an outbox of 4 KiB, no heartbeats.
fn narrow() -> World {
    World::new(
        1,
        Settings {
            outbox_bytes_max: 4096,
            heartbeat_ms: 0,
            ping_interval_ms: 0,
            idle_timeout_ms: 0,
            slow_timeout_ms: 10_000,
            ..Settings::default()
        },
    )
}

/// A subscriber with options beside its topics, past its acks; and a publisher.
fn pair(world: &mut World, topics: &str, options: &str) -> (usize, usize, Account) {
    let (reader, publisher) = (world.connect_ws(0), world.connect(0, "/raw"));
    world.say(
        reader,
        &format!(r#"{{"action":"subscribe","topics":{topics}{options}}}"#),
    );
    let mut account = Account::default();
    account.hear(&world.texts(reader));
    (reader, publisher, account)
}

#[test]
fn a_stalled_reader_of_the_latest_wakes_to_the_newest_of_each_topic_and_one_skip_before_it() {
    let mut world = narrow();
    let (reader, publisher, mut account) =
        pair(&mut world, r#"["a","b","c"]"#, r#","mode":"latest""#);
    world.clients[reader].window = Some(0);
    for _ in 0..50 {
        for topic in ["a", "b"] {
            publish(&mut world, publisher, topic, 2);
        }
    }
    publish(&mut world, publisher, "c", 1);
    assert_eq!(world.held()[1], 0, "no frame is kept for it");
    world.open_window(reader, None);
    let texts = world.texts(reader);
    let kinds: Vec<&str> = texts
        .iter()
        .map(|text| text.split('"').nth(3).unwrap())
        .collect();
    assert_eq!(kinds, ["skip", "update", "skip", "update", "update"]);
    assert_eq!(
        texts[0],
        r#"{"type":"skip","topic":"a","from":1,"to":99,"why":"slow"}"#
    );
    account.hear(&texts);
    for (topic, last) in [("a", 100), ("b", 100), ("c", 1)] {
        assert_eq!(account.of(topic).delivered, [last]);
    }
    assert_eq!(world.engines[0].counters().skipped_slow, 198);
}

#[test]
fn a_reader_of_the_latest_that_keeps_up_gets_everything() {
    let mut world = narrow();
    let (reader, publisher, mut account) = pair(&mut world, r#"["a"]"#, r#","mode":"latest""#);
    publish(&mut world, publisher, "a", 20);
    account.hear(&world.texts(reader));
    assert!(account.of("a").delivered.into_iter().eq(1..=20));
    assert_eq!(world.engines[0].marks.len(), 0);
}

#[test]
fn a_socket_may_stop_at_any_byte_of_what_was_marked() {
    let mut offered = 0;
    for cut in 0.. {
        let mut world = narrow();
        let (reader, publisher, mut account) =
            pair(&mut world, r#"["a","b"]"#, r#","mode":"latest""#);
        world.clients[reader].window = Some(0);
        for topic in ["a", "b", "a", "b", "b"] {
            publish(&mut world, publisher, topic, 1);
        }
        world.open_window(reader, Some(cut));
        if cut > offered && world.clients[reader].window != Some(0) {
            break;
        }
        offered = cut;
        // Newer values while it has a part of the older ones.
        publish(&mut world, publisher, "b", 2);
        publish(&mut world, publisher, "a", 1);
        assert!(world.held()[1] <= 1, "one frame is begun at most");
        world.open_window(reader, Some(1));
        publish(&mut world, publisher, "a", 1);
        world.open_window(reader, None);
        account.hear(&world.texts(reader));
        assert_eq!((account.of("a").at, account.of("b").at), (4, 5), "{cut}");
        assert!(account.is_settled());
        world.end(reader);
        world.end(publisher);
        world.settle();
        assert_eq!(world.held(), NOTHING);
    }
    assert!(offered > 200, "skips and values were cut: {offered}");
}

#[test]
fn a_full_queue_is_written_in_order_then_one_skip_and_the_newest_and_then_everything_again() {
    let mut world = narrow();
    let (reader, publisher, mut account) = pair(&mut world, r#"["a"]"#, "");
    world.clients[reader].window = Some(30);
    publish(&mut world, publisher, "a", 200);
    world.say(reader, "ping");
    assert_eq!(world.engines[0].counters().slow_entered, 1);
    world.open_window(reader, None);
    assert_eq!(world.engines[0].counters().slow_left, 1);
    publish(&mut world, publisher, "a", 10);
    let texts = world.texts(reader);
    account.hear(&texts);
    let standing = account.of("a");
    let (from, to, why) = standing.skips[0];
    assert_eq!((standing.skips.len(), to), (1, 199));
    assert_eq!(why, Some(SkipWhy::Slow));
    assert!(
        (20..100).contains(&from),
        "the queue's limit was used: {from}"
    );
    assert!(
        standing
            .delivered
            .into_iter()
            .eq((1..from).chain(200..=210))
    );
    let pong = texts.iter().position(|text| text == "pong").unwrap();
    let skip = texts.iter().position(|text| text.contains("skip")).unwrap();
    assert!(pong < skip, "answers do not wait behind marks");
    assert_eq!(world.engines[0].marks.waits(), 0);
}

#[test]
fn a_slow_reader_stays_slow_until_nothing_waits() {
    let mut world = narrow();
    let (reader, publisher, mut account) = pair(&mut world, r#"["a"]"#, "");
    world.clients[reader].window = Some(0);
    publish(&mut world, publisher, "a", 100);
    for _ in 0..20 {
        world.open_window(reader, Some(100));
        publish(&mut world, publisher, "a", 10);
    }
    assert_eq!(world.engines[0].counters().slow_entered, 1);
    world.open_window(reader, None);
    account.hear(&world.texts(reader));
    assert_eq!(account.of("a").at, 300);
    assert_eq!(account.of("a").skips.len(), 1);
}

#[test]
fn who_asked_to_be_closed_when_slow_is_closed_and_so_is_a_room() {
    let mut world = narrow();
    let (reader, publisher, _) = pair(&mut world, r#"["a"]"#, r#","on_slow":"close""#);
    let member = world.connect(0, "/room/a");
    for client in [reader, member] {
        world.clients[client].window = Some(0);
    }
    publish(&mut world, publisher, "a", 100);
    for client in [reader, member] {
        world.open_window(client, None);
        let heard = world.heard(client);
        assert_eq!(heard.last(), Some(&Heard::Close(Some(4103))));
        assert!(heard.len() <= 2, "what waited was dropped: {heard:?}");
    }
}

#[test]
fn a_slow_reader_is_closed_by_the_next_update_of_a_topic_that_says_close() {
    let mut world = narrow();
    let (reader, publisher, _) = pair(&mut world, r#"["a",{"topic":"b","on_slow":"close"}]"#, "");
    world.clients[reader].window = Some(0);
    publish(&mut world, publisher, "a", 100);
    assert!(world.engines[0].counters().slow_entered == 1);
    publish(&mut world, publisher, "b", 1);
    world.open_window(reader, None);
    assert_eq!(world.heard(reader).last(), Some(&Heard::Close(Some(4103))));
}

#[test]
fn a_raw_reader_is_conflated_without_a_word() {
    let mut world = narrow();
    let (raw, publisher) = (world.connect(0, "/raw"), world.connect(0, "/raw"));
    world.say(
        raw,
        r#"{"action":"subscribe","topics":["a","b"],"mode":"latest"}"#,
    );
    world.clients[raw].window = Some(0);
    publish(&mut world, publisher, "a", 30);
    publish(&mut world, publisher, "b", 20);
    world.open_window(raw, None);
    assert_eq!(world.texts(raw), ["29", "19"]);
    assert_eq!(world.engines[0].counters().skipped_slow, 48);
}

#[test]
fn large_values_are_written_from_where_they_lie_and_accounted_for_alike() {
    let mut world = World::new(1, Settings::default());
    let (reader, publisher, mut account) = pair(&mut world, r#"["a","b"]"#, r#","mode":"latest""#);
    let large = |n: usize| {
        let data = "x".repeat(40_000 + n);
        masked(
            Opcode::Text,
            format!(r#"{{"action":"publish","topic":"a","data":"{data}"}}"#).as_bytes(),
        )
    };
    world.clients[reader].window = Some(0);
    for n in 0..5 {
        world.send(publisher, &large(n));
        world.settle();
        publish(&mut world, publisher, "b", 1);
    }
    for window in [Some(10), Some(1000), Some(20_000), None] {
        world.open_window(reader, window);
        world.send(publisher, &large(9));
        world.settle();
    }
    account.hear(&world.texts(reader));
    assert_eq!((account.of("a").at, account.of("b").at), (9, 5));
    assert!(account.of("a").delivered.len() <= 3);
}

#[test]
fn an_interval_lets_the_first_through_at_once_and_then_the_newest_when_it_ends() {
    let mut world = narrow();
    let (reader, publisher, mut account) =
        pair(&mut world, r#"["a"]"#, r#","min_interval_ms":100"#);
    publish(&mut world, publisher, "a", 1);
    assert_eq!(seqs(&world.texts(reader), "update"), [1]);
    account.hear(&[r#"{"type":"update","topic":"a","seq":1,"ts":1,"data":0}"#.into()]);
    publish(&mut world, publisher, "a", 5);
    world.pass_ms(99);
    publish(&mut world, publisher, "a", 1);
    assert!(world.texts(reader).is_empty());
    let due_us = world.engines[0].next_time_us();
    assert_eq!(due_us, world.now.mono_us + 1000, "no later than this");
    world.pass_ms(1);
    let texts = world.texts(reader);
    assert_eq!(
        texts[0],
        r#"{"type":"skip","topic":"a","from":2,"to":6,"why":"rate"}"#
    );
    account.hear(&texts);
    assert_eq!(account.of("a").delivered, [1, 7]);
    // The interval begins anew with what was sent, and after a quiet one nothing waits.
    publish(&mut world, publisher, "a", 1);
    world.pass_ms(99);
    assert!(world.texts(reader).is_empty());
    world.pass_ms(1);
    assert_eq!(seqs(&world.texts(reader), "update"), [8]);
    world.pass_ms(100);
    assert_eq!(world.engines[0].marks.len(), 0);
    publish(&mut world, publisher, "a", 1);
    assert_eq!(seqs(&world.texts(reader), "update"), [9]);
    assert_eq!(world.engines[0].counters().skipped_rate, 5);
}

#[test]
fn an_interval_that_ends_while_the_reader_stalls_is_served_when_it_wakes() {
    let mut world = narrow();
    let (reader, publisher, mut account) = pair(&mut world, r#"["a"]"#, r#","min_interval_ms":50"#);
    publish(&mut world, publisher, "a", 2);
    world.clients[reader].window = Some(0);
    world.pass_ms(60);
    publish(&mut world, publisher, "a", 3);
    world.pass_ms(500);
    publish(&mut world, publisher, "a", 3);
    world.open_window(reader, None);
    account.hear(&world.texts(reader));
    assert_eq!(account.of("a").delivered, [1, 8]);
    assert_eq!(account.of("a").skips, [(2, 7, Some(SkipWhy::Slow))]);
}

#[test]
fn what_has_grown_old_and_been_superseded_is_left_out_and_named() {
    let mut world = narrow();
    let (reader, publisher, mut account) =
        pair(&mut world, r#"["a","b","c"]"#, r#","max_stale_ms":500"#);
    world.say(
        reader,
        r#"{"action":"set","topics":["c"],"max_stale_ms":0}"#,
    );
    world.heard(reader);
    world.clients[reader].window = Some(10);
    publish(&mut world, publisher, "b", 1);
    for topic in ["a", "b", "a", "c", "a"] {
        publish(&mut world, publisher, topic, 1);
    }
    world.pass_ms(501);
    publish(&mut world, publisher, "a", 1);
    publish(&mut world, publisher, "c", 1);
    world.open_window(reader, None);
    let texts = world.texts(reader);
    account.hear(&texts);
    assert_eq!(
        account.of("b").delivered,
        [1, 2],
        "one was begun, the other is the newest, however old"
    );
    assert_eq!(account.of("a").delivered, [4]);
    assert_eq!(account.of("a").skips, [(1, 3, Some(SkipWhy::Stale))]);
    assert_eq!(account.of("c").delivered, [1, 2], "it did not ask for it");
    assert_eq!(world.engines[0].counters().skipped_stale, 3);
    // Nothing is left out of what is young.
    world.clients[reader].window = Some(0);
    publish(&mut world, publisher, "a", 3);
    world.pass_ms(500);
    world.open_window(reader, None);
    account.hear(&world.texts(reader));
    assert_eq!(account.of("a").delivered, [4, 5, 6, 7]);
}

#[test]
fn options_change_while_a_mark_waits_and_no_seq_is_lost() {
    let settings = [
        r#""mode":"latest""#,
        r#""mode":"all""#,
        r#""min_interval_ms":1000"#,
        r#""mode":"latest","min_interval_ms":0"#,
        r#""max_stale_ms":5,"mode":"all""#,
        r#""on_slow":"close""#,
        r#""min_interval_ms":70"#,
        r#""mode":"all","on_slow":"conflate","min_interval_ms":0,"max_stale_ms":0"#,
    ];
    let mut world = narrow();
    let (reader, publisher, mut account) = pair(&mut world, r#"["a"]"#, "");
    for round in 0..40 {
        let options = settings[round % settings.len()];
        world.clients[reader].window = (round % 3 > 0).then_some(round * 7 % 150);
        world.say(
            reader,
            &format!(r#"{{"action":"set","topics":["a"],{options}}}"#),
        );
        publish(&mut world, publisher, "a", 1 + round % 4);
        world.pass_ms(30);
        world.open_window(reader, None);
    }
    world.pass_ms(2000);
    account.hear(&world.texts(reader));
    let published: u64 = (0..40).map(|round| 1 + round % 4).sum();
    assert_eq!(account.of("a").at, published);
    publish(&mut world, publisher, "a", 3);
    account.hear(&world.texts(reader));
    assert_eq!(
        account.of("a").delivered.last_chunk(),
        Some(&[published + 1, published + 2, published + 3]),
        "plain again"
    );
    let id = world.engines[0].hub.topics.find("a").unwrap();
    let members = world.engines[0].hub.topics[id]
        .members
        .of(crate::hub::update::Variant::Json);
    assert!(!members[0].is_special());
    assert!(world.engines[0].hub.policies.is_empty());
}

#[test]
fn subscribing_again_is_acked_where_the_connection_stands_and_not_where_the_topic_does() {
    let mut world = narrow();
    let (reader, publisher, mut account) = pair(&mut world, r#"["a"]"#, r#","mode":"latest""#);
    publish(&mut world, publisher, "a", 2);
    account.hear(&world.texts(reader));
    world.clients[reader].window = Some(0);
    publish(&mut world, publisher, "a", 5);
    world.say(reader, r#"{"action":"subscribe","id":1,"topics":["a"]}"#);
    publish(&mut world, publisher, "a", 1);
    world.open_window(reader, None);
    let texts = world.texts(reader);
    assert!(texts[0].contains(r#""epoch":"e1","seq":2}"#), "{texts:?}");
    account.hear(&texts);
    assert_eq!(account.of("a").at, 8);
    world.say(reader, r#"{"action":"list","id":2}"#);
    assert!(world.texts(reader)[0].contains(r#"{"topic":"a","mode":"all","on_slow":"conflate"}"#));
}

#[test]
fn the_options_that_were_given_are_listed() {
    let mut world = narrow();
    let (reader, ..) = pair(
        &mut world,
        r#"[{"topic":"a","min_interval_ms":100,"max_stale_ms":500}]"#,
        "",
    );
    world.say(reader, r#"{"action":"list"}"#);
    assert_eq!(
        world.texts(reader),
        [
            r#"{"type":"subscriptions","topics":[{"topic":"a","mode":"all","on_slow":"conflate","min_interval_ms":100,"max_stale_ms":500}]}"#
        ]
    );
}

#[test]
fn whoever_unsubscribes_hears_no_more_of_what_waited() {
    let mut world = narrow();
    let (reader, publisher, mut account) = pair(
        &mut world,
        r#"["a","b"]"#,
        r#","mode":"latest","min_interval_ms":100"#,
    );
    publish(&mut world, publisher, "a", 3);
    world.clients[reader].window = Some(0);
    publish(&mut world, publisher, "b", 3);
    world.say(
        reader,
        r#"{"action":"unsubscribe","id":1,"topics":["a","b"]}"#,
    );
    account.hear(&world.texts(reader));
    world.open_window(reader, None);
    assert_eq!(
        world.texts(reader),
        [r#"{"type":"unsubscribed","id":1,"count":2}"#]
    );
    assert_eq!(world.engines[0].marks.len(), 0);
    world.pass_ms(500);
    assert!(world.texts(reader).is_empty());
}

#[test]
fn who_subscribes_and_leaves_in_turn_piles_up_no_timers() {
    let mut world = narrow();
    let (reader, publisher, _) = pair(&mut world, r#"["b"]"#, "");
    for _ in 0..1000 {
        world.say(
            reader,
            r#"{"action":"subscribe","topics":["a"],"min_interval_ms":3600000}"#,
        );
        publish(&mut world, publisher, "a", 1);
        world.say(reader, r#"{"action":"unsubscribe","topics":["a"]}"#);
        world.heard(reader);
    }
    assert!(world.engines[0].marks.timers() <= 64);
}

#[test]
fn a_reader_whose_newest_value_waits_too_long_is_closed_however_much_it_nibbles() {
    let mut world = narrow();
    let (reader, publisher, _) = pair(&mut world, r#"["a"]"#, "");
    world.clients[reader].window = Some(0);
    publish(&mut world, publisher, "a", 200);
    for _ in 0..39 {
        world.pass_ms(250);
        world.open_window(reader, Some(10));
    }
    let slow = Disconnect::Slow.ordinal();
    assert_eq!(world.engines[0].counters().disconnects[slow], 0);
    world.pass_ms(500);
    assert_eq!(world.engines[0].counters().disconnects[slow], 1);
    world.open_window(reader, None);
    assert_eq!(world.heard(reader).last(), Some(&Heard::Close(Some(4103))));
}

#[test]
fn a_reader_that_is_behind_and_keeps_getting_newest_values_lives() {
    let mut world = narrow();
    let (reader, publisher, mut account) =
        pair(&mut world, r#"["a","b","c"]"#, r#","mode":"latest""#);
    for topic in ["a", "b", "c"] {
        publish(&mut world, publisher, topic, 1);
    }
    // A window of one value in a second, for ten times the patience.
    for _ in 0..100 {
        world.clients[reader].window = Some(0);
        for topic in ["a", "b", "c"] {
            publish(&mut world, publisher, topic, 3);
        }
        for _ in 0..4 {
            world.pass_ms(250);
        }
        world.open_window(reader, Some(130));
    }
    world.open_window(reader, None);
    account.hear(&world.texts(reader));
    for topic in ["a", "b", "c"] {
        assert_eq!(account.of(topic).at, 301);
    }
}

#[test]
fn a_reader_of_the_latest_that_takes_nothing_is_closed() {
    let mut world = narrow();
    let (reader, publisher, _) = pair(&mut world, r#"["a"]"#, r#","mode":"latest""#);
    world.clients[reader].window = Some(0);
    publish(&mut world, publisher, "a", 1);
    for _ in 0..42 {
        publish(&mut world, publisher, "a", 1);
        world.pass_ms(250);
    }
    world.open_window(reader, None);
    assert_eq!(world.heard(reader), [Heard::Close(Some(4103))]);
}

#[test]
fn the_kernel_takes_little_ahead_for_who_wants_newest_values_or_is_slow() {
    let mut world = narrow();
    let (all, publisher, _) = pair(&mut world, r#"["a"]"#, "");
    let (latest, ..) = pair(&mut world, r#"["a"]"#, r#","mode":"latest""#);
    let fresh = |world: &World| [all, latest].map(|client| world.clients[client].fresh);
    assert_eq!(fresh(&world), [false, true]);
    for client in [all, latest] {
        world.clients[client].window = Some(0);
    }
    publish(&mut world, publisher, "a", 100);
    assert_eq!(fresh(&world), [true, true]);
    for client in [all, latest] {
        world.open_window(client, None);
    }
    assert_eq!(fresh(&world), [false, true]);
    world.say(all, r#"{"action":"set","topics":["a"],"max_stale_ms":100}"#);
    assert_eq!(fresh(&world), [true, true]);
}

#[test]
fn resting_is_not_waiting_and_a_long_interval_closes_nobody() {
    let mut world = narrow();
    let (reader, publisher, mut account) =
        pair(&mut world, r#"["a"]"#, r#","min_interval_ms":60000"#);
    publish(&mut world, publisher, "a", 5);
    for _ in 0..241 {
        world.pass_ms(250);
    }
    account.hear(&world.texts(reader));
    assert_eq!(account.of("a").delivered, [1, 5]);
}

#[test]
fn who_leaves_in_the_middle_of_everything_leaves_nothing_behind() {
    let mut world = narrow();
    let (reader, publisher, _) = pair(
        &mut world,
        r#"["a",{"topic":"b","min_interval_ms":50},{"topic":"c","mode":"latest"},{"topic":"d","max_stale_ms":9}]"#,
        "",
    );
    publish(&mut world, publisher, "b", 1);
    world.clients[reader].window = Some(25);
    for topic in ["c", "d", "b", "a"] {
        publish(&mut world, publisher, topic, 60);
    }
    assert!(world.engines[0].marks.len() >= 3);
    for client in [reader, publisher] {
        world.end(client);
    }
    world.settle();
    assert_eq!(world.held(), NOTHING);
    world.pass_ms(1000);
}
