//! `fanfare.v1.bin` for the small server: what it would say as JSON, as its table of offsets has it.

#![expect(
    clippy::result_large_err,
    reason = "tungstenite fixes what a refusal holds"
)]

use serde_json::{Value, json};
use tungstenite::Message;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};

const PROTOCOL: &str = "fanfare.v1.bin";
const HEADER: &str = "Sec-WebSocket-Protocol";

/// Whether the client offers it; then it is chosen. Must be asked while the connection is upgraded.
pub(crate) fn choose(
    is_binary: &mut bool,
) -> impl FnOnce(&Request, Response) -> Result<Response, ErrorResponse> {
    |request, mut response| {
        *is_binary = request
            .headers()
            .get(HEADER)
            .is_some_and(|offered| offered == PROTOCOL);
        if *is_binary {
            response
                .headers_mut()
                .insert(HEADER, PROTOCOL.parse().unwrap());
        }
        Ok(response)
    }
}

/// The same as a message of a binary connection.
pub(crate) fn message(text: &str) -> Message {
    let event: Value = serde_json::from_str(text).unwrap();
    let kind = match event["type"].as_str().unwrap() {
        "snapshot" => 1,
        "update" => 3,
        "skip" => 5,
        "gap" => 6,
        "subscribed" => return acknowledgement(event),
        _ => return Message::text(text),
    };
    let is_data = kind <= 3;
    let seq = if is_data {
        &event["seq"]
    } else {
        &event["from"]
    };
    let mut record = vec![kind, u8::from(is_data), 0, 0];
    record.extend(alias(event["topic"].as_str().unwrap()).to_le_bytes());
    record.extend(seq.as_u64().unwrap().to_le_bytes());
    record.extend(event["ts"].as_i64().unwrap_or(0).to_le_bytes());
    match kind {
        5 => {
            record.extend(event["to"].as_u64().unwrap().to_le_bytes());
            record.push(1);
        }
        6 => {
            record.push(3);
            record.extend(event["epoch"].as_str().unwrap().bytes());
        }
        _ => record.extend(event["data"].to_string().bytes()),
    }
    Message::binary(record)
}

fn acknowledgement(mut event: Value) -> Message {
    for entry in event["topics"].as_array_mut().unwrap() {
        entry["alias"] = json!(alias(entry["topic"].as_str().unwrap()));
    }
    Message::text(event.to_string())
}

/// The number of a topic such as `load.7`; any other has one that nobody is told.
fn alias(topic: &str) -> u32 {
    let number = topic
        .rsplit_once('.')
        .and_then(|(_, number)| number.parse::<u32>().ok());
    number.map_or(u32::MAX, |number| 100 + number)
}
