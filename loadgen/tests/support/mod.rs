//! A small push server on tungstenite, honest or lying in one particular way, and a way to run the
//! load generator against it. It shares no code with what it tests.

// Each test binary uses a part of this, and whatever fails here fails the test.
#![allow(dead_code, clippy::unwrap_used)]

mod binary;
mod http;

use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

/// How the server behaves. The lies concern the first subscriber of each topic and its third
/// update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduct {
    /// Keeps every promise.
    Honest,
    /// Keeps every promise, in pieces of five bytes.
    Dribbling,
    /// Skips updates 3 to 5 and says so.
    Skipping,
    /// Says that there is a gap at update 3, and goes on with 5.
    Gapping,
    /// Leaves out an update.
    Losing,
    /// Leaves out every update after the third.
    Stopping,
    /// Sends an update twice.
    Repeating,
    /// Sends an update after the next one.
    Reordering,
    /// Sends an update before the ack.
    Hasty,
    /// Sends a topic that nobody subscribed to.
    Straying,
    /// Ends the connection with 4103.
    Closing,
    /// Ends the connection without a word.
    Vanishing,
    /// Does not answer subscribe commands.
    Mute,
    /// Does not answer publishes.
    Ungrateful,
    /// Refuses publishes with 3000.
    Refusing,
    /// Takes connections and says nothing at all.
    Dead,
    /// Serves ten connections, and says nothing to those that come later.
    Fainting,
    /// Over plain HTTP: half of an event is missing, or an answer is longer than it says.
    Torn,
    /// Over plain HTTP: ids and tags name a seq that has not come.
    Overstating,
    /// Over plain HTTP: what a stream missed is not all there when it resumes.
    Forgetting,
    /// Over plain HTTP: polls for a first value are over soon.
    Impatient,
    /// Over plain HTTP: there is no room.
    Busy,
}

/// A server on a port of the system's choice; its threads end with the test's process.
pub(crate) struct Server {
    pub(crate) url: String,
}

#[derive(Default)]
struct Topic {
    seq: u64,
    last: Option<String>,
    history: Vec<String>,
    subscribers: Vec<Sender<Out>>,
    held: Option<Out>,
}

#[derive(Clone)]
enum Out {
    Text(String),
    Close,
    Vanish,
}

type Hub = Arc<Mutex<HashMap<String, Topic>>>;

impl Server {
    pub(crate) fn start(conduct: Conduct) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/ws", listener.local_addr().unwrap());
        let hub = Hub::default();
        thread::spawn(move || {
            let mut silent = Vec::new();
            for (number, stream) in listener.incoming().enumerate() {
                let (Ok(stream), hub) = (stream, hub.clone()) else {
                    return;
                };
                if conduct == Conduct::Dead || conduct == Conduct::Fainting && number >= 10 {
                    silent.push(stream);
                    continue;
                }
                thread::spawn(move || serve(stream, conduct, &hub));
            }
        });
        Server { url }
    }

    /// Publishes so many updates of a topic, as a feed of the server's own.
    pub(crate) fn start_with_feed(topic: &'static str, every: Duration) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/ws", listener.local_addr().unwrap());
        let hub = Hub::default();
        let feed = hub.clone();
        // A receiver that is never written to is a clock that needs no sleep.
        let (_keep, clock) = channel::<()>();
        thread::spawn(move || {
            while clock.recv_timeout(every).is_err() {
                publish(&feed, topic, r#"{"price":187.2}"#, Conduct::Honest);
            }
        });
        thread::spawn(move || {
            let _keep = _keep;
            for stream in listener.incoming() {
                let (Ok(stream), hub) = (stream, hub.clone()) else {
                    return;
                };
                thread::spawn(move || serve(stream, Conduct::Honest, &hub));
            }
        });
        Server { url }
    }
}

