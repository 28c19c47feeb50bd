//! The incremental decoder: bytes as they arrive, cut anywhere, into messages and control frames.
//!
//! A message that lies whole in the input is unmasked there and borrowed from it, nothing is
//! copied. Only what is incomplete when the input ends is kept: the bytes of a header, the payload
//! so far. Everything a peer announces is judged before anything of it is kept, and the reader's
//! memory follows what has arrived, not what was announced. Text is UTF-8 when it is handed out,
//! and a fault in it is reported at the first byte that cannot be right.
//!
//! Compressed messages are kept as they came and inflated when they are whole, if the caller has agreed
//! on permessage-deflate and says so by calling [`Reader::next_inflating`].
//!
//! Refuses everything RFC 6455 forbids ([`ProtocolError`]), and sizes beyond [`Limits`]. Called by
//! the server's engine with [`Role::Server`] and by clients with [`Role::Client`].

use crate::close::{self, Close};
use crate::deflate::{Inflater, deflated_bytes_max};
use crate::error::ProtocolError;
use crate::frame::{HEADER_BYTES_MAX, Header, Opcode};
use crate::mask;
use crate::message::Message;

/// On which side the reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads what clients send: every frame must be masked.
    Server,
    /// Reads what a server sends: no frame may be masked.
    Client,
}

/// What a peer may send. Sizes are judged by the header, before the payload is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// On which side the reader stands.
    pub role: Role,
    /// Payload bytes of one frame.
    pub frame_bytes_max: u64,
    /// Payload bytes of a whole message. A compressed one may have so many when it is inflated, and a little more before.
    pub message_bytes_max: usize,
    /// Frames in one message.
    pub fragments_max: u32,
}

