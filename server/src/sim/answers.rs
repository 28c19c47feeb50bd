//! What answers change: which subscriptions there are and by which options, and that each command is answered once.

use fanfare_wire::command::{Id, Mode};
use fanfare_wire::event::{Event, SubscribedTopicRead};
use fanfare_wire::topic;

use super::said::Said;
use super::stream::{Expect, Stream, opening};
use super::subscriber::{Scene, Source, Subscriber, Tongue};
use crate::hub::policy::SubOptions;

impl Subscriber {
    /// Carries out what an answer says.
    pub(super) fn change(&mut self, event: Event<'_>, text: &str, scene: &mut Scene<'_>) {
        match event {
            Event::Subscribed { id, topics, errors } => {
                // A stream of events is one command, without a number.
                let id = id.map_or(0, |id| number(Some(id)));
                let said = self.said.remove(&id).expect("one answer a command");
                scene.tally.add("topic refused", !errors.is_empty());
                self.subscribed(id, &said, &topics, text, scene);
            }
            Event::Unsubscribed { id, .. } => {
                let id = number(id);
                let Some(Said::Unsubscribe(source)) = self.said.remove(&id) else {
                    panic!("nothing to end: {text}");
                };
                self.sources.remove(&source);
                self.options_changed(&source);
                self.ended.insert(source, id);
                let sources = &self.sources;
                self.owed
                    .retain(|name, _| sources.keys().any(|source| topic::covers(source, name)));
            }
            Event::Ok { id } => {
                let Some(Said::Set(source, change)) = self.said.remove(&number(id)) else {
                    panic!("nothing to set: {text}");
                };
                let known = self.sources.get_mut(&source).expect("it is subscribed");
                known.options = change.apply(known.options);
                self.options_changed(&source);
            }
            Event::Published {
                id,
                topic,
                epoch,
                seq,
            } => {
                let Some(Said::Publish { value, key, .. }) = self.said.remove(&number(id)) else {
                    panic!("nothing was published: {text}");
                };
                assert_eq!(epoch, scene.epoch);
                let entry = scene
                    .truth
                    .get(&topic, seq)
                    .expect("what is answered was numbered");
                let key = key.map(|key| (topic.to_string(), key));
                let same = key.and_then(|key| scene.truth.keyed.get(&key));
                scene.tally.add("published", true);
                scene.tally.add("key repeated", entry.value != value);
                let is_its =
                    entry.value == value || same.is_some_and(|all| all.contains(&entry.value));
                assert!(is_its, "the seq of another's value: {text}");
            }
            Event::Subscriptions { id, topics } => {
                self.said.remove(&number(id)).expect("one answer a command");
                self.check_list(topics);
            }
            Event::State { id, topics, .. } => {
                self.said.remove(&number(id)).expect("one answer a command");
                for state in topics {
                    assert!(state.seq <= scene.truth.newest(&state.topic), "{text}");
                }
            }
            Event::Error {
                id: Some(id), code, ..
            } => {
                self.said
                    .remove(&number(Some(id)))
                    .expect("one answer a command");
                scene.tally.add(&format!("error {code}"), true);
            }
            Event::Error { id: None, .. } => panic!("no fault without a command: {text}"),
            _ => {}
        }
    }

    fn subscribed(
        &mut self,
        id: u64,
        said: &Said,
        lines: &[SubscribedTopicRead<'_>],
        text: &str,
        scene: &mut Scene<'_>,
    ) {
        let Said::Subscribe {
            change,
            snapshot,
            since,
            ..
        } = said
        else {
            panic!("nothing to subscribe: {text}");
        };
        let cancelled = |source: &str| self.ended.get(source).is_some_and(|end| *end > id);
        let (filters, names): (Vec<_>, Vec<_>) = (lines.iter())
            .filter(|line| !cancelled(&line.topic))
            .partition(|line| line.matched.is_some());
        let source = Source {
            options: change.apply(SubOptions::default()),
        };
        for line in names {
            let name = line.topic.to_string();
            let had = self.covers(&name);
            if !had {
                let stream = self.streams.entry(name.clone()).or_default();
                stream.begin(line, *snapshot, since.get(&name), text, scene);
                if let (Tongue::Raw, Expect::Gap { snapshot, .. }) = (self.tongue, stream.expect) {
                    stream.expect = opening(snapshot);
                }
            } else if let Some(stream) = self.streams.get_mut(&name) {
                stream.at = stream.at.or(Some(line.seq));
            }
            self.sources.insert(name.clone(), source);
            self.options_changed(&name);
        }
        let known: Vec<String> = (scene.truth.topics())
            .map(|(name, _)| name.to_owned())
            .filter(|name| self.covers(name))
            .collect();
        for line in filters {
            let had = self
                .sources
                .insert(line.topic.to_string(), source)
                .is_some();
            self.options_changed(&line.topic);
            for (name, stream) in &mut self.streams {
                let is_by_filter =
                    topic::covers(&line.topic, name) && !self.sources.contains_key(name);
                if !had && is_by_filter && !known.contains(name) {
                    *stream = Stream::default();
                }
            }
            scene.tally.add("filter subscribed", !had);
            if !had {
                self.owe(&line.topic, *snapshot, &known, scene);
            }
        }
    }

    /// A filter has begun: of every topic that it brings, a value must come in the end.
    fn owe(&mut self, filter: &str, snapshot: bool, known: &[String], scene: &Scene<'_>) {
        for name in scene.topics {
            let is_known = known.iter().any(|one| one == name) || self.owed.contains_key(name);
            let is_own = self.sources.contains_key(name);
            if topic::covers(filter, name) && !is_known && !is_own {
                self.owed.insert(name.clone(), (scene.step, snapshot));
            }
        }
    }

    /// Which intervals are under way is not known where other options count than before.
    fn options_changed(&mut self, source: &str) {
        for (name, stream) in &mut self.streams {
            if topic::covers(source, name) {
                stream.last_us = None;
            }
        }
    }

    fn check_list(&self, topics: &str) {
        let list: Vec<serde_json::Value> = serde_json::from_str(topics).expect("a list");
        let listed = list
            .iter()
            .map(|one| one["topic"].as_str().expect("a name").to_owned());
        let mut listed: Vec<String> = listed.collect();
        listed.sort_unstable();
        assert!(
            listed.iter().eq(self.sources.keys()),
            "{listed:?} {:?}",
            self.sources.keys()
        );
        for one in &list {
            let options = self.sources[one["topic"].as_str().expect("a name")].options;
            let is_latest = one["mode"] == "latest";
            assert_eq!(is_latest, options.mode == Mode::Latest, "{one}");
            let interval = one["min_interval_ms"].as_u64().unwrap_or(0);
            assert_eq!(interval, u64::from(options.min_interval_ms), "{one}");
        }
    }
}

/// Commands have numbers.
fn number(id: Option<Id<'_>>) -> u64 {
    let id = id.and_then(|id| id.0.parse().ok());
    id.expect("every command has an id")
}
