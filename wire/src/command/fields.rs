//! The fields of a command's objects, found but not yet read.
//!
//! One set of fields serves all objects a client may send (the command, a topic with options of its
//! own, `since`). Values stay raw JSON; serde_json walks over them without recursion, so no depth
//! of nesting can overflow the stack. Each method reads one type, and an error says which field
//! must be what.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Id, Mode, OnSlow, Options, Since, TOKEN_BYTES_MAX};

/// What is wrong with a field, beginning with its name.
pub(super) type Fault = String;

macro_rules! fields {
    ($($variant:ident $field:ident $name:literal)*) => {
        /// The name of a field, whichever way it is escaped.
        #[derive(serde::Deserialize)]
        #[serde(field_identifier)]
        enum Name {
            $(#[serde(rename = $name)] $variant,)*
            #[serde(other)]
            Other,
        }

        /// The raw values of the known keys. Unknown keys are ignored.
        #[derive(Default)]
        pub(super) struct Fields<'a> {
            $(pub(super) $field: Option<&'a RawValue>,)*
            /// A known key that stands twice.
            duplicate: Option<&'static str>,
        }

        impl<'a> Visitor<'a> for FieldsVisitor {
            type Value = Fields<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Fields<'a>, M::Error> {
                let mut fields = Fields::default();
                while let Some(key) = map.next_key()? {
                    match key {
                        $(Name::$variant => {
                            if fields.$field.replace(map.next_value()?).is_some() {
                                fields.duplicate.get_or_insert($name);
                            }
                        })*
                        Name::Other => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(fields)
            }
        }
    };
}

fields! {
    Action action "action"
    Id id "id"
    Topics topics "topics"
    Symbols symbols "symbols"
    Topic topic "topic"
    Data data "data"
    Key key "key"
    Ts ts "ts"
    Token token "token"
    Snapshot snapshot "snapshot"
    Mode mode "mode"
    OnSlow on_slow "on_slow"
    MinIntervalMs min_interval_ms "min_interval_ms"
    MaxStaleMs max_stale_ms "max_stale_ms"
    Since since "since"
    Epoch epoch "epoch"
    Seq seq "seq"
}

struct FieldsVisitor;

impl<'a> Deserialize<'a> for Fields<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

impl<'a> Fields<'a> {
    /// That no known key stands twice: whose value would count is not agreed on among JSON parsers.
    pub(super) fn check_duplicates(&self) -> Result<(), Fault> {
        match self.duplicate {
            None => Ok(()),
            Some(name) => Err(format!("{name} stands twice")),
        }
    }

    /// `id`: a string or an integer, kept raw.
    pub(super) fn id(&self) -> Result<Option<Id<'a>>, Fault> {
        let Some(raw) = self.id else {
            return Ok(None);
        };
        let text = raw.get();
        let digits = text.strip_prefix('-').unwrap_or(text);
        if !text.starts_with('"') && !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("id must be a string or an integer".into());
        }
        if text.len() > TOKEN_BYTES_MAX {
            return Err(format!("id must be at most {TOKEN_BYTES_MAX} bytes"));
        }
        Ok(Some(Id(text)))
    }

    /// `ts`: a number, kept raw.
    pub(super) fn ts(&self) -> Result<Option<&'a str>, Fault> {
        match self.ts.map(RawValue::get) {
            None => Ok(None),
            Some(text) if text.len() > TOKEN_BYTES_MAX => {
                Err(format!("ts must be at most {TOKEN_BYTES_MAX} bytes"))
            }
            Some(text)
                if text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) =>
            {
                Ok(Some(text))
            }
            Some(_) => Err("ts must be a number".into()),
        }
    }

    /// Everything that says how a topic is to be delivered.
    pub(super) fn options(&self) -> Result<Options, Fault> {
        Ok(Options {
            snapshot: boolean("snapshot", self.snapshot)?,
            mode: choice("mode", self.mode, [Mode::All, Mode::Latest], Mode::name)?,
            on_slow: choice(
                "on_slow",
                self.on_slow,
                [OnSlow::Conflate, OnSlow::Close],
                OnSlow::name,
            )?,
            min_interval_ms: milliseconds("min_interval_ms", self.min_interval_ms)?,
            max_stale_ms: milliseconds("max_stale_ms", self.max_stale_ms)?,
        })
    }

    /// `since`: an object with `epoch` and `seq`.
    pub(super) fn since(&self) -> Result<Option<Since<'a>>, Fault> {
        let Some(raw) = self.since else {
            return Ok(None);
        };
        let fields = object("since", raw)?;
        let within = |fault: Fault| format!("since.{fault}");
        fields.check_duplicates().map_err(within)?;
        let epoch = string("epoch", fields.epoch).map_err(within)?;
        if epoch.len() > TOKEN_BYTES_MAX {
            return Err(format!(
                "since.epoch must be at most {TOKEN_BYTES_MAX} bytes"
            ));
        }
        let Some(seq) = fields.seq else {
            return Err("since.seq is missing".into());
        };
        let Ok(seq) = seq.get().parse() else {
            return Err("since.seq must be an integer from 0 to 2^64 - 1".into());
        };
        Ok(Some(Since { epoch, seq }))
    }
}

