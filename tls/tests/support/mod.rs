//! Certificates of an authority of our own, as files.

// Each test binary uses another part of it.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fanfare_tls::{
    ClientChannel, ClientConfig, Fault, ServerChannel, ServerFiles, Trust, ticketer,
};
use fanfare_tls::{Received, ServerConfig, ServerName};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// An authority whose certificates are files in a folder that goes with it.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Authority {
    pub(crate) fn new() -> Authority {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority");
        let key = KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap();
        std::fs::write(folder.join("ca.pem"), own.pem()).unwrap();
        Authority {
            issuer: Issuer::new(params, key),
            folder,
        }
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A certificate for these hosts, and its key.
    pub(crate) fn issue(&self, hosts: &[&str]) -> (PathBuf, PathBuf) {
        self.issue_with(hosts, |_| {})
    }

    pub(crate) fn issue_with(
        &self,
        hosts: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> (PathBuf, PathBuf) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).into()).collect();
        let stem = hosts
            .first()
            .map_or("nobody", |host| host.as_str())
            .replace('*', "any");
        let mut params = CertificateParams::new(hosts).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, stem.clone());
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let paths = (
            self.path(&format!("{stem}.pem")),
            self.path(&format!("{stem}.key")),
        );
        std::fs::write(&paths.0, certificate.pem()).unwrap();
        std::fs::write(&paths.1, key.serialize_pem()).unwrap();
        paths
    }

    /// What a server with one certificate for `localhost` presents.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let files = ServerFiles {
            pairs: vec![self.issue(&["localhost"])],
            client_ca: None,
        };
        files.load(ticketer().unwrap()).unwrap().config
    }

    /// A client of one version alone, `0x0303` or `0x0304`.
    pub(crate) fn client_of(&self, version: u16) -> Arc<ClientConfig> {
        let version = match version {
            0x0303 => &rustls::version::TLS12,
            _ => &rustls::version::TLS13,
        };
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(self.ca()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap();
        Arc::new(config.with_root_certificates(roots).with_no_client_auth())
    }

    /// A client that shows a certificate.
    pub(crate) fn client_with(&self, (certificate, key): &(PathBuf, PathBuf)) -> Arc<ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(self.ca()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(certificate).unwrap()],
                PrivateKeyDer::from_pem_file(key).unwrap(),
            );
        Arc::new(config.unwrap())
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Trust::Authorities(self.ca()).config(true).unwrap()
    }
}

/// Both ends, with what each has sent and the other has not taken.
pub(crate) struct Pair {
    pub(crate) client: ClientChannel,
    pub(crate) server: ServerChannel,
    pub(crate) to_client: Vec<u8>,
    pub(crate) to_server: Vec<u8>,
    /// What each has received.
    pub(crate) at_client: Vec<u8>,
    pub(crate) at_server: Vec<u8>,
    pub(crate) client_ended: bool,
    pub(crate) server_ended: bool,
    buffer: Vec<u8>,
}

impl Pair {
    pub(crate) fn new(client: Arc<ClientConfig>, server: Arc<ServerConfig>, host: &str) -> Pair {
        let host = ServerName::try_from(host.to_owned()).unwrap();
        let mut pair = Pair {
            client: ClientChannel::connect(client, host).unwrap(),
            server: ServerChannel::accept(server).unwrap(),
            to_client: Vec::new(),
            to_server: Vec::new(),
            at_client: Vec::new(),
            at_server: Vec::new(),
            client_ended: false,
            server_ended: false,
            buffer: vec![0; 64 * 1024],
        };
        let Pair {
            client,
            to_server,
            at_client,
            ..
        } = &mut pair;
        client.receive(&mut [], at_client, to_server).unwrap();
        pair
    }

    /// Hands over what has been sent, in pieces of `piece` bytes, until nobody has anything to say.
    pub(crate) fn exchange(&mut self, piece: usize) -> Result<(), Fault> {
        while !self.to_client.is_empty() || !self.to_server.is_empty() {
            let sent = std::mem::take(&mut self.to_server);
            for piece in sent.chunks(piece) {
                let at = self.server.restore(&mut self.buffer);
                self.buffer[at..at + piece.len()].copy_from_slice(piece);
                let whole = &mut self.buffer[..at + piece.len()];
                let Received { ended, .. } =
                    self.server
                        .receive(whole, &mut self.at_server, &mut self.to_client)?;
                self.server_ended |= ended;
            }
            let sent = std::mem::take(&mut self.to_client);
            for piece in sent.chunks(piece) {
                let at = self.client.restore(&mut self.buffer);
                self.buffer[at..at + piece.len()].copy_from_slice(piece);
                let whole = &mut self.buffer[..at + piece.len()];
                let Received { ended, .. } =
                    self.client
                        .receive(whole, &mut self.at_client, &mut self.to_server)?;
                self.client_ended |= ended;
            }
        }
        Ok(())
    }
}
