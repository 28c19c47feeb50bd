//! Delivering an update allocates nothing per subscriber.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use fanfare::clock::Now;
use fanfare::engine::{ConnId, Engine, Settings};
use fanfare::hub::Charter;
use fanfare::hub::mail::{Mail, ShardId};
use fanfare_wire::frame::{Opcode, put_masked_frame};

/// The system's allocator, counting the calls of the thread that asks it to.
struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: hands every call on to the system's allocator unchanged; the counter is a plain thread-local cell without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
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
    engine.end_tick();
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

/// Allocations of one publish and its whole fan-out, with this many subscribers of each variant.
fn allocations_of_a_publish(subscribers: usize) -> u64 {
    let charter = Charter {
        shards: 1,
        seed: 1,
        epoch: "e".into(),
        topics_per_owner_max: 10,
    };
    let mut engine = Engine::new(
        ShardId(0),
        charter,
        Arc::new(Settings::default()),
        2 * subscribers + 1,
    );
    for _ in 0..subscribers {
        for path in ["/ws", "/raw"] {
            let id = connect(&mut engine, path);
            say(
                &mut engine,
                id,
                r#"{"action":"subscribe","topics":["AAPL"]}"#,
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
    let (few, many) = (allocations_of_a_publish(10), allocations_of_a_publish(2000));
    assert_eq!(
        few, many,
        "allocations of a publish must not depend on how many hear it"
    );
    assert!(many < 40, "a publish itself makes a handful: {many}");
}
