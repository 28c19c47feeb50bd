//! How connections end. Every path counts exactly one [`Disconnect`] and gives everything back.

use fanfare_wire::close::{self, Close};
use fanfare_wire::error::ProtocolError;
use fanfare_wire::frame::{self, Opcode};

use super::conn::{Stage, flag};
use super::disconnect::Disconnect;
use super::{Engine, SocketOp};
use crate::hub::broken::{self, Break};

impl Engine {
    /// We begin the close handshake and wait for the peer's half of it.
    pub(super) fn begin_close(&mut self, index: u32, why: Disconnect) {
        if self.outlet.conns[index as usize].door.is_events() {
            return self.end_stream(index, why);
        }
        self.take_leave(index, why);
        let (code, reason) = why.close();
        self.say_close(index, Some(Close { code, reason }), why == Disconnect::Slow);
        self.outlet.conns[index as usize].stage = Stage::Closing;
    }

    /// The peer broke the protocol: it is told why, and nothing more of it is read as frames.
    pub(super) fn fail(&mut self, index: u32, error: ProtocolError) {
        let why = Disconnect::Protocol(error);
        let (code, reason) = why.close();
        if self.outlet.conns[index as usize].stage == Stage::Open {
            self.take_leave(index, why);
            self.say_close(index, Some(Close { code, reason }), false);
        }
        self.outlet.conns[index as usize].stage = Stage::Failing;
        self.outlet.mark(index);
    }

    /// The peer's Close came: answered with its own code if it was the first, and then that was all.
    pub(super) fn on_peer_close(&mut self, index: u32, close: Option<Close<'_>>) {
        if self.outlet.conns[index as usize].stage == Stage::Open {
            self.take_leave(index, Disconnect::PeerClosed);
            let echo = close.map(|close| Close {
                code: close.code,
                reason: "",
            });
            self.say_close(index, echo, false);
        }
        self.outlet.conns[index as usize].stage = Stage::Parting;
        self.outlet.mark(index);
    }

    /// An HTTP answer was queued, and it is the last thing this connection gets.
    pub(super) fn end_after_answer(&mut self, index: u32, why: Disconnect) {
        self.take_leave(index, why);
        self.outlet.conns[index as usize].stage = Stage::Failing;
        self.outlet.mark(index);
    }

    /// The connection is over at once: no more words.
    pub(super) fn finish(&mut self, index: u32, why: Disconnect) {
        if matches!(
            self.outlet.conns[index as usize].stage,
            Stage::Head | Stage::Body | Stage::Asking | Stage::Polling | Stage::Open
        ) {
            self.take_leave(index, why);
        }
        self.end_socket(index);
    }

    /// Closes the socket; the record goes at the end of the tick.
    pub(super) fn end_socket(&mut self, index: u32) {
        let id = self.id_of(index);
        let conn = &mut self.outlet.conns[index as usize];
        if conn.stage == Stage::Gone {
            return;
        }
        conn.stage = Stage::Gone;
        self.socket_ops.push_back((id, SocketOp::Close));
        self.gone.push(index);
    }

    /// Closes those whose outbox was full when something came for them.
    pub(super) fn close_overflowed(&mut self) {
        while let Some(index) = self.outlet.overflowed.pop() {
            match self.outlet.conns.get(index as usize).map(|conn| conn.stage) {
                Some(Stage::Open) => self.begin_close(index, Disconnect::Slow),
                Some(Stage::Head | Stage::Body | Stage::Asking | Stage::Polling) => {
                    self.finish(index, Disconnect::Slow);
                }
                _ => {}
            }
        }
    }

    /// What every end has in common: counted once, subscriptions and kept input given back, the close timeout started.
    fn take_leave(&mut self, index: u32, why: Disconnect) {
        self.counters.disconnects[why.ordinal()] += 1;
        let conn = &mut self.outlet.conns[index as usize];
        self.kinds[conn.door as usize] -= 1;
        self.counters.slow_ended += u64::from(conn.has(flag::SLOW));
        debug_assert!(
            matches!(
                conn.stage,
                Stage::Head | Stage::Body | Stage::Asking | Stage::Polling | Stage::Open
            ),
            "a connection ends once"
        );
        tracing::debug!(conn = index, reason = why.label(), detail = ?why, "disconnect");
        conn.partial = None;
        conn.last_seen = self.now.ms();
        if !broken::is(Break::Leak) {
            self.marks.clear(&mut conn.wait);
        }
        let mut subs = std::mem::take(&mut conn.subs);
        self.rates.forget(index);
        self.forget_peer(index);
        self.hub.unsubscribe_all(&mut subs);
        self.due
            .set(index, self.now, self.settings.close_timeout_ms);
    }

    fn say_close(&mut self, index: u32, close: Option<Close<'_>>, drop_waiting: bool) {
        self.text.clear();
        if let Some(close) = close {
            close::put_close(&mut self.text, close.code, close.reason);
        }
        self.frame.clear();
        frame::put_frame(&mut self.frame, Opcode::Close, &self.text);
        self.outlet.push_last(index, &self.frame, drop_waiting);
    }
}
