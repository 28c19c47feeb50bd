//! TLS as bytes in and bytes out, for the server, the clients and the load generator alike.
//!
//! A [`Channel`] is one end of a connection. It does no I/O and owns no buffers while it is idle: ciphertext is decrypted in the
//! buffer it was read into, what is to be sent goes into a buffer that many connections share, and only the beginning of a record
//! whose end has not come yet is kept. [`ServerFiles`] are certificates and keys, from which a [`ServerConfig`] is made; [`Trust`] is
//! whom a client believes. Versions 1.2 and 1.3, no early data, no renegotiation.

mod blocking;
mod certificate;
mod channel;
mod client;
mod server;
mod tickets;

pub use blocking::Stream;
pub use certificate::peer_name;
pub use channel::{Channel, ClientChannel, Fault, RECORD_BYTES_MAX, Received, Role, ServerChannel};
pub use client::{Trust, TrustError};
pub use rustls::pki_types::ServerName;
pub use rustls::server::ProducesTickets;
pub use rustls::{ClientConfig, ServerConfig};
pub use server::{FileError, Loaded, ServerFiles, ticketer};
