//! Arguments that say how `wss://` addresses are connected to.

use fanfare_tls::{ClientConfig, Trust};
use std::path::PathBuf;
use std::sync::Arc;

/// `--ca` and its like.
#[derive(Clone, Debug, clap::Args)]
pub struct TlsArgs {
    /// wss: believe servers with a certificate of these authorities (PEM) [default: those that the
    /// system trusts]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// wss: believe every certificate
    #[arg(long, conflicts_with = "ca")]
    pub insecure: bool,

    /// wss: resume sessions by their tickets where there are some; false: every handshake is a full
    /// one
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub tls_resume: bool,
}

impl TlsArgs {
    /// What all connections share; `None` if none of `urls` wants TLS.
    pub fn config<'u>(
        &self,
        mut urls: impl Iterator<Item = &'u String>,
    ) -> anyhow::Result<Option<Arc<ClientConfig>>> {
        if !urls.any(|url| url.starts_with("wss://")) {
            return Ok(None);
        }
        let trust = match &self.ca {
            Some(path) => Trust::Authorities(path.clone()),
            None if self.insecure => Trust::Anybody,
            None => Trust::System,
        };
        Ok(Some(trust.config(self.tls_resume)?))
    }
}
