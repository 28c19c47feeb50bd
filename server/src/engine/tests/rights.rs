//! What a connection may do, seen from outside: every way in asks, and says so when it may not.

use std::sync::Arc;

use fanfare_wire::frame::Opcode;

use super::{publish, seqs};
use crate::engine::rights::{Identity, Scope};
use crate::engine::settings::Settings;
use crate::engine::testing::{Heard, NOTHING, World, masked, upgrade};

fn filters(texts: &[&str]) -> Scope {
    Scope::Filters(texts.iter().map(|text| (*text).into()).collect())
}

/// A world in which anybody may listen to `pub.>` and publish to `in.*`.
fn world() -> World {
    let anonymous = Identity {
        name: None,
        subscribe: filters(&["pub.>"]),
        publish: filters(&["in.*"]),
    };
    let settings = Settings {
        anonymous,
        ..Settings::default()
    };
    World::new(2, settings)
}

#[test]
fn topics_and_filters_that_are_not_granted_are_errors_of_the_ack() {
    let mut world = world();
    let client = world.connect_ws(0);
    let topics = r#"["pub.a","pub.*","pub.a.>","pub","*.a",">","in.a"]"#;
    world.say(
        client,
        &format!(r#"{{"action":"subscribe","id":1,"topics":{topics}}}"#),
    );
    let refused = |name: &str| {
        format!(r#"{{"topic":"{name}","code":2003,"message":"not allowed to subscribe to this"}}"#)
    };
    let errors: Vec<String> = ["pub", "*.a", ">", "in.a"].map(refused).into();
    let expected = format!(
        r#"{{"type":"subscribed","id":1,"topics":[{{"topic":"pub.a","epoch":"e1","seq":0}},{{"topic":"pub.*","matched":0}},{{"topic":"pub.a.>","matched":0}}],"errors":[{}]}}"#,
        errors.join(",")
    );
    assert_eq!(world.texts(client), [expected]);
}

#[test]
fn a_publish_or_a_check_that_is_not_granted_is_an_error_and_reaches_no_owner() {
    let mut world = world();
    let client = world.connect_ws(0);
    for (command, told) in [
        (
            r#"{"action":"publish","id":1,"topic":"pub.a","data":1}"#,
            r#"{"type":"error","id":1,"code":2003,"name":"forbidden","message":"not allowed to publish to this"}"#,
        ),
        (
            r#"{"action":"check","id":2,"topics":["pub.a","in.a"]}"#,
            r#"{"type":"error","id":2,"code":2003,"name":"forbidden","message":"not allowed to read this"}"#,
        ),
        (
            r#"{"action":"publish","id":3,"topic":"in.a","data":1}"#,
            r#"{"type":"published","id":3,"topic":"in.a","epoch":"e1","seq":1}"#,
        ),
    ] {
        world.say(client, command);
        assert_eq!(world.texts(client), [told]);
    }
    let owned: usize = (world.engines.iter())
        .map(|engine| engine.hub.owner.topic_count())
        .sum();
    assert_eq!(owned, 1);
    let raw = world.connect(1, "/raw");
    publish(&mut world, raw, "pub.a", 1);
    let told = world.texts(raw);
    assert!(told.len() == 1 && told[0].contains("2003"), "{told:?}");
}

#[test]
fn a_room_is_entered_by_those_who_may_listen_and_spoken_in_by_those_who_may_publish() {
    let mut world = world();
    let client = world.open(0);
    world.send(client, upgrade("/room/in.a").as_bytes());
    world.settle();
    let head = world.take_head(client);
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    let listener = world.connect(0, "/room/pub.a");
    world.send(listener, &masked(Opcode::Text, b"hello"));
    world.settle();
    assert_eq!(world.heard(listener), [Heard::Close(Some(1008))]);
}

#[test]
fn a_connection_that_has_said_who_it_is_has_its_own_rights_and_others_pay_nothing() {
    let mut world = world();
    let (known, other) = (world.connect_ws(0), world.connect_ws(0));
    let identity = Arc::new(Identity {
        name: Some("publisher".into()),
        ..Identity::unlimited()
    });
    let id = world.clients[known].id;
    world.engines[0].identify(id, identity.clone());
    world.say(known, r#"{"action":"subscribe","id":1,"topics":["vip"]}"#);
    publish(&mut world, known, "vip", 1);
    publish(&mut world, other, "vip", 1);
    let told = world.texts(known);
    assert!(told[0].starts_with(r#"{"type":"subscribed""#));
    assert_eq!(seqs(&told, "update"), [1]);
    assert!(world.texts(other)[0].contains("2003"));
    let cold = |client: usize| {
        let index = world.clients[client].id.index as usize;
        world.engines[0].outlet.conns[index].cold.is_some()
    };
    assert!(cold(known) && !cold(other));
    world.end(known);
    world.end(other);
    world.settle();
    assert_eq!(Arc::strong_count(&identity), 1);
    assert_eq!(world.held(), NOTHING);
}
