//! One published value, and the frames that carry it: each encoded once for the whole server.

use std::sync::{Arc, OnceLock};

use fanfare_wire::binary::{self, Data};
use fanfare_wire::event::{self, DataKind, Encoding};
use fanfare_wire::frame::{self, HEADER_BYTES_MAX, Opcode};
use fanfare_wire::handshake::{self, ResponseHead};
use fanfare_wire::sse;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::value::RawValue;

use super::deflate::{self, Threshold};

/// What a subscriber gets around a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Variant {
    /// The JSON protocol's frames.
    Json = 0,
    /// The payload and nothing else.
    Raw = 1,
    /// The binary protocol's records.
    Binary = 2,
    /// Server-Sent Events of a stream with one topic: each names by itself where the stream stands.
    Events = 3,
    /// The same of a stream with several: where that stands is a line of its own before each.
    MixedEvents = 4,
    /// A whole HTTP response, for who waits for one update alone.
    Answer = 5,
    /// As [`Variant::Json`], compressed where that is shorter.
    DeflatedJson = 6,
    /// As [`Variant::Raw`], likewise.
    DeflatedRaw = 7,
    /// As [`Variant::Binary`], likewise.
    DeflatedBinary = 8,
}

/// How many variants there are: a topic keeps its members in one column each.
pub const VARIANTS: usize = 9;

impl Variant {
    /// All of them, each in the place of its number.
    pub const ALL: [Variant; VARIANTS] = [
        Variant::Json,
        Variant::Raw,
        Variant::Binary,
        Variant::Events,
        Variant::MixedEvents,
        Variant::Answer,
        Variant::DeflatedJson,
        Variant::DeflatedRaw,
        Variant::DeflatedBinary,
    ];

    /// The same for a subscriber that has agreed to compression. What is no WebSocket has no such form.
    #[must_use]
    pub fn deflated(self) -> Variant {
        match self {
            Variant::Json => Variant::DeflatedJson,
            Variant::Raw => Variant::DeflatedRaw,
            Variant::Binary => Variant::DeflatedBinary,
            other => other,
        }
    }

    /// The same without compression.
    #[must_use]
    pub fn plain(self) -> Variant {
        match self {
            Variant::DeflatedJson => Variant::Json,
            Variant::DeflatedRaw => Variant::Raw,
            Variant::DeflatedBinary => Variant::Binary,
            other => other,
        }
    }

    /// Whether more than the shared frame goes to each subscriber, so that none is served blindly.
    #[must_use]
    pub fn is_personal(self) -> bool {
        matches!(self, Variant::MixedEvents | Variant::Answer)
    }
}

/// What a publisher sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One JSON value: the `data` of a publish command, or a body that says so.
    Json,
    /// A room's text message, or a body of text.
    Text,
    /// A room's binary message, or any other body.
    Binary,
}

/// A payload on its way to its topic, already framed as raw subscribers get it: its bytes are copied once, out of the read buffer.
#[derive(Clone, Debug)]
pub struct Payload {
    form: Form,
    header_bytes: u8,
    /// Most bytes that the value takes inside a JSON frame.
    json_bytes: u32,
    /// Line ends in the value, each of which makes an event longer.
    lines: u32,
    /// The type that its publisher gave it, where its form does not say as much.
    content_type: Option<Box<str>>,
    frame: Box<[u8]>,
}

/// Most bytes of a JSON frame around topic and value: WebSocket header, keys, two numbers of 20 digits.
const ENVELOPE_BYTES: u64 = 128;
/// Most bytes of an answer's head, but for the type and the names of topic and epoch.
const ANSWER_HEAD_BYTES: u64 = 512;

impl Payload {
    /// Frames `bytes` (unmasked, whole).
    #[must_use]
    pub fn new(form: Form, bytes: &[u8]) -> Payload {
        let opcode = if form == Form::Binary {
            Opcode::Binary
        } else {
            Opcode::Text
        };
        let mut frame = Vec::with_capacity(HEADER_BYTES_MAX + bytes.len());
        frame::put_header(&mut frame, opcode, bytes.len());
        let header_bytes = frame.len() as u8;
        frame.extend_from_slice(bytes);
        let line_ends = memchr::memchr2_iter(b'\n', b'\r', bytes).count();
        Payload {
            form,
            header_bytes,
            json_bytes: json_bytes(form, bytes).try_into().unwrap_or(u32::MAX),
            lines: line_ends.try_into().unwrap_or(u32::MAX),
            content_type: None,
            frame: frame.into(),
        }
    }

