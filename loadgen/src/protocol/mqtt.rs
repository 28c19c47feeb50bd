//! MQTT 3.1.1 over WebSocket, as much of it as subscribing and publishing with quality of service 0
//! takes. Section numbers are those of the
//! [standard](https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html). Packets lie
//! whole in a message here, any number of them; one that does not is a fault.

use super::{Outgoing, Said};
use fanfare_wire::frame::Opcode;

/// The WebSocket subprotocol (6.0).
pub(super) const SUBPROTOCOL: &str = "mqtt";

/// A clean session, no name of our own, no pings wanted (3.1).
const CONNECT: &[u8] = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00";
const PUBLISH: u8 = 0x30;
const CONNACK: u8 = 0x20;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
const PINGRESP: u8 = 0xd0;
/// A subscription that was refused (3.9.3).
const FAILURE: u8 = 0x80;

/// What a client says first. It need not wait for the answer (3.1.4).
pub(super) fn greet(out: &mut impl Outgoing) {
    out.frame(Opcode::Binary, CONNECT);
}

/// Greets and subscribes, packet number 1.
pub(super) fn subscribe(packet: &mut Vec<u8>, topics: &[&str]) {
    let bytes: usize = topics.iter().map(|topic| 2 + topic.len() + 1).sum();
    packet.extend_from_slice(CONNECT);
    packet.push(SUBSCRIBE);
    put_length(packet, 2 + bytes);
    packet.extend_from_slice(&1_u16.to_be_bytes());
    for topic in topics {
        put_text(packet, topic);
        packet.push(0);
    }
}

pub(super) fn publish(packet: &mut Vec<u8>, topic: &str, payload: &[u8]) {
    packet.push(PUBLISH);
    put_length(packet, 2 + topic.len() + payload.len());
    put_text(packet, topic);
    packet.extend_from_slice(payload);
}

/// Reads the packets of a message.
pub(super) fn hear(mut bytes: &[u8], mut say: impl FnMut(Said<'_>)) -> Result<(), String> {
    while let Some((&kind, rest)) = bytes.split_first() {
        let (length, rest) = take_length(rest)?;
        let whole = rest.split_at_checked(length);
        let (body, rest) = whole.ok_or("a message that ends within a packet")?;
        bytes = rest;
        match kind {
            PUBLISH => say(Said::Delivery(payload(body)?)),
            CONNACK if body.get(1) == Some(&0) => say(Said::Aside),
            CONNACK => say(Said::Refused(format!("CONNACK {:?}", body.get(1)))),
            SUBACK => {
                let answers = body.get(2..).unwrap_or_default();
                say(Said::Acked(1));
                if answers.contains(&FAILURE) {
                    say(Said::Refused("SUBACK 0x80".to_owned()));
                }
            }
            PINGRESP => say(Said::Aside),
            _ => return Err(format!("a packet of kind {kind:#04x}")),
        }
    }
    Ok(())
}

fn payload(body: &[u8]) -> Result<&[u8], String> {
    let length = body.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
    let payload = length.and_then(|length| body.get(2 + usize::from(length)..));
    payload.ok_or_else(|| "a PUBLISH that ends within its topic".to_owned())
}

fn put_text(packet: &mut Vec<u8>, text: &str) {
    // Our topics are a few letters.
    packet.extend_from_slice(&(text.len() as u16).to_be_bytes());
    packet.extend_from_slice(text.as_bytes());
}

/// Seven bits a byte, the lowest first, the highest bit says that more follow (2.2.3).
fn put_length(packet: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        packet.push(length as u8 | 0x80);
        length >>= 7;
    }
    packet.push(length as u8);
}

fn take_length(bytes: &[u8]) -> Result<(usize, &[u8]), String> {
    let mut length = 0;
    for (place, byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok((length, &bytes[place + 1..]));
        }
    }
    Err("a packet without a length".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::tests::heard_by;

    fn heard(bytes: &[u8]) -> String {
        heard_by(bytes, |bytes, say| hear(bytes, say))
    }

    #[test]
    fn lengths_are_read_as_they_are_written() {
        for length in [
            0,
            1,
            127,
            128,
            16_383,
            16_384,
            2_097_151,
            2_097_152,
            268_435_455,
        ] {
            let mut bytes = Vec::new();
            put_length(&mut bytes, length);
            assert_eq!(take_length(&bytes), Ok((length, &[][..])), "{length}");
        }
        // From the standard's table 2.4.
        assert_eq!(take_length(&[0xc1, 0x02, 9]), Ok((321, &[9][..])));
    }

    #[test]
    fn a_publish_is_delivered_as_it_was_packed() {
        let mut packet = Vec::new();
        publish(&mut packet, "t1", &[b'x'; 200]);
        publish(&mut packet, "t1", b"{}");
        let long = "x".repeat(200);
        let expected = format!("Delivery({long:?}) Delivery(\"{{}}\")");
        assert_eq!(heard(&packet), expected);
    }

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(
            heard(b"\x20\x02\x00\x00\x90\x03\x00\x01\x00"),
            "Aside Acked(1)"
        );
        assert_eq!(heard(b"\x20\x02\x00\x05"), "Refused(\"CONNACK Some(5)\")");
        assert_eq!(
            heard(b"\x90\x04\x00\x01\x00\x80"),
            "Acked(1) Refused(\"SUBACK 0x80\")"
        );
    }

    #[test]
    fn what_is_cut_off_is_a_fault() {
        for bytes in [
            &b"\x30"[..],
            b"\x30\x05ab",
            b"\x30\x02\x00\x09",
            b"\xf0\x00",
        ] {
            assert!(heard(bytes).starts_with("fault"), "{bytes:?}");
        }
    }

    #[test]
    fn a_subscribe_names_every_topic() {
        let mut packet = Vec::new();
        subscribe(&mut packet, &["t1", "t2"]);
        let expected = b"\x82\x0c\x00\x01\x00\x02t1\x00\x00\x02t2\x00";
        assert_eq!(&packet[CONNECT.len()..], expected);
    }
}
