//! Server-Sent Events (HTML Standard, section 9.2): events as lines, and the positions in their ids.
//!
//! An id is a list of positions, `topic=epoch:seq`, separated by commas: where each topic of the stream stands once the event
//! has been seen. No topic holds a comma, a `=` or white space, so the list needs no escapes.

use crate::json::put_u64;

/// Where a stream stands in one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position<'t> {
    /// The topic's name.
    pub topic: &'t str,
    /// The epoch in which `seq` was counted.
    pub epoch: &'t str,
    /// The last update that was seen.
    pub seq: u64,
}

/// Appends one event with the JSON `text` as its data. What breaks lines stands between the tokens of JSON alone, and becomes lines of
/// data of their own, which a reader joins again.
pub fn put_event(out: &mut Vec<u8>, text: &[u8]) {
    for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.push(b'\n');
}

/// Most bytes of an event around a text of one line: `data: `, and the two line ends.
pub const EVENT_BYTES: usize = 8;
/// What each further line adds.
pub const LINE_BYTES: usize = 7;

/// Appends the line that names where the stream stands; it belongs to the event that follows. An empty line behind it makes it an event
/// that nobody sees, but that is remembered. Nothing is appended
/// for no position.
pub fn put_id<'t>(out: &mut Vec<u8>, positions: impl Iterator<Item = Position<'t>>) {
    let mut before: &[u8] = b"id: ";
    for position in positions {
        out.extend_from_slice(before);
        out.extend_from_slice(position.topic.as_bytes());
        out.push(b'=');
        out.extend_from_slice(position.epoch.as_bytes());
        out.push(b':');
        put_u64(out, position.seq);
        before = b",";
    }
    if before == b"," {
        out.push(b'\n');
    }
}

/// Reads an id; what is no position is left out.
pub fn positions(id: &str) -> impl Iterator<Item = Position<'_>> {
    id.split(',').filter_map(|text| {
        let (topic, rest) = text.trim().split_once('=')?;
        let (epoch, seq) = rest.rsplit_once(':')?;
        let seq = seq.parse().ok()?;
        Some(Position { topic, epoch, seq })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_was_written() {
        let list = [
            Position {
                topic: "AAPL",
                epoch: "k3f",
                seq: 7,
            },
            Position {
                topic: "a:b@c",
                epoch: "k3f",
                seq: u64::MAX,
            },
        ];
        let mut line = Vec::new();
        put_id(&mut line, list.into_iter());
        let line = String::from_utf8(line).unwrap();
        assert_eq!(line, "id: AAPL=k3f:7,a:b@c=k3f:18446744073709551615\n");
        assert!(positions(line["id: ".len()..].trim_end()).eq(list));
    }

    #[test]
    fn what_is_no_position_is_left_out() {
        for text in [
            "", "7", "a=", "a=b", "a=b:", "a=b:-1", "a=b:1x", "=", ",,", "a:1",
        ] {
            assert_eq!(positions(text).count(), 0, "{text}");
        }
    }

    #[test]
    fn a_text_of_many_lines_stays_one_event() {
        let mut out = Vec::new();
        put_event(&mut out, b"{\n\"a\":1\r\n}");
        assert_eq!(out, b"data: {\ndata: \"a\":1\ndata: \ndata: }\n\n");
        assert!(out.len() <= EVENT_BYTES + 10 + 3 * LINE_BYTES);
    }
}
