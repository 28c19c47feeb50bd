//! Who speaks: the name of a message's sender, put into the message by the server, which alone knows it.
//!
//! What a browser would read as an object with that key must not get past unread. So keys are compared as bytes, however they are escaped (a
//! half of a surrogate pair is a character to browsers), and values are skipped over however deep they are.

use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Engine;

/// To which messages the name is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// Every object: what is said in a room.
    Always,
    /// Objects with such a key: what is published to a topic that may be a room as well.
    Forged,
}

/// A member of an object.
struct Member {
    is_name: bool,
    /// Where its value stands in the text.
    value: Range<usize>,
}

/// Finds the members of an object.
struct Members<'t> {
    text: &'t str,
    key: &'t str,
}

impl<'t> Visitor<'t> for Members<'t> {
    type Value = Vec<Member>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Vec<Member>, A::Error> {
        let mut members = Vec::new();
        while let Some(is_name) = map.next_key_seed(IsKey(self.key))? {
            let value = map.next_value::<&RawValue>()?.get();
            let begin = (value.as_ptr() as usize).checked_sub(self.text.as_ptr() as usize);
            let begin = begin.ok_or_else(|| A::Error::custom("a value outside of the text"))?;
            members.push(Member {
                is_name,
                value: begin..begin + value.len(),
            });
        }
        Ok(members)
    }
}

/// Whether a key is this one.
struct IsKey<'k>(&'k str);

impl<'t> DeserializeSeed<'t> for IsKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for IsKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E: Error>(self, key: &[u8]) -> Result<bool, E> {
        Ok(key == self.0.as_bytes())
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        self.visit_bytes(key.as_bytes())
    }
}

/// The message with `key` set to `name` (null, if the sender has none) before everything else, whatever its sender had put there; the rest
/// stays as it is, byte for byte. `None`: it is to go out as it came.
fn signed(text: &str, key: &str, name: Option<&str>, sign: Sign) -> Option<Vec<u8>> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let members = reader.deserialize_map(Members { text, key }).ok()?;
    reader.end().ok()?;
    if sign == Sign::Forged && !members.iter().any(|member| member.is_name) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() + key.len() + 64);
    out.push(b'{');
    // Texts and nothing are always JSON.
    serde_json::to_writer(&mut out, key).ok()?;
    out.push(b':');
    serde_json::to_writer(&mut out, &name).ok()?;
    let mut end = text.find('{')? + 1;
    for member in members {
        let piece = text[end..member.value.end].trim_start();
        let piece = piece.strip_prefix(',').unwrap_or(piece).trim_start();
        end = member.value.end;
        if !member.is_name {
            out.push(b',');
            out.extend_from_slice(piece.as_bytes());
        }
    }
    out.push(b'}');
    Some(out)
}

impl Engine {
    /// What a connection says with its name in it, where the operator wants that and it is a message with room for it.
    pub(super) fn signed(&self, index: u32, bytes: &[u8], sign: Sign) -> Option<Vec<u8>> {
        let key = self.settings.room_user.as_deref()?;
        let text = std::str::from_utf8(bytes).ok()?;
        let cold = self.outlet.conns[index as usize].cold.as_ref();
        let identity = cold.and_then(|cold| cold.identity.as_ref());
        let name = identity.and_then(|identity| identity.name.as_deref());
        signed(text, key, name, sign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, name: Option<&str>, sign: Sign) -> Option<String> {
        signed(text, "user", name, sign).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn the_senders_name_is_the_servers_word() {
        for (text, name, expected) in [
            (
                r#"{"text":"hi"}"#,
                Some("ann"),
                Some(r#"{"user":"ann","text":"hi"}"#),
            ),
            (
                r#"{"user":"bob","text": [1, 2]}"#,
                Some("ann"),
                Some(r#"{"user":"ann","text": [1, 2]}"#),
            ),
            (
                r#"{"us\u0065r":"bob"}"#,
                Some("ann"),
                Some(r#"{"user":"ann"}"#),
            ),
            (r#"{"user":"a","user":"b"}"#, None, Some(r#"{"user":null}"#)),
            (
                r#"{"a":1,"user":"x","b":{"user":"kept"},"user":"y"}"#,
                Some("ann"),
                Some(r#"{"user":"ann","a":1,"b":{"user":"kept"}}"#),
            ),
            ("{}", Some("a\"b"), Some(r#"{"user":"a\"b"}"#)),
            (
                " {\n \"n\" : 1.00 ,\t\"user\":{}, \"s\":\"ü\\n,}\" } ",
                None,
                Some("{\"user\":null,\"n\" : 1.00,\"s\":\"ü\\n,}\"}"),
            ),
            ("hello", Some("ann"), None),
            ("[1]", Some("ann"), None),
            ("", Some("ann"), None),
            (r#"{"a":1} x"#, Some("ann"), None),
            (r#"{"a":1,}"#, Some("ann"), None),
            (r#"{"a":"#, Some("ann"), None),
        ] {
            let told = said(text, name, Sign::Always);
            assert_eq!(told.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn no_forgery_gets_past_unread() {
        let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        for (text, expected) in [
            (
                r#"{"\ud800":1,"user":"root"}"#.to_owned(),
                r#"{"user":"ann","\ud800":1}"#.to_owned(),
            ),
            (
                format!(r#"{{"x":{deep},"user":"root"}}"#),
                format!(r#"{{"user":"ann","x":{deep}}}"#),
            ),
        ] {
            for sign in [Sign::Always, Sign::Forged] {
                assert_eq!(said(&text, Some("ann"), sign).as_ref(), Some(&expected));
            }
        }
    }

    #[test]
    fn what_is_published_elsewhere_is_left_alone_unless_it_names_somebody() {
        assert_eq!(said(r#"{"price":1}"#, Some("feed"), Sign::Forged), None);
        let told = said(r#"{"user":"root"}"#, None, Sign::Forged);
        assert_eq!(told.as_deref(), Some(r#"{"user":null}"#));
    }
}
