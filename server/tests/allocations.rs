//! Delivering an update allocates nothing per subscriber, and a stalled subscriber costs nothing per update.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use fanfare::clock::Now;
use fanfare::engine::{ConnId, Engine, Settings};
use fanfare::hub::Charter;
use fanfare::hub::mail::{Mail, ShardId};
use fanfare_wire::frame::{Opcode, put_masked_frame};

/// The system's allocator, counting the calls and the bytes of each thread.
struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
    /// Allocated by this thread and not freed by it.
    static BYTES: Cell<i64> = const { Cell::new(0) };
}

// SAFETY: hands every call on to the system's allocator unchanged; the counters are plain thread-local cells without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        BYTES.set(BYTES.get() + layout.size() as i64);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.set(BYTES.get() - layout.size() as i64);
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        BYTES.set(BYTES.get() + size as i64 - layout.size() as i64);
        // SAFETY: the caller keeps `realloc`'s contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const NOW: Now = Now {
    mono_us: 1_000_000,
    wall_us: 1_790_000_000_000_000,
};

fn say(engine: &mut Engine, id: ConnId, text: &str) {
    let mut frame = Vec::new();
    put_masked_frame(&mut frame, Opcode::Text, [9, 8, 7, 6], text.as_bytes());
    engine.on_bytes(NOW, id, &mut frame);
}

/// Writes everything that is queued; returns the bytes.
fn flush(engine: &mut Engine) -> usize {
    engine.on_mail(NOW, Mail::default());
    let mut written = 0;
    while let Some(id) = engine.poll_dirty() {
        loop {
            let offered = engine.poll_write(id).len();
            if offered == 0 {
                break;
            }
            written += offered;
            engine.on_written(NOW, id, offered, offered);
        }
    }
    engine.end_tick(NOW);
    written
}

fn connect(engine: &mut Engine, path: &str) -> ConnId {
    let id = engine.on_open(NOW, false);
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes();
    engine.on_bytes(NOW, id, &mut request);
    id
}

fn engine(connections: usize) -> Engine {
    let charter = Charter {
        shards: 1,
        seed: 1,
        epoch: "e".into(),
        topics_per_owner_max: 200,
        kept_bytes_per_owner_max: 1 << 20,
        filter_topics_max: 10,
        filters_per_topic_max: 64,
        keys: Settings::default().keys,
        history: Arc::default(),
        threshold: Settings::default().compression.threshold,
    };
    Engine::new(
        ShardId(0),
        charter,
        Arc::new(Settings::default()),
        connections,
    )
}

/// Allocations of one publish and its whole fan-out, with this many subscribers of each variant.
fn allocations_of_a_publish(subscribers: usize, options: &str) -> u64 {
    let mut engine = engine(2 * subscribers + 1);
    for _ in 0..subscribers {
        for path in ["/ws", "/raw"] {
            let id = connect(&mut engine, path);
            say(
                &mut engine,
                id,
                &format!(r#"{{"action":"subscribe","topics":["AAPL"]{options}}}"#),
            );
        }
    }
    let publisher = connect(&mut engine, "/raw");
    flush(&mut engine);
    let publish = r#"{"action":"publish","topic":"AAPL","data":{"price":187.2}}"#;
    // The first two updates grow the tables that later ones find ready.
    let mut counted = 0;
    for _ in 0..3 {
        let mut frame = Vec::new();
        put_masked_frame(&mut frame, Opcode::Text, [9, 8, 7, 6], publish.as_bytes());
        let before = CALLS.get();
        engine.on_bytes(NOW, publisher, &mut frame);
        let written = flush(&mut engine);
        counted = CALLS.get() - before;
        assert!(written > subscribers * 2 * 20, "every subscriber got it");
    }
    assert_eq!(engine.counters().deliveries, 3 * 2 * subscribers as u64);
    counted
}

#[test]
fn a_delivery_allocates_nothing() {
    for options in [
        "",
        r#","mode":"latest""#,
        r#","on_slow":"close""#,
        r#","max_stale_ms":500"#,
    ] {
        let few = allocations_of_a_publish(10, options);
        let many = allocations_of_a_publish(2000, options);
        assert_eq!(
            few, many,
            "allocations of a publish must not depend on how many hear it: {options}"
        );
        assert!(many < 40, "a publish itself makes a handful: {many}");
    }
}

const TOPICS: usize = 100;

/// Bytes that this thread has allocated and not freed, after `rounds` of an update to each of a hundred topics, with a
/// subscriber of the latest values that does or does not read.
fn bytes_after(rounds: usize, stalled: bool) -> i64 {
    let before = BYTES.get();
    let mut engine = engine(8);
    let (reader, publisher) = (connect(&mut engine, "/ws"), connect(&mut engine, "/raw"));
    let names: Vec<String> = (0..TOPICS).map(|n| format!("\"t{n}\"")).collect();
    let command = format!(
        r#"{{"action":"subscribe","topics":[{}],"mode":"latest"}}"#,
        names.join(",")
    );
    say(&mut engine, reader, &command);
    flush(&mut engine);
    let mut written = 0;
    for round in 0..rounds {
        for name in &names {
            let data = "x".repeat(200 + round % 7);
            say(
                &mut engine,
                publisher,
                &format!(r#"{{"action":"publish","topic":{name},"data":"{data}"}}"#),
            );
            engine.on_mail(NOW, Mail::default());
            while let Some(id) = engine.poll_dirty() {
                loop {
                    let offered = engine.poll_write(id).len();
                    if offered == 0 {
                        engine.on_flushed(id);
                        break;
                    }
                    // A part of the first frame, and then nothing more.
                    let taken = if stalled { 10 } else { offered };
                    engine.on_written(NOW, id, offered, taken);
                    written += taken;
                    if taken < offered {
                        break;
                    }
                }
            }
            // There is one shard: no mail is for another, and the next tick may write as much again.
            assert!(engine.outgoing().addressees().is_empty());
            engine.end_tick(NOW);
        }
    }
    assert!(stalled == (written < 100), "{written}");
    BYTES.get() - before
}

#[test]
fn a_stalled_reader_of_a_hundred_latest_values_costs_less_than_16_kilobytes_however_many_come() {
    let keeps_up = bytes_after(7, false);
    let short = bytes_after(7, true) - keeps_up;
    let long = bytes_after(700, true) - keeps_up;
    assert!(short < 16 * 1024, "{short}");
    assert!(
        long - short < 1024,
        "{short} after 7 rounds, {long} after 700"
    );
}