/// One message or control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// To be answered by a pong with the same payload, at most 125 bytes.
    Ping(&'a [u8]),
    /// The answer to a ping, or a sign of life.
    Pong(&'a [u8]),
    /// The peer closes. `None`: it gave no code. Nothing after it means anything.
    Close(Option<Close<'a>>),
}

/// Keeps what is incomplete between two inputs. A default one is idle and owns no heap.
#[derive(Debug, Default)]
pub struct Reader {
    /// The beginning of a header, `header_kept` bytes of it.
    header: [u8; HEADER_BYTES_MAX],
    header_kept: u8,
    /// The frame whose payload has not all arrived.
    frame: Option<Frame>,
    /// The message whose last frame has not all arrived, or the one just handed out.
    message: Message,
    /// Frames of `message` that have begun.
    fragments: u32,
    /// Payload so far of a control frame that arrives in pieces, or the one just handed out.
    control: Vec<u8>,
    /// Which of the two buffers was handed out by the last call; it is freed by the next.
    handed_out: Option<Kind>,
}

#[derive(Debug)]
struct Frame {
    header: Header,
    received_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data,
    Control,
}

impl Reader {
    /// Takes the next message or control frame off the front of `input`, advancing it. `Ok(None)`:
    /// the input is used up, and its incomplete tail is kept here; call again with what arrives
    /// next, which goes on where this ended.
    ///
    /// # Errors
    /// Everything [`ProtocolError`] names. The reader must not be used again afterwards.
    pub fn next<'s, 'a: 's>(
        &'s mut self,
        limits: &Limits,
        input: &mut &'a mut [u8],
    ) -> Result<Option<Item<'s>>, ProtocolError> {
        self.advance(limits, input, None)
    }

    /// The same on a connection on which permessage-deflate was agreed: messages may be compressed, and are inflated by
    /// `inflater`. It may be another one at each call, unless the peer keeps its context.
    ///
    /// # Errors
    /// As [`Reader::next`], and [`ProtocolError::BadDeflate`].
    pub fn next_inflating<'s, 'a: 's>(
        &'s mut self,
        limits: &Limits,
        input: &mut &'a mut [u8],
        inflater: &'s mut Inflater,
    ) -> Result<Option<Item<'s>>, ProtocolError> {
        self.advance(limits, input, Some(inflater))
    }

    #[inline]
    fn advance<'s, 'a: 's>(
        &'s mut self,
        limits: &Limits,
        input: &mut &'a mut [u8],
        inflater: Option<&'s mut Inflater>,
    ) -> Result<Option<Item<'s>>, ProtocolError> {
        self.free_handed_out();
        loop {
            let frame = match self.frame.take() {
                Some(frame) => frame,
                None => {
                    let Some(header) = self.take_header(input)? else {
                        return Ok(None);
                    };
                    self.judge(&header, limits, inflater.is_some())?;
                    if lies_whole_in(&header, input) {
                        return match inflater {
                            Some(inflater) if header.rsv1 => {
                                let payload = take_unmasked(&header, input);
                                let is_text = header.opcode == Opcode::Text;
                                inflate(inflater, is_text, payload, limits).map(Some)
                            }
                            _ => take_whole(&header, input).map(Some),
                        };
                    }
                    self.begin(header)
                }
            };
            let Some(header) = self.receive(frame, input)? else {
                return Ok(None);
            };
            if header.opcode.is_control() {
                self.handed_out = Some(Kind::Control);
                return control_item(header.opcode, &self.control).map(Some);
            }
            if !header.fin {
                continue;
            }
            if let (Message::Deflated { is_text, bytes }, Some(inflater)) =
                (&self.message, inflater)
            {
                let (is_text, bytes) = (*is_text, &**bytes);
                self.handed_out = Some(Kind::Data);
                return inflate(inflater, is_text, bytes, limits).map(Some);
            }
            self.handed_out = Some(Kind::Data);
            return self.message_item().map(Some);
        }
    }

    /// Nothing is kept: the reader may be dropped and replaced by a default one.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.header_kept == 0
            && self.frame.is_none()
            && (matches!(self.message, Message::None) || self.handed_out == Some(Kind::Data))
    }

    /// Heap held, in bytes.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.control.capacity() + self.message.capacity()
    }

    fn free_handed_out(&mut self) {
        match self.handed_out.take() {
            Some(Kind::Data) => self.message = Message::None,
            Some(Kind::Control) => self.control = Vec::new(),
            None => {}
        }
    }

    /// Takes a header off `input`; `None` keeps the part that is there.
    fn take_header(&mut self, input: &mut &mut [u8]) -> Result<Option<Header>, ProtocolError> {
        let kept = usize::from(self.header_kept);
        if kept == 0
            && let Some((header, header_bytes)) = Header::decode(input)?
        {
            take(input, header_bytes);
            return Ok(Some(header));
        }
        let added = input.len().min(HEADER_BYTES_MAX - kept);
        self.header[kept..kept + added].copy_from_slice(&input[..added]);
        let Some((header, header_bytes)) = Header::decode(&self.header[..kept + added])? else {
            self.header_kept = (kept + added) as u8;
            take(input, added);
            return Ok(None);
        };
        self.header_kept = 0;
        take(input, header_bytes - kept);
        Ok(Some(header))
    }

    /// Judges a frame by its header, who sent it, and the message it stands in. A new message is
    /// counted from here.
    fn judge(
        &mut self,
        header: &Header,
        limits: &Limits,
        may_be_deflated: bool,
    ) -> Result<(), ProtocolError> {
        match (limits.role, header.mask) {
            (Role::Server, None) => return Err(ProtocolError::Unmasked),
            (Role::Client, Some(_)) => return Err(ProtocolError::Masked),
            _ => {}
        }
        // It stands on the first frame of a message, and nowhere else (RFC 7692, section 6).
        let may_have_rsv1 =
            may_be_deflated && matches!(header.opcode, Opcode::Text | Opcode::Binary);
        if header.rsv1 && !may_have_rsv1 {
            return Err(ProtocolError::ReservedBits);
        }
        if header.opcode.is_control() {
            return Ok(());
        }
        match (header.opcode, &self.message) {
            (Opcode::Continuation, Message::None) => {
                return Err(ProtocolError::UnexpectedContinuation);
            }
            (Opcode::Continuation, _) | (_, Message::None) => {}
            _ => return Err(ProtocolError::ExpectedContinuation),
        }
        if header.payload_bytes > limits.frame_bytes_max {
            return Err(ProtocolError::FrameTooLarge);
        }
        let is_deflated = header.rsv1 || matches!(self.message, Message::Deflated { .. });
        let message_bytes_max = if is_deflated {
            deflated_bytes_max(limits.message_bytes_max)
        } else {
            limits.message_bytes_max
        };
        let room = message_bytes_max.saturating_sub(self.message.bytes());
        if header.payload_bytes > room as u64 {
            return Err(ProtocolError::MessageTooLarge);
        }
        if header.opcode != Opcode::Continuation {
            self.fragments = 0;
        }
        self.fragments += 1;
        if self.fragments > limits.fragments_max {
            return Err(ProtocolError::TooManyFragments);
        }
        Ok(())
    }

    /// Begins to keep a frame, and the message if the frame is its first.
    fn begin(&mut self, header: Header) -> Frame {
        match header.opcode {
            opcode @ (Opcode::Text | Opcode::Binary) if header.rsv1 => {
                self.message = Message::deflated(opcode == Opcode::Text);
            }
            Opcode::Text => self.message = Message::text(),
            Opcode::Binary => self.message = Message::binary(),
            _ => {}
        }
        Frame {
            header,
            received_bytes: 0,
        }
    }

    /// The message, all of whose frames have arrived.
    fn message_item(&self) -> Result<Item<'_>, ProtocolError> {
        match &self.message {
            Message::Text(text, cut) if cut.is_empty() => Ok(Item::Text(text)),
            Message::Text(..) => Err(ProtocolError::InvalidUtf8),
            Message::Binary(bytes) => Ok(Item::Binary(bytes)),
            // A caller that had an inflater when the message began, and has none now.
            Message::Deflated { .. } => Err(ProtocolError::ReservedBits),
            // Cannot be: a continuation without a message was refused by its header.
            Message::None => Err(ProtocolError::UnexpectedContinuation),
        }
    }

    /// Unmasks and keeps what `input` has of the frame's payload. Returns the header once the frame
    /// is complete.
    fn receive(
        &mut self,
        mut frame: Frame,
        input: &mut &mut [u8],
    ) -> Result<Option<Header>, ProtocolError> {
        let header = frame.header;
        // A judged frame fits usize: it has at most `message_bytes_max` bytes, or 125.
        let missing = header.payload_bytes as usize - frame.received_bytes;
        let piece = take(input, missing.min(input.len()));
        if let Some(key) = header.mask {
            mask::apply(piece, key, frame.received_bytes);
        }
        if header.opcode.is_control() {
            self.control.extend_from_slice(piece);
        } else {
            // Only the last frame of a message tells how much is still to come.
            let coming = if header.fin { missing } else { usize::MAX };
            self.message.push(piece, coming)?;
        }
        if piece.len() == missing {
            return Ok(Some(header));
        }
        frame.received_bytes += piece.len();
        self.frame = Some(frame);
        Ok(None)
    }
}

