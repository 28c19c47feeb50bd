//! From files of certificates and keys to what a server presents.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, VerifierBuilderError,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig, SupportedCipherSuite};

use crate::certificate::Facts;

/// The one protocol that is spoken inside (RFC 7301).
pub(crate) const ALPN: &[u8] = b"http/1.1";

/// Where a server's certificates and keys are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFiles {
    /// A chain, the server's own certificate first, and its key; both PEM. The first pair is for clients that name no host, or one
    /// that no certificate stands for.
    pub pairs: Vec<(PathBuf, PathBuf)>,
    /// The authorities whose client certificates are believed; `None` = none is asked for.
    pub client_ca: Option<PathBuf>,
}

/// What was made of [`ServerFiles`].
#[derive(Debug)]
pub struct Loaded {
    /// To be shared by all connections.
    pub config: Arc<ServerConfig>,
    /// One sentence for each certificate that clients refuse, or will soon.
    pub warnings: Vec<String>,
}

/// Why files are of no use; one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It holds nothing that is asked for.
    #[error("{} holds no {what} in PEM form", .path.display())]
    Empty {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// What it holds is broken.
    #[error("{} holds a {what} that cannot be read: {why}", .path.display())]
    Broken {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The key is encrypted, and there is nobody to ask for the password.
    #[error("the private key in {} is encrypted; write it without a password, as `openssl pkey -in FILE -out FILE` does", .path.display())]
    Encrypted {
        /// Which.
        path: PathBuf,
    },
    /// The key is of a kind that is not served.
    #[error("the private key in {} is none of RSA (2048 to 8192 bits), ECDSA (P-256, P-384) and Ed25519", .path.display())]
    KeyKind {
        /// Which.
        path: PathBuf,
    },
    /// Key and certificate are not a pair.
    #[error("the private key in {} does not belong to the certificate in {}", .key.display(), .certificate.display())]
    Mismatch {
        /// The key.
        key: PathBuf,
        /// The certificate.
        certificate: PathBuf,
    },
    /// No random numbers, or other things that should not be.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// Keys for session tickets, changed every six hours; a ticket is good for twelve at most.
///
/// # Errors
/// The system has no random numbers.
pub fn ticketer() -> Result<Arc<dyn ProducesTickets>, FileError> {
    ring::Ticketer::new().map_err(setup)
}

impl ServerFiles {
    /// Every file that is read.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let pairs = self
            .pairs
            .iter()
            .flat_map(|(certificate, key)| [certificate, key]);
        pairs.chain(&self.client_ca).map(PathBuf::as_path)
    }

    /// Reads all files and checks them. Sessions whose tickets `tickets` has issued can be resumed.
    ///
    /// # Errors
    /// The first [`FileError`].
    pub fn load(&self, tickets: Arc<dyn ProducesTickets>) -> Result<Loaded, FileError> {
        let provider = Arc::new(provider());
        let mut warnings = Vec::new();
        let mut own = Vec::new();
        for (certificate, key) in &self.pairs {
            let pair = Pair::read(certificate, key, &provider)?;
            let warning = pair.facts.warning.as_ref();
            warnings.extend(
                warning.map(|why| format!("the certificate in {} {why}", certificate.display())),
            );
            own.push(pair);
        }
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(setup)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(authorities(path)?);
                // Whoever shows none is anonymous; what that one may do is a matter of rights, not of TLS.
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error: VerifierBuilderError| setup(error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(BySni { own }));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.ticketer = tickets;
        // A client has one connection here, and gets a new ticket with each.
        config.send_tls13_tickets = 1;
        // What can be resumed is in the clients' tickets; nothing is kept for those who may never come back.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ignore_client_order = true;
        // No early data: a publish must not be repeated.
        config.max_early_data_size = 0;
        Ok(Loaded {
            config: Arc::new(config),
            warnings,
        })
    }
}

/// What ring offers, the cheapest of what is strong enough first: with AES in the processor that is AES-128, which costs a quarter less
/// than AES-256.
fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    let is_costly =
        |suite: &SupportedCipherSuite| !format!("{:?}", suite.suite()).contains("AES_128");
    provider.cipher_suites.sort_by_key(is_costly);
    provider
}

fn setup(error: impl std::fmt::Display) -> FileError {
    FileError::Setup(error.to_string())
}

/// A chain with its key, and what its certificate says.
#[derive(Debug)]
struct Pair {
    facts: Facts,
    key: Arc<CertifiedKey>,
}

impl Pair {
    fn read(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<Pair, FileError> {
        let chain = certificates(certificate)?;
        let broken = |why: String| FileError::Broken {
            path: certificate.to_owned(),
            what: CERTIFICATE,
            why,
        };
        let facts = (chain.first().and_then(Facts::read))
            .ok_or_else(|| broken("it is not X.509".into()))?;
        let private = private_key(key)?;
        let private = provider
            .key_provider
            .load_private_key(private)
            .map_err(|_| FileError::KeyKind {
                path: key.to_owned(),
            })?;
        let pair = CertifiedKey::new(chain, private);
        match pair.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Pair {
                facts,
                key: Arc::new(pair),
            }),
            Err(Error::InconsistentKeys(_)) => Err(FileError::Mismatch {
                key: key.to_owned(),
                certificate: certificate.to_owned(),
            }),
            Err(error) => Err(broken(error.to_string())),
        }
    }
}

const CERTIFICATE: &str = "certificate";
const PRIVATE_KEY: &str = "private key";

pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let bytes = read(path)?;
    let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|error| broken_pem(path, CERTIFICATE, &error))?;
    if chain.is_empty() {
        return Err(FileError::Empty {
            path: path.to_owned(),
            what: CERTIFICATE,
        });
    }
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    let bytes = read(path)?;
    let is_encrypted = [
        &b"ENCRYPTED PRIVATE KEY-----"[..],
        b"Proc-Type: 4,ENCRYPTED",
    ]
    .iter()
    .any(|mark| bytes.windows(mark.len()).any(|window| window == *mark));
    if is_encrypted {
        return Err(FileError::Encrypted {
            path: path.to_owned(),
        });
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| broken_pem(path, PRIVATE_KEY, &error))
}

fn broken_pem(path: &Path, what: &'static str, error: &pem::Error) -> FileError {
    let path = path.to_owned();
    match error {
        pem::Error::NoItemsFound => FileError::Empty { path, what },
        error => FileError::Broken {
            path,
            what,
            why: error.to_string(),
        },
    }
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|source| FileError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

pub(crate) fn authorities(path: &Path) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| FileError::Broken {
            path: path.to_owned(),
            what: CERTIFICATE,
            why: error.to_string(),
        })?;
    }
    Ok(roots)
}

/// Chooses the first certificate that stands for the host that the client names, and that its algorithms can verify.
#[derive(Debug)]
struct BySni {
    own: Vec<Pair>,
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let suits = |pair: &&Pair| pair.key.key.choose_scheme(schemes).is_some();
        let named = hello.server_name().and_then(|name| {
            let name = name.to_ascii_lowercase();
            let mut named = self.own.iter().filter(|pair| pair.facts.cover(&name));
            named.find(suits)
        });
        let chosen = named.or_else(|| self.own.iter().find(suits));
        chosen.map(|pair| pair.key.clone())
    }
}
