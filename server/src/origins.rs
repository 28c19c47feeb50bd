//! Which pages may ask: the `Origin` of a request (RFC 6454), judged against a list.
//!
//! A browser lets any page open a WebSocket anywhere, with the cookies of whom it visits; the origin is all that tells our own pages from
//! others. A leaf: texts in, a verdict out.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Why a pattern was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no origin: write https://example.com, https://*.example.com, http://localhost:3000, * for any, or null"
)]
pub struct PatternError(String);

/// One allowed origin, or many of one form.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Any,
    Exact(Box<str>),
    /// What stands before the star, and what behind it: one or more labels of a host's name.
    Star(Box<str>, Box<str>),
}

/// What is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins {
    patterns: Vec<Pattern>,
    texts: Vec<Box<str>>,
    /// Whether those who name no origin, which are not browsers, may ask.
    pub allow_missing: bool,
    /// Whether the server can be reached from this machine alone. Then pages of this machine may ask, and a host's name of somebody
    /// else's making, which leads here by a trick of DNS, does not count as ours.
    pub is_local: bool,
}

impl Default for Origins {
    fn default() -> Origins {
        Origins {
            patterns: Vec::new(),
            texts: Vec::new(),
            allow_missing: true,
            is_local: true,
        }
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It comes from no page, or from one of ours.
    Own,
    /// It comes from a page elsewhere that may ask, and must be told so.
    Foreign,
    /// It may not ask.
    Refused,
}

impl Origins {
    /// Reads the operator's list.
    ///
    /// # Errors
    /// The first that is no pattern.
    pub fn parse(texts: &[String]) -> Result<Origins, PatternError> {
        let patterns: Result<Vec<Pattern>, PatternError> =
            texts.iter().map(|text| Pattern::parse(text)).collect();
        Ok(Origins {
            patterns: patterns?,
            texts: texts.iter().map(|text| text.as_str().into()).collect(),
            ..Origins::default()
        })
    }

    /// The list as it was written.
    #[must_use]
    pub fn written(&self) -> Vec<String> {
        self.texts.iter().map(|text| text.to_string()).collect()
    }

    /// Judges a request by its `Origin` and its `Host`.
    #[must_use]
    pub fn judge(&self, origin: Option<&str>, host: Option<&str>) -> Verdict {
        let Some(origin) = origin else {
            return if self.allow_missing {
                Verdict::Own
            } else {
                Verdict::Refused
            };
        };
        let origin = origin.to_ascii_lowercase();
        let (scheme, authority) = origin.split_once("://").unwrap_or(("", &origin));
        let is_ours = host.is_some_and(|host| {
            let host = host.to_ascii_lowercase();
            without_port(scheme, authority) == without_port(scheme, &host)
                && (!self.is_local || is_loopback(host_of(&host)))
        });
        if is_ours {
            return Verdict::Own;
        }
        let is_near = self.is_local && !scheme.is_empty() && is_loopback(host_of(authority));
        if is_near || self.patterns.iter().any(|pattern| pattern.covers(&origin)) {
            Verdict::Foreign
        } else {
            Verdict::Refused
        }
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Pattern, PatternError> {
        let error = || PatternError(text.into());
        let lower = text.to_ascii_lowercase();
        if lower == "*" {
            return Ok(Pattern::Any);
        }
        if lower == "null" {
            return Ok(Pattern::Exact("null".into()));
        }
        let (scheme, authority) = lower.split_once("://").ok_or_else(error)?;
        let is_plain = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
        };
        if !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) || scheme.is_empty() {
            return Err(error());
        }
        match authority.strip_prefix("*.") {
            Some(rest) if is_plain(rest) => {
                let rest = without_port(scheme, rest);
                Ok(Pattern::Star(
                    format!("{scheme}://").into(),
                    format!(".{rest}").into(),
                ))
            }
            None if is_plain(authority) => {
                let authority = without_port(scheme, authority);
                Ok(Pattern::Exact(format!("{scheme}://{authority}").into()))
            }
            _ => Err(error()),
        }
    }

