//! Two channels, and everything that may happen to the bytes between them.

#![allow(clippy::unwrap_used)]

mod support;

use fanfare_tls::{Fault, ServerChannel, Trust};
use support::{Authority, Pair};

fn open(authority: &Authority) -> Pair {
    let mut pair = Pair::new(authority.client(), authority.server(), "localhost");
    pair.exchange(usize::MAX).unwrap();
    pair
}

#[test]
fn data_crosses_in_pieces_of_any_size() {
    let authority = Authority::new();
    for piece in [1, 2, 3, 5, 100, 16_000, usize::MAX] {
        for version in [0x0303, 0x0304] {
            let client = authority.client_of(version);
            let mut pair = Pair::new(client, authority.server(), "localhost");
            pair.exchange(piece).unwrap();
            assert!(pair.client.is_open() && pair.server.is_open());
            let sizes = if piece < 100 {
                [1, 20_000]
            } else {
                [200, 300_000]
            };
            for size in sizes {
                let data: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
                pair.client.seal(&data, &mut pair.to_server).unwrap();
                pair.server.seal(&data, &mut pair.to_client).unwrap();
                pair.exchange(piece.min(60_000 - 24 * 1024)).unwrap();
                assert_eq!(std::mem::take(&mut pair.at_server), data);
                assert_eq!(std::mem::take(&mut pair.at_client), data);
            }
            assert_eq!(
                pair.server.kept_bytes() + pair.client.kept_bytes(),
                0,
                "idle"
            );
        }
    }
}

#[test]
fn what_is_sealed_at_once_comes_as_records_of_16_kilobytes() {
    let mut pair = open(&Authority::new());
    pair.server.seal(&[7; 65_536], &mut pair.to_client).unwrap();
    let (mut at, mut records) = (0, 0);
    while let Some(head) = pair.to_client.get(at..at + 5) {
        at += 5 + usize::from(u16::from_be_bytes([head[3], head[4]]));
        records += 1;
    }
    assert_eq!((records, at), (4, pair.to_client.len()));
}

#[test]
fn each_side_ends_for_itself() {
    let mut pair = open(&Authority::new());
    pair.client.seal_end(&mut pair.to_server).unwrap();
    pair.exchange(usize::MAX).unwrap();
    assert!(pair.server_ended && !pair.client_ended);
    pair.server
        .seal(b"still here", &mut pair.to_client)
        .unwrap();
    pair.server.seal_end(&mut pair.to_client).unwrap();
    pair.exchange(1).unwrap();
    assert_eq!(pair.at_client, b"still here");
    assert!(pair.client_ended);
}

#[test]
fn every_byte_that_is_changed_on_the_way_is_noticed() {
    let authority = Authority::new();
    let mut probe = open(&authority);
    probe
        .client
        .seal(b"0123456789", &mut probe.to_server)
        .unwrap();
    for at in 0..probe.to_server.len() {
        let mut pair = open(&authority);
        pair.client
            .seal(b"0123456789", &mut pair.to_server)
            .unwrap();
        pair.to_server[at] ^= 1;
        match pair.exchange(usize::MAX) {
            Err(_) => assert!(pair.at_server.is_empty(), "byte {at}"),
            // Type and version of a sealed record stand for nothing (RFC 8446, section 5.2); a length that grew waits for more.
            Ok(()) if at < 3 => assert!(matches!(&pair.at_server[..], b"" | b"0123456789")),
            Ok(()) => assert!(at < 5 && pair.at_server.is_empty(), "byte {at}"),
        }
    }
}

#[test]
fn a_fault_is_told_by_one_alert_and_ends_the_channel() {
    let mut pair = open(&Authority::new());
    pair.client
        .seal(b"0123456789", &mut pair.to_server)
        .unwrap();
    *pair.to_server.last_mut().unwrap() ^= 1;
    assert!(matches!(pair.exchange(usize::MAX), Err(Fault::Tls(_))));
    assert!(!pair.to_client.is_empty(), "the alert");
    let sealed = pair.to_client.len();
    for _ in 0..3 {
        let received =
            pair.server
                .receive(&mut [23; 100], &mut pair.at_server, &mut pair.to_client);
        assert!(matches!(received, Err(Fault::NotOpen)));
        assert!(matches!(
            pair.server.seal(b"x", &mut pair.to_client),
            Err(Fault::NotOpen)
        ));
        assert!(matches!(
            pair.server.seal_end(&mut pair.to_client),
            Err(Fault::NotOpen)
        ));
    }
    assert_eq!(pair.to_client.len(), sealed, "nothing more is said");
    assert!(
        matches!(pair.exchange(usize::MAX), Err(Fault::Tls(error)) if error.to_string().contains("BadRecordMac"))
    );
}

