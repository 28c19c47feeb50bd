//! Publishes from a thread that is no shard: what the built-in feeds write to.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::feed::Sink;
use crate::hub::Charter;
use crate::hub::mail::{Mail, Reply, Request};
use crate::hub::update::{Form, Payload};
use crate::mesh::Mesh;

/// How long a publisher waits before it tries a full owner again, and how soon it notices a stop.
const RETRY: Duration = Duration::from_millis(1);
const STOP_CHECK: Duration = Duration::from_millis(50);

/// A publisher beside the shards. It is held back while an owner is full.
pub struct Feeder {
    mesh: Arc<Mesh>,
    charter: Charter,
}

impl Feeder {
    /// Publishes through `mesh` to owners by `charter`.
    #[must_use]
    pub fn new(mesh: Arc<Mesh>, charter: Charter) -> Feeder {
        Feeder { mesh, charter }
    }
}

impl Sink for Feeder {
    fn publish(&mut self, topic: &str, json: &[u8]) -> ControlFlow<()> {
        let owner = self.charter.owner_of(topic);
        let payload = Payload::new(Form::Json, json);
        let request = Request::Publish {
            topic: topic.into(),
            payload,
            key: None,
            reply: Reply::None,
        };
        let mut mail = Mail {
            requests: vec![request],
            deliveries: Vec::new(),
        };
        loop {
            if self.mesh.is_stopping() {
                return ControlFlow::Break(());
            }
            mail = self.mesh.post(owner, mail);
            if mail.is_empty() {
                return ControlFlow::Continue(());
            }
            thread::park_timeout(RETRY);
        }
    }

    fn wait_until(&mut self, deadline: Instant) -> ControlFlow<()> {
        loop {
            if self.mesh.is_stopping() {
                return ControlFlow::Break(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return ControlFlow::Continue(());
            }
            thread::park_timeout(left.min(STOP_CHECK));
        }
    }
}
