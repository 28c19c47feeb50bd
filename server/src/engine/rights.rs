//! Rights: whether somebody may do something to a topic or filter, asked in one place.
//!
//! Every way in asks [`permits`] before anything is sent to an owner: subscribing (topics, filters, rooms), publishing (commands,
//! rooms), and reading without a subscription. Whoever a connection speaks for is an [`Identity`]; one that has none speaks
//! for [`Settings::anonymous`](super::Settings::anonymous) and costs nothing. Identities are made where credentials are checked,
//! and given to a connection by [`Engine::identify`]; nothing in here knows what a credential is.

use std::borrow::Cow;
use std::sync::Arc;

use fanfare_wire::code::ErrorCode;
use fanfare_wire::topic;

use super::Engine;
use super::commands::Fault;
use super::conn::ConnId;

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Be sent the updates of a topic, or of all topics that a filter covers.
    Subscribe,
    /// Add an update to a topic.
    Publish,
    /// Learn where a topic stands, or what it said, once.
    Read,
}

/// Topics, by what covers them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All topics, those of the server included.
    Everything,
    /// What one of these filters covers; nothing, if there is none. The topics of the server (`$…`) are covered only by filters
    /// that begin with the same segment.
    Filters(Box<[Box<str>]>),
}

impl Scope {
    /// No topic at all.
    #[must_use]
    pub fn nothing() -> Scope {
        Scope::Filters(Box::default())
    }

    /// Whether all that `name`, a topic or a filter, covers is in it. Two grants that cover a filter only together do not.
    #[must_use]
    pub fn holds(&self, name: &str) -> bool {
        match self {
            Scope::Everything => true,
            Scope::Filters(filters) => filters.iter().any(|filter| topic::includes(filter, name)),
        }
    }
}

/// What somebody may do. Shared by all connections that may do the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Who it is; `None` = anybody.
    pub name: Option<Box<str>>,
    /// What may be subscribed to and read.
    pub subscribe: Scope,
    /// What may be published to.
    pub publish: Scope,
}

impl Identity {
    /// Somebody without a name who may do everything.
    #[must_use]
    pub fn unlimited() -> Identity {
        Identity {
            name: None,
            subscribe: Scope::Everything,
            publish: Scope::Everything,
        }
    }
}

/// Why something may not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody publishes to the topics of the server.
    Reserved,
    /// It was not granted.
    NotGranted(Act),
    /// It was not granted to anybody, and the peer has not said who it is.
    Unknown,
}

impl Refusal {
    /// What the peer is told, as a number.
    #[must_use]
    pub fn code(self) -> ErrorCode {
        match self {
            Refusal::Unknown => ErrorCode::AuthRequired,
            Refusal::Reserved | Refusal::NotGranted(_) => ErrorCode::Forbidden,
        }
    }

    /// The same in words.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Refusal::Reserved => "topics that begin with '$' belong to the server",
            Refusal::NotGranted(Act::Subscribe) => "not allowed to subscribe to this",
            Refusal::NotGranted(Act::Publish) => "not allowed to publish to this",
            Refusal::NotGranted(Act::Read) => "not allowed to read this",
            Refusal::Unknown => "say who you are first",
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        (refusal.code(), Cow::from(refusal.message()))
    }
}

/// Whether `identity` may do this to `name`, a topic or (not to publish to) a filter, whose form has been checked. A filter
/// must be covered wholly by one that was granted.
///
/// # Errors
/// The [`Refusal`].
pub fn permits(identity: &Identity, act: Act, name: &str) -> Result<(), Refusal> {
    let scope = match act {
        Act::Subscribe | Act::Read => &identity.subscribe,
        Act::Publish if topic::is_reserved(name) => return Err(Refusal::Reserved),
        Act::Publish => &identity.publish,
    };
    if scope.holds(name) {
        Ok(())
    } else {
        Err(Refusal::NotGranted(act))
    }
}

impl Engine {
    /// From now on the connection speaks for `identity`, unless a request or command of its own says otherwise. Subscriptions that
    /// it has stay as they are. A connection that is gone is left alone.
    pub fn identify(&mut self, id: ConnId, identity: Arc<Identity>) {
        if let Some(conn) = self.current(id) {
            let cold = conn.cold.get_or_insert_default();
            cold.vouched = Some(identity.clone());
            cold.identity = Some(identity);
        }
    }

    /// [`permits`], for whomever the connection speaks for.
    pub(super) fn may(&self, index: u32, act: Act, name: &str) -> Result<(), Refusal> {
        let cold = self.outlet.conns[index as usize].cold.as_ref();
        let own = cold.and_then(|cold| cold.identity.as_deref());
        let done = permits(own.unwrap_or(&self.settings.anonymous), act, name);
        match done {
            Err(Refusal::NotGranted(_)) if own.is_none() && self.keys.is_some() => {
                Err(Refusal::Unknown)
            }
            done => done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(texts: &[&str]) -> Scope {
        Scope::Filters(texts.iter().map(|text| (*text).into()).collect())
    }

    #[test]
    fn a_filter_is_granted_only_whole() {
        let granted = filters(&["px.>", "news.*", "chat"]);
        for (name, held) in [
            ("px.a", true),
            ("px.>", true),
            ("px.*", true),
            ("px.a.>", true),
            ("px", false),
            ("news.uk", true),
            ("news.*", true),
            ("news.>", false),
            ("chat", true),
            ("*", false),
            (">", false),
        ] {
            assert_eq!(granted.holds(name), held, "{name}");
        }
        assert!(!Scope::nothing().holds("a"));
    }

    #[test]
    fn each_act_has_its_own_grant() {
        let reader = Identity {
            name: Some("r".into()),
            subscribe: filters(&["a.>", "$sys.*"]),
            publish: filters(&["b.>"]),
        };
        let table = [
            (Act::Subscribe, "a.b", None),
            (Act::Read, "a.b", None),
            (Act::Publish, "a.b", Some(Refusal::NotGranted(Act::Publish))),
            (Act::Publish, "b.b", None),
            (Act::Read, "b.b", Some(Refusal::NotGranted(Act::Read))),
            (Act::Subscribe, "$sys.stats", None),
        ];
        for (act, name, refusal) in table {
            assert_eq!(permits(&reader, act, name).err(), refusal, "{act:?} {name}");
        }
    }

    #[test]
    fn nobody_publishes_to_the_topics_of_the_server() {
        let unlimited = Identity::unlimited();
        let refused = permits(&unlimited, Act::Publish, "$sys.stats");
        assert_eq!(refused, Err(Refusal::Reserved));
        assert_eq!(permits(&unlimited, Act::Subscribe, "$sys.stats"), Ok(()));
    }
}
