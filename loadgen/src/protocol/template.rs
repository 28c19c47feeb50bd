//! Servers that take text commands of their own and deliver payloads as they are: the commands are
//! templates with places for the topics and the payload.

use super::Said;
use std::io::Write as _;

/// What to say to such a server.
#[derive(Debug)]
pub struct Templates {
    subscribe: Vec<Part>,
    publish: Vec<Part>,
    ack: Option<Box<[u8]>>,
}

/// Why templates cannot be used, for the person who typed them.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// One is missing.
    #[error("--protocol raw-json needs {0}")]
    Missing(&'static str),
    /// A place that must be there is not.
    #[error("{0} has no place {1}")]
    NoPlace(&'static str, &'static str),
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// Topics in quotes, with commas.
    Topics,
    /// Topics with commas.
    Names,
    /// One topic in quotes.
    Topic,
    /// One topic.
    Name,
    Payload,
}

/// How our payloads begin.
const OURS: &[u8] = br#"{"t":"#;

const PLACES: [(&str, Part); 5] = [
    ("{topics}", Part::Topics),
    ("{names}", Part::Names),
    ("{topic}", Part::Topic),
    ("{name}", Part::Name),
    ("{payload}", Part::Payload),
];

impl Templates {
    /// Reads templates; `ack` is a text that only acknowledgements hold.
    pub fn new(
        subscribe: Option<&str>,
        publish: Option<&str>,
        ack: Option<&str>,
    ) -> Result<Templates, TemplateError> {
        const SUBSCRIBE: &str = "--subscribe-template";
        const PUBLISH: &str = "--publish-template";
        let subscribe = parts(subscribe.ok_or(TemplateError::Missing(SUBSCRIBE))?);
        let publish = parts(publish.ok_or(TemplateError::Missing(PUBLISH))?);
        let has =
            |parts: &[Part], places: [Part; 2]| places.iter().any(|place| parts.contains(place));
        if !has(&subscribe, [Part::Topics, Part::Names]) {
            return Err(TemplateError::NoPlace(SUBSCRIBE, "{topics}"));
        }
        if !has(&publish, [Part::Topic, Part::Name]) {
            return Err(TemplateError::NoPlace(PUBLISH, "{topic}"));
        }
        if !publish.contains(&Part::Payload) {
            return Err(TemplateError::NoPlace(PUBLISH, "{payload}"));
        }
        Ok(Templates {
            subscribe,
            publish,
            // An empty text would be in every message.
            ack: ack
                .filter(|text| !text.is_empty())
                .map(|text| text.as_bytes().into()),
        })
    }

    pub(super) fn has_ack(&self) -> bool {
        self.ack.is_some()
    }

    pub(super) fn subscribe(&self, out: &mut Vec<u8>, topics: &[&str]) {
        fill(out, &self.subscribe, topics, &[]);
    }

    pub(super) fn publish(&self, out: &mut Vec<u8>, topic: &str, payload: &[u8]) {
        fill(out, &self.publish, &[topic], payload);
    }

    /// Ours are told by how they begin. Where acks are known, anything else is a refusal; where they
    /// are not, it may be one.
    pub(super) fn hear<'a>(&self, message: &'a [u8]) -> Said<'a> {
        if message.starts_with(OURS) {
            return Said::Delivery(message);
        }
        match &self.ack {
            None => Said::Aside,
            Some(ack) if message.windows(ack.len()).any(|part| part == &**ack) => Said::Acked(1),
            Some(_) => {
                let start = &message[..message.len().min(200)];
                Said::Refused(String::from_utf8_lossy(start).into())
            }
        }
    }
}

/// Cuts a template at its places.
fn parts(template: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = template;
    while !rest.is_empty() {
        let found = PLACES
            .iter()
            .filter_map(|(name, _)| Some((rest.find(name)?, *name)))
            .min();
        let Some((at, name)) = found else { break };
        if at > 0 {
            parts.push(Part::Text(rest[..at].to_owned()));
        }
        parts.extend(
            PLACES
                .into_iter()
                .find(|place| place.0 == name)
                .map(|place| place.1),
        );
        rest = &rest[at + name.len()..];
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    parts
}

fn fill(out: &mut Vec<u8>, parts: &[Part], topics: &[&str], payload: &[u8]) {
    for part in parts {
        match part {
            Part::Text(text) => out.extend_from_slice(text.as_bytes()),
            Part::Payload => out.extend_from_slice(payload),
            Part::Topics | Part::Topic => list(out, topics, "\""),
            Part::Names | Part::Name => list(out, topics, ""),
        }
    }
}

/// Our topics are letters and digits: nothing in them needs an escape.
fn list(out: &mut Vec<u8>, topics: &[&str], quote: &str) {
    for (place, topic) in topics.iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        // Writing into a Vec cannot fail.
        let _ = write!(out, "{comma}{quote}{topic}{quote}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(subscribe: &str, publish: &str) -> (String, String) {
        let templates = Templates::new(Some(subscribe), Some(publish), None).unwrap();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        templates.subscribe(&mut first, &["t1", "t2"]);
        templates.publish(&mut second, "t3", b"{}");
        (
            String::from_utf8(first).unwrap(),
            String::from_utf8(second).unwrap(),
        )
    }

    #[test]
    fn places_are_filled_and_braces_of_json_are_left_alone() {
        let (subscribe, publish) = filled(
            r#"{"action":"subscribe","topics":[{topics}]}"#,
            r#"{"action":"publish","topic":{topic},"data":{payload}}"#,
        );
        assert_eq!(subscribe, r#"{"action":"subscribe","topics":["t1","t2"]}"#);
        assert_eq!(publish, r#"{"action":"publish","topic":"t3","data":{}}"#);
        let (subscribe, publish) = filled("sub {names}", "pub {name} {payload}");
        assert_eq!((&*subscribe, &*publish), ("sub t1,t2", "pub t3 {}"));
    }

    #[test]
    fn templates_without_their_places_are_refused() {
        for (subscribe, publish, sentence) in [
            (None, None, "needs --subscribe-template"),
            (Some("{topics}"), None, "needs --publish-template"),
            (Some("x"), Some("y"), "--subscribe-template has no place"),
            (Some("{topics}"), Some("y"), "no place {topic}"),
            (Some("{topics}"), Some("{topic}"), "no place {payload}"),
        ] {
            let error = Templates::new(subscribe, publish, None).unwrap_err();
            assert!(error.to_string().contains(sentence), "{error}");
        }
    }

    #[test]
    fn acks_deliveries_and_other_texts_are_told_apart() {
        let templates =
            Templates::new(Some("{names}"), Some("{name}{payload}"), Some("subscribed")).unwrap();
        let ours = br#"{"t":1,"n":2,"p":"subscribed"}"#;
        assert_eq!(templates.hear(ours), Said::Delivery(ours));
        assert_eq!(templates.hear(br#"{"type":"subscribed"}"#), Said::Acked(1));
        assert_eq!(
            templates.hear(b"no such topic"),
            Said::Refused("no such topic".into())
        );
        let templates = Templates::new(Some("{names}"), Some("{name}{payload}"), None).unwrap();
        assert_eq!(templates.hear(b"no such topic"), Said::Aside);
        assert_eq!(templates.hear(ours), Said::Delivery(ours));
    }
}
