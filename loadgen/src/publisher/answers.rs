//! What the server says to publishers: reads a line's socket, matches each answer with the publish
//! that it belongs to, books it.

use super::line::Line;
use super::{Publisher, PublisherReport};
use crate::dialect::Heard;
use crate::link::Message;
use fanfare_wire::binary::Aliases;
use mio::event::Event;

impl Publisher {
    pub(super) fn on_ready(&mut self, index: usize, event: &Event) {
        let Publisher {
            plan,
            lines,
            buffer,
            report,
            ..
        } = self;
        let Line {
            link: Some(link), ..
        } = &mut lines[index]
        else {
            return;
        };
        let was_open = link.is_open();
        // Answers are collected first: the link is borrowed while it reads.
        let mut answers: Vec<(Answer, u64)> = Vec::new();
        let mut bytes = 0;
        let ended = loop {
            let read = link.read(
                buffer,
                event.is_read_closed() || event.is_error(),
                |message, at_ns| {
                    let Message::Item(message) = message else {
                        return;
                    };
                    match plan.dialect.hear(message, &mut Aliases::default()) {
                        Ok(Heard::Published { id: Some(id), seq }) => {
                            answers.push((Answer::Taken { id, seq }, at_ns));
                        }
                        Ok(Heard::Refused { id, label }) => {
                            answers.push((Answer::Refused { id, label }, at_ns));
                        }
                        Ok(Heard::Published { id: None, .. }) | Err(_) => {
                            answers.push((Answer::Odd, at_ns));
                        }
                        Ok(_) => {}
                    }
                },
            );
            bytes += read.bytes;
            if read.ended.is_some() || !read.more {
                break read.ended;
            }
        };
        self.bytes_in += bytes as u64;
        let line = &mut lines[index];
        for (answer, at_ns) in answers {
            book(report, line, answer, at_ns);
        }
        if let Some(error) = ended {
            self.on_end(index, was_open, &error);
        }
    }
}

/// An answer to a publish.
enum Answer {
    Taken { id: u64, seq: u64 },
    Refused { id: Option<u64>, label: String },
    Odd,
}

fn book(report: &mut PublisherReport, line: &mut Line, answer: Answer, at_ns: u64) {
    match answer {
        Answer::Taken { id, seq } => {
            let Some(pending) = line.on_answer(id) else {
                report.odd_answers += 1;
                return;
            };
            report.acked += 1;
            report.ack.record_between(pending.intended_ns, at_ns);
            report.acks[pending.topic as usize].add(seq);
        }
        Answer::Refused { id, label } => {
            report.refused.add(&label);
            if let Some(id) = id
                && line.on_answer(id).is_none()
            {
                report.odd_answers += 1;
            }
        }
        Answer::Odd => report.odd_answers += 1,
    }
}