/// Writes at most five bytes at a time.
struct Pieces {
    stream: TcpStream,
    at_most: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(&bytes[..bytes.len().min(self.at_most)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn serve(stream: TcpStream, conduct: Conduct, hub: &Hub) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let at_most = if conduct == Conduct::Dribbling {
        5
    } else {
        usize::MAX
    };
    let is_http = http::is_asked_for(&stream);
    let mut is_binary = false;
    let pieces = Pieces { stream, at_most };
    if is_http {
        return http::serve(pieces, conduct, hub);
    }
    let mut socket = tungstenite::accept_hdr(pieces, binary::choose(&mut is_binary)).ok()?;
    // Reading and writing take turns in this one thread.
    socket
        .get_ref()
        .stream
        .set_read_timeout(Some(Duration::from_millis(2)))
        .ok()?;
    let (sender, outbox) = channel();
    let limits = r#"{"subscriptions":9,"frame_bytes":65536,"commands_per_s":50}"#;
    let hello = r#"{"type":"hello","version":1,"conn":"c","time":1,"heartbeat_s":15,"auth":"none""#;
    sender
        .send(Out::Text(format!(r#"{hello},"limits":{limits}}}"#)))
        .ok()?;
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => answer(&text, &sender, conduct, hub)?,
            Ok(Message::Close(_)) => {
                let _ = socket.flush();
                return None;
            }
            Ok(_) => {}
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
        send_all(&mut socket, &outbox, is_binary)?;
    }
}

fn send_all(socket: &mut WebSocket<Pieces>, outbox: &Receiver<Out>, is_binary: bool) -> Option<()> {
    while let Ok(out) = outbox.try_recv() {
        match out {
            Out::Text(text) if is_binary => socket.send(binary::message(&text)).ok()?,
            Out::Text(text) => socket.send(Message::text(text)).ok()?,
            Out::Close => {
                let frame = CloseFrame {
                    code: CloseCode::Library(4103),
                    reason: "slow".into(),
                };
                socket.close(Some(frame)).ok()?;
                return None;
            }
            Out::Vanish => return None,
        }
    }
    Some(())
}

fn answer(text: &str, me: &Sender<Out>, conduct: Conduct, hub: &Hub) -> Option<()> {
    #[derive(serde::Deserialize)]
    struct Command<'a> {
        action: &'a str,
        id: u64,
        #[serde(default)]
        topics: Vec<String>,
        topic: Option<&'a str>,
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }
    let command: Command<'_> = serde_json::from_str(text).ok()?;
    let id = command.id;
    match command.action {
        "subscribe" if conduct == Conduct::Mute => {}
        "subscribe" => subscribe(id, &command.topics, me, conduct, hub),
        "publish" if conduct == Conduct::Refusing => {
            let error = format!(
                r#"{{"type":"error","id":{id},"code":3000,"name":"rate","message":"slow down"}}"#
            );
            me.send(Out::Text(error)).ok()?;
        }
        "publish" => {
            let topic = command.topic?;
            let seq = publish(hub, topic, command.data?.get(), conduct);
            if conduct != Conduct::Ungrateful {
                let ack = format!(
                    r#"{{"type":"published","id":{id},"topic":"{topic}","epoch":"e","seq":{seq}}}"#
                );
                me.send(Out::Text(ack)).ok()?;
            }
        }
        "check" => {
            let hub = hub.lock().unwrap();
            let state = |topic: &String| {
                let seq = hub.get(topic).map_or(0, |topic| topic.seq);
                format!(r#"{{"topic":"{topic}","epoch":"e","seq":{seq}}}"#)
            };
            let states: Vec<String> = command.topics.iter().map(state).collect();
            let text = format!(
                r#"{{"type":"state","id":{id},"topics":[{}]}}"#,
                states.join(",")
            );
            me.send(Out::Text(text)).ok()?;
        }
        _ => return None,
    }
    Some(())
}

fn subscribe(id: u64, topics: &[String], me: &Sender<Out>, conduct: Conduct, hub: &Hub) {
    let mut hub = hub.lock().unwrap();
    let mut acks = Vec::new();
    let mut snapshots = Vec::new();
    for name in topics {
        let topic = hub.entry(name.clone()).or_default();
        topic.subscribers.push(me.clone());
        acks.push(format!(
            r#"{{"topic":"{name}","epoch":"e","seq":{}}}"#,
            topic.seq
        ));
        snapshots.extend(
            topic
                .last
                .as_ref()
                .map(|data| frame("snapshot", name, topic.seq, data)),
        );
        if conduct == Conduct::Hasty {
            let _ = me.send(Out::Text(frame("update", name, topic.seq + 1, "1")));
        }
    }
    let ack = format!(
        r#"{{"type":"subscribed","id":{id},"topics":[{}]}}"#,
        acks.join(",")
    );
    // Whoever has left meanwhile gets nothing.
    let _ = me.send(Out::Text(ack));
    snapshots
        .into_iter()
        .for_each(|snapshot| drop(me.send(Out::Text(snapshot))));
}

fn publish(hub: &Hub, name: &str, data: &str, conduct: Conduct) -> u64 {
    let mut hub = hub.lock().unwrap();
    let topic = hub.entry(name.to_owned()).or_default();
    topic.seq += 1;
    topic.last = Some(data.to_owned());
    topic.history.push(data.to_owned());
    let update = Out::Text(frame("update", name, topic.seq, data));
    for (place, subscriber) in topic.subscribers.iter().enumerate() {
        let outs = if place == 0 {
            first_gets(conduct, name, topic.seq, &update, &mut topic.held)
        } else {
            vec![update.clone()]
        };
        outs.into_iter().for_each(|out| drop(subscriber.send(out)));
    }
    topic.seq
}

/// What the first subscriber gets instead of the update.
fn first_gets(
    conduct: Conduct,
    topic: &str,
    seq: u64,
    update: &Out,
    held: &mut Option<Out>,
) -> Vec<Out> {
    let one = vec![update.clone()];
    match (conduct, seq) {
        (Conduct::Losing, 3) => vec![],
        (Conduct::Stopping, 4..) => vec![],
        (Conduct::Repeating, 3) => vec![update.clone(), update.clone()],
        (Conduct::Reordering, 3) => {
            *held = Some(update.clone());
            vec![]
        }
        (Conduct::Reordering, 4) => one.into_iter().chain(held.take()).collect(),
        (Conduct::Straying, 3) => one
            .into_iter()
            .chain([Out::Text(frame("update", "other", 1, "1"))])
            .collect(),
        (Conduct::Closing, 3) => vec![Out::Close],
        (Conduct::Vanishing, 3) => vec![Out::Vanish],
        (Conduct::Skipping, 3) => {
            vec![Out::Text(format!(
                r#"{{"type":"skip","topic":"{topic}","from":3,"to":5,"why":"slow"}}"#
            ))]
        }
        (Conduct::Skipping, 4 | 5) => vec![],
        (Conduct::Gapping, 3) => vec![Out::Text(format!(
            r#"{{"type":"gap","topic":"{topic}","from":3,"why":"overflow","epoch":"e"}}"#
        ))],
        (Conduct::Gapping, 4) => vec![],
        _ => one,
    }
}

fn frame(kind: &str, topic: &str, seq: u64, data: &str) -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let ts = now.as_micros();
    format!(r#"{{"type":"{kind}","topic":"{topic}","seq":{seq},"ts":{ts},"data":{data}}}"#)
}

/// What a run of the load generator left behind.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The JSON report, if it was written.
    pub(crate) report: Value,
}

impl Run {
    /// The last line of the summary.
    pub(crate) fn verdict(&self) -> &str {
        self.stdout.lines().last().unwrap_or_default()
    }
}

/// Runs `fanfare-loadgen run` with these arguments, at most half a minute.
pub(crate) fn load(arguments: &str) -> Run {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let json = std::env::temp_dir().join(format!(
        "fanfare-loadgen-{}-{number}.json",
        std::process::id()
    ));
    let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_fanfare-loadgen"))
        .args(["run", "--json"])
        .arg(&json)
        .args(arguments.split_whitespace())
        .timeout(Duration::from_secs(30))
        .output()
        .unwrap();
    let report = std::fs::read(&json)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    let _ = std::fs::remove_file(&json);
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        report: report.unwrap_or_default(),
    }
}
