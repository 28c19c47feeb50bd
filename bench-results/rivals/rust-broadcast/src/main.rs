//! A push server on axum and tokio: a task for each connection, a broadcast channel for each topic.
//!
//! Commands are text: `sub NAME,NAME…`, answered by `ok`, and `pub NAME PAYLOAD`, whose payload every
//! subscriber of the topic gets as it is. On /echo every message comes back. Prints where it
//! listens, then `ready`.

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::broadcast;
use tokio_stream::StreamMap;
use tokio_stream::wrappers::BroadcastStream;

/// Updates that may wait for a subscriber.
const CAPACITY: usize = 256;
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// The topics, by name.
#[derive(Clone, Default)]
struct Topics(Arc<Mutex<HashMap<String, broadcast::Sender<Utf8Bytes>>>>);

impl Topics {
    fn get(&self, name: &str) -> broadcast::Sender<Utf8Bytes> {
        let mut topics = self.0.lock().expect("nobody panics while holding it");
        if let Some(topic) = topics.get(name) {
            return topic.clone();
        }
        let topic = broadcast::Sender::new(CAPACITY);
        topics.insert(name.to_owned(), topic.clone());
        topic
    }
}

type Subscriptions = StreamMap<String, BroadcastStream<Utf8Bytes>>;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let argument = std::env::args().nth(1).unwrap_or_default();
    if argument == "--version" {
        println!("rust-broadcast {}", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    let app = Router::new()
        .route("/", get(push))
        .route("/echo", get(echo))
        .with_state(Topics::default());
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    let port = argument.parse().unwrap_or(0);
    socket.bind(([127, 0, 0, 1], port).into())?;
    let listener = socket.listen(4096)?;
    println!("listening on ws://{}\nready", listener.local_addr()?);
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // It ends at once if it has ended already.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, app).await
}

async fn push(upgrade: WebSocketUpgrade, State(topics): State<Topics>) -> Response {
    upgrade.on_upgrade(|socket| async move {
        // How a connection ends is nobody's business here.
        let _ = serve(socket, &topics).await;
    })
}

async fn serve(mut socket: WebSocket, topics: &Topics) -> Result<(), axum::Error> {
    let mut subscriptions = Subscriptions::new();
    loop {
        tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => obey(&text, &mut socket, &mut subscriptions, topics).await?,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Ok(()),
            },
            Some((_, update)) = subscriptions.next() => {
                deliver(&mut socket, update).await?;
                // What is there already goes out with the same write.
                while let Some(Some((_, update))) = subscriptions.next().now_or_never() {
                    deliver(&mut socket, update).await?;
                }
                socket.flush().await?;
            }
        }
    }
}

async fn deliver<E>(
    socket: &mut WebSocket,
    update: Result<Utf8Bytes, E>,
) -> Result<(), axum::Error> {
    match update {
        Ok(payload) => socket.feed(Message::Text(payload)).await,
        // Too slow: some are lost, and the client counts them.
        Err(_) => Ok(()),
    }
}

async fn obey(
    text: &Utf8Bytes,
    socket: &mut WebSocket,
    subscriptions: &mut Subscriptions,
    topics: &Topics,
) -> Result<(), axum::Error> {
    let reply = match text.split_once(' ') {
        Some(("sub", names)) => {
            for name in names.split(',') {
                let stream = BroadcastStream::new(topics.get(name).subscribe());
                subscriptions.insert(name.to_owned(), stream);
            }
            "ok"
        }
        Some(("pub", rest)) if rest.contains(' ') => {
            let (name, payload) = rest.split_once(' ').unwrap_or((rest, ""));
            // An error says that nobody listens.
            let _ = topics.get(name).send(payload.into());
            return Ok(());
        }
        _ => "what?",
    };
    socket.send(Message::text(reply)).await
}

async fn echo(upgrade: WebSocketUpgrade) -> Response {
    let upgrade = upgrade
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX);
    upgrade.on_upgrade(|mut socket| async move {
        while let Some(Ok(message)) = socket.recv().await {
            let is_data = matches!(message, Message::Text(_) | Message::Binary(_));
            if is_data && socket.send(message).await.is_err() {
                return;
            }
        }
    })
}
