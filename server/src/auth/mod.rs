//! Who somebody is: tokens and keys, checked against what the operator has given out.
//!
//! A leaf: it knows no connection and no clock; the time is passed in. A [`Keyring`] reads its files when it is opened and when it is
//! told to, and is shared by all shards. What it says of a token is a [`Credential`]: names and topic filters, which the
//! engine makes an identity of.

mod api_keys;
mod jwt;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use fanfare_wire::topic;

pub use api_keys::{NewKey, new_key};

use api_keys::ApiKeys;
use jwt::JwtKeys;

/// Longer tokens are not looked at.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Most filters that a token may list for one act.
const FILTERS_MAX: usize = 256;

/// Where keys come from, and what tokens must say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFiles {
    /// Public keys in PEM, or secrets, of tokens.
    pub jwt_keys: Vec<PathBuf>,
    /// A set of keys of tokens (RFC 7517).
    pub jwks: Option<PathBuf>,
    /// Hashes of API keys.
    pub api_keys: Option<PathBuf>,
    /// What a token's `aud` must name.
    pub audience: Option<Box<str>>,
    /// What a token's `iss` must be.
    pub issuer: Option<Box<str>>,
}

impl KeyFiles {
    /// Whether there are none, so that nobody can say who it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jwt_keys.is_empty() && self.jwks.is_none() && self.api_keys.is_none()
    }
}

/// Why the keys cannot be used; one sentence that names the file.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{path}: {what}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

impl KeyError {
    fn content(path: &Path, what: impl Into<String>) -> KeyError {
        KeyError::Content {
            path: path.into(),
            what: what.into(),
        }
    }
}

/// What a good token or key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Who it is.
    pub name: Option<Box<str>>,
    /// Filters of what may be subscribed to and read.
    pub subscribe: Vec<Box<str>>,
    /// Filters of what may be published to.
    pub publish: Vec<Box<str>>,
    /// Until when it is good, seconds since 1970; `None`: until its key is taken away.
    pub expires_s: Option<i64>,
}

/// Why a token is no good. What a peer is told says no more than it needs to mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Not a token, or longer than any.
    #[error("the token is malformed")]
    Malformed,
    /// No key here has signed it, or its algorithm is none of that key's.
    #[error("the token is not signed by a key of this server")]
    Signature,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotYet,
    /// It is for somebody else, or of somebody else.
    #[error("the token is for another audience or of another issuer")]
    Audience,
    /// It has no `exp`.
    #[error("the token has no expiry")]
    NoExpiry,
    /// What it lists are no filters.
    #[error("the token lists what is no topic filter")]
    Filters,
    /// No such key.
    #[error("the key is not known")]
    UnknownKey,
}

/// All keys, as of one moment.
#[derive(Debug)]
struct Keys {
    jwt: JwtKeys,
    api: ApiKeys,
}

/// The keys of a server.
#[derive(Debug)]
pub struct Keyring {
    files: KeyFiles,
    keys: RwLock<Arc<Keys>>,
    /// How often the keys were read again.
    version: AtomicU64,
}

impl Keyring {
    /// Reads all files.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn open(files: KeyFiles) -> Result<Keyring, KeyError> {
        let keys = RwLock::new(Arc::new(read(&files)?));
        Ok(Keyring {
            files,
            keys,
            version: AtomicU64::new(0),
        })
    }

    /// One secret and no file, for tests of those who know none.
    #[cfg(test)]
    pub(crate) fn of_secret(secret: &[u8]) -> Keyring {
        let mut jwt = JwtKeys::new(None, None);
        let path = Path::new("a secret in memory");
        jwt.add_file(path, secret).expect("it is long enough");
        let api = ApiKeys::default();
        Keyring {
            files: KeyFiles::default(),
            keys: RwLock::new(Arc::new(Keys { jwt, api })),
            version: AtomicU64::new(0),
        }
    }

    /// Reads them again. Who was let in before stays in until its credential ends.
    ///
    /// # Errors
    /// As [`Keyring::open`]; then the keys stay as they were.
    pub fn reload(&self) -> Result<(), KeyError> {
        let keys = Arc::new(read(&self.files)?);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        self.version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Changes whenever the keys may have: what was found good with another may not be any more.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Checks a token or an API key at `now_s` seconds since 1970.
    ///
    /// # Errors
    /// See [`AuthError`].
    pub fn verify(&self, token: &str, now_s: i64) -> Result<Credential, AuthError> {
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::Malformed);
        }
        let keys = self
            .keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        // A JWT is three parts; no API key has a dot in it.
        if token.contains('.') {
            keys.jwt.verify(token, now_s)
        } else {
            keys.api.find(token)
        }
    }
}

fn read(files: &KeyFiles) -> Result<Keys, KeyError> {
    let mut jwt = JwtKeys::new(files.audience.clone(), files.issuer.clone());
    for path in &files.jwt_keys {
        jwt.add_file(path, &contents(path)?)?;
    }
    if let Some(path) = &files.jwks {
        jwt.add_set(path, &contents(path)?)?;
    }
    let api = match &files.api_keys {
        Some(path) => ApiKeys::read(path, &contents(path)?)?,
        None => ApiKeys::default(),
    };
    Ok(Keys { jwt, api })
}

fn contents(path: &Path) -> Result<Vec<u8>, KeyError> {
    fs::read(path).map_err(|error| KeyError::Read {
        path: path.into(),
        error,
    })
}

/// Filters as a list of texts; `None`: one of them is none, or they are too many.
fn filters<'f>(texts: impl Iterator<Item = &'f str>) -> Option<Vec<Box<str>>> {
    let mut filters = Vec::new();
    for text in texts {
        topic::check_filter(text).ok()?;
        filters.push(text.into());
    }
    (filters.len() <= FILTERS_MAX).then_some(filters)
}
