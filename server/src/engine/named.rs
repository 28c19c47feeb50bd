//! Rights by name, for those whom somebody else vouches for: a certificate names its owner, and a rule says what that one may do.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use fanfare_wire::topic;

use super::rights::{Identity, Scope};

/// One rule: `NAME sub=FILTER,… pub=FILTER,…`, of which either list may be left out. The name `*` stands for all whom no other
/// rule names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRule {
    text: Box<str>,
    /// `None` stands for everybody else.
    name: Option<Box<str>>,
    subscribe: Scope,
    publish: Scope,
}

/// Why a rule was refused; a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamedRuleError {
    /// Not of the form.
    #[error("{0:?} is not NAME sub=FILTER,… pub=FILTER,…, such as 'feed sub=px.> pub=px.>,news.*'")]
    Form(String),
    /// A filter that is none.
    #[error("{0:?} is no filter: {1}")]
    Filter(String, topic::TopicError),
}

impl FromStr for NamedRule {
    type Err = NamedRuleError;

    fn from_str(text: &str) -> Result<NamedRule, NamedRuleError> {
        let form = || NamedRuleError::Form(text.to_owned());
        // A name may have spaces in it; what is granted has none.
        let grants_at = [" sub=", " pub="]
            .iter()
            .filter_map(|mark| text.find(mark))
            .min();
        let (name, grants) = text.split_at(grants_at.ok_or_else(form)?);
        if name.is_empty() {
            return Err(form());
        }
        let mut rule = NamedRule {
            text: text.into(),
            name: (name != "*").then(|| name.into()),
            subscribe: Scope::nothing(),
            publish: Scope::nothing(),
        };
        for word in grants.split_ascii_whitespace() {
            match word.split_once('=') {
                Some(("sub", list)) => rule.subscribe = scope(list)?,
                Some(("pub", list)) => rule.publish = scope(list)?,
                _ => return Err(form()),
            }
        }
        Ok(rule)
    }
}

impl fmt::Display for NamedRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn scope(list: &str) -> Result<Scope, NamedRuleError> {
    let filters = list
        .split(',')
        .map(|filter| match topic::check_filter(filter) {
            Ok(_) => Ok(filter.into()),
            Err(error) => Err(NamedRuleError::Filter(filter.to_owned(), error)),
        });
    filters.collect::<Result<_, _>>().map(Scope::Filters)
}

/// Who `name` is, by the first rule that names it, or the first for everybody else. Where there are no rules, whoever is vouched for
/// may do everything; where there are some, those that none is for may do nothing.
#[must_use]
pub fn identity(rules: &[NamedRule], name: &str) -> Arc<Identity> {
    let named = rules.iter().find(|rule| rule.name.as_deref() == Some(name));
    let rule = named.or_else(|| rules.iter().find(|rule| rule.name.is_none()));
    let (subscribe, publish) = match rule {
        Some(rule) => (rule.subscribe.clone(), rule.publish.clone()),
        None if rules.is_empty() => (Scope::Everything, Scope::Everything),
        None => (Scope::nothing(), Scope::nothing()),
    };
    Arc::new(Identity {
        name: Some(name.into()),
        subscribe,
        publish,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rights::{Act, permits};

    #[test]
    fn the_rule_that_names_somebody_wins_over_the_one_for_everybody_else() {
        let rules: Vec<NamedRule> = [
            "* sub=public.>",
            "the feed sub=px.> pub=px.>,news.*",
            "mute sub=a",
        ]
        .map(|text| text.parse().unwrap())
        .into();
        for (rules, name, act, topic, granted) in [
            (&rules[..], "the feed", Act::Publish, "news.uk", true),
            (&rules, "the feed", Act::Subscribe, "public.a", false),
            (&rules, "anybody", Act::Subscribe, "public.a", true),
            (&rules, "anybody", Act::Publish, "public.a", false),
            (&rules, "mute", Act::Publish, "a", false),
            (&rules[1..], "anybody", Act::Subscribe, "px.a", false),
            (&[], "anybody", Act::Publish, "px.a", true),
            (&[], "anybody", Act::Publish, "$sys.a", false),
        ] {
            let identity = identity(rules, name);
            assert_eq!(identity.name.as_deref(), Some(name));
            assert_eq!(
                permits(&identity, act, topic).is_ok(),
                granted,
                "{name} {act:?} {topic}"
            );
        }
    }

    #[test]
    fn what_is_no_rule_is_refused_with_a_sentence() {
        for (text, part) in [
            ("", "is not NAME"),
            ("feed", "is not NAME"),
            (" sub=a", "is not NAME"),
            ("sub=a", "is not NAME"),
            ("feed sub=a all=b", "is not NAME"),
            ("feed sub=a..b", "\"a..b\" is no filter: empty segment"),
            ("feed pub=", "\"\" is no filter"),
        ] {
            let error = text.parse::<NamedRule>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
