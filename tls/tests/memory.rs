//! What an idle connection keeps: measured, for the design that is used and for the one that rustls offers beside it.

#![allow(clippy::unwrap_used)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write as _;

use fanfare_tls::{ServerChannel, ServerName};
use support::{Authority, Pair};

/// The system's allocator, counting what is allocated while `COUNTED` is set.
struct Counting;

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
    static BYTES: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    if COUNTED.get() {
        BYTES.set(BYTES.get() + bytes);
    }
}

// SAFETY: hands every call on to the system's allocator unchanged; the counters are plain thread-local cells without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: the caller keeps `realloc`'s contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn counted<T>(act: impl FnOnce() -> T) -> T {
    COUNTED.set(true);
    let result = act();
    COUNTED.set(false);
    result
}

/// Holds what a channel says of itself to what was counted, within `percent`.
fn check_told(server: &ServerChannel, percent: i64) {
    let (told, counted) = (size_of_val(server) + server.heap_bytes(), BYTES.get());
    let wrong = (told as i64 - counted).abs();
    assert!(wrong * 100 <= counted * percent, "{told} of {counted}");
}

/// What a channel keeps after its handshake, a message each way, and a burst of 64 KB.
fn channel_bytes(authority: &Authority, version: u16) -> i64 {
    let mut pair = Pair::new(
        authority.client_of(version),
        authority.server(),
        "localhost",
    );
    let (mut plain, mut out) = (Vec::with_capacity(1 << 20), Vec::with_capacity(1 << 20));
    let mut buffer = vec![0; 64 * 1024];
    BYTES.set(0);
    let config = authority.server();
    let mut server = counted(|| Box::new(ServerChannel::accept(config.clone()).unwrap()));
    check_told(&server, 50);
    let mut go = |pair: &mut Pair, server: &mut ServerChannel| {
        while !pair.to_server.is_empty() {
            let sent = std::mem::take(&mut pair.to_server);
            let at = server.restore(&mut buffer);
            buffer[at..at + sent.len()].copy_from_slice(&sent);
            let whole = &mut buffer[..at + sent.len()];
            counted(|| server.receive(whole, &mut plain, &mut out)).unwrap();
            check_told(server, if server.is_open() { 5 } else { 50 });
            if !out.is_empty() {
                let (client, incoming) = (&mut pair.client, &mut out[..]);
                client
                    .receive(incoming, &mut pair.at_client, &mut pair.to_server)
                    .unwrap();
                out.clear();
            }
        }
    };
    go(&mut pair, &mut server);
    assert!(server.is_open() && pair.client.is_open());
    for bytes in [10, 200, 16_000] {
        pair.client
            .seal(&vec![7; bytes], &mut pair.to_server)
            .unwrap();
        go(&mut pair, &mut server);
    }
    let mut sealed = Vec::with_capacity(1 << 20);
    counted(|| {
        for bytes in [2, 300, 65_536] {
            server.seal(&vec![9; bytes], &mut sealed).unwrap();
        }
    });
    let kept = BYTES.get();
    drop(server);
    kept
}

/// The same for the connection of rustls that has buffers of its own.
fn buffered_bytes(authority: &Authority, version: u16) -> i64 {
    let host = ServerName::try_from("localhost").unwrap();
    let mut client = rustls::ClientConnection::new(authority.client_of(version), host).unwrap();
    let config = authority.server();
    BYTES.set(0);
    let mut server = counted(|| Box::new(rustls::ServerConnection::new(config.clone()).unwrap()));
    let (mut to_server, mut to_client) = (Vec::with_capacity(1 << 20), Vec::with_capacity(1 << 20));
    let mut go = |client: &mut rustls::ClientConnection, server: &mut rustls::ServerConnection| {
        loop {
            client.write_tls(&mut to_server).unwrap();
            counted(|| server.write_tls(&mut to_client)).unwrap();
            if to_server.is_empty() && to_client.is_empty() {
                return;
            }
            let mut rest = &to_server[..];
            while !rest.is_empty() {
                counted(|| {
                    server.read_tls(&mut rest).unwrap();
                    server.process_new_packets().unwrap();
                    let mut plain = [0; 4096];
                    while let Ok(1..) = std::io::Read::read(&mut server.reader(), &mut plain) {}
                });
            }
            to_server.clear();
            let mut rest = &to_client[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets().unwrap();
                let mut plain = [0; 4096];
                while let Ok(1..) = std::io::Read::read(&mut client.reader(), &mut plain) {}
            }
            to_client.clear();
        }
    };
    go(&mut client, &mut server);
    for bytes in [10, 200, 16_000] {
        client.writer().write_all(&vec![7; bytes]).unwrap();
        go(&mut client, &mut server);
    }
    // It takes no 64 KB at once.
    for bytes in [2, 300, 32_768, 32_768] {
        counted(|| server.writer().write_all(&vec![9; bytes]).unwrap());
        go(&mut client, &mut server);
    }
    let kept = BYTES.get();
    drop(server);
    kept
}

#[test]
fn an_idle_connection_keeps_less_than_four_kilobytes_and_no_buffer() {
    let authority = Authority::new();
    for (version, name) in [(0x0303, "1.2"), (0x0304, "1.3")] {
        let channel = channel_bytes(&authority, version);
        let buffered = buffered_bytes(&authority, version);
        println!("TLS {name}: {channel} bytes a channel, {buffered} with buffers of rustls");
        assert!((500..4096).contains(&channel), "TLS {name}: {channel}");
        assert!(channel < buffered, "TLS {name}: {channel}, {buffered}");
    }
}

#[test]
fn what_is_kept_of_a_record_and_of_the_peers_certificates_is_told() {
    let authority = Authority::new();
    let files = fanfare_tls::ServerFiles {
        pairs: vec![authority.issue(&["localhost"])],
        client_ca: Some(authority.ca()),
    };
    let config = files.load(fanfare_tls::ticketer().unwrap()).unwrap().config;
    let certificate = authority.issue(&["alice"]);
    let mut with = Pair::new(authority.client_with(&certificate), config, "localhost");
    let mut without = Pair::new(authority.client(), authority.server(), "localhost");
    with.exchange(usize::MAX).unwrap();
    without.exchange(usize::MAX).unwrap();
    let heap = without.server.heap_bytes();
    let chain = with.server.peer_certificates().unwrap();
    assert!(with.server.heap_bytes() >= heap + chain[0].len());
    let Pair {
        client, to_server, ..
    } = &mut without;
    client.seal(&[7; 9_000], to_server).unwrap();
    let last = without.to_server.pop().unwrap();
    without.exchange(usize::MAX).unwrap();
    let kept = without.server.kept_bytes();
    assert!(kept > 9_000 && without.server.heap_bytes() >= heap + kept);
    without.to_server.push(last);
    without.exchange(usize::MAX).unwrap();
    assert_eq!(without.server.heap_bytes(), heap);
}
