//! Static keys, for publishers above all: long random texts, of which the server's file holds hashes.
//!
//! A key has 256 bits of randomness, so a plain SHA-256 of it cannot be guessed back, and a slow hash would protect nothing. Every line
//! is compared with, in constant time, whichever fits: how long it takes says nothing about what is in the file.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use super::{AuthError, Credential, KeyError, filters};

/// What a key begins with, so that people and scanners know it for one.
const PREFIX: &str = "fk_";
/// Shorter keys could be guessed.
const KEY_BYTES_MIN: usize = 32;

type Hash = [u8; 32];

#[derive(Debug, Default)]
pub(super) struct ApiKeys(Vec<(Hash, Credential)>);

/// A key that was just made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// What its owner keeps, and shows nobody.
    pub key: String,
    /// What stands for it in the server's file.
    pub hash: String,
}

/// Makes a key of `random` bytes.
#[must_use]
pub fn new_key(random: [u8; 32]) -> NewKey {
    let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    let hash = hex(&hash_of(&key));
    NewKey { key, hash }
}

impl ApiKeys {
    /// Lines of `name hash sub=filter,… pub=filter,…`; empty ones, and those that begin with `#`, say nothing.
    pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<ApiKeys, KeyError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| KeyError::content(path, "the file is not text"))?;
        let mut keys = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = read_line(line)
                .map_err(|what| KeyError::content(path, format!("line {}: {what}", number + 1)))?;
            keys.push(key);
        }
        Ok(ApiKeys(keys))
    }

    pub(super) fn find(&self, key: &str) -> Result<Credential, AuthError> {
        let wanted = hash_of(key);
        let mut found = u64::MAX;
        for (place, (hash, _)) in self.0.iter().enumerate() {
            found.conditional_assign(&(place as u64), hash.ct_eq(&wanted));
        }
        let place = usize::try_from(found).ok();
        let entry = place.and_then(|place| self.0.get(place));
        let is_long_enough = key.len() >= KEY_BYTES_MIN;
        let credential = entry
            .filter(|_| is_long_enough)
            .map(|(_, credential)| credential.clone());
        credential.ok_or(AuthError::UnknownKey)
    }
}

fn read_line(line: &str) -> Result<(Hash, Credential), String> {
    let mut words = line.split_whitespace();
    let (Some(name), Some(hash)) = (words.next(), words.next()) else {
        return Err("a key is a name, a hash and what it may do".into());
    };
    let hash = parse_hash(hash)
        .ok_or("the hash is not 64 hexadecimal digits; 'fanfare hash-key' makes one")?;
    let mut credential = Credential {
        name: Some(name.into()),
        subscribe: Vec::new(),
        publish: Vec::new(),
        expires_s: None,
    };
    for word in words {
        let (grants, list) = match word.split_once('=') {
            Some(("sub", list)) => (&mut credential.subscribe, list),
            Some(("pub", list)) => (&mut credential.publish, list),
            _ => return Err(format!("{word:?} is neither sub=FILTER,… nor pub=FILTER,…")),
        };
        *grants = filters(list.split(','))
            .ok_or_else(|| format!("{word:?} lists what is no topic filter"))?;
    }
    Ok((hash, credential))
}

fn hash_of(key: &str) -> Hash {
    Sha256::digest(key.as_bytes()).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_hash(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    if text.len() != 2 * hash.len() || !text.is_ascii() {
        return None;
    }
    for (place, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<ApiKeys, String> {
        ApiKeys::read(Path::new("keys"), text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_key_is_found_by_its_hash_and_no_other_is() {
        let (one, two) = (new_key([1; 32]), new_key([2; 32]));
        let text = format!(
            "# ours\n\nfeed {} pub=px.>,news.* sub=px.>\ncron {} pub=a\n",
            one.hash, two.hash
        );
        let keys = read_text(&text).unwrap();
        let feed = keys.find(&one.key).unwrap();
        assert_eq!(feed.name.as_deref(), Some("feed"));
        assert_eq!(feed.publish, ["px.>".into(), "news.*".into()]);
        assert_eq!(feed.subscribe, ["px.>".into()]);
        assert_eq!(keys.find(&two.key).unwrap().name.as_deref(), Some("cron"));
        for wrong in [&new_key([3; 32]).key, "", "fk_", &one.hash, &one.key[..40]] {
            assert_eq!(keys.find(wrong), Err(AuthError::UnknownKey), "{wrong}");
        }
    }

    #[test]
    fn a_line_that_is_no_key_is_named() {
        let hash = "0".repeat(64);
        for (text, part) in [
            ("feed".to_owned(), "line 1: a key is a name"),
            ("\nfeed 0123".to_owned(), "line 2: the hash is not 64"),
            (format!("feed {}", "ü".repeat(32)), "the hash is not 64"),
            (format!("feed {hash} all=x"), "neither sub="),
            (format!("feed {hash} pub=a..b"), "no topic filter"),
            (format!("feed {hash} pub="), "no topic filter"),
        ] {
            let error = read_text(&text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
