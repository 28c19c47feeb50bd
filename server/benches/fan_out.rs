//! What a delivery costs the server beside the kernel: from an update's arrival at a shard to the bytes offered to the
//! socket, without the socket. 5,000 subscribers of one shard, payloads of 100 bytes, all that is published between two
//! flushes being one tick.
//!
//! `cargo bench -p fanfare --bench fan_out`; the items are deliveries.

use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use fanfare::clock::Now;
use fanfare::engine::{ConnId, Engine, Settings};
use fanfare::hub::Charter;
use fanfare::hub::mail::{Mail, ShardId};
use fanfare_wire::frame::{Opcode, put_masked_frame};

const SUBSCRIBERS: usize = 5_000;
const NOW: Now = Now {
    mono_us: 1_000_000,
    wall_us: 1_790_000_000_000_000,
};

fn main() {
    divan::main();
}

/// One topic that all have, so many updates of it a tick.
#[divan::bench(args = [1, 8, 32, 100])]
fn one_topic(bencher: Bencher<'_, '_>, updates: usize) {
    let mut shard = Shard::with_subscribers(|_| vec![name(0)]);
    let burst = published(std::iter::repeat_n(0, updates));
    bencher
        .counter(ItemsCount::new(updates * SUBSCRIBERS))
        .bench_local(move || shard.tick(&burst));
}

/// 10 topics that all have, so many updates a tick, one topic after the other.
#[divan::bench(args = [10, 100])]
fn ten_topics(bencher: Bencher<'_, '_>, updates: usize) {
    let mut shard = Shard::with_subscribers(|_| (0..10).map(name).collect());
    let burst = published((0..updates).map(|n| n % 10));
    bencher
        .counter(ItemsCount::new(updates * SUBSCRIBERS))
        .bench_local(move || shard.tick(&burst));
}

/// 1,000 topics, 10 for each subscriber, so many updates of different topics a tick: 50 deliveries each.
#[divan::bench(args = [1, 10, 50, 250])]
fn ticker(bencher: Bencher<'_, '_>, updates: usize) {
    let mut shard =
        Shard::with_subscribers(|index| (0..10).map(|n| name(index * 7 + n * 101)).collect());
    let mut at = 0;
    bencher
        .counter(ItemsCount::new(updates * SUBSCRIBERS / 100))
        .bench_local(move || {
            let burst = published((at..at + updates).map(|n| n * 617));
            at += updates;
            shard.tick(&burst);
        });
}

fn name(number: usize) -> String {
    format!("px.{}", number % 1000)
}

/// What a publisher sends to publish to each of these topics.
fn published(topics: impl Iterator<Item = usize>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for topic in topics.map(name) {
        let data = "7".repeat(100);
        put_command(
            &mut bytes,
            &format!(r#"{{"action":"publish","topic":"{topic}","data":{data}}}"#),
        );
    }
    bytes
}

fn put_command(bytes: &mut Vec<u8>, text: &str) {
    put_masked_frame(bytes, Opcode::Text, [9, 8, 7, 6], text.as_bytes());
}

/// A shard with its subscribers, and a publisher whose publishes are answered, as all are.
struct Shard {
    engine: Engine,
    publisher: ConnId,
}

impl Shard {
    fn with_subscribers(topics_of: impl Fn(usize) -> Vec<String>) -> Shard {
        let charter = Charter {
            shards: 1,
            seed: 42,
            epoch: "e1".into(),
            topics_per_owner_max: 10_000,
            kept_bytes_per_owner_max: 1 << 30,
            filter_topics_max: 1_000,
            filters_per_topic_max: 64,
            keys: Settings::default().keys,
            history: Arc::default(),
            threshold: Settings::default().compression.threshold,
        };
        let settings = Arc::new(Settings::default());
        let mut engine = Engine::new(ShardId(0), charter, settings, SUBSCRIBERS + 1);
        for index in 0..SUBSCRIBERS {
            let id = open(&mut engine);
            let topics = topics_of(index);
            let mut bytes = Vec::new();
            put_command(
                &mut bytes,
                &format!(r#"{{"action":"subscribe","topics":{topics:?},"snapshot":false}}"#),
            );
            engine.on_bytes(NOW, id, &mut bytes);
        }
        let publisher = open(&mut engine);
        let mut shard = Shard { engine, publisher };
        shard.tick(&[]);
        shard
    }

    /// Takes what the publisher sends, and writes everything to sockets that take it.
    fn tick(&mut self, sent: &[u8]) {
        let mut sent = sent.to_vec();
        self.engine.on_bytes(NOW, self.publisher, &mut sent);
        self.engine.on_mail(NOW, Mail::default());
        flush(&mut self.engine);
    }
}

fn open(engine: &mut Engine) -> ConnId {
    let id = engine.on_open(NOW, false);
    let request = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    engine.on_bytes(NOW, id, &mut request.as_bytes().to_vec());
    id
}

fn flush(engine: &mut Engine) {
    while let Some(id) = engine.poll_dirty() {
        loop {
            let offered = black_box(engine.poll_write(id)).len();
            if offered == 0 {
                break engine.on_flushed(id);
            }
            engine.on_written(NOW, id, offered, offered);
        }
    }
    engine.end_tick(NOW);
}