/// Whether the frame is a control frame or a whole message, and all of its payload stands at the
/// front of `input`.
fn lies_whole_in(header: &Header, input: &[u8]) -> bool {
    header.fin
        && header.opcode != Opcode::Continuation
        && header.payload_bytes <= input.len() as u64
}

/// A control frame or a whole message at the front of `input`, unmasked in place.
fn take_whole<'a>(header: &Header, input: &mut &'a mut [u8]) -> Result<Item<'a>, ProtocolError> {
    let payload = take_unmasked(header, input);
    match header.opcode {
        Opcode::Text => text_item(payload),
        Opcode::Binary => Ok(Item::Binary(payload)),
        opcode => control_item(opcode, payload),
    }
}

/// The payload at the front of `input`, unmasked in place.
fn take_unmasked<'a>(header: &Header, input: &mut &'a mut [u8]) -> &'a mut [u8] {
    let payload = take(input, header.payload_bytes as usize);
    if let Some(key) = header.mask {
        mask::apply(payload, key, 0);
    }
    payload
}

/// The message that a whole compressed payload stands for.
fn inflate<'i>(
    inflater: &'i mut Inflater,
    is_text: bool,
    payload: &[u8],
    limits: &Limits,
) -> Result<Item<'i>, ProtocolError> {
    let message = inflater.inflate(payload, limits.message_bytes_max)?;
    if is_text {
        text_item(message)
    } else {
        Ok(Item::Binary(message))
    }
}

fn text_item(payload: &[u8]) -> Result<Item<'_>, ProtocolError> {
    simdutf8::basic::from_utf8(payload)
        .map(Item::Text)
        .map_err(|_| ProtocolError::InvalidUtf8)
}

fn control_item(opcode: Opcode, payload: &[u8]) -> Result<Item<'_>, ProtocolError> {
    Ok(match opcode {
        Opcode::Ping => Item::Ping(payload),
        Opcode::Pong => Item::Pong(payload),
        _ => Item::Close(close::parse(payload)?),
    })
}

/// Splits the first `count` bytes off `input`.
fn take<'a>(input: &mut &'a mut [u8], count: usize) -> &'a mut [u8] {
    let (front, rest) = std::mem::take(input).split_at_mut(count);
    *input = rest;
    front
}
