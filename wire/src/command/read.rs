//! A text message into a [`Command`].

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::fields::{self, Fault, Fields};
use super::{Command, CommandError, Id, Parsed, TOPICS_MAX, TopicRequest};
use crate::code::ErrorCode;

/// How much of an unknown action is told back.
const SHOWN_CHARS_MAX: usize = 40;

/// Reads a client's text message, borrowing from it wherever nothing is escaped.
///
/// # Errors
/// 1000 when the text is not JSON; 1001 when there is no such action; 1004 when a field is missing,
/// stands twice or has the wrong type, and for JSON that is no object.
pub fn parse(text: &str) -> Result<Parsed<'_>, CommandError<'_>> {
    let fields: Fields<'_> = serde_json::from_str(text).map_err(|fault| no_object(text, &fault))?;
    let id = fields.id().map_err(|fault| bad_field(None, fault))?;
    let command = command(&fields).map_err(|(code, message)| CommandError { id, code, message })?;
    Ok(Parsed { id, command })
}

/// A command that cannot be read, as code and message.
type Refusal = (ErrorCode, String);

fn command<'a>(fields: &Fields<'a>) -> Result<Command<'a>, Refusal> {
    let refuse = |fault| (ErrorCode::BadField, fault);
    fields.check_duplicates().map_err(refuse)?;
    let action = fields::string("action", fields.action).map_err(refuse)?;
    match &*action {
        "auth" => auth(fields),
        "subscribe" => requests(fields).map(|topics| Command::Subscribe { topics }),
        "set" => requests(fields).map(|topics| Command::Set { topics }),
        "unsubscribe" => names(fields).map(|topics| Command::Unsubscribe { topics }),
        "list" => Ok(Command::List),
        "publish" => publish(fields),
        "check" => names(fields).map(|topics| Command::Check { topics }),
        "ping" => fields.ts().map(|ts| Command::Ping { ts }),
        unknown => return Err(unknown_action(unknown)),
    }
    .map_err(refuse)
}

fn auth<'a>(fields: &Fields<'a>) -> Result<Command<'a>, Fault> {
    let token = fields::string("token", fields.token)?;
    Ok(Command::Auth { token })
}

fn publish<'a>(fields: &Fields<'a>) -> Result<Command<'a>, Fault> {
    let topic = fields::string("topic", fields.topic)?;
    let Some(data) = fields.data else {
        return Err("data is missing".into());
    };
    let key = match fields.key {
        Some(raw) => Some(fields::string("key", Some(raw))?),
        None => None,
    };
    let data = data.get();
    Ok(Command::Publish { topic, data, key })
}

/// The topics of a `subscribe` or `set`, each with its own options over those of the command.
fn requests<'a>(fields: &Fields<'a>) -> Result<Vec<TopicRequest<'a>>, Fault> {
    let wide = fields.options()?;
    let wide_since = fields.since()?;
    topics(fields, |topic, own| {
        let (options, since) = match own {
            Some(own) => (own.options()?.or(wide), own.since()?),
            None => (wide, None),
        };
        Ok(TopicRequest {
            topic,
            options,
            since: since.or_else(|| wide_since.clone()),
        })
    })
}

/// The topics of a command that takes no options.
fn names<'a>(fields: &Fields<'a>) -> Result<Vec<Cow<'a, str>>, Fault> {
    topics(fields, |topic, _own| Ok(topic))
}

/// The elements of `topics` or `symbols`: names, or objects with a name and fields of their own.
fn topics<'a, T>(
    fields: &Fields<'a>,
    mut make: impl FnMut(Cow<'a, str>, Option<Fields<'a>>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let (name, list) = match (fields.topics, fields.symbols) {
        (Some(_), Some(_)) => return Err("symbols is another name for topics: give one".into()),
        (Some(list), None) => ("topics", list),
        (None, Some(list)) => ("symbols", list),
        (None, None) => return Err("topics is missing".into()),
    };
    let mut all = Vec::new();
    fields::for_each(name, list, |raw| {
        if all.len() == TOPICS_MAX {
            return Err(format!("{name} must be at most {TOPICS_MAX}"));
        }
        let made = element(raw).and_then(|(topic, own)| make(topic, own).map_err(within));
        all.push(made.map_err(|fault| format!("{name}[{}]{fault}", all.len()))?);
        Ok(())
    })?;
    if all.is_empty() {
        return Err(format!("{name} must not be empty"));
    }
    Ok(all)
}

/// One element of `topics`; a fault goes on where the element's name ends.
fn element(raw: &RawValue) -> Result<(Cow<'_, str>, Option<Fields<'_>>), Fault> {
    if let Some(topic) = fields::unescape(raw) {
        return Ok((topic, None));
    }
    let Ok(own) = fields::object("", raw) else {
        return Err(" must be a string or an object".into());
    };
    own.check_duplicates().map_err(within)?;
    let topic = fields::string("topic", own.topic).map_err(within)?;
    Ok((topic, Some(own)))
}

fn within(mut fault: Fault) -> Fault {
    fault.insert(0, '.');
    fault
}

fn bad_field(id: Option<Id<'_>>, message: Fault) -> CommandError<'_> {
    let code = ErrorCode::BadField;
    CommandError { id, code, message }
}

fn unknown_action(action: &str) -> Refusal {
    let shown: String = action.chars().take(SHOWN_CHARS_MAX).collect();
    (
        ErrorCode::UnknownAction,
        format!(r#"unknown action "{shown}""#),
    )
}

/// Text that is not JSON, or JSON that is no object.
fn no_object<'a>(text: &'a str, fault: &serde_json::Error) -> CommandError<'a> {
    if serde_json::from_str::<&RawValue>(text).is_ok() {
        return bad_field(None, "a command must be a JSON object".into());
    }
    CommandError {
        id: None,
        code: ErrorCode::BadJson,
        message: fault.to_string(),
    }
}
