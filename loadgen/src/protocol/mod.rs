//! What is said to any push server, fanfare or another: how to subscribe, how to publish, and how a
//! delivery is recognised. A delivery is nothing but our own payload, which carries its number and
//! its intended time; so every server is held to the same account.
//!
//! Commands go out as frames ([`Outgoing`]); what arrives is turned into [`Said`]. A protocol keeps
//! no state of a connection. Called by [`crate::measure`].
//!
//! | protocol | module |
//! |---|---|
//! | fanfare's own | [`crate::dialect`]: a new spelling of it is a dialect |
//! | fanfare's subscribers over plain HTTP | [`crate::http`]; `poll` |
//! | text commands of a server's own, bare payloads | `template` |
//! | NATS, MQTT 3.1.1 | `nats`, `mqtt` |
//! | nchan: channels in the path, publishes over HTTP | `nchan` |

mod mqtt;
mod nats;
mod nchan;
mod poll;
mod template;

pub use poll::Poller;
pub use template::{TemplateError, Templates};

use crate::cli::{MeasureArgs, ProtocolName};
use crate::dialect::{DataKind, Dialect, Heard};
use crate::http;
use crate::link::Framing;
use crate::target::Target;
use fanfare_wire::binary::{self, Aliases, Record};
use fanfare_wire::command::Options;
use fanfare_wire::frame::Opcode;
use fanfare_wire::reader::Item;

/// A protocol that `measure` can speak.
#[derive(Debug)]
pub enum Protocol {
    /// fanfare's own, in one of its dialects.
    Fanfare(Dialect),
    /// The same for who publishes; subscribers over plain HTTP: [`Framing::Events`] or
    /// [`Framing::Answers`].
    FanfareHttp(Framing),
    /// Text commands by template, bare payloads.
    Raw(Templates),
    /// NATS over WebSocket.
    Nats,
    /// MQTT 3.1.1 over WebSocket.
    Mqtt,
    /// nginx with nchan.
    Nchan,
}