    /// The same with the type that its publisher gave it, such as `image/png`.
    #[must_use]
    pub fn typed(form: Form, bytes: &[u8], content_type: &str) -> Payload {
        let is_plain = content_type == form.content_type();
        Payload {
            content_type: (!is_plain).then(|| content_type.into()),
            ..Payload::new(form, bytes)
        }
    }

    /// The publisher's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.frame[usize::from(self.header_bytes)..]
    }

    /// What kind of bytes they are, as HTTP says it.
    #[must_use]
    pub fn content_type(&self) -> &str {
        let own = self.content_type.as_deref();
        own.unwrap_or(self.form.content_type())
    }

    /// What it counts towards limits as a value of `topic`: its record, its bytes as they came, and all forms that it may be
    /// encoded in by and by. Never less than [`Update::held_bytes`], and the same from first to last.
    #[must_use]
    pub fn charged_bytes(&self, topic: &str, threshold: Threshold) -> u64 {
        let topic_bytes = topic.len() as u64;
        let type_bytes = self.content_type.as_ref().map_or(0, |own| own.len()) as u64;
        let json = ENVELOPE_BYTES + topic_bytes + u64::from(self.json_bytes);
        let head = HEADER_BYTES_MAX + binary::HEAD_BYTES;
        let binary = (head + self.frame.len()) as u64;
        let alias = (head + topic.len()) as u64;
        // The id names the topic once more; what it counts of the envelope is enough for the rest of it.
        let event = json + topic_bytes + (sse::LINE_BYTES as u64) * u64::from(self.lines);
        let answer = ANSWER_HEAD_BYTES + type_bytes + topic_bytes + self.frame.len() as u64;
        let mut forms = FORMS as u64 * (json + binary + event) + alias + answer;
        if !threshold.is_never() {
            // No compressed form is longer than the plain one.
            let raw = self.frame.len() as u64;
            forms += FORMS as u64 * (json + binary) + alias + raw + size_of::<Deflated>() as u64;
        }
        let record = size_of::<Update>() + size_of::<Forms>() + size_of::<Web>();
        (record + self.frame.len()) as u64 + type_bytes + forms
    }
}

impl Form {
    /// The type of what came without one of its own.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Form::Json => "application/json",
            Form::Text => "text/plain; charset=utf-8",
            Form::Binary => "application/octet-stream",
        }
    }
}

/// The forms of [`DataKind`].
const FORMS: usize = 3;

/// Most bytes that a value takes as JSON.
fn json_bytes(form: Form, bytes: &[u8]) -> usize {
    let escaped = |byte: &u8| match byte {
        ..b' ' => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    };
    match form {
        Form::Json => bytes.len(),
        Form::Text => 2 + bytes.iter().map(escaped).sum::<usize>(),
        Form::Binary => 2 + bytes.len().div_ceil(3) * 4,
    }
}

/// One numbered value of a topic. Shared by all shards; a frame is encoded by the first that needs it.
#[derive(Debug)]
pub struct Update {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The epoch in which it is numbered.
    pub epoch: Arc<str>,
    /// The topic's number, by which binary frames name it.
    pub alias: u32,
    /// Its number within the epoch, from 1.
    pub seq: u64,
    /// When the owner numbered it, microseconds since 1970.
    pub ts_us: i64,
    /// From which size on its forms are compressed.
    threshold: Threshold,
    payload: Payload,
    json: Forms,
    /// Most updates never need any.
    binary: OnceLock<Box<Forms>>,
    /// Nor any of these.
    web: OnceLock<Box<Web>>,
    /// Nor, where nobody has agreed to compression, any of these.
    deflated: OnceLock<Box<Deflated>>,
}

/// The compressed forms. `None`: that form is not shorter compressed, so the plain one is sent.
#[derive(Debug, Default)]
struct Deflated {
    json: [OnceLock<Option<Box<[u8]>>>; FORMS],
    binary: [OnceLock<Option<Box<[u8]>>>; FORMS],
    raw: OnceLock<Option<Box<[u8]>>>,
}

/// The forms for those who come over plain HTTP.
#[derive(Debug, Default)]
struct Web {
    events: Forms,
    answer: OnceLock<Box<[u8]>>,
}

/// Encoded frames by [`DataKind`]: snapshot, history, update.
type Forms = [OnceLock<Box<[u8]>>; FORMS];