#[test]
fn what_is_no_tls_is_refused_at_once_and_never_panics() {
    let config = Authority::new().server();
    let mut random = 1_u64;
    let mut next = move || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) as u8
    };
    let mut rubbish: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![0; 4000],
        vec![0xff; 4000],
    ];
    for round in 0..2000 {
        let mut bytes: Vec<u8> = (0..1 + round % 300).map(|_| next()).collect();
        if round % 2 == 0 {
            // The look of a record with a client's hello.
            let length = bytes.len() as u16;
            let head = [22, 3, 1, (length >> 8) as u8, length as u8, 1, 0];
            bytes.splice(0..0, head);
        }
        rubbish.push(bytes);
    }
    for bytes in rubbish {
        let mut channel = ServerChannel::accept(config.clone()).unwrap();
        let (mut plain, mut out, mut buffer) = (Vec::new(), Vec::new(), vec![0; 65_536]);
        for piece in bytes.chunks(97) {
            let at = channel.restore(&mut buffer);
            buffer[at..at + piece.len()].copy_from_slice(piece);
            let whole = &mut buffer[..at + piece.len()];
            if channel.receive(whole, &mut plain, &mut out).is_err() {
                break;
            }
        }
        assert!(plain.is_empty() && !channel.is_open());
    }
}

#[test]
fn an_endless_handshake_message_is_not_kept() {
    let mut channel = ServerChannel::accept(Authority::new().server()).unwrap();
    let (mut plain, mut out, mut buffer) = (Vec::new(), Vec::new(), vec![0; 65_536]);
    // A hello of 64,000 bytes, in records of 1,000.
    let mut hello = vec![1, 0, 0xfa, 0];
    hello.resize(64_000, 0);
    let mut most = 0;
    for part in hello.chunks(1000) {
        let mut record = vec![22, 3, 1, (part.len() >> 8) as u8, part.len() as u8];
        record.extend_from_slice(part);
        let at = channel.restore(&mut buffer);
        buffer[at..at + record.len()].copy_from_slice(&record);
        let received = channel.receive(&mut buffer[..at + record.len()], &mut plain, &mut out);
        most = most.max(channel.kept_bytes());
        if let Err(fault) = received {
            assert!(matches!(fault, Fault::TooLong), "{fault}");
            assert_eq!(channel.kept_bytes(), 0);
            assert!(most < 50_000, "{most}");
            return;
        }
    }
    panic!("it was all kept");
}

#[test]
fn a_client_believes_only_whom_it_should() {
    let (authority, other) = (Authority::new(), Authority::new());
    let config = authority.server();
    let connect = |trust: Trust, host: &str| {
        let mut pair = Pair::new(trust.config(true).unwrap(), config.clone(), host);
        pair.exchange(usize::MAX)
            .map(|()| pair.client.is_open())
            .map_err(|fault| fault.to_string())
    };
    assert_eq!(
        connect(Trust::Authorities(authority.ca()), "localhost"),
        Ok(true)
    );
    assert_eq!(connect(Trust::Anybody, "wherever"), Ok(true));
    let refused = connect(Trust::Authorities(other.ca()), "localhost").unwrap_err();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
    let refused = connect(Trust::Authorities(authority.ca()), "elsewhere").unwrap_err();
    assert!(refused.contains("not valid for name"), "{refused}");
    let missing = Trust::Authorities(authority.path("none"))
        .config(true)
        .unwrap_err();
    assert!(missing.to_string().starts_with("cannot read "), "{missing}");
}

#[test]
fn a_session_is_resumed_by_its_ticket_unless_that_is_off() {
    let authority = Authority::new();
    let server = authority.server();
    for (resume, expected) in [(true, [false, true, true]), (false, [false; 3])] {
        let client = Trust::Authorities(authority.ca()).config(resume).unwrap();
        let resumed = [(); 3].map(|()| {
            let mut pair = Pair::new(client.clone(), server.clone(), "localhost");
            pair.exchange(usize::MAX).unwrap();
            assert_eq!(pair.client.is_resumed(), pair.server.is_resumed());
            pair.server.is_resumed().unwrap()
        });
        assert_eq!(resumed, expected);
    }
}

#[test]
fn clients_that_connect_together_have_a_ticket_each() {
    let authority = Authority::new();
    let server = authority.server();
    let client = Trust::Authorities(authority.ca()).config(true).unwrap();
    for expected in [false, true, true] {
        let mut pairs = [(); 40].map(|()| Pair::new(client.clone(), server.clone(), "localhost"));
        for pair in &mut pairs {
            pair.exchange(usize::MAX).unwrap();
            assert_eq!(pair.server.is_resumed(), Some(expected));
        }
    }
}
