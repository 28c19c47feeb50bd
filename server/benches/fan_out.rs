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
use fanfare::hub::mail::{Mail, Reply, Request, ShardId};
use fanfare::hub::update::{Form, Payload};
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
    let topics = Arc::new(vec![name(0); updates]);
    let mut engine = subscribed(|_| vec![name(0)]);
    bencher
        .counter(ItemsCount::new(updates * SUBSCRIBERS))
        .bench_local(move || tick(&mut engine, &topics));
}

/// 1,000 topics, 10 for each subscriber, so many updates of different topics a tick: 50 deliveries each.
#[divan::bench(args = [1, 10, 50, 250])]
fn ticker(bencher: Bencher<'_, '_>, updates: usize) {
    let mut engine = subscribed(|index| (0..10).map(|n| name(index * 7 + n * 101)).collect());
    let mut at = 0;
    bencher
        .counter(ItemsCount::new(updates * SUBSCRIBERS / 100))
        .bench_local(move || {
            let topics: Vec<_> = (0..updates).map(|n| name((at + n) * 617)).collect();
            at += updates;
            tick(&mut engine, &topics);
        });
}

fn name(number: usize) -> Arc<str> {
    format!("px.{}", number % 1000).into()
}

/// Publishes to these topics and writes everything to sockets that take it.
fn tick(engine: &mut Engine, topics: &[Arc<str>]) {
    let requests = topics.iter().map(|topic| Request::Publish {
        topic: topic.clone(),
        payload: Payload::new(Form::Json, &[b'7'; 100]),
        key: None,
        reply: Reply::None,
    });
    let mail = Mail {
        requests: requests.collect(),
        ..Mail::default()
    };
    engine.on_mail(NOW, mail);
    flush(engine);
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
    engine.end_tick();
}

fn subscribed(topics_of: impl Fn(usize) -> Vec<Arc<str>>) -> Engine {
    let charter = Charter {
        shards: 1,
        seed: 42,
        epoch: "e1".into(),
        topics_per_owner_max: 10_000,
        kept_bytes_per_owner_max: 1 << 30,
        filter_topics_max: 1_000,
        history: Arc::default(),
    };
    let settings = Arc::new(Settings::default());
    let mut engine = Engine::new(ShardId(0), charter, settings, SUBSCRIBERS);
    for index in 0..SUBSCRIBERS {
        let id = engine.on_open(NOW, false);
        let request = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        engine.on_bytes(NOW, id, &mut request.as_bytes().to_vec());
        say(
            &mut engine,
            id,
            &format!(
                r#"{{"action":"subscribe","topics":{:?},"snapshot":false}}"#,
                topics_of(index)
            ),
        );
    }
    engine.on_mail(NOW, Mail::default());
    flush(&mut engine);
    engine
}

fn say(engine: &mut Engine, id: ConnId, text: &str) {
    let mut frame = Vec::new();
    put_masked_frame(&mut frame, Opcode::Text, [9, 8, 7, 6], text.as_bytes());
    engine.on_bytes(NOW, id, &mut frame);
}