/// What a server said.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// An update: the publisher's payload.
    Delivery(&'a [u8]),
    /// So many updates were passed over, as the server may.
    Skipped(u64),
    /// So many of the acks that [`Protocol::acks`] counts.
    Acked(u32),
    /// A command was refused; the text says which way.
    Refused(String),
    /// The server wants this for an answer.
    Asked(Opcode, &'static [u8]),
    /// Nothing that concerns us.
    Aside,
}

/// Takes the commands that a protocol writes.
pub trait Outgoing {
    /// Queues a frame.
    fn frame(&mut self, opcode: Opcode, payload: &[u8]);
    /// Queues bytes without a frame around them.
    fn bytes(&mut self, bytes: &[u8]);
}

impl Outgoing for crate::link::Link {
    fn frame(&mut self, opcode: Opcode, payload: &[u8]) {
        self.queue(opcode, payload);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.queue_made(bytes);
    }
}

impl Protocol {
    /// From the arguments.
    pub fn new(args: &MeasureArgs) -> Result<Protocol, TemplateError> {
        match args.protocol {
            ProtocolName::Fanfare => Ok(Protocol::Fanfare(Dialect::Json)),
            ProtocolName::FanfareBin => Ok(Protocol::Fanfare(Dialect::Binary)),
            ProtocolName::FanfareSse => Ok(Protocol::FanfareHttp(Framing::Events)),
            ProtocolName::FanfarePoll => Ok(Protocol::FanfareHttp(Framing::Answers)),
            ProtocolName::RawJson => Templates::new(
                args.subscribe_template.as_deref(),
                args.publish_template.as_deref(),
                args.ack_text.as_deref(),
            )
            .map(Protocol::Raw),
            ProtocolName::Nats => Ok(Protocol::Nats),
            ProtocolName::Mqtt => Ok(Protocol::Mqtt),
            ProtocolName::Nchan => Ok(Protocol::Nchan),
        }
    }

    /// The WebSocket subprotocol to offer.
    pub fn subprotocol(&self) -> Option<&'static str> {
        match self {
            Protocol::Fanfare(dialect) => dialect.subprotocol(),
            Protocol::FanfareHttp(_) => Dialect::Json.subprotocol(),
            Protocol::Mqtt => Some(mqtt::SUBPROTOCOL),
            Protocol::Raw(_) | Protocol::Nats | Protocol::Nchan => None,
        }
    }

    /// How subscribers connect.
    pub fn framing(&self) -> Framing {
        match self {
            Protocol::FanfareHttp(framing) => *framing,
            _ => Framing::WebSocket,
        }
    }

    /// Whether who subscribes asks again after each answer, with a [`Poller`].
    pub fn polls(&self) -> bool {
        self.framing() == Framing::Answers
    }

    /// Writes the request with which a subscriber over plain HTTP begins.
    pub fn put_request(&self, out: &mut Vec<u8>, target: &Target, topics: &[&str]) {
        let names = topics.iter().copied();
        match topics {
            [topic] if self.polls() => Poller::default().ask(out, target, topic),
            _ => http::put_event_request(out, target, names, &Options::default(), None),
        }
    }

    /// The path that a subscriber of these topics connects to, if not the one that was given.
    pub fn subscriber_path(&self, topics: &[&str]) -> Option<String> {
        matches!(self, Protocol::Nchan).then(|| nchan::path(topics))
    }

    /// Whether who publishes speaks WebSocket; otherwise a plain stream, and what arrives on it goes
    /// to [`Protocol::hear_publisher`] in pieces.
    pub fn publishes_over_websocket(&self) -> bool {
        !matches!(self, Protocol::Nchan)
    }

    /// How many acks answer a subscribe command for so many topics; with 0 nothing says when it is
    /// in force.
    pub fn acks(&self, topics: usize) -> u32 {
        match self {
            Protocol::Fanfare(_) | Protocol::FanfareHttp(_) => topics as u32,
            Protocol::Raw(templates) => u32::from(templates.has_ack()),
            Protocol::Nats | Protocol::Mqtt => 1,
            Protocol::Nchan => 0,
        }
    }

    /// What a publisher says before it publishes. Subscribers greet when they subscribe.
    pub fn greet(&self, out: &mut impl Outgoing) {
        match self {
            Protocol::Fanfare(_)
            | Protocol::FanfareHttp(_)
            | Protocol::Raw(_)
            | Protocol::Nchan => {}
            Protocol::Nats => nats::greet(out),
            Protocol::Mqtt => mqtt::greet(out),
        }
    }

    /// Subscribes to these topics. `scratch` is for the text.
    pub fn subscribe(&self, out: &mut impl Outgoing, topics: &[&str], scratch: &mut Vec<u8>) {
        scratch.clear();
        match self {
            Protocol::Fanfare(dialect) => {
                let topics = topics.iter().map(|topic| (*topic, None));
                dialect.subscribe(scratch, 0, topics, &Options::default());
            }
            Protocol::Raw(templates) => templates.subscribe(scratch, topics),
            Protocol::Nats => nats::subscribe(scratch, topics),
            Protocol::Mqtt => mqtt::subscribe(scratch, topics),
            // Done by connecting.
            Protocol::FanfareHttp(_) | Protocol::Nchan => return,
        }
        out.frame(self.opcode(), scratch);
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
            Protocol::FanfareHttp(_) => Dialect::Json.publish(scratch, number, topic, payload),
            Protocol::Raw(templates) => templates.publish(scratch, topic, payload),
            Protocol::Nats => nats::publish(scratch, topic, payload),
            Protocol::Mqtt => mqtt::publish(scratch, topic, payload),
            Protocol::Nchan => {
                nchan::publish(scratch, topic, payload);
                return out.bytes(scratch);
            }
        }
        out.frame(self.opcode(), scratch);
    }

    fn opcode(&self) -> Opcode {
        match self {
            Protocol::Nats | Protocol::Mqtt => Opcode::Binary,
            _ => Opcode::Text,
        }
    }

    /// Reads a message. The error is a sentence.
    pub fn hear(&self, message: Item<'_>, mut say: impl FnMut(Said<'_>)) -> Result<(), String> {
        match self {
            Protocol::Fanfare(Dialect::Binary) if let Item::Binary(bytes) = message => {
                say(record(bytes)?);
            }
            Protocol::Fanfare(dialect) => {
                fanfare(dialect.hear(message, &mut Aliases::default())?, say);
            }
            Protocol::FanfareHttp(_) => {
                fanfare(Dialect::Json.hear(message, &mut Aliases::default())?, say);
            }
            Protocol::Raw(templates) => say(templates.hear(bytes_of(message))),
            Protocol::Nats => nats::hear(bytes_of(message), say)?,
            Protocol::Mqtt => mqtt::hear(bytes_of(message), say)?,
            Protocol::Nchan => say(Said::Delivery(bytes_of(message))),
        }
        Ok(())
    }

    /// Reads what the publisher hears. The error is a sentence.
    pub fn hear_publisher(
        &self,
        message: Item<'_>,
        say: impl FnMut(Said<'_>),
    ) -> Result<(), String> {
        match self {
            Protocol::Nchan => {
                nchan::hear_answers(bytes_of(message), say);
                Ok(())
            }
            _ => self.hear(message, say),
        }
    }
}

