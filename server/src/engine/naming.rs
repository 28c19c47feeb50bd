//! Who speaks in a room: the name of a message's sender, put into the message by the server, which alone knows it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The message with `key` set to `name` before everything else, whatever its sender had put there. `None`: it is no JSON object, and goes
/// out as it is.
pub(super) fn signed(text: &str, key: &str, name: Option<&str>) -> Option<Vec<u8>> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let Pairs(pairs) = reader.deserialize_map(Reader).ok()?;
    reader.end().ok()?;
    let mut out = Vec::with_capacity(text.len() + key.len() + 64);
    out.push(b'{');
    put(&mut out, &key);
    out.push(b':');
    put(&mut out, &name);
    for (other, value) in pairs.iter().filter(|(other, _)| other != key) {
        out.push(b',');
        put(&mut out, other);
        out.push(b':');
        out.extend_from_slice(value.get().as_bytes());
    }
    out.push(b'}');
    Some(out)
}

fn put(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    // Texts and nothing are always JSON.
    let _ = serde_json::to_writer(out, value);
}

/// The keys of an object with their values as they came.
struct Pairs<'t>(Vec<(Cow<'t, str>, &'t RawValue)>);

struct Reader;

impl<'t> Visitor<'t> for Reader {
    type Value = Pairs<'t>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Pairs<'t>, A::Error> {
        let mut pairs = Vec::new();
        while let Some((Key(key), value)) = map.next_entry()? {
            pairs.push((key, value));
        }
        Ok(Pairs(pairs))
    }
}

#[derive(serde::Deserialize)]
struct Key<'t>(#[serde(borrow)] Cow<'t, str>);

#[cfg(test)]
mod tests {
    use super::*;

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
                Some(r#"{"user":"ann","text":[1, 2]}"#),
            ),
            (
                r#"{"us\u0065r":"bob"}"#,
                Some("ann"),
                Some(r#"{"user":"ann"}"#),
            ),
            (r#"{"user":"a","user":"b"}"#, None, Some(r#"{"user":null}"#)),
            ("{}", Some("a\"b"), Some(r#"{"user":"a\"b"}"#)),
            (
                r#"{"n":1.00,"s":"ü\n"}"#,
                None,
                Some(r#"{"user":null,"n":1.00,"s":"ü\n"}"#),
            ),
            ("hello", Some("ann"), None),
            ("[1]", Some("ann"), None),
            (r#"{"a":1} x"#, Some("ann"), None),
            (r#"{"a":"#, Some("ann"), None),
        ] {
            let signed = signed(text, "user", name).map(|bytes| String::from_utf8(bytes).unwrap());
            assert_eq!(signed.as_deref(), expected, "{text}");
        }
    }
}
