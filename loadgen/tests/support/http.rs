//! Plain HTTP for the small server: streams of events, and polls. It holds clients to their side too: a
//! request that does not fit to what was said before is answered with 400.

use super::{Conduct, Hub, Out, Pieces, frame, subscribe};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How often a handler that waits for updates looks whether its client is still there.
const LOOK: Duration = Duration::from_millis(20);

/// Whether the client asks for something over plain HTTP rather than for a WebSocket.
pub(crate) fn is_asked_for(stream: &TcpStream) -> bool {
    let mut start = [0; 7];
    loop {
        match stream.peek(&mut start) {
            Ok(bytes) if bytes == start.len() => return start == *b"GET /v1",
            Ok(0) | Err(_) => return false,
            Ok(_) => std::thread::yield_now(),
        }
    }
}

/// Serves one connection until it ends.
pub(crate) fn serve(mut stream: Pieces, conduct: Conduct, hub: &Hub) -> Option<()> {
    let mut polled = None;
    loop {
        let request = Request::read(&mut stream).ok()?;
        if conduct == Conduct::Busy {
            let busy = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nfull\n";
            return stream.write_all(busy).ok();
        }
        if request.path == "/v1/sse" {
            return events(&mut stream, &request, conduct, hub);
        }
        poll(&mut stream, &request, &mut polled, conduct, hub)?;
    }
}

struct Request {
    path: String,
    query: BTreeMap<String, String>,
    last_event_id: Option<String>,
}

impl Request {
    fn read(stream: &mut Pieces) -> io::Result<Request> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let text = String::from_utf8(head).map_err(|_| io::ErrorKind::InvalidData)?;
        let target = text.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let id = text
            .lines()
            .find_map(|line| line.strip_prefix("Last-Event-ID: "));
        Ok(Request {
            path: path.to_owned(),
            query: pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            last_event_id: id.map(str::to_owned),
        })
    }
}

/// A stream: as on a WebSocket, each text an event, each with an id behind it.
fn events(stream: &mut Pieces, request: &Request, conduct: Conduct, hub: &Hub) -> Option<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).ok()?;
    let (sender, outbox) = channel();
    let topics: Vec<String> = request.query["topics"]
        .split(',')
        .map(str::to_owned)
        .collect();
    let mut positions = BTreeMap::new();
    match &request.last_event_id {
        _ if conduct == Conduct::Mute => {}
        Some(id) => resume(id, &topics, &sender, &mut positions, conduct, hub),
        None => subscribe(0, &topics, &sender, conduct, hub),
    }
    loop {
        let text = match outbox.recv_timeout(LOOK) {
            Ok(Out::Text(text)) => text,
            Ok(Out::Close) => r#"{"type":"closed","code":4103,"message":"slow"}"#.to_owned(),
            Ok(Out::Vanish) => return None,
            Err(RecvTimeoutError::Timeout) => {
                stream.write_all(b":\n\n").ok()?;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return None,
        };
        note(&text, &mut positions, conduct);
        let id: Vec<String> = positions
            .iter()
            .map(|(topic, seq)| format!("{topic}=e:{seq}"))
            .collect();
        let id = format!("id: {}\n", id.join(","));
        let mut event = format!(
            "data: {text}\n{}\n",
            if positions.is_empty() { "" } else { &id }
        );
        if conduct == Conduct::Torn && text.contains(r#""seq":3,"#) {
            event.truncate(event.len() / 2);
        }
        stream.write_all(event.as_bytes()).ok()?;
        if text.starts_with(r#"{"type":"closed""#) {
            return None;
        }
    }
}

/// Where the stream stands behind this text.
fn note(text: &str, positions: &mut BTreeMap<String, u64>, conduct: Conduct) {
    let event: Value = serde_json::from_str(text).unwrap();
    let ahead = u64::from(conduct == Conduct::Overstating);
    let mut set = |topic: &Value, seq: &Value| {
        if let (Some(topic), Some(seq)) = (topic.as_str(), seq.as_u64()) {
            positions.insert(topic.to_owned(), seq + ahead);
        }
    };
    match event["type"].as_str().unwrap() {
        "subscribed" => {
            for topic in event["topics"].as_array().unwrap() {
                let back = topic["count"].as_u64().unwrap_or(0);
                let seq = topic["seq"].as_u64().unwrap();
                set(&topic["topic"], &(seq - back).into());
            }
        }
        "skip" => set(&event["topic"], &event["to"]),
        "gap" => {}
        _ => set(&event["topic"], &event["seq"]),
    }
}