pub(crate) fn bytes_of(message: Item<'_>) -> &[u8] {
    match message {
        Item::Text(text) => text.as_bytes(),
        Item::Binary(bytes) | Item::Ping(bytes) | Item::Pong(bytes) => bytes,
        Item::Close(_) => &[],
    }
}

/// What a binary record says. Which topic it is of is known from the payload.
fn record(bytes: &[u8]) -> Result<Said<'_>, String> {
    match binary::parse(bytes) {
        Ok(Record::Data(data)) if data.kind == DataKind::Update => Ok(Said::Delivery(data.payload)),
        Ok(_) => Ok(Said::Aside),
        Err(error) => Err(error.to_string()),
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

        fn bytes(&mut self, bytes: &[u8]) {
            self.0.push((Opcode::Continuation, bytes.to_vec()));
        }
    }

    /// What `hear` says of these bytes, in words; `fault: …` if it refuses them.
    pub(super) fn heard_by(
        bytes: &[u8],
        hear: impl FnOnce(&[u8], &mut dyn FnMut(Said<'_>)) -> Result<(), String>,
    ) -> String {
        let text = |bytes: &[u8]| format!("{:?}", String::from_utf8_lossy(bytes));
        let mut words = Vec::new();
        let heard = hear(bytes, &mut |said| {
            words.push(match said {
                Said::Delivery(payload) => format!("Delivery({})", text(payload)),
                Said::Asked(_, answer) => format!("Asked({})", text(answer)),
                other => format!("{other:?}"),
            });
        });
        match heard {
            Ok(()) => words.join(" "),
            Err(sentence) => format!("fault: {sentence}"),
        }
    }

    #[test]
    fn fanfare_in_binary_wraps_payloads_into_records_and_acks_as_text() {
        let fanfare = Protocol::Fanfare(Dialect::Binary);
        let ack = r#"{"type":"subscribed","id":0,"topics":[{"topic":"a","epoch":"e","seq":0,"alias":9}]}"#;
        assert_eq!(said(&fanfare, ack), "Acked(1)");
        let hear = |kind| {
            let (mut bytes, payload) = (Vec::new(), br#"{"t":1}"#);
            let data = binary::Data {
                kind,
                is_json: true,
                alias: 9,
                seq: 7,
                ts_us: 5,
                payload,
            };
            binary::put_data(&mut bytes, &data);
            heard_by(&bytes, |bytes, say| fanfare.hear(Item::Binary(bytes), say))
        };
        assert_eq!(hear(DataKind::Update), r#"Delivery("{\"t\":1}")"#);
        assert_eq!(hear(DataKind::Snapshot), "Aside");
        let cut_off = heard_by(b"\x03", |bytes, say| fanfare.hear(Item::Binary(bytes), say));
        assert_eq!(cut_off, "fault: the record is cut off");
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
