//! What stands in a URL: names in paths, and parameters behind the `?`.

use std::borrow::Cow;

use fanfare_wire::code::ErrorCode;
use fanfare_wire::command::{Mode, OnSlow, Options};
use percent_encoding::percent_decode_str;

use super::super::commands::Fault;

/// The parameters of one request.
pub(in crate::engine) enum Query<'q> {
    /// As they stand there: without an escape no parameter is another text than that, and few are asked for.
    Plain(&'q str),
    /// Names and values, unescaped.
    Decoded(Vec<(Cow<'q, str>, Cow<'q, str>)>),
}

impl<'q> Query<'q> {
    /// Reads what stands behind the `?`.
    pub(in crate::engine) fn parse(query: Option<&'q str>) -> Query<'q> {
        let text = query.unwrap_or("");
        match memchr::memchr2(b'%', b'+', text.as_bytes()) {
            None => Query::Plain(text),
            Some(_) => Query::Decoded(form_urlencoded::parse(text.as_bytes()).collect()),
        }
    }

    /// The first parameter of this name.
    pub(in crate::engine) fn get(&self, name: &str) -> Option<&str> {
        match self {
            Query::Plain(text) => find_plain(text, name),
            Query::Decoded(pairs) => {
                let pair = pairs.iter().find(|(other, _)| other == name);
                pair.map(|(_, value)| &**value)
            }
        }
    }

    /// A whole number.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Fault> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = is_number.then(|| text.parse().ok()).flatten();
        number.map(Some).ok_or_else(|| bad(name, "a whole number"))
    }

    /// The same in 32 bits.
    fn small(&self, name: &str) -> Result<Option<u32>, Fault> {
        let number = self.number(name)?.map(u32::try_from).transpose();
        number.map_err(|_| bad(name, "a whole number below 4294967296"))
    }

    /// A duration in milliseconds: `30s`, `500ms`, or a number of seconds.
    pub(super) fn duration_ms(&self, name: &str) -> Result<Option<u32>, Fault> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let scale: Option<u32> = match unit {
            "ms" => Some(1),
            "s" | "" => Some(1000),
            "m" => Some(60_000),
            _ => None,
        };
        let ms = (number.parse::<u32>().ok().zip(scale))
            .and_then(|(number, scale)| number.checked_mul(scale));
        ms.map(Some)
            .ok_or_else(|| bad(name, "a duration such as 30s or 500ms"))
    }

    /// A yes or no.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Fault> {
        match self.get(name) {
            None => Ok(None),
            Some("true" | "1" | "") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(_) => Err(bad(name, "true or false")),
        }
    }

    /// The options of a subscription, as commands have them.
    pub(super) fn options(&self) -> Result<Options, Fault> {
        let mode = match self.get("mode") {
            None => None,
            Some("all") => Some(Mode::All),
            Some("latest") => Some(Mode::Latest),
            Some(_) => return Err(bad("mode", "\"all\" or \"latest\"")),
        };
        let on_slow = match self.get("on_slow") {
            None => None,
            Some("conflate") => Some(OnSlow::Conflate),
            Some("close") => Some(OnSlow::Close),
            Some(_) => return Err(bad("on_slow", "\"conflate\" or \"close\"")),
        };
        Ok(Options {
            snapshot: self.flag("snapshot")?,
            mode,
            on_slow,
            min_interval_ms: self.small("min_interval_ms")?,
            max_stale_ms: self.small("max_stale_ms")?,
        })
    }
}

fn bad(name: &str, wanted: &str) -> Fault {
    (
        ErrorCode::BadField,
        format!("{name} must be {wanted}").into(),
    )
}

/// The value of the first `name=value` in a query without escapes.
fn find_plain<'q>(mut text: &'q str, name: &str) -> Option<&'q str> {
    loop {
        let end = memchr::memchr(b'&', text.as_bytes());
        let pair = &text[..end.unwrap_or(text.len())];
        match pair
            .strip_prefix(name)
            .map(|rest| (rest, rest.strip_prefix('=')))
        {
            Some((_, Some(value))) => return Some(value),
            Some(("", None)) if !pair.is_empty() => return Some(""),
            _ => text = &text[end? + 1..],
        }
    }
}

