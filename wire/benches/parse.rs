//! What a message costs on its way from bytes to meaning.
//!
//! `cargo bench -p fanfare-wire --bench parse`

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use fanfare_wire::command;
use fanfare_wire::event::{self, DataKind, Encoding};
use fanfare_wire::frame::{Opcode, put_frame, put_masked_frame};
use fanfare_wire::handshake::{self, HeadLimits};
use fanfare_wire::reader::{Limits, Reader, Role};

const LENGTHS: [usize; 2] = [100, 16 * 1024];
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn main() {
    divan::main();
}

fn limits(role: Role) -> Limits {
    Limits {
        role,
        frame_bytes_max: 65_536,
        message_bytes_max: 1 << 20,
        fragments_max: 128,
    }
}

/// A masked text frame that lies whole in the input. Unmasking it in place undoes itself every
/// second time, so the payload is chosen to be UTF-8 with and without its mask.
#[divan::bench(args = LENGTHS)]
fn text_to_server(bencher: Bencher<'_, '_>, length: usize) {
    let mut bytes = Vec::new();
    put_masked_frame(&mut bytes, Opcode::Text, [1, 2, 3, 4], &vec![b'x'; length]);
    next_in_place(bencher, Role::Server, &mut bytes, length);
}

/// An unmasked text frame that lies whole in the input.
#[divan::bench(args = LENGTHS)]
fn text_to_client(bencher: Bencher<'_, '_>, length: usize) {
    let mut bytes = Vec::new();
    put_frame(&mut bytes, Opcode::Text, &vec![b'x'; length]);
    next_in_place(bencher, Role::Client, &mut bytes, length);
}

/// A masked binary frame that lies whole in the input.
#[divan::bench(args = LENGTHS)]
fn binary_to_server(bencher: Bencher<'_, '_>, length: usize) {
    let mut bytes = Vec::new();
    put_masked_frame(&mut bytes, Opcode::Binary, KEY, &vec![b'x'; length]);
    next_in_place(bencher, Role::Server, &mut bytes, length);
}

/// A masked text frame that arrives in two halves, and so is kept.
#[divan::bench(args = LENGTHS)]
fn text_in_two_halves(bencher: Bencher<'_, '_>, length: usize) {
    let mut bytes = Vec::new();
    put_masked_frame(&mut bytes, Opcode::Text, [1, 2, 3, 4], &vec![b'x'; length]);
    let half = bytes.len() / 2;
    let mut reader = Reader::default();
    bencher.counter(BytesCount::new(length)).bench_local(|| {
        let (mut front, mut back) = black_box(&mut bytes[..]).split_at_mut(half);
        assert!(matches!(
            reader.next(&limits(Role::Server), &mut front),
            Ok(None)
        ));
        assert!(matches!(
            reader.next(&limits(Role::Server), &mut back),
            Ok(Some(_))
        ));
    });
}

fn next_in_place(bencher: Bencher<'_, '_>, role: Role, bytes: &mut [u8], length: usize) {
    let mut reader = Reader::default();
    let limits = limits(role);
    bencher.counter(BytesCount::new(length)).bench_local(|| {
        let mut input = black_box(&mut *bytes);
        let item = reader.next(&limits, &mut input);
        assert!(matches!(black_box(item), Ok(Some(_))));
    });
}

#[divan::bench]
fn command_subscribe(bencher: Bencher<'_, '_>) {
    let text = r#"{"action":"subscribe","id":2,"topics":["AAPL","px.fx.*"],"snapshot":true}"#;
    bencher
        .counter(BytesCount::of_str(text))
        .bench_local(|| command::parse(black_box(text)).is_ok());
}

#[divan::bench]
fn command_publish(bencher: Bencher<'_, '_>) {
    let text = r#"{"action":"publish","id":7,"topic":"AAPL","data":{"price":187.2},"key":"a1"}"#;
    bencher
        .counter(BytesCount::of_str(text))
        .bench_local(|| command::parse(black_box(text)).is_ok());
}

/// A data frame as the server writes it, and the same with two keys exchanged.
#[divan::bench(args = [true, false])]
fn event_update(bencher: Bencher<'_, '_>, is_in_order: bool) {
    let text = match is_in_order {
        true => {
            r#"{"type":"update","topic":"AAPL","seq":88121,"ts":1790000000140212,"data":{"price":187.2}}"#
        }
        false => {
            r#"{"type":"update","seq":88121,"topic":"AAPL","ts":1790000000140212,"data":{"price":187.2}}"#
        }
    };
    bencher
        .counter(BytesCount::of_str(text))
        .bench_local(|| event::parse(black_box(text)).is_ok());
}

#[divan::bench]
fn event_write_update(bencher: Bencher<'_, '_>) {
    let data = br#"{"price":187.2}"#;
    let mut out = Vec::new();
    bencher.bench_local(|| {
        out.clear();
        let (kind, seq, ts_us) = (DataKind::Update, 88_121, 1_790_000_000_140_212);
        event::put_data(
            &mut out,
            kind,
            black_box("AAPL"),
            seq,
            ts_us,
            Encoding::Json,
            data,
        );
        black_box(out.len())
    });
}

#[divan::bench]
fn upgrade(bencher: Bencher<'_, '_>) {
    let limits = HeadLimits {
        head_bytes_max: 16_384,
        line_bytes_max: 8_192,
    };
    let mut head = Vec::new();
    let key = handshake::new_key([7; 16]);
    handshake::put_upgrade_request(
        &mut head,
        "localhost",
        "/ws",
        &key,
        &["fanfare.v1.json"],
        &[],
    );
    let mut out = Vec::new();
    bencher.bench_local(|| {
        out.clear();
        if let Ok(Some((request, _))) = handshake::parse_request(black_box(&head), &limits)
            && let Ok(upgrade) = request.upgrade()
        {
            handshake::put_switching(&mut out, upgrade.key, upgrade.protocols().next(), None);
        }
        assert!(!out.is_empty());
    });
}
