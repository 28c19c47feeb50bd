//! NATS over WebSocket: the text protocol of [its clients](https://docs.nats.io/reference/reference-protocols/nats-protocol)
//! in binary messages. The server ends a message where an operation ends; one that does not is a
//! fault here.
//!
//! A subscribe command ends with `PING`; the `PONG` says that the server has taken all before it.

use super::{Outgoing, Said};
use fanfare_wire::frame::Opcode;
use std::io::Write as _;

const CONNECT: &[u8] =
    b"CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"rust\",\"version\":\"1\",\"protocol\":1}\r\n";
const PONG: &[u8] = b"PONG\r\n";
const END: &[u8] = b"\r\n";

/// What a client says first.
pub(super) fn greet(out: &mut impl Outgoing) {
    out.frame(Opcode::Binary, CONNECT);
}

/// Greets and subscribes; a subscription is known by its topic's name, so that what is delivered is
/// the same for everybody.
pub(super) fn subscribe(text: &mut Vec<u8>, topics: &[&str]) {
    text.extend_from_slice(CONNECT);
    for topic in topics {
        // Writing into a Vec cannot fail.
        let _ = write!(text, "SUB {topic} {topic}\r\n");
    }
    text.extend_from_slice(b"PING\r\n");
}

pub(super) fn publish(text: &mut Vec<u8>, topic: &str, payload: &[u8]) {
    // As above.
    let _ = write!(text, "PUB {topic} {}\r\n", payload.len());
    text.extend_from_slice(payload);
    text.extend_from_slice(END);
}

/// Reads the operations of a message.
pub(super) fn hear(mut bytes: &[u8], mut say: impl FnMut(Said<'_>)) -> Result<(), String> {
    while !bytes.is_empty() {
        let (line, rest) = line(bytes)?;
        bytes = rest;
        if let Some(arguments) = line.strip_prefix(b"MSG ") {
            let (payload, rest) = payload(arguments, rest)?;
            say(Said::Delivery(payload));
            bytes = rest;
            continue;
        }
        match line {
            b"PONG" => say(Said::Acked(1)),
            b"PING" => say(Said::Asked(Opcode::Binary, PONG)),
            b"+OK" => say(Said::Aside),
            _ if line.starts_with(b"INFO ") => say(Said::Aside),
            _ => say(Said::Refused(String::from_utf8_lossy(line).into())),
        }
    }
    Ok(())
}

fn line(bytes: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let end = bytes.windows(2).position(|two| two == END);
    let end = end.ok_or("a message that ends within a line")?;
    Ok((&bytes[..end], &bytes[end + 2..]))
}

/// `subject sid [reply-to] size`, then as many bytes and an end of line.
fn payload<'a>(arguments: &[u8], rest: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), String> {
    let last = arguments.rsplit(|byte| *byte == b' ').next();
    let size = last.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
    let size = size.ok_or("a MSG without a size")?;
    match rest.split_at_checked(size) {
        Some((payload, rest)) if rest.starts_with(END) => Ok((payload, &rest[2..])),
        _ => Err("a message that ends within a payload".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::tests::heard_by;

    fn heard(text: &str) -> String {
        heard_by(text.as_bytes(), |bytes, say| hear(bytes, say))
    }

    #[test]
    fn operations_of_one_message_are_told_apart() {
        assert_eq!(heard("INFO {\"a\":1}\r\n"), "Aside");
        assert_eq!(heard("+OK\r\nPONG\r\n"), "Aside Acked(1)");
        assert_eq!(
            heard("MSG t1 t1 4\r\n\r\n{}\r\nMSG t1 t1 back 1\r\nx\r\n"),
            "Delivery(\"\\r\\n{}\") Delivery(\"x\")"
        );
        assert_eq!(
            heard("-ERR 'Stale Connection'\r\n"),
            "Refused(\"-ERR 'Stale Connection'\")"
        );
        assert_eq!(heard("PING\r\n"), "Asked(\"PONG\\r\\n\")");
    }

    #[test]
    fn what_is_cut_off_is_a_fault() {
        for text in [
            "PONG",
            "MSG t1 t1 5\r\nabc\r\n",
            "MSG t1 t1 3\r\nabc",
            "MSG t1 t1 many\r\n",
        ] {
            assert!(heard(text).starts_with("fault"), "{text}");
        }
    }

    #[test]
    fn commands_are_spelled_as_the_protocol_says() {
        let mut text = Vec::new();
        subscribe(&mut text, &["t1", "t2"]);
        assert!(text.ends_with(b"}\r\nSUB t1 t1\r\nSUB t2 t2\r\nPING\r\n"));
        text.clear();
        publish(&mut text, "t1", b"{}");
        assert_eq!(text, b"PUB t1 2\r\n{}\r\n");
    }
}