    /// Whether an origin in small letters is of this form.
    fn covers(&self, origin: &str) -> bool {
        match self {
            Pattern::Any => true,
            Pattern::Exact(exact) => **exact == *origin,
            Pattern::Star(before, behind) => {
                let labels = origin
                    .strip_prefix(&**before)
                    .and_then(|rest| rest.strip_suffix(&**behind));
                labels.is_some_and(|labels| {
                    !labels.is_empty()
                        && labels
                            .bytes()
                            .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
                })
            }
        }
    }
}

/// An authority without the port that its scheme implies; origins never have it, hosts may.
fn without_port<'a>(scheme: &str, authority: &'a str) -> &'a str {
    let implied = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return authority,
    };
    authority.strip_suffix(implied).unwrap_or(authority)
}

/// An authority's host.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or("");
    }
    authority.split(':').next().unwrap_or("")
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
        || host
            .parse::<Ipv6Addr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(texts: &[&str], is_local: bool) -> Origins {
        let texts: Vec<String> = texts.iter().map(|text| (*text).into()).collect();
        Origins {
            is_local,
            ..Origins::parse(&texts).unwrap()
        }
    }

    #[test]
    fn our_own_pages_may_ask_and_others_must_be_listed() {
        let list = origins(
            &[
                "https://*.example.com",
                "http://App.test:3000",
                "https://a.b:443",
            ],
            false,
        );
        let host = Some("fan.example.org");
        for (origin, verdict) in [
            (None, Verdict::Own),
            (Some("https://fan.example.org"), Verdict::Own),
            (Some("http://FAN.example.org"), Verdict::Own),
            (Some("https://fan.example.org:8443"), Verdict::Refused),
            (Some("https://www.example.com"), Verdict::Foreign),
            (Some("https://a.b.example.com"), Verdict::Foreign),
            (Some("https://example.com"), Verdict::Refused),
            (Some("http://www.example.com"), Verdict::Refused),
            (Some("https://evilexample.com"), Verdict::Refused),
            (Some("https://www.example.com.evil.org"), Verdict::Refused),
            (Some("https://evil.org/.example.com"), Verdict::Refused),
            (Some("https://evil.org:1@x.example.com"), Verdict::Refused),
            (Some("https://www.example.com:8443"), Verdict::Refused),
            (Some("http://app.test:3000"), Verdict::Foreign),
            (Some("http://app.test"), Verdict::Refused),
            (Some("https://a.b"), Verdict::Foreign),
            (Some("null"), Verdict::Refused),
            (Some(""), Verdict::Refused),
            (Some("http://localhost:1234"), Verdict::Refused),
        ] {
            assert_eq!(list.judge(origin, host), verdict, "{origin:?}");
        }
        assert_eq!(
            origins(&["*"], false).judge(Some("null"), host),
            Verdict::Foreign
        );
        assert_eq!(
            origins(&["null"], false).judge(Some("null"), host),
            Verdict::Foreign
        );
        let strict = Origins {
            allow_missing: false,
            ..list
        };
        assert_eq!(strict.judge(None, host), Verdict::Refused);
    }

    #[test]
    fn on_this_machine_its_pages_may_ask_and_a_name_that_leads_here_is_not_ours() {
        let list = origins(&[], true);
        for (origin, host, verdict) in [
            ("http://127.0.0.1:9001", "127.0.0.1:9001", Verdict::Own),
            ("http://localhost:3000", "127.0.0.1:9001", Verdict::Foreign),
            ("http://[::1]:3000", "localhost:9001", Verdict::Foreign),
            ("http://evil.org:9001", "evil.org:9001", Verdict::Refused),
            ("http://evil.org", "127.0.0.1:9001", Verdict::Refused),
            (
                "http://127.0.0.1.evil.org",
                "127.0.0.1.evil.org",
                Verdict::Refused,
            ),
        ] {
            assert_eq!(
                list.judge(Some(origin), Some(host)),
                verdict,
                "{origin} at {host}"
            );
        }
    }

    #[test]
    fn what_is_no_origin_is_refused_at_the_start() {
        for text in [
            "example.com",
            "https://",
            "https://*",
            "https://a.*.b",
            "https://a/b",
            "https://a b",
            "://a",
            "**",
        ] {
            assert!(Origins::parse(&[text.into()]).is_err(), "{text}");
        }
    }
}
