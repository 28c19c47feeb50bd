//! Whom `fanfare sub` and `fanfare pub` believe at the other end of a `wss://` URL.

use std::path::PathBuf;

use fanfare_tls::Trust;

/// The flags that both have.
#[derive(Debug, clap::Args)]
pub(super) struct TrustArgs {
    /// Believe servers with a certificate of these authorities (PEM), and no others [default: those that the system trusts]
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    ca: Option<PathBuf>,

    /// Believe every certificate: for tests, never where it matters
    #[arg(long, conflicts_with = "ca", help_heading = "TLS")]
    insecure: bool,
}

impl TrustArgs {
    pub(super) fn trust(&self) -> Trust {
        match &self.ca {
            Some(path) => Trust::Authorities(path.clone()),
            None if self.insecure => Trust::Anybody,
            None => Trust::System,
        }
    }
}
