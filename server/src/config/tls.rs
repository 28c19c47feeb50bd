//! Where TLS is spoken, and with which certificates. The files themselves are read when the server starts.

use anyhow::{Context as _, ensure};
use fanfare_tls::ServerFiles;

use super::Options;
use crate::engine::named::NamedRule;

/// Which files to read; `None` where no TLS is spoken.
pub(super) fn files(options: &Options) -> anyhow::Result<Option<ServerFiles>> {
    let (certificates, keys) = (&options.tls_cert, &options.tls_key);
    if options.tls_listen.is_empty() {
        for (key, is_set) in [
            ("tls-cert", !certificates.is_empty()),
            ("tls-key", !keys.is_empty()),
            ("tls-client-ca", options.tls_client_ca.is_some()),
        ] {
            ensure!(!is_set, "{key} does nothing without tls-listen");
        }
        return Ok(None);
    }
    ensure!(
        !certificates.is_empty() && !keys.is_empty(),
        "tls-listen needs tls-cert and tls-key"
    );
    ensure!(
        certificates.len() == keys.len(),
        "tls-cert and tls-key come in pairs, but {} and {} were given",
        certificates.len(),
        keys.len()
    );
    let pairs = certificates.iter().cloned().zip(keys.iter().cloned());
    Ok(Some(ServerFiles {
        pairs: pairs.collect(),
        client_ca: options.tls_client_ca.clone(),
    }))
}

/// What those may do who show a certificate.
pub(super) fn client_rights(options: &Options) -> anyhow::Result<Vec<NamedRule>> {
    let rules = &options.tls_client_rights;
    ensure!(
        rules.is_empty() || options.tls_client_ca.is_some(),
        "tls-client-rights does nothing without tls-client-ca"
    );
    let read = |text: &String| text.parse().context("tls-client-rights");
    rules.iter().map(read).collect()
}