/// A part of a path as it was before it was put into a URL; `None`: it is not UTF-8.
pub(super) fn decode(part: &str) -> Option<Cow<'_, str>> {
    match memchr::memchr(b'%', part.as_bytes()) {
        None => Some(part.into()),
        Some(_) => percent_decode_str(part).decode_utf8().ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_a_form_wrote_is_read_again(
            pairs in prop::collection::vec(("[a-z]{1,3}", ".{0,12}"), 0..6),
        ) {
            let mut text = form_urlencoded::Serializer::new(String::new());
            text.extend_pairs(&pairs);
            let text = text.finish();
            let query = Query::parse(Some(&text));
            for (name, _) in &pairs {
                let first = pairs.iter().find(|(other, _)| other == name);
                prop_assert_eq!(query.get(name), first.map(|(_, value)| value.as_str()));
            }
        }

        #[test]
        fn what_holds_no_escape_is_found_like_any_other(
            text in "[&=a-cä]{0,20}|[^%+]{0,20}",
            name in "[a-cä]{0,2}",
        ) {
            let query = Query::parse(Some(&text));
            prop_assert!(matches!(query, Query::Plain(_)));
            let pair = form_urlencoded::parse(text.as_bytes()).find(|(other, _)| *other == name);
            prop_assert_eq!(query.get(&name).map(Into::into), pair.map(|(_, value)| value));
        }

        #[test]
        fn any_query_is_read_as_something_or_refused(text in ".{0,60}", value in ".{0,20}") {
            for text in [text.clone(), format!("wait={value}&after={value}&mode={text}&snapshot={value}&min_interval_ms={text}")] {
                let query = Query::parse(Some(&text));
                for name in ["wait", "after"] {
                    let digits = query.get(name).is_some_and(|value| value.bytes().any(|byte| byte.is_ascii_digit()));
                    prop_assert!(digits || !matches!(query.number(name), Ok(Some(_))));
                    prop_assert!(digits || !matches!(query.duration_ms(name), Ok(Some(_))));
                }
                let _ = (query.options(), query.flag("snapshot"));
            }
            let _ = decode(&value);
        }
    }

    #[test]
    fn parameters_are_read_as_forms_write_them() {
        let query = Query::parse(Some("topics=a%2Cb,c&x=1+2&x=3&wait=30s&empty&n=007"));
        assert_eq!(query.get("topics"), Some("a,b,c"));
        assert_eq!(query.get("x"), Some("1 2"));
        assert_eq!(query.get("empty"), Some(""));
        assert_eq!(query.get("missing"), None);
        assert_eq!(query.number("n"), Ok(Some(7)));
        assert!(query.number("x").is_err() && query.number("topics").is_err());
        assert_eq!(query.flag("empty"), Ok(Some(true)));
    }

    #[test]
    fn durations_have_units() {
        for (text, ms) in [
            ("30s", Some(30_000)),
            ("30", Some(30_000)),
            ("500ms", Some(500)),
            ("2m", Some(120_000)),
            ("0", Some(0)),
            ("-1s", None),
            ("1h", None),
            ("s", None),
            ("5000000s", None),
            ("99999999999", None),
            ("", None),
        ] {
            let text = format!("wait={text}");
            let got = Query::parse(Some(&text)).duration_ms("wait");
            assert_eq!(got.ok().flatten(), ms, "{text}");
        }
    }

    #[test]
    fn options_are_those_of_a_subscribe_command() {
        let query = Query::parse(Some("mode=latest&min_interval_ms=100&snapshot=false"));
        let options = query.options().unwrap();
        assert_eq!(options.mode, Some(Mode::Latest));
        assert_eq!(
            (options.min_interval_ms, options.snapshot),
            (Some(100), Some(false))
        );
        for text in [
            "mode=fast",
            "on_slow=",
            "min_interval_ms=-1",
            "max_stale_ms=4294967296",
            "snapshot=no",
        ] {
            assert!(Query::parse(Some(text)).options().is_err(), "{text}");
        }
    }
}