/// Subscribes behind the positions of an id, all that was missed being history.
fn resume(
    id: &str,
    topics: &[String],
    me: &Sender<Out>,
    positions: &mut BTreeMap<String, u64>,
    conduct: Conduct,
    hub: &Hub,
) {
    let mut hub = hub.lock().unwrap();
    let since: BTreeMap<&str, u64> = id
        .split(',')
        .map(|position| position.split_once("=e:").unwrap())
        .map(|(topic, seq)| (topic, seq.parse().unwrap()))
        .collect();
    let (mut acks, mut frames) = (Vec::new(), Vec::new());
    for name in topics {
        let topic = hub.entry(name.clone()).or_default();
        let since = since[name.as_str()];
        positions.insert(name.clone(), since);
        topic.subscribers.push(me.clone());
        let (seq, count) = (topic.seq, topic.seq.saturating_sub(since));
        acks.push(format!(
            r#"{{"topic":"{name}","epoch":"e","seq":{seq},"recovered":"full","count":{count}}}"#
        ));
        let missed = since + 1..=topic.seq;
        // The first update that was missed is the one that is forgotten.
        for seq in missed.skip(usize::from(conduct == Conduct::Forgetting)) {
            frames.push(frame(
                "history",
                name,
                seq,
                &topic.history[seq as usize - 1],
            ));
        }
    }
    let ack = format!(r#"{{"type":"subscribed","topics":[{}]}}"#, acks.join(","));
    let _ = me.send(Out::Text(ack));
    frames
        .into_iter()
        .for_each(|frame| drop(me.send(Out::Text(frame))));
}

/// What a polling connection was told, and what comes next.
pub(crate) struct Polled {
    seq: u64,
    outbox: Receiver<Out>,
}

fn poll(
    stream: &mut Pieces,
    request: &Request,
    polled: &mut Option<Polled>,
    conduct: Conduct,
    hub: &Hub,
) -> Option<()> {
    let name = request.path.strip_prefix("/v1/topics/")?;
    let Some(wait) = request.query.get("wait") else {
        let (sender, outbox) = channel();
        let mut hub = hub.lock().unwrap();
        let topic = hub.entry(name.to_owned()).or_default();
        topic.subscribers.push(sender);
        *polled = Some(Polled {
            seq: topic.seq,
            outbox,
        });
        let value = topic.last.clone();
        return answer(stream, topic.seq, value.as_deref(), conduct);
    };
    let polled = polled.as_mut().filter(|polled| {
        let query = |name: &str| request.query.get(name).map(String::as_str);
        let epoch = (polled.seq > 0).then_some("e");
        query("after") == Some(&polled.seq.to_string()) && query("epoch") == epoch && wait == "30s"
    });
    let Some(polled) = polled else {
        let refusal = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
        return stream.write_all(refusal).ok();
    };
    loop {
        let text = match polled.outbox.recv_timeout(LOOK) {
            Ok(Out::Text(text)) => text,
            Ok(Out::Close | Out::Vanish) | Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => match is_there(stream) {
                true if polled.seq == 0 && conduct == Conduct::Impatient => {
                    return stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok();
                }
                true => continue,
                false => return None,
            },
        };
        let event: Value = serde_json::from_str(&text).unwrap();
        if event["type"] == "update" {
            polled.seq = event["seq"].as_u64()?;
            // As it was published, to the byte.
            let (_, value) = text.split_once(r#""data":"#)?;
            return answer(stream, polled.seq, value.strip_suffix('}'), conduct);
        }
    }
}

fn is_there(stream: &Pieces) -> bool {
    let stream = &stream.stream;
    stream.set_nonblocking(true).unwrap();
    let is_ended = matches!(stream.peek(&mut [0]), Ok(0));
    stream.set_nonblocking(false).unwrap();
    !is_ended
}

fn answer(stream: &mut Pieces, seq: u64, value: Option<&str>, conduct: Conduct) -> Option<()> {
    let Some(value) = value else {
        let nothing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n";
        return stream.write_all(nothing).ok();
    };
    let length = value.len() - usize::from(conduct == Conduct::Torn && seq == 3);
    let tag = seq + u64::from(conduct == Conduct::Overstating);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: \"e:{tag}\"\r\nFanfare-Epoch: e\r\n\
         Fanfare-Seq: {seq}\r\nFanfare-Ts: 1\r\nContent-Length: {length}\r\n\r\n{value}"
    );
    stream.write_all(head.as_bytes()).ok()
}
