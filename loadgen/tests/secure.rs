//! Links with TLS against rustls and tungstenite: what is queued and heard is what it would be without.

#![allow(clippy::unwrap_used)]

#[path = "../../tls/tests/support/mod.rs"]
mod authority;

use authority::Authority;
use fanfare_loadgen::link::{Link, LinkError, Message};
use fanfare_loadgen::target::Target;
use fanfare_tls::{ServerConfig, ServerFiles, Trust, ticketer};
use fanfare_wire::frame::Opcode;
use fanfare_wire::reader::Item;
use mio::{Events, Poll, Token};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

const LARGE_BYTES: usize = 300_000;

/// A server for `connections`, one after the other: greets each with many messages and a large one, sends back the first that comes,
/// and takes its leave when the client does.
fn serve(config: Arc<ServerConfig>, connections: usize) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        for _ in 0..connections {
            let (socket, _) = listener.accept().unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(30)))
                .unwrap();
            let session = rustls::ServerConnection::new(config.clone()).unwrap();
            let stream = rustls::StreamOwned::new(session, socket);
            let Ok(mut socket) = tungstenite::accept(stream) else {
                continue;
            };
            for number in 0..100 {
                socket.send(number.to_string().into()).unwrap();
            }
            socket.send("x".repeat(LARGE_BYTES).into()).unwrap();
            let message = socket.read().unwrap();
            socket.send(message).unwrap();
            while socket.read().is_ok() {}
        }
    });
    (address, server)
}

/// What one connection hears, and whether its session was resumed.
fn talk(target: &Target, buffer: &mut [u8]) -> Result<(Vec<String>, bool), LinkError> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(8);
    let mut link = Link::connect(target, None, None)?;
    link.register(poll.registry(), Token(0))?;
    let (mut heard, mut resumed, mut is_closing) = (Vec::new(), None, false);
    loop {
        link.flush()?;
        let read = link.read(buffer, true, |message, _| {
            if let Message::Item(Item::Text(text)) = message {
                heard.push(text.to_owned());
            }
        });
        if read.opened {
            resumed = link.is_resumed();
            link.queue(Opcode::Text, &[b'y'; LARGE_BYTES]);
        }
        match read.ended {
            Some(LinkError::Ended) if heard.len() == 102 => return Ok((heard, resumed.unwrap())),
            Some(error) => return Err(error),
            None => {}
        }
        if heard.len() == 102 && !std::mem::replace(&mut is_closing, true) {
            link.queue_close();
        }
        if link.flush()? {
            link.relax();
        }
        if !read.more {
            poll.poll(&mut events, Some(Duration::from_secs(30)))?;
            assert!(!events.is_empty(), "within the deadline");
        }
    }
}

#[test]
fn a_secure_link_says_and_hears_what_a_plain_one_does() {
    let authority = Authority::new();
    let files = ServerFiles {
        pairs: vec![authority.issue(&["localhost", "127.0.0.1"])],
        client_ca: None,
    };
    let config = files.load(ticketer().unwrap()).unwrap().config;
    // A buffer so small that every record comes in pieces, and one that takes all of them.
    for (buffer_bytes, resume) in [(1000, true), (65_536, false)] {
        let (address, server) = serve(config.clone(), 2);
        let trust = Trust::Authorities(authority.ca()).config(resume).unwrap();
        let target = Target::resolve(&format!("wss://{address}/ws"), Some(&trust)).unwrap();
        assert_eq!(target.to_string(), format!("wss://{address}/ws"));
        for round in 0..2 {
            let (heard, resumed) = talk(&target, &mut vec![0; buffer_bytes]).unwrap();
            let numbers: Vec<String> = (0..100).map(|number: u32| number.to_string()).collect();
            assert_eq!(heard[..100], numbers);
            assert!(heard[100] == "x".repeat(LARGE_BYTES) && heard[101] == "y".repeat(LARGE_BYTES));
            assert_eq!(resumed, resume && round > 0);
        }
        server.join().unwrap();
    }
}

#[test]
fn a_server_that_is_not_believed_is_no_link() {
    let authority = Authority::new();
    let (address, server) = serve(authority.server(), 1);
    let other = Authority::new();
    let trust = Trust::Authorities(other.ca()).config(true).unwrap();
    let target = Target::resolve(&format!("wss://{address}/ws"), Some(&trust)).unwrap();
    let error = talk(&target, &mut [0; 65_536]).unwrap_err();
    assert!(
        error.label().starts_with("TLS: invalid peer certificate"),
        "{error}"
    );
    server.join().unwrap();
}
