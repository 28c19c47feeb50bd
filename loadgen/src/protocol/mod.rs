//! What is said to any push server, fanfare or another: how to subscribe, how to publish, and how a
//! delivery is recognised. A delivery is nothing but our own payload, which carries its number and
//! its intended time; so every server is held to the same account.
//!
//! Commands go out as frames ([`Outgoing`]); what arrives is turned into [`Said`]. Called by
//! [`crate::measure`].

mod template;

pub use template::{TemplateError, Templates};

use crate::cli::{MeasureArgs, ProtocolName};
use crate::dialect::{DataKind, Dialect, Heard};
use fanfare_wire::frame::Opcode;
use fanfare_wire::reader::Item;

/// A protocol that `measure` can speak.
#[derive(Debug)]
pub enum Protocol {
    /// fanfare's own, in one of its dialects.
    Fanfare(Dialect),
    /// Text commands by template, bare payloads.
    Raw(Templates),
}

/// What a server said.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// An update: the publisher's payload.
    Delivery(&'a [u8]),
    /// So many of the acks that [`Protocol::acks`] counts.
    Acked(u32),
    /// A command was refused; the text says which way.
    Refused(String),
    /// Nothing that concerns us.
    Aside,
}

/// Takes the commands that a protocol writes, one frame each.
pub trait Outgoing {
    /// Queues a frame.
    fn frame(&mut self, opcode: Opcode, payload: &[u8]);
}

impl Outgoing for crate::link::Link {
    fn frame(&mut self, opcode: Opcode, payload: &[u8]) {
        self.queue(opcode, payload);
    }
}

impl Protocol {
    /// From the arguments.
    pub fn new(args: &MeasureArgs) -> Result<Protocol, TemplateError> {
        match args.protocol {
            ProtocolName::Fanfare => Ok(Protocol::Fanfare(Dialect::Json)),
            ProtocolName::RawJson => Templates::new(
                args.subscribe_template.as_deref(),
                args.publish_template.as_deref(),
                args.ack_text.as_deref(),
            )
            .map(Protocol::Raw),
        }
    }

    /// The WebSocket subprotocol to offer.
    pub fn subprotocol(&self) -> Option<&'static str> {
        match self {
            Protocol::Fanfare(dialect) => dialect.subprotocol(),
            Protocol::Raw(_) => None,
        }
    }

    /// How many acks answer a subscribe command for so many topics; with 0 nothing says when it is
    /// in force.
    pub fn acks(&self, topics: usize) -> u32 {
        match self {
            Protocol::Fanfare(_) => topics as u32,
            Protocol::Raw(templates) => u32::from(templates.has_ack()),
        }
    }

    /// Subscribes to these topics. `scratch` is for the text.
    pub fn subscribe(&self, out: &mut impl Outgoing, topics: &[&str], scratch: &mut Vec<u8>) {
        scratch.clear();
        match self {
            Protocol::Fanfare(dialect) => dialect.subscribe(scratch, 0, topics),
            Protocol::Raw(templates) => templates.subscribe(scratch, topics),
        }
        out.frame(Opcode::Text, scratch);
    }

    /// Publishes a payload, which is JSON. `number` tells this publish from others.
    pub fn publish(
        &self,
        out: &mut impl Outgoing,
        number: u64,
        topic: &str,
        payload: &[u8],
        scratch: &mut Vec<u8>,
    ) {
        scratch.clear();
        match self {
            Protocol::Fanfare(dialect) => dialect.publish(scratch, number, topic, payload),
            Protocol::Raw(templates) => templates.publish(scratch, topic, payload),
        }
        out.frame(Opcode::Text, scratch);
    }

    /// Reads a message. The error is a sentence.
    pub fn hear(&self, message: Item<'_>, mut say: impl FnMut(Said<'_>)) -> Result<(), String> {
        match self {
            Protocol::Fanfare(dialect) => fanfare(dialect.hear(message)?, say),
            Protocol::Raw(templates) => say(templates.hear(bytes_of(message))),
        }
        Ok(())
    }
}

fn bytes_of(message: Item<'_>) -> &[u8] {
    match message {
        Item::Text(text) => text.as_bytes(),
        Item::Binary(bytes) | Item::Ping(bytes) | Item::Pong(bytes) => bytes,
        Item::Close(_) => &[],
    }
}

fn fanfare(heard: Heard<'_>, mut say: impl FnMut(Said<'_>)) {
    match heard {
        Heard::Data {
            kind: DataKind::Update,
            payload,
            ..
        } => say(Said::Delivery(payload)),
        Heard::Subscribed { topics, refused } => {
            say(Said::Acked(topics.len() as u32));
            for (topic, label) in refused {
                say(Said::Refused(format!("{topic}: {label}")));
            }
        }
        Heard::Refused { label, .. } => say(Said::Refused(label)),
        // A skip or a gap leaves a hole in our own numbers, and is found there.
        _ => say(Said::Aside),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a protocol writes, for tests.
    #[derive(Debug, Default)]
    pub(super) struct Frames(pub(super) Vec<(Opcode, Vec<u8>)>);

    impl Outgoing for Frames {
        fn frame(&mut self, opcode: Opcode, payload: &[u8]) {
            self.0.push((opcode, payload.to_vec()));
        }
    }

    fn said(protocol: &Protocol, text: &str) -> String {
        let mut said = Vec::new();
        protocol
            .hear(Item::Text(text), |what| said.push(format!("{what:?}")))
            .unwrap();
        said.join(" ")
    }

    #[test]
    fn fanfare_acks_each_topic_and_wraps_payloads() {
        let fanfare = Protocol::Fanfare(Dialect::Json);
        let mut frames = Frames::default();
        fanfare.subscribe(&mut frames, &["a", "b"], &mut Vec::new());
        assert_eq!(frames.0.len(), 1);
        assert_eq!(fanfare.acks(2), 2);
        let ack = r#"{"type":"subscribed","id":0,"topics":[{"topic":"a","epoch":"e","seq":0}],
            "errors":[{"topic":"b","code":2003,"message":"no"}]}"#;
        assert_eq!(
            said(&fanfare, ack),
            r#"Acked(1) Refused("b: 2003 forbidden")"#
        );
        let update = r#"{"type":"update","topic":"a","seq":7,"ts":5,"data":{"t":1}}"#;
        assert_eq!(
            said(&fanfare, update),
            format!("{:?}", Said::Delivery(br#"{"t":1}"#))
        );
        let snapshot = r#"{"type":"snapshot","topic":"a","seq":7,"ts":5,"data":{"t":1}}"#;
        assert_eq!(said(&fanfare, snapshot), "Aside");
    }
}