impl Update {
    /// A numbered value. Encodes nothing yet.
    #[must_use]
    pub fn new(
        topic: Arc<str>,
        epoch: Arc<str>,
        alias: u32,
        seq: u64,
        ts_us: i64,
        payload: Payload,
    ) -> Update {
        Update {
            topic,
            epoch,
            alias,
            seq,
            ts_us,
            threshold: Threshold::NEVER,
            payload,
            json: Forms::default(),
            binary: OnceLock::new(),
            web: OnceLock::new(),
            deflated: OnceLock::new(),
        }
    }

    /// The same with forms that are compressed, from this size on.
    #[must_use]
    pub fn compressing(self, threshold: Threshold) -> Update {
        Update { threshold, ..self }
    }

    /// The value as it was published.
    #[must_use]
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// The whole frame for subscribers of `variant`, encoded at the first call. A topic's first update brings, in binary, its
    /// alias in a frame before it: whoever has the topic by a filter has not been told yet.
    #[must_use]
    pub fn frame(&self, variant: Variant, kind: DataKind) -> &[u8] {
        match variant {
            Variant::Raw => &self.payload.frame,
            Variant::Json => self.json[kind as usize].get_or_init(|| self.encode_json(kind)),
            Variant::Binary => {
                let forms = self.binary.get_or_init(Box::default);
                forms[kind as usize].get_or_init(|| self.encode_binary(kind))
            }
            Variant::Events => self.event(kind),
            Variant::MixedEvents => {
                let event = self.event(kind);
                let id_end = memchr::memchr(b'\n', event).map_or(0, |end| end + 1);
                &event[id_end..]
            }
            Variant::Answer => {
                let web = self.web.get_or_init(Box::default);
                web.answer.get_or_init(|| self.encode_answer())
            }
            Variant::DeflatedJson | Variant::DeflatedRaw | Variant::DeflatedBinary => {
                self.deflated(variant.plain(), kind)
            }
        }
    }

    /// A form compressed, or as it is if that is shorter. The plain form is kept only if it was made already, or is needed.
    fn deflated(&self, plain: Variant, kind: DataKind) -> &[u8] {
        let forms = self.deflated.get_or_init(Box::default);
        let place = kind as usize;
        let (form, made) = match plain {
            Variant::Json => (&forms.json[place], self.json[place].get()),
            Variant::Binary => {
                let binary = self.binary.get().and_then(|forms| forms[place].get());
                (&forms.binary[place], binary)
            }
            _ => (&forms.raw, Some(&self.payload.frame)),
        };
        let deflated = form.get_or_init(|| match made {
            Some(frame) => deflate::frames(frame, self.threshold),
            None if plain == Variant::Json => {
                deflate::frames(&self.encode_json(kind), self.threshold)
            }
            None => deflate::frames(&self.encode_binary(kind), self.threshold),
        });
        match deflated {
            Some(frame) => frame,
            None => self.frame(plain, kind),
        }
    }

    /// The event with the line that names its position.
    fn event(&self, kind: DataKind) -> &[u8] {
        let web = self.web.get_or_init(Box::default);
        web.events[kind as usize].get_or_init(|| self.encode_event(kind))
    }

    /// As [`Payload::charged_bytes`].
    #[must_use]
    pub fn charged_bytes(&self) -> u64 {
        self.payload.charged_bytes(&self.topic, self.threshold)
    }

