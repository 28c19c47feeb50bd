//! What is offered, and what is agreed on (RFC 7692, section 7.1).

use std::fmt;

use super::{WINDOW_BITS_MAX, WINDOW_BITS_MIN};
use crate::handshake::{Extension, Param};

const NAME: &str = "permessage-deflate";
const SERVER_NO_CONTEXT: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT: &str = "client_no_context_takeover";
const SERVER_WINDOW: &str = "server_max_window_bits";
const CLIENT_WINDOW: &str = "client_max_window_bits";

/// What a client offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The server shall begin each message anew.
    pub server_no_context: bool,
    /// The client will begin each message anew anyway.
    pub client_no_context: bool,
    /// The server shall use no larger window, 8 to 15 bits.
    pub server_window_bits: Option<u8>,
    /// Whether the server may ask for a smaller window.
    pub client_window: ClientWindow,
}

/// What a client says of its own window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientWindow {
    /// Nothing: the server must not ask for a smaller one.
    #[default]
    Fixed,
    /// The server may ask for a smaller one.
    Any,
    /// It will not be larger than this anyway, 8 to 15 bits; and the server may ask for a smaller one.
    AtMost(u8),
}

/// What a server lets clients have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Whether the client may keep its context from one message to the next. It costs the server an
    /// [`Inflater`](super::Inflater) of the connection's own.
    pub client_context: bool,
    /// The largest window for a client that lets the server choose, 8 to 15 bits.
    pub client_window_bits: u8,
}

/// How messages are compressed on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// The server begins each message anew.
    pub server_no_context: bool,
    /// The client begins each message anew.
    pub client_no_context: bool,
    /// The server's window, if something was said about it.
    pub server_window_bits: Option<u8>,
    /// The client's window, if something was said about it.
    pub client_window_bits: Option<u8>,
}

/// Why an element of the list is no offer or answer of permessage-deflate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OfferError {
    /// Another extension.
    #[error("not permessage-deflate")]
    OtherExtension,
    /// A parameter that the extension does not have.
    #[error("unknown parameter")]
    UnknownParameter,
    /// A parameter that stands twice.
    #[error("parameter stands twice")]
    Repeated,
    /// A value where none may stand, none where one must, or one that is no number from 8 to 15 without leading zeros.
    #[error("bad value of a parameter")]
    BadValue,
    /// The answer does not keep to what was offered.
    #[error("answer exceeds the offer")]
    ExceedsOffer,
}

impl Offer {
    /// Reads an element of `Sec-WebSocket-Extensions` in a request.
    ///
    /// # Errors
    /// It is not an offer of permessage-deflate that the RFC allows, and must be declined (section 7.1).
    pub fn read(extension: &Extension<'_>) -> Result<Offer, OfferError> {
        let said = Said::read(extension)?;
        Ok(Offer {
            server_no_context: said.server_no_context,
            client_no_context: said.client_no_context,
            // Only the client's window may be named without saying how large it is.
            server_window_bits: match said.server_window {
                Some(None) => return Err(OfferError::BadValue),
                Some(bits) => bits,
                None => None,
            },
            client_window: match said.client_window {
                None => ClientWindow::Fixed,
                Some(None) => ClientWindow::Any,
                Some(Some(bits)) => ClientWindow::AtMost(bits),
            },
        })
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (client_is_named, client_bits) = match self.client_window {
            ClientWindow::Fixed => (false, None),
            ClientWindow::Any => (true, None),
            ClientWindow::AtMost(bits) => (true, Some(bits)),
        };
        Said {
            server_no_context: self.server_no_context,
            client_no_context: self.client_no_context,
            server_window: self.server_window_bits.map(Some),
            client_window: client_is_named.then_some(client_bits),
        }
        .fmt(f)
    }
}

