//! fanfare's long poll: a subscriber asks for its one topic again and again, each time for what comes
//! behind what it has.

use super::Said;
use crate::http::{self, Answer, Polled};
use crate::target::Target;
use std::time::Duration;

/// How long a poll waits. Not more than servers grant.
const WAIT: Duration = Duration::from_secs(30);

/// Where one subscriber stands in its topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Poller {
    has_begun: bool,
    seq: u64,
    /// Empty: the topic has had no value yet.
    epoch: String,
}

impl Poller {
    /// Writes the next poll: for whatever there is at first, then for what comes next.
    pub fn ask(&self, out: &mut Vec<u8>, target: &Target, topic: &str) {
        let epoch = (!self.epoch.is_empty()).then_some(&*self.epoch);
        let wait = self.has_begun.then_some((WAIT, self.seq, epoch));
        http::put_poll_request(out, target, topic, wait);
    }

    /// Reads an answer; the first one is the ack. The error is a sentence.
    pub fn hear(
        &mut self,
        answer: &Answer<'_>,
        mut say: impl FnMut(Said<'_>),
    ) -> Result<(), String> {
        let polled = Polled::read(answer)?;
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        match polled {
            Polled::Value { epoch, seq, .. } if is_first => {
                epoch.clone_into(&mut self.epoch);
                self.seq = seq;
                say(Said::Acked(1));
            }
            Polled::NoValue if is_first => say(Said::Acked(1)),
            Polled::Value {
                epoch,
                seq,
                payload,
                ..
            } => {
                if !self.epoch.is_empty() && self.epoch != epoch {
                    return Err("the server counts anew".to_owned());
                }
                let Some(passed_over) = seq.checked_sub(self.seq.saturating_add(1)) else {
                    return Err(format!("seq {seq} to a poll behind {}", self.seq));
                };
                self.seq = seq;
                epoch.clone_into(&mut self.epoch);
                if passed_over > 0 {
                    say(Said::Skipped(passed_over));
                }
                say(Said::Delivery(payload));
            }
            Polled::Nothing if !is_first => say(Said::Aside),
            Polled::NoValue | Polled::Nothing | Polled::Refused(_) => {
                return Err(format!("a poll answered by {}", answer.status));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::AnswerReader;
    use crate::protocol::tests::heard_by;

    /// What these answers to the polls of one subscriber say, each `status`, or `epoch:seq` of a value.
    fn heard(answers: &[&str]) -> Vec<String> {
        let mut poller = Poller::default();
        let text = |answer: &&str| match answer.split_once(':') {
            None => format!("HTTP/1.1 {answer} X\r\nContent-Length: 0\r\n\r\n"),
            Some((epoch, seq)) => format!(
                "HTTP/1.1 200 OK\r\nETag: \"{answer}\"\r\nFanfare-Epoch: {epoch}\r\n\
                 Fanfare-Seq: {seq}\r\nFanfare-Ts: 1\r\nContent-Length: 1\r\n\r\n7"
            ),
        };
        let mut heard = Vec::new();
        for answer in answers.iter().map(text) {
            let mut reader = AnswerReader::default();
            let read = reader.read(answer.as_bytes(), |answer| {
                heard.push(heard_by(b"", |_, say| poller.hear(&answer, say)));
            });
            read.unwrap();
        }
        heard
    }

    #[test]
    fn answers_are_deliveries_and_what_they_pass_over_is_skipped() {
        let value = r#"Delivery("7")"#;
        let skipped = format!("Skipped(2) {value}");
        for (answers, expected) in [
            (
                &["404", "204", "e:1", "e:2"][..],
                &["Acked(1)", "Aside", value, value][..],
            ),
            (&["e:5", "e:6", "e:9"], &["Acked(1)", value, &skipped]),
            (
                &["e:5", "e:5"],
                &["Acked(1)", "fault: seq 5 to a poll behind 5"],
            ),
            (
                &["e:5", "e:3"],
                &["Acked(1)", "fault: seq 3 to a poll behind 5"],
            ),
            (
                &["e:5", "f:6"],
                &["Acked(1)", "fault: the server counts anew"],
            ),
            (
                &["e:5", "404"],
                &["Acked(1)", "fault: a poll answered by 404"],
            ),
            (&["503"], &["fault: a poll answered by 503"]),
            (&["204"], &["fault: a poll answered by 204"]),
        ] {
            assert_eq!(heard(answers), expected, "{answers:?}");
        }
    }

    #[test]
    fn each_poll_names_where_the_last_answer_stood() {
        let target = Target::resolve("ws://127.0.0.1:9001/ws", None).unwrap();
        let asked = |poller: &Poller| {
            let mut out = Vec::new();
            poller.ask(&mut out, &target, "t0");
            String::from_utf8(out).unwrap()
        };
        let mut poller = Poller::default();
        assert!(asked(&poller).starts_with("GET /v1/topics/t0 HTTP"));
        poller.has_begun = true;
        assert!(asked(&poller).starts_with("GET /v1/topics/t0?wait=30s&after=0 HTTP"));
        (poller.seq, poller.epoch) = (7, "e".to_owned());
        assert!(asked(&poller).starts_with("GET /v1/topics/t0?wait=30s&after=7&epoch=e HTTP"));
    }
}