    /// Length of the publisher's payload.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.payload.bytes().len()
    }

    /// Bytes of the value in all forms it has been encoded in so far.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        let (binary, web) = (self.binary.get(), self.web.get());
        let deflated = self.deflated.get();
        let boxed = binary.map_or(0, |_| size_of::<Forms>())
            + web.map_or(0, |_| size_of::<Web>())
            + deflated.map_or(0, |_| size_of::<Deflated>());
        let forms = self
            .json
            .iter()
            .chain(binary.iter().flat_map(|forms| forms.iter()))
            .chain(web.iter().flat_map(|web| web.events.iter()))
            .chain(web.iter().map(|web| &web.answer));
        let encoded: usize = forms
            .filter_map(OnceLock::get)
            .map(|frame| frame.len())
            .sum();
        let compressed: usize = (deflated.iter())
            .flat_map(|forms| forms.json.iter().chain(&forms.binary).chain([&forms.raw]))
            .filter_map(|form| form.get()?.as_ref())
            .map(|frame| frame.len())
            .sum();
        let own_type = self
            .payload
            .content_type
            .as_ref()
            .map_or(0, |own| own.len());
        let own = size_of::<Update>() + self.payload.frame.len() + own_type;
        (own + boxed + encoded + compressed) as u64
    }

    fn encode_json(&self, kind: DataKind) -> Box<[u8]> {
        let text = self.json_text(kind);
        let mut frame = Vec::with_capacity(text.len() + HEADER_BYTES_MAX);
        frame::put_frame(&mut frame, Opcode::Text, &text);
        frame.into()
    }

    fn encode_event(&self, kind: DataKind) -> Box<[u8]> {
        let text = self.json_text(kind);
        let mut event = Vec::with_capacity(text.len() + self.topic.len() + 64);
        let position = sse::Position {
            topic: &self.topic,
            epoch: &self.epoch,
            seq: self.seq,
        };
        sse::put_id(&mut event, std::iter::once(position));
        sse::put_event(&mut event, &text);
        event.into()
    }

    /// Headers and value, as `GET /v1/topics/…` answers.
    fn encode_answer(&self) -> Box<[u8]> {
        let body = self.payload.bytes();
        let mut answer = Vec::with_capacity(body.len() + 256);
        self.put_answer_head(&mut answer, &[], true);
        answer.extend_from_slice(body);
        answer.into()
    }

    /// Appends the head of the answer that carries this value, with `extra` headers.
    pub fn put_answer_head(&self, out: &mut Vec<u8>, extra: &[(&str, &str)], keep_alive: bool) {
        let (etag, seq, ts) = (self.etag(), self.seq.to_string(), self.ts_us.to_string());
        let modified = modified(self.ts_us);
        let own = [
            ("ETag", etag.as_str()),
            ("Fanfare-Epoch", &self.epoch),
            ("Fanfare-Seq", &seq),
            ("Fanfare-Ts", &ts),
            ("Last-Modified", &modified),
            ("Cache-Control", "no-cache"),
            // Anybody may publish a page of their own: it must not run as one of ours.
            ("X-Content-Type-Options", "nosniff"),
            ("Content-Security-Policy", "sandbox; default-src 'none'"),
        ];
        handshake::put_response_head(
            out,
            &ResponseHead {
                status: 200,
                extra: &[&own[..], extra].concat(),
                content_type: Some(self.payload.content_type()),
                content_length: Some(self.payload.bytes().len()),
                keep_alive,
            },
        );
    }

    /// The entity tag of the topic while this is its last value, with its quotes.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("\"{}:{}\"", self.epoch, self.seq)
    }

    /// The update as the JSON protocol says it.
    #[must_use]
    pub fn json_text(&self, kind: DataKind) -> Vec<u8> {
        let data = self.payload.bytes();
        let mut text = Vec::with_capacity(data.len() + self.topic.len() + 96);
        event::put_data(
            &mut text,
            kind,
            &self.topic,
            self.seq,
            self.ts_us,
            self.encoding(),
            data,
        );
        text
    }

    fn encode_binary(&self, kind: DataKind) -> Box<[u8]> {
        let payload = self.payload.bytes();
        let mut frame = Vec::new();
        if self.seq == 1 && kind == DataKind::Update {
            put_alias(&mut frame, self.alias, &self.topic);
        }
        let record_bytes = binary::HEAD_BYTES + payload.len();
        frame.reserve_exact(HEADER_BYTES_MAX + record_bytes);
        frame::put_header(&mut frame, Opcode::Binary, record_bytes);
        let data = Data {
            kind,
            is_json: self.encoding() == Encoding::Json,
            alias: self.alias,
            seq: self.seq,
            ts_us: self.ts_us,
            payload,
        };
        binary::put_data(&mut frame, &data);
        frame.into()
    }

    /// A room's text may well be JSON; then it stands in the frame as such, else as a string.
    fn encoding(&self) -> Encoding {
        match self.payload.form {
            Form::Json => Encoding::Json,
            Form::Binary => Encoding::Base64,
            Form::Text if serde_json::from_slice::<&RawValue>(self.payload.bytes()).is_ok() => {
                Encoding::Json
            }
            Form::Text => Encoding::Text,
        }
    }
}

/// When a value was numbered, in the words of `Last-Modified` (RFC 9110, section 5.6.7).
fn modified(ts_us: i64) -> String {
    let time = Timestamp::from_microsecond(ts_us).unwrap_or(Timestamp::UNIX_EPOCH);
    (DateTimePrinter::new().timestamp_to_rfc9110_string(&time)).unwrap_or_default()
}

