//! The engine from outside: what clients hear for what they say, on one shard and on several.

mod binary;
mod compression;
mod endings;
mod filters;
mod http;
mod http_ends;
mod identity;
mod keys;
mod polls;
mod rates;
mod resuming;
mod rights;
mod slow;
mod stale;
mod stats;
mod streams;
mod web;

use super::settings::Settings;
use super::testing::World;

fn world() -> World {
    World::new(
        3,
        Settings {
            echo: true,
            ..Settings::default()
        },
    )
}

fn seqs(texts: &[String], kind: &str) -> Vec<u64> {
    let prefix = format!(r#"{{"type":"{kind}""#);
    let seq = |text: &String| {
        let at = text.find(r#""seq":"#)? + 6;
        text[at..].split(',').next()?.parse().ok()
    };
    texts
        .iter()
        .filter(|text| text.starts_with(&prefix))
        .filter_map(seq)
        .collect()
}

fn publish(world: &mut World, client: usize, topic: &str, times: usize) {
    for n in 0..times {
        world.say(
            client,
            &format!(r#"{{"action":"publish","topic":"{topic}","data":{n}}}"#),
        );
    }
}