impl Terms {
    /// What is agreed on of the extensions that a client offers: the first offer that is well-formed, because they stand in the
    /// order in which the client likes them. `None`: nothing is compressed.
    ///
    /// The server's own context is never kept, whether that was asked for or not.
    #[must_use]
    pub fn choose(&self, offered: &[Extension<'_>]) -> Option<Agreement> {
        let offer = offered.iter().find_map(|one| Offer::read(one).ok())?;
        Some(self.answer(&offer))
    }

    fn answer(&self, offer: &Offer) -> Agreement {
        let client_no_context = !self.client_context || offer.client_no_context;
        // Only a client that said so may be asked, and the largest need not be asked for.
        let window_bits = self.client_window_bits;
        let client_window_bits = match offer.client_window {
            ClientWindow::Any if window_bits < WINDOW_BITS_MAX => Some(window_bits),
            ClientWindow::AtMost(bits) if window_bits < bits => Some(window_bits),
            _ => None,
        };
        Agreement {
            server_no_context: true,
            client_no_context,
            server_window_bits: offer.server_window_bits,
            client_window_bits,
        }
    }
}

impl Agreement {
    /// Reads an element of `Sec-WebSocket-Extensions` in the answer to `offer`.
    ///
    /// # Errors
    /// It does not answer the offer as the RFC demands; the connection must be failed (section 5.1).
    pub fn read(extension: &Extension<'_>, offer: &Offer) -> Result<Agreement, OfferError> {
        let said = Said::read(extension)?;
        let bits = |window: Option<Option<u8>>| match window {
            Some(None) => Err(OfferError::BadValue),
            Some(bits) => Ok(bits),
            None => Ok(None),
        };
        let agreement = Agreement {
            server_no_context: said.server_no_context,
            client_no_context: said.client_no_context,
            server_window_bits: bits(said.server_window)?,
            client_window_bits: bits(said.client_window)?,
        };
        let is_kept = |asked: Option<u8>| {
            asked.is_none_or(|most| {
                agreement
                    .server_window_bits
                    .is_some_and(|bits| bits <= most)
            })
        };
        let keeps_to_offer = (agreement.server_no_context || !offer.server_no_context)
            && is_kept(offer.server_window_bits)
            && (agreement.client_window_bits.is_none()
                || offer.client_window != ClientWindow::Fixed);
        keeps_to_offer
            .then_some(agreement)
            .ok_or(OfferError::ExceedsOffer)
    }

    /// The longest message that the server may send compressed if it compresses with the largest window: within it, nothing
    /// can be referred to that lies farther back than the agreed window reaches.
    #[must_use]
    pub fn server_message_bytes_max(&self) -> usize {
        match self.server_window_bits {
            None | Some(WINDOW_BITS_MAX) => usize::MAX,
            Some(bits) => 1 << bits,
        }
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Said {
            server_no_context: self.server_no_context,
            client_no_context: self.client_no_context,
            server_window: self.server_window_bits.map(Some),
            client_window: self.client_window_bits.map(Some),
        }
        .fmt(f)
    }
}

/// The parameters as they stand in the header: a window may be named, with or without a value.
#[derive(Default)]
struct Said {
    server_no_context: bool,
    client_no_context: bool,
    server_window: Option<Option<u8>>,
    client_window: Option<Option<u8>>,
}

impl Said {
    fn read(extension: &Extension<'_>) -> Result<Said, OfferError> {
        if extension.name != NAME {
            return Err(OfferError::OtherExtension);
        }
        let mut said = Said::default();
        for param in &extension.params {
            match param.name {
                SERVER_NO_CONTEXT => set_flag(&mut said.server_no_context, param)?,
                CLIENT_NO_CONTEXT => set_flag(&mut said.client_no_context, param)?,
                SERVER_WINDOW => set_window(&mut said.server_window, param)?,
                CLIENT_WINDOW => set_window(&mut said.client_window, param)?,
                _ => return Err(OfferError::UnknownParameter),
            }
        }
        Ok(said)
    }
}

fn set_flag(flag: &mut bool, param: &Param<'_>) -> Result<(), OfferError> {
    if std::mem::replace(flag, true) {
        return Err(OfferError::Repeated);
    }
    match param.value {
        None => Ok(()),
        Some(_) => Err(OfferError::BadValue),
    }
}

fn set_window(window: &mut Option<Option<u8>>, param: &Param<'_>) -> Result<(), OfferError> {
    if window.is_some() {
        return Err(OfferError::Repeated);
    }
    let bits = param.value.as_deref().map(window_bits);
    *window = Some(match bits {
        None => None,
        Some(bits) => Some(bits.ok_or(OfferError::BadValue)?),
    });
    Ok(())
}

/// A number from 8 to 15, without leading zeros (RFC 7692, section 7.1.2.1).
fn window_bits(text: &str) -> Option<u8> {
    (WINDOW_BITS_MIN..=WINDOW_BITS_MAX).find(|bits| bits.to_string() == text)
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)?;
        for (name, is_set) in [
            (SERVER_NO_CONTEXT, self.server_no_context),
            (CLIENT_NO_CONTEXT, self.client_no_context),
        ] {
            if is_set {
                write!(f, "; {name}")?;
            }
        }
        for (name, window) in [
            (SERVER_WINDOW, self.server_window),
            (CLIENT_WINDOW, self.client_window),
        ] {
            match window {
                Some(Some(bits)) => write!(f, "; {name}={bits}")?,
                Some(None) => write!(f, "; {name}")?,
                None => {}
            }
        }
        Ok(())
    }
}