/// Appends the frame that tells a binary subscriber which topic a number means.
pub fn put_alias(out: &mut Vec<u8>, alias: u32, topic: &str) {
    frame::put_header(out, Opcode::Binary, binary::HEAD_BYTES + topic.len());
    binary::put_alias(out, alias, topic);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(form: Form, bytes: &[u8]) -> String {
        let update = Update::new(
            "AAPL".into(),
            "e".into(),
            17,
            3,
            5,
            Payload::new(form, bytes),
        );
        let frame = update.frame(Variant::Json, DataKind::Update);
        String::from_utf8(frame[2..].to_vec()).unwrap()
    }

    #[test]
    fn json_data_is_spliced_as_it_came() {
        let text = text_of(Form::Json, br#"{ "price" :187.20}"#);
        assert_eq!(
            text,
            r#"{"type":"update","topic":"AAPL","seq":3,"ts":5,"data":{ "price" :187.20}}"#
        );
    }

    #[test]
    fn a_rooms_text_stands_as_json_if_it_is_json_and_as_a_string_if_not() {
        assert!(text_of(Form::Text, b"[1]").ends_with(r#""data":[1]}"#));
        assert!(
            text_of(Form::Text, b"say \"hi\"")
                .ends_with(r#""encoding":"text","data":"say \"hi\""}"#)
        );
        assert!(
            text_of(Form::Binary, b"\x00\xff").ends_with(r#""encoding":"base64","data":"AP8="}"#)
        );
    }

    #[test]
    fn a_value_never_holds_more_than_it_was_charged() {
        let topics = ["a", &"t".repeat(255)];
        let texts = [
            "",
            "7",
            "\u{1}\u{2}\"\\\n\u{7f}grüße 🎉",
            &"\u{0}".repeat(1000),
            "[\"\\n\"]",
        ];
        for (topic, text) in topics
            .iter()
            .flat_map(|topic| texts.map(|text| (topic, text)))
        {
            for form in [Form::Json, Form::Text, Form::Binary] {
                if form == Form::Json && serde_json::from_str::<&RawValue>(text).is_err() {
                    continue;
                }
                let payload = Payload::new(form, text.as_bytes());
                let update = Update::new(
                    (*topic).into(),
                    "zzzzzzz".into(),
                    u32::MAX,
                    1,
                    i64::MIN,
                    payload,
                );
                let charged = update.charged_bytes();
                for kind in [DataKind::Snapshot, DataKind::History, DataKind::Update] {
                    for variant in Variant::ALL {
                        assert!(!update.frame(variant, kind).is_empty());
                    }
                }
                let held = update.held_bytes();
                assert!(held <= charged, "{form:?} {text:?}: {held} > {charged}");
                // Nor is it charged for much that never is.
                assert!(charged <= held + 12 * ENVELOPE_BYTES + 20 * text.len() as u64);
            }
        }
    }

    #[test]
    fn raw_subscribers_get_the_payload_and_nothing_around_it() {
        let update = Update::new(
            "A".into(),
            "e".into(),
            17,
            1,
            0,
            Payload::new(Form::Binary, b"\x01\x02"),
        );
        assert_eq!(
            update.frame(Variant::Raw, DataKind::Update),
            [0x82, 2, 1, 2]
        );
    }

    fn records_of(update: &Update, kind: DataKind) -> Vec<Vec<u8>> {
        let mut rest = update.frame(Variant::Binary, kind);
        let mut records = Vec::new();
        while let [0x82, length, behind @ ..] = rest {
            let (record, behind) = behind.split_at(usize::from(*length));
            records.push(record.to_vec());
            rest = behind;
        }
        assert!(rest.is_empty(), "binary frames, short ones");
        records
    }

    #[test]
    fn binary_subscribers_get_the_payload_behind_a_head_and_the_alias_before_the_first_update() {
        let table = [
            (Form::Json, &b"{}"[..], true),
            (Form::Text, b"[1]", true),
            (Form::Text, b"hi", false),
            (Form::Binary, b"[1]", false),
        ];
        let mut alias = Vec::new();
        binary::put_alias(&mut alias, 17, "A");
        for (form, payload, is_json) in table {
            for (seq, kind, has_alias) in [
                (1, DataKind::Update, true),
                (1, DataKind::Snapshot, false),
                (1, DataKind::History, false),
                (2, DataKind::Update, false),
            ] {
                let update = Update::new(
                    "A".into(),
                    "e".into(),
                    17,
                    seq,
                    5,
                    Payload::new(form, payload),
                );
                let mut records = records_of(&update, kind);
                let data = Data {
                    kind,
                    is_json,
                    alias: 17,
                    seq,
                    ts_us: 5,
                    payload,
                };
                let last = records.pop().unwrap();
                assert_eq!(binary::parse(&last), Ok(binary::Record::Data(data)));
                let before = if has_alias {
                    vec![alias.clone()]
                } else {
                    Vec::new()
                };
                assert_eq!(records, before, "{seq} {kind:?}");
            }
        }
    }
}