/// A value that must be an object.
pub(super) fn object<'a>(name: &str, raw: &'a RawValue) -> Result<Fields<'a>, Fault> {
    serde_json::from_str(raw.get()).map_err(|_| format!("{name} must be an object"))
}

/// A string that must be there, borrowed when nothing in it is escaped.
pub(super) fn string<'a>(name: &str, raw: Option<&'a RawValue>) -> Result<Cow<'a, str>, Fault> {
    let Some(raw) = raw else {
        return Err(format!("{name} is missing"));
    };
    unescape(raw).ok_or_else(|| format!("{name} must be a string"))
}

/// A string's text. `None`: the value is no string, or holds half of a surrogate pair.
pub(super) fn unescape(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inside = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inside.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inside));
    }
    serde_json::from_str(raw.get()).ok().map(Cow::Owned)
}

/// Gives each element of an array to `each`, until one is refused.
pub(super) fn for_each<'a>(
    name: &str,
    raw: &'a RawValue,
    each: impl FnMut(&'a RawValue) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut elements = Elements { each, fault: None };
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    let walked = deserializer.deserialize_seq(&mut elements);
    match (elements.fault, walked) {
        (Some(fault), _) => Err(fault),
        (None, Ok(())) => Ok(()),
        (None, Err(_)) => Err(format!("{name} must be an array")),
    }
}

struct Elements<F> {
    each: F,
    fault: Option<Fault>,
}

impl<'a, F: FnMut(&'a RawValue) -> Result<(), Fault>> Visitor<'a> for &mut Elements<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut seq: S) -> Result<(), S::Error> {
        while let Some(raw) = seq.next_element()? {
            if let Err(fault) = (self.each)(raw) {
                self.fault = Some(fault);
                break;
            }
        }
        Ok(())
    }
}

fn boolean(name: &str, raw: Option<&RawValue>) -> Result<Option<bool>, Fault> {
    match raw.map(RawValue::get) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(format!("{name} must be true or false")),
    }
}

fn milliseconds(name: &str, raw: Option<&RawValue>) -> Result<Option<u32>, Fault> {
    let Some(raw) = raw else {
        return Ok(None);
    };
    match raw.get().parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(format!("{name} must be an integer from 0 to {}", u32::MAX)),
    }
}

fn choice<T: Copy>(
    name: &str,
    raw: Option<&RawValue>,
    choices: [T; 2],
    spelling: fn(T) -> &'static str,
) -> Result<Option<T>, Fault> {
    let Some(raw) = raw else {
        return Ok(None);
    };
    let text = unescape(raw);
    match choices
        .into_iter()
        .find(|&choice| text.as_deref() == Some(spelling(choice)))
    {
        Some(choice) => Ok(Some(choice)),
        None => {
            let [first, second] = choices.map(spelling);
            Err(format!(r#"{name} must be "{first}" or "{second}""#))
        }
    }
}
