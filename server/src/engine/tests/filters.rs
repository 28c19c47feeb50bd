//! Filters: what they cover, from when on, and that nothing is delivered twice.

use super::{publish, seqs, world};
use crate::engine::settings::Settings;
use crate::engine::testing::{NOTHING, World};
use crate::hub::mail::{Mail, Request, ShardId};

/// What a client heard of one topic, in order: the kind and the seq of each frame.
fn of(texts: &[String], topic: &str) -> Vec<(String, u64)> {
    let named = format!(r#","topic":"{topic}","#);
    let frame = |text: &String| {
        let kind = text.split('"').nth(3)?.to_owned();
        let seq = text.split(r#""seq":"#).nth(1)?;
        Some((kind, seq.split(',').next()?.parse().ok()?))
    };
    texts
        .iter()
        .filter(|text| text.contains(&named))
        .filter_map(frame)
        .collect()
}

fn frames(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected
        .iter()
        .map(|(kind, seq)| ((*kind).to_owned(), *seq))
        .collect()
}

fn subscribe(world: &mut World, client: usize, topics: &str) -> Vec<String> {
    world.say(
        client,
        &format!(r#"{{"action":"subscribe","topics":[{topics}]}}"#),
    );
    world.texts(client)
}

#[test]
fn a_filter_brings_the_topics_that_are_there_and_those_that_are_born_later() {
    for shard in 0..3 {
        let mut world = world();
        let publisher = world.connect_ws(1);
        for topic in ["px.a", "px.b", "px.c.d", "news.a"] {
            publish(&mut world, publisher, topic, 2);
        }
        let client = world.connect_ws(shard);
        let texts = subscribe(&mut world, client, r#""px.*""#);
        assert_eq!(
            texts[0],
            r#"{"type":"subscribed","topics":[{"topic":"px.*","matched":2}]}"#
        );
        assert_eq!(seqs(&texts, "snapshot"), [2, 2]);
        for topic in ["px.a", "px.e", "px.c.d", "px.f", "news.b"] {
            publish(&mut world, publisher, topic, 1);
        }
        let texts = world.texts(client);
        assert_eq!(texts.len(), 3, "{texts:?}");
        assert_eq!(of(&texts, "px.a"), frames(&[("update", 3)]));
        assert_eq!(of(&texts, "px.e"), frames(&[("update", 1)]));
        assert_eq!(of(&texts, "px.f"), frames(&[("update", 1)]));
    }
}

#[test]
fn a_topic_born_while_the_filter_is_on_its_way_is_neither_lost_nor_repeated() {
    // Its owner hears of the filter before or after the topic is born; either way nothing is missed.
    for late_owner in 0..3 {
        for first in [0, 2] {
            let mut world = world();
            let publisher = world.connect_ws(late_owner);
            let topic = world.topic_of("px.", late_owner);
            publish(&mut world, publisher, &topic, first);
            let client = world.connect_ws((late_owner + 1) % 3);
            let on = (late_owner + 1) % 3;
            world.mail_held = vec![(on, late_owner)];
            assert!(subscribe(&mut world, client, r#""px.>""#).is_empty());
            publish(&mut world, publisher, &topic, 1);
            // The question has arrived, the answers are held back.
            world.mail_held = vec![(late_owner, on)];
            world.settle();
            publish(&mut world, publisher, &topic, 2);
            assert!(world.texts(client).is_empty());
            world.mail_held.clear();
            world.settle();
            publish(&mut world, publisher, &topic, 1);
            let texts = world.texts(client);
            assert!(texts[0].contains(r#""matched":1"#), "{texts:?}");
            let heard = of(&texts, &topic);
            let seqs: Vec<u64> = heard.iter().map(|(_, seq)| *seq).collect();
            let (asked_at, last) = (first as u64 + 1, first as u64 + 4);
            assert_eq!(heard[0], ("snapshot".into(), asked_at), "{texts:?}");
            assert!(seqs.into_iter().eq(asked_at..=last), "{texts:?}");
        }
    }
}

#[test]
fn a_join_and_a_birth_that_cross_each_other_make_one_stream() {
    for topic_first in [false, true] {
        let mut world = world();
        let publisher = world.connect_ws(2);
        let topic = world.topic_of("px.", 2);
        publish(&mut world, publisher, &topic, 1);
        let client = world.connect_ws(0);
        let other = world.connect_ws(0);
        world.mail_stopped = true;
        let (first, second) = if topic_first {
            (format!("\"{topic}\""), "\"px.>\"".to_owned())
        } else {
            ("\"px.>\"".to_owned(), format!("\"{topic}\""))
        };
        subscribe(&mut world, client, &first);
        subscribe(&mut world, other, &second);
        publish(&mut world, publisher, &topic, 1);
        world.mail_stopped = false;
        world.settle();
        publish(&mut world, publisher, &topic, 2);
        for one in [client, other] {
            let texts = world.texts(one);
            let seqs: Vec<u64> = of(&texts, &topic).iter().map(|(_, seq)| *seq).collect();
            assert_eq!(seqs, [2, 3, 4], "{texts:?}");
        }
    }
}

#[test]
fn what_several_subscriptions_cover_is_delivered_once() {
    let mut world = world();
    let publisher = world.connect_ws(1);
    publish(&mut world, publisher, "px.fx.eur", 1);
    let client = world.connect_ws(0);
    let bystander = world.connect_ws(0);
    subscribe(&mut world, bystander, r#""px.>""#);
    let texts = subscribe(
        &mut world,
        client,
        r#""px.>","px.fx.*","*.fx.eur","px.fx.eur","px.fx.*""#,
    );
    assert_eq!(seqs(&texts, "snapshot"), [1], "{texts:?}");
    publish(&mut world, publisher, "px.fx.eur", 2);
    publish(&mut world, publisher, "px.fx.usd", 1);
    let texts = world.texts(client);
    assert_eq!(
        of(&texts, "px.fx.eur"),
        frames(&[("update", 2), ("update", 3)])
    );
    assert_eq!(of(&texts, "px.fx.usd"), frames(&[("update", 1)]));
    assert_eq!(world.texts(bystander).len(), 3);
    // What it has already begins no second time, whatever it asks for in addition.
    let texts = subscribe(&mut world, client, r#""*.>","px.fx.usd""#);
    assert_eq!(texts.len(), 1, "{texts:?}");
    let raw = world.connect(0, "/raw");
    subscribe(&mut world, raw, r#""px.>","px.fx.*""#);
    publish(&mut world, publisher, "px.fx.eur", 1);
    assert_eq!(world.texts(raw), ["0"]);
}

#[test]
fn ending_one_of_several_subscriptions_leaves_the_stream_to_the_others() {
    let mut world = world();
    let publisher = world.connect_ws(1);
    publish(&mut world, publisher, "px.a", 1);
    let client = world.connect_ws(0);
    subscribe(&mut world, client, r#""px.a","px.*",">""#);
    for ended in ["px.a", ">", "px.*"] {
        publish(&mut world, publisher, "px.a", 1);
        assert_eq!(seqs(&world.texts(client), "update").len(), 1, "{ended}");
        world.say(
            client,
            &format!(r#"{{"action":"unsubscribe","topics":["{ended}"]}}"#),
        );
        assert_eq!(
            world.texts(client),
            [r#"{"type":"unsubscribed","count":1}"#]
        );
    }
    publish(&mut world, publisher, "px.a", 1);
    assert!(world.texts(client).is_empty());
    world.end(client);
    world.end(publisher);
    world.settle();
    assert_eq!(world.held(), NOTHING);
}

#[test]
fn the_options_that_count_are_those_of_the_topic_and_then_of_the_most_specific_filter() {
    let mut world = world();
    let publisher = world.connect_ws(0);
    let other = world.connect_ws(0);
    // Another connection of the shard had the wide filter first: that makes no difference.
    subscribe(&mut world, other, r#"">""#);
    let client = world.connect_ws(0);
    subscribe(
        &mut world,
        client,
        r#"{"topic":">","min_interval_ms":1000},{"topic":"px.*","min_interval_ms":100},"px.a""#,
    );
    let heard_after = |world: &mut World, ms: u64| {
        publish(world, publisher, "px.a", 3);
        world.pass_ms(ms);
        seqs(&world.texts(client), "update").len()
    };
    assert_eq!(heard_after(&mut world, 1), 3, "the topic's own: all");
    world.say(client, r#"{"action":"unsubscribe","topics":["px.a"]}"#);
    assert_eq!(
        heard_after(&mut world, 101),
        2,
        "one at once, one in 100 ms"
    );
    world.pass_ms(101);
    world.say(client, r#"{"action":"unsubscribe","topics":["px.*"]}"#);
    world.texts(client);
    assert_eq!(heard_after(&mut world, 101), 1, "one a second");
    world.pass_ms(1000);
    assert_eq!(seqs(&world.texts(client), "update").len(), 1);
    world.say(client, r#"{"action":"list","id":1}"#);
    assert_eq!(
        world.texts(client),
        [
            r#"{"type":"subscriptions","id":1,"topics":[{"topic":">","mode":"all","on_slow":"conflate","min_interval_ms":1000}]}"#
        ]
    );
}

#[test]
fn what_is_held_for_a_slow_reader_goes_on_by_another_subscription() {
    let settings = Settings {
        outbox_bytes_max: 2000,
        ..Settings::default()
    };
    let mut world = World::new(2, settings);
    let publisher = world.connect_ws(0);
    let client = world.connect_ws(1);
    subscribe(
        &mut world,
        client,
        r#""px.>",{"topic":"px.*","mode":"latest"}"#,
    );
    world.clients[client].window = Some(0);
    publish(&mut world, publisher, "px.a", 40);
    publish(&mut world, publisher, "px.b.c", 40);
    world.say(client, r#"{"action":"unsubscribe","topics":["px.*"]}"#);
    publish(&mut world, publisher, "px.a", 1);
    world.open_window(client, None);
    publish(&mut world, publisher, "px.a", 1);
    let texts = world.texts(client);
    for (topic, last) in [("px.a", 42), ("px.b.c", 40)] {
        let mut at = 0;
        for text in texts.iter().filter(|text| text.contains(topic)) {
            let number = |name: &str| {
                let rest = text.split(&format!("\"{name}\":")).nth(1)?;
                rest.split([',', '}']).next()?.parse::<u64>().ok()
            };
            let from = number("from").or(number("seq"));
            assert_eq!(from, Some(at + 1), "{text}");
            at = number("to").or(number("seq")).unwrap();
        }
        assert_eq!(at, last, "{texts:?}");
    }
}

#[test]
fn snapshots_that_do_not_fit_wait_and_close_nobody() {
    let settings = Settings {
        outbox_bytes_max: 8000,
        ..Settings::default()
    };
    let mut world = World::new(3, settings);
    let publisher = world.connect_ws(0);
    for n in 0..300 {
        publish(&mut world, publisher, &format!("px.{n}"), 2);
        world.texts(publisher);
    }
    let client = world.connect_ws(1);
    world.clients[client].window = Some(0);
    world.say(client, r#"{"action":"subscribe","topics":["px.*"]}"#);
    // What it asks for meanwhile still fits, although its socket takes nothing.
    world.say(client, "ping");
    publish(&mut world, publisher, "px.299", 1);
    world.open_window(client, None);
    let texts = world.texts(client);
    assert!(texts[0].contains(r#""matched":300"#));
    assert!(texts.contains(&"pong".to_owned()));
    let (snapshots, updates) = (seqs(&texts, "snapshot"), seqs(&texts, "update"));
    assert!(snapshots.len() > 20 && updates.len() > 20);
    assert_eq!(snapshots.len() + updates.len(), 300);
    publish(&mut world, publisher, "px.0", 1);
    assert_eq!(seqs(&world.texts(client), "update"), [3]);
}

#[test]
fn a_filter_takes_no_since_and_is_no_topic_to_publish_to() {
    let mut world = world();
    let client = world.connect_ws(0);
    let told = subscribe(
        &mut world,
        client,
        r#"{"topic":"px.*","since":{"epoch":"e1","seq":1}},"a.>.b""#,
    );
    assert_eq!(
        told,
        [
            r#"{"type":"subscribed","topics":[],"errors":[{"topic":"px.*","code":1004,"message":"since is for one topic, not for a filter"},{"topic":"a.>.b","code":1003,"message":"wildcard must be a whole segment, and '>' the last"}]}"#
        ]
    );
    for command in [
        r#"{"action":"publish","topic":"px.*","data":1}"#,
        r#"{"action":"check","topics":["px.*"]}"#,
        r#"{"action":"set","topics":["px.*"],"mode":"latest"}"#,
    ] {
        world.say(client, command);
        let texts = world.texts(client);
        assert!(texts[0].contains(r#""code":1003"#), "{texts:?}");
    }
}

#[test]
fn a_filter_that_covers_too_much_is_refused_whole_and_leaves_nothing() {
    let settings = Settings {
        filter_topics_max: 30,
        ..Settings::default()
    };
    let mut world = World::new(3, settings);
    let publisher = world.connect(0, "/raw");
    for n in 0..31 {
        publish(&mut world, publisher, &format!("px.{n}"), 1);
    }
    let client = world.connect_ws(1);
    let texts = subscribe(&mut world, client, r#""px.*","px.1""#);
    assert_eq!(texts.len(), 2);
    assert!(texts[0].contains(r#""topics":[{"topic":"px.1","epoch":"e1","seq":1}]"#));
    assert!(texts[0].contains(r#""errors":[{"topic":"px.*","code":3001,"#));
    publish(&mut world, publisher, "px.2", 1);
    publish(&mut world, publisher, "px.1", 1);
    assert_eq!(seqs(&world.texts(client), "update"), [2]);
    world.say(client, r#"{"action":"unsubscribe","topics":["px.1"]}"#);
    assert_eq!(world.held()[3], 0, "no topic is listened to");
    // Topics that are born later are never kept from one who was there before.
    let texts = subscribe(&mut world, client, r#""py.*""#);
    assert!(texts[1].contains(r#""matched":0"#), "{texts:?}");
    for n in 0..40 {
        publish(&mut world, publisher, &format!("py.{n}"), 1);
    }
    assert_eq!(seqs(&world.texts(client), "update").len(), 40);
}

fn crowded_world() -> World {
    let settings = Settings {
        filters_per_topic_max: 2,
        ..Settings::default()
    };
    World::new(2, settings)
}

#[test]
fn a_topic_that_is_there_is_covered_by_no_more_different_filters_than_may() {
    let mut world = crowded_world();
    let publisher = world.connect(0, "/raw");
    for owner in 0..2 {
        let topic = world.topic_of("px.", owner);
        publish(&mut world, publisher, &topic, 1);
    }
    let client = world.connect_ws(1);
    let texts = subscribe(&mut world, client, r#""px.*","px.>",">""#);
    let refused = |text: &str| text.matches(r#""code":3001"#).count();
    // Which two of a command come first is not said; all that crowd the topic stand or fall together.
    assert_eq!(refused(&texts[0]), 3, "{texts:?}");
    let texts = subscribe(&mut world, client, r#""px.*","px.>""#);
    assert!(texts[0].contains(r#"[{"topic":"px.*","matched":2},{"topic":"px.>","matched":2}]"#));
    let other = world.connect_ws(1);
    let texts = subscribe(&mut world, other, r#"">","px.*""#);
    assert_eq!(refused(&texts[0]), 1, "{texts:?}");
    assert!(texts[0].contains(r#""topics":[{"topic":"px.*","matched":2}]"#));
    assert_eq!(seqs(&texts, "snapshot"), [1, 1]);
    // Another shard has a count of its own, and a place that becomes free can be had.
    let elsewhere = world.connect_ws(0);
    assert_eq!(refused(&subscribe(&mut world, elsewhere, r#"">""#)[0]), 0);
    world.say(client, r#"{"action":"unsubscribe","topics":["px.>"]}"#);
    assert_eq!(refused(&subscribe(&mut world, other, r#"">""#)[0]), 0);
    for client in [publisher, client, other, elsewhere] {
        world.end(client);
    }
    world.settle();
    assert_eq!(world.held(), NOTHING);
}

#[test]
fn a_topic_born_later_reaches_all_whom_filters_cover_it_for_however_many_they_are() {
    let mut world = crowded_world();
    let publisher = world.connect_ws(0);
    let filters = ["a.*", "a.>", "*.b", ">"];
    let clients = filters.map(|_| world.connect_ws(1));
    for (client, filter) in clients.iter().zip(filters) {
        subscribe(&mut world, *client, &format!("\"{filter}\""));
    }
    let all = world.connect_ws(1);
    subscribe(&mut world, all, r#""a.*","a.>","*.b",">""#);
    publish(&mut world, publisher, "a.b", 2);
    for client in clients.into_iter().chain([all]) {
        assert_eq!(seqs(&world.texts(client), "update"), [1, 2]);
    }
    assert!(world.engines[1].hub.filters.sets.is_empty());
    // Who comes to one of those filters is told of the topic, and gets it.
    let late = world.connect_ws(1);
    let texts = subscribe(&mut world, late, r#""*.b""#);
    assert!(
        texts[0].contains(r#"{"topic":"*.b","matched":1}"#),
        "{texts:?}"
    );
    assert_eq!(seqs(&texts, "snapshot"), [2]);
    // One that nobody had is too many; those who leave are missed by nobody.
    let texts = subscribe(&mut world, late, r#""*.>""#);
    assert!(texts[0].contains(r#""code":3001"#), "{texts:?}");
    world.end(clients[0]);
    world.end(all);
    world.say(late, r#"{"action":"unsubscribe","topics":["*.b"]}"#);
    world.end(clients[2]);
    world.settle();
    assert_eq!(world.engines[1].hub.filters.sets.len(), 1);
    publish(&mut world, publisher, "a.b", 1);
    assert_eq!(seqs(&world.texts(clients[1]), "update"), [3]);
    assert_eq!(seqs(&world.texts(clients[3]), "update"), [3]);
    for client in [clients[1], clients[3], late, publisher] {
        world.end(client);
    }
    world.settle();
    assert_eq!(world.held(), NOTHING);
}

#[test]
fn a_topic_that_never_said_anything_is_not_kept_for_a_filter() {
    let settings = Settings {
        topics_max: 4,
        ..Settings::default()
    };
    let mut world = World::new(2, settings);
    let (all, one) = (world.connect_ws(0), world.connect_ws(0));
    subscribe(&mut world, all, r#"">""#);
    for n in 0..100 {
        let topic = format!("px.{n}");
        let texts = subscribe(&mut world, one, &format!("\"{topic}\""));
        assert!(texts[0].contains(r#""seq":0"#), "{texts:?}");
        let command = format!(r#"{{"action":"unsubscribe","topics":["{topic}"]}}"#);
        world.say(one, &command);
        world.texts(one);
    }
    for engine in &world.engines {
        assert_eq!(
            (engine.hub.topics.len(), engine.hub.owner.topic_count()),
            (0, 0)
        );
    }
    publish(&mut world, one, "px.7", 2);
    assert_eq!(seqs(&world.texts(all), "update"), [1, 2]);
}

#[test]
fn what_is_said_or_asked_for_while_a_topic_fades_is_not_lost() {
    for (publishes, asks_again, filter_ends) in
        (0..8).map(|bits| (bits & 1 > 0, bits & 2 > 0, bits & 4 > 0))
    {
        let mut world = world();
        let topic = world.topic_of("px.", 1);
        let quoted = format!("\"{topic}\"");
        let (all, one) = (world.connect_ws(0), world.connect_ws(0));
        let publisher = world.connect_ws(2);
        subscribe(&mut world, all, r#"">""#);
        subscribe(&mut world, one, &quoted);
        // The owner hears of the fading late, and of what came before it or after it first.
        world.mail_held = vec![(0, 1)];
        world.say(
            one,
            &format!(r#"{{"action":"unsubscribe","topics":[{quoted}]}}"#),
        );
        if publishes {
            publish(&mut world, publisher, &topic, 2);
        }
        if asks_again {
            subscribe(&mut world, one, &quoted);
        }
        if filter_ends {
            world.say(all, r#"{"action":"unsubscribe","topics":[">"]}"#);
        }
        world.mail_held.clear();
        world.settle();
        let first = 1 + 2 * u64::from(publishes);
        publish(&mut world, publisher, &topic, 2);
        let (by_filter, by_name) = (world.texts(all), world.texts(one));
        let expected: Vec<u64> = if filter_ends {
            (1..first).collect()
        } else {
            (1..first + 2).collect()
        };
        assert_eq!(seqs(&by_filter, "update"), expected, "{by_filter:?}");
        let got = seqs(&by_name, "update");
        if asks_again {
            assert_eq!(got.last(), Some(&(first + 1)), "{by_name:?}");
            assert!(got.windows(2).all(|two| two[1] == two[0] + 1), "{got:?}");
            assert!(got.len() >= 2);
        } else {
            assert!(got.is_empty());
        }
        for client in [all, one, publisher] {
            world.end(client);
        }
        world.settle();
        assert_eq!(world.held(), NOTHING);
    }
}

#[test]
fn those_who_leave_in_one_tick_with_filters_of_their_own_are_settled_together() {
    let mut world = world();
    let publisher = world.connect(1, "/raw");
    let clients: Vec<usize> = (0..20).map(|_| world.connect_ws(0)).collect();
    for (n, &client) in clients.iter().enumerate() {
        subscribe(&mut world, client, &format!(r#""px.{n}.*""#));
        publish(&mut world, publisher, &format!("px.{n}.a"), 1);
    }
    for &client in &clients {
        world.end(client);
    }
    let now = world.now;
    world.engines[0].on_mail(now, Mail::default());
    let mail = world.engines[0].outgoing().take(ShardId(1));
    let unwatched = |request: &Request| match request {
        Request::Unwatch { filters, .. } => Some(filters.len()),
        _ => None,
    };
    let told: Vec<usize> = mail.requests.iter().filter_map(unwatched).collect();
    assert_eq!(told, [20]);
    assert!(world.engines[0].hub.topics.is_empty());
    world.engines[0].outgoing().put_back(ShardId(1), mail);
    world.end(publisher);
    world.settle();
    assert_eq!(world.held(), NOTHING);
}

#[test]
fn a_filter_that_has_grown_too_wide_takes_nobody_more_and_loses_nobody() {
    let settings = Settings {
        filter_topics_max: 30,
        ..Settings::default()
    };
    let mut world = World::new(2, settings);
    let publisher = world.connect(0, "/raw");
    let (early, late) = (world.connect_ws(1), world.connect_ws(1));
    subscribe(&mut world, early, r#""px.*""#);
    for n in 0..31 {
        publish(&mut world, publisher, &format!("px.{n}"), 1);
    }
    assert_eq!(seqs(&world.texts(early), "update").len(), 31);
    let texts = subscribe(&mut world, late, r#""px.*""#);
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].contains(r#""topics":[],"errors":[{"topic":"px.*","code":3001,"#));
    // Whoever has it may ask for other options.
    let command = r#"{"action":"subscribe","topics":["px.*"],"mode":"latest"}"#;
    world.say(early, command);
    let texts = world.texts(early);
    assert!(texts[0].contains(r#""matched":31"#), "{texts:?}");
    publish(&mut world, publisher, "px.31", 1);
    assert_eq!(seqs(&world.texts(early), "update"), [1]);
    assert!(world.texts(late).is_empty());
}

#[test]
fn a_shard_holds_no_more_different_filters_than_it_may() {
    let settings = Settings {
        filters_max: 2,
        ..Settings::default()
    };
    let mut world = World::new(1, settings);
    let client = world.connect_ws(0);
    let texts = subscribe(&mut world, client, r#""a.*","b.*","c.*""#);
    assert!(
        texts[0].contains(r#"{"topic":"c.*","code":3001"#),
        "{texts:?}"
    );
    let other = world.connect_ws(0);
    let texts = subscribe(&mut world, other, r#""b.*""#);
    assert!(texts[0].contains(r#""matched":0"#), "{texts:?}");
}

#[test]
fn server_topics_are_covered_only_by_filters_that_name_them() {
    assert!(!fanfare_wire::topic::covers(">", "$sys.stats"));
}

#[test]
fn unsubscribing_from_a_filter_that_is_still_pending_ends_it() {
    let mut world = world();
    let client = world.connect_ws(0);
    let publisher = world.connect_ws(1);
    publish(&mut world, publisher, "px.a", 1);
    world.mail_stopped = true;
    subscribe(&mut world, client, r#""px.*","px.>""#);
    world.say(client, r#"{"action":"unsubscribe","topics":["px.*"]}"#);
    world.mail_stopped = false;
    world.settle();
    publish(&mut world, publisher, "px.a", 1);
    publish(&mut world, publisher, "px.b", 1);
    let texts = world.texts(client);
    assert_eq!(texts[0], r#"{"type":"unsubscribed","count":1}"#);
    assert_eq!(
        of(&texts, "px.a"),
        frames(&[("snapshot", 1), ("update", 2)])
    );
    world.say(client, r#"{"action":"unsubscribe","topics":["px.>"]}"#);
    publish(&mut world, publisher, "px.b", 1);
    assert_eq!(world.texts(client).len(), 1);
    assert_eq!(world.held()[9..12], [0, 0, 0]);
}

#[test]
fn coming_and_going_of_filters_leaves_nothing_behind() {
    let mut world = world();
    let publisher = world.connect(0, "/raw");
    for n in 0..50 {
        publish(&mut world, publisher, &format!("px.{n}.x"), 1);
    }
    let topics = world.engines[0].hub.owner.topic_count();
    for round in 0..40 {
        let client = world.connect_ws(round % 3);
        world.mail_stopped = round % 2 == 0;
        subscribe(&mut world, client, r#""px.*.x","px.>","*.1.*""#);
        publish(&mut world, publisher, &format!("px.{}.x", round % 50), 1);
        if round % 3 == 0 {
            world.say(client, r#"{"action":"unsubscribe","topics":["px.>"]}"#);
        }
        if round % 5 == 0 {
            world.say(client, r#"{"action":"subscribe","topics":["px.>"]}"#);
        }
        world.mail_stopped = false;
        world.settle();
        world.end(client);
        world.settle();
    }
    world.end(publisher);
    world.settle();
    assert_eq!(world.held(), NOTHING);
    assert_eq!(world.engines[0].hub.owner.topic_count(), topics);
    for engine in &world.engines {
        assert_eq!(engine.hub.owner.listener_count(), 0);
    }
}

#[test]
fn filters_that_do_not_cover_a_topic_have_no_part_in_what_it_is_delivered_to() {
    let mut world = World::new(1, Settings::default());
    let client = world.connect_ws(0);
    let filters: Vec<String> = (0..1000).map(|n| format!("\"other{n}.>\"")).collect();
    subscribe(&mut world, client, &filters.join(","));
    let subscriber = world.connect_ws(0);
    subscribe(&mut world, subscriber, r#""px.a""#);
    let publisher = world.connect_ws(0);
    publish(&mut world, publisher, "px.a", 1);
    assert_eq!(seqs(&world.texts(subscriber), "update"), [1]);
    let hub = &world.engines[0].hub;
    let topic = hub.topics.find("px.a").expect("somebody listens");
    assert_eq!(hub.filters.len(), 1000);
    assert!(hub.filters.of(&hub.topics[topic]).is_empty());
}

#[test]
fn a_thousand_filters_over_many_topics_share_one_set_and_deliver_once() {
    let settings = Settings {
        filters_per_topic_max: 1024,
        ..Settings::default()
    };
    let mut world = World::new(2, settings);
    let publisher = world.connect(0, "/raw");
    let stem = ["a"; 10].join(".");
    for n in 0..200 {
        publish(&mut world, publisher, &format!("{stem}.{n}"), 1);
    }
    // Every way of writing ten segments as a name or a star.
    let filters: Vec<String> = (0..1024_u32)
        .map(|pattern| {
            let segment = |n: u32| if pattern >> n & 1 == 0 { "a" } else { "*" };
            let segments: Vec<&str> = (0..10).map(segment).collect();
            format!("\"{}.*\"", segments.join("."))
        })
        .collect();
    let before = world.engines[1].hub.ledger().topic_bytes;
    let client = world.connect_ws(1);
    let texts = subscribe(&mut world, client, &filters.join(","));
    assert_eq!(seqs(&texts, "snapshot").len(), 200);
    let hub = &world.engines[1].hub;
    assert_eq!((hub.topics.len(), hub.filters.sets.len()), (200, 1));
    let grown = hub.ledger().topic_bytes - before;
    assert!(
        grown < 4 << 20,
        "{grown} bytes for 1,024 filters and 200 topics"
    );
    publish(&mut world, publisher, &format!("{stem}.7"), 3);
    // Owned elsewhere, so that it is not counted with what the shard of the client holds.
    let late = world.topic_of(&format!("{stem}.late"), 0);
    publish(&mut world, publisher, &late, 2);
    let texts = world.texts(client);
    assert_eq!(seqs(&texts, "update"), [2, 3, 4, 1, 2]);
    // In one command, and all at once with the connection.
    world.say(
        client,
        &format!(
            r#"{{"action":"unsubscribe","topics":[{}]}}"#,
            filters[..1000].join(",")
        ),
    );
    assert_eq!(
        world.texts(client),
        [r#"{"type":"unsubscribed","count":1000}"#]
    );
    publish(&mut world, publisher, &format!("{stem}.8"), 1);
    assert_eq!(seqs(&world.texts(client), "update"), [2]);
    world.end(client);
    world.end(publisher);
    world.settle();
    assert_eq!(world.held(), NOTHING);
    assert_eq!(world.engines[1].hub.ledger().topic_bytes, before);
}

#[test]
fn a_birth_is_told_ahead_of_the_first_update_to_shards_that_wait_for_mail() {
    let mut world = world();
    let client = world.connect_ws(0);
    subscribe(&mut world, client, r#""px.>""#);
    let topic = world.topic_of("px.", 2);
    let publisher = world.connect_ws(1);
    world.mail_held = vec![(2, 0)];
    publish(&mut world, publisher, &topic, 3);
    // Somebody asks for the topic itself while its birth is on the way.
    let other = world.connect_ws(0);
    assert!(subscribe(&mut world, other, &format!("\"{topic}\"")).is_empty());
    publish(&mut world, publisher, &topic, 1);
    world.mail_held.clear();
    world.settle();
    publish(&mut world, publisher, &topic, 1);
    let heard = |texts: Vec<String>| -> Vec<u64> {
        of(&texts, &topic).into_iter().map(|(_, seq)| seq).collect()
    };
    assert_eq!(heard(world.texts(client)), [1, 2, 3, 4, 5]);
    let late = heard(world.texts(other));
    let first = *late.first().expect("something came");
    assert!(late.into_iter().eq(first..=5));
}

#[test]
fn a_birth_for_a_filter_that_has_gone_is_sent_back() {
    let mut world = world();
    let client = world.connect_ws(0);
    subscribe(&mut world, client, r#""px.>""#);
    let topic = world.topic_of("px.", 2);
    let publisher = world.connect_ws(1);
    world.mail_held = vec![(2, 0)];
    publish(&mut world, publisher, &topic, 2);
    world.say(client, r#"{"action":"unsubscribe","topics":["px.>"]}"#);
    world.mail_held.clear();
    world.settle();
    assert_eq!(world.engines[2].hub.owner.listener_count(), 0);
    assert_eq!(world.held()[3], 0);
    // And gone and come again while it was on its way, it is told anew.
    subscribe(&mut world, client, r#""px.>""#);
    let second = world.topic_of("px.second", 2);
    world.mail_held = vec![(2, 0)];
    publish(&mut world, publisher, &second, 1);
    world.say(client, r#"{"action":"unsubscribe","topics":["px.>"]}"#);
    world.say(client, r#"{"action":"subscribe","topics":["px.>"]}"#);
    publish(&mut world, publisher, &second, 1);
    world.mail_held.clear();
    world.settle();
    publish(&mut world, publisher, &second, 1);
    let texts = world.texts(client);
    let seqs: Vec<u64> = of(&texts, &second).iter().map(|(_, seq)| *seq).collect();
    let first = *seqs.first().expect("it covers the topic");
    assert!(seqs.into_iter().eq(first..=3), "{texts:?}");
}

#[test]
fn what_rests_by_one_filter_is_not_overtaken_by_a_more_specific_one() {
    let mut world = world();
    let publisher = world.connect(0, "/raw");
    let client = world.connect_ws(0);
    subscribe(&mut world, client, r#"{"topic":">","min_interval_ms":50}"#);
    publish(&mut world, publisher, "px.a", 2);
    assert_eq!(seqs(&world.texts(client), "update"), [1]);
    let mut texts = subscribe(&mut world, client, r#""px.*""#);
    publish(&mut world, publisher, "px.a", 2);
    world.pass_ms(60);
    publish(&mut world, publisher, "px.a", 1);
    texts.extend(world.texts(client));
    let mut at = 1;
    for text in texts.iter().skip(1) {
        let number = |name: &str| {
            let rest = text.split(&format!("\"{name}\":")).nth(1)?;
            rest.split([',', '}']).next()?.parse::<u64>().ok()
        };
        assert_eq!(number("from").or(number("seq")), Some(at + 1), "{text}");
        at = number("to").or(number("seq")).expect("a number");
    }
    assert_eq!(at, 5);
}

#[test]
fn a_topic_that_is_born_while_it_fades_here_passes_nobody_over() {
    let mut world = world();
    let topic = world.topic_of("px.", 1);
    let (all, one) = (world.connect_ws(0), world.connect_ws(0));
    let publisher = world.connect_ws(2);
    subscribe(&mut world, all, r#"">""#);
    subscribe(&mut world, one, &format!("\"{topic}\""));
    // The owner hears everything at once, and is heard late: that it has forgotten the topic, and that it was born.
    world.mail_held = vec![(1, 0)];
    let end = format!(r#"{{"action":"unsubscribe","topics":["{topic}"]}}"#);
    world.say(one, &end);
    publish(&mut world, publisher, &topic, 1);
    world.say(all, r#"{"action":"unsubscribe","topics":[">"]}"#);
    publish(&mut world, publisher, &topic, 1);
    subscribe(&mut world, all, r#""px.>""#);
    publish(&mut world, publisher, &topic, 1);
    world.mail_held.clear();
    world.settle();
    publish(&mut world, publisher, &topic, 1);
    let texts = world.texts(all);
    let seqs: Vec<u64> = of(&texts, &topic).iter().map(|(_, seq)| *seq).collect();
    let first = *seqs.first().expect("it covers the topic");
    assert!(seqs.into_iter().eq(first..=4), "{texts:?}");
    for client in [all, one, publisher] {
        world.end(client);
    }
    world.settle();
    assert_eq!(world.held(), NOTHING);
    assert_eq!(world.engines[1].hub.owner.listener_count(), 0);
}

#[test]
fn a_topic_that_fades_between_its_birth_and_its_first_update_passes_nobody_over() {
    let mut world = world();
    let topic = world.topic_of("px.", 1);
    let (all, one) = (world.connect_ws(0), world.connect_ws(0));
    let publisher = world.connect_ws(2);
    subscribe(&mut world, all, r#"">""#);
    // Who asked for it by name has thought better of it when the birth comes, which is ahead of the answer to the join.
    world.mail_held = vec![(0, 1)];
    subscribe(&mut world, one, &format!("\"{topic}\""));
    let end = format!(r#"{{"action":"unsubscribe","topics":["{topic}"]}}"#);
    world.say(one, &end);
    publish(&mut world, publisher, &topic, 3);
    world.mail_held.clear();
    world.settle();
    publish(&mut world, publisher, &topic, 1);
    let texts = world.texts(all);
    assert_eq!(seqs(&texts, "update"), [1, 2, 3, 4], "{texts:?}");
}
