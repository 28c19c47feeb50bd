//! JSON Web Tokens (RFC 7519), signed with HS256, RS256, ES256 or EdDSA.
//!
//! Each key is good for one algorithm, that of its file, and a token is checked with keys of the algorithm that it names and no others: a
//! public key never serves as a secret, and `none` is the algorithm of no key. Times and names are judged here, with the time that is
//! passed in.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::verify;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey, decode_header};
use serde::Deserialize;

use super::{AuthError, Credential, KeyError, filters};

/// The issuer's clock may be so far ahead.
const LEEWAY_S: i64 = 30;
/// A secret that is shorter can be guessed from one token (RFC 7518, section 3.2).
const SECRET_BYTES_MIN: usize = 32;

struct Key {
    algorithm: Algorithm,
    id: Option<String>,
    key: DecodingKey,
}

pub(super) struct JwtKeys {
    keys: Vec<Key>,
    audience: Option<Box<str>>,
    issuer: Option<Box<str>>,
}

impl std::fmt::Debug for JwtKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Secrets have no business in a log.
        write!(f, "{} keys of tokens", self.keys.len())
    }
}

/// What a token may say. Unknown claims are ignored.
#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
    nbf: Option<f64>,
    #[serde(default)]
    aud: Option<OneOrMany>,
    iss: Option<String>,
    /// A text is who it is; a list is what may be subscribed to.
    sub: Option<OneOrMany>,
    name: Option<String>,
    subscribe: Option<OneOrMany>,
    #[serde(rename = "pub", alias = "publish")]
    publish: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn as_slice(&self) -> &[String] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }
}

impl JwtKeys {
    pub(super) fn new(audience: Option<Box<str>>, issuer: Option<Box<str>>) -> JwtKeys {
        JwtKeys {
            keys: Vec::new(),
            audience,
            issuer,
        }
    }

    /// A public key in PEM, or a secret.
    pub(super) fn add_file(&mut self, path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
        let text = bytes.trim_ascii();
        let (algorithm, key) = if text.starts_with(b"-----BEGIN") {
            public_key(text).ok_or_else(|| {
                KeyError::content(path, "not a public key of RSA, P-256 or Ed25519 in PEM")
            })?
        } else if text.len() < SECRET_BYTES_MIN {
            let what = format!("a secret has at least {SECRET_BYTES_MIN} bytes");
            return Err(KeyError::content(path, what));
        } else {
            (Algorithm::HS256, DecodingKey::from_secret(text))
        };
        self.keys.push(Key {
            algorithm,
            id: None,
            key,
        });
        Ok(())
    }

    /// A set of keys as JSON. Keys for other uses, and of kinds that are not spoken here, are left out.
    pub(super) fn add_set(&mut self, path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
        let set: JwkSet = serde_json::from_slice(bytes).map_err(|error| {
            KeyError::content(path, format!("not a set of keys (RFC 7517): {error}"))
        })?;
        let before = self.keys.len();
        for jwk in &set.keys {
            let is_for_signing =
                !matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption));
            let Some(algorithm) = algorithm_of(jwk).filter(|_| is_for_signing) else {
                continue;
            };
            let key = DecodingKey::from_jwk(jwk)
                .map_err(|error| KeyError::content(path, format!("a key that is none: {error}")))?;
            self.keys.push(Key {
                algorithm,
                id: jwk.common.key_id.clone(),
                key,
            });
        }
        if self.keys.len() == before {
            return Err(KeyError::content(
                path,
                "no key in it is for HS256, RS256, ES256 or EdDSA",
            ));
        }
        Ok(())
    }

    pub(super) fn verify(&self, token: &str, now_s: i64) -> Result<Credential, AuthError> {
        let header = decode_header(token).map_err(|_| AuthError::Malformed)?;
        // What a token calls critical must be understood (RFC 7515, section 4.1.11), and nothing of the kind is here.
        if header.crit.is_some() {
            return Err(AuthError::Malformed);
        }
        let is_candidate = |key: &&Key| {
            key.algorithm == header.alg
                && match (&header.kid, &key.id) {
                    (Some(wanted), Some(id)) => wanted == id,
                    _ => true,
                }
        };
        let (message, signature) = token.rsplit_once('.').ok_or(AuthError::Malformed)?;
        let (_, claims) = message.split_once('.').ok_or(AuthError::Malformed)?;
        let is_signed = |key: &Key| {
            verify(signature, message.as_bytes(), &key.key, key.algorithm).unwrap_or(false)
        };
        if signature.is_empty() || !self.keys.iter().filter(is_candidate).any(is_signed) {
            return Err(AuthError::Signature);
        }
        // Read here and not by the library, whose reader stumbles over a list in `sub`.
        let claims = URL_SAFE_NO_PAD
            .decode(claims)
            .map_err(|_| AuthError::Malformed)?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| AuthError::Malformed)?;
        self.judge(&claims, now_s)?;
        credential(&claims)
    }

    fn judge(&self, claims: &Claims, now_s: i64) -> Result<(), AuthError> {
        let expires = claims.exp.ok_or(AuthError::NoExpiry)?;
        if expires <= now_s as f64 {
            return Err(AuthError::Expired);
        }
        if claims
            .nbf
            .is_some_and(|from| from > (now_s + LEEWAY_S) as f64)
        {
            return Err(AuthError::NotYet);
        }
        let is_issuer =
            (self.issuer.as_ref()).is_none_or(|ours| claims.iss.as_deref() == Some(&**ours));
        let names = claims.aud.as_ref().map_or(&[][..], OneOrMany::as_slice);
        let is_audience =
            (self.audience.as_ref()).is_none_or(|ours| names.iter().any(|name| **name == **ours));
        if is_issuer && is_audience {
            Ok(())
        } else {
            Err(AuthError::Audience)
        }
    }
}

fn credential(claims: &Claims) -> Result<Credential, AuthError> {
    let (name, listed) = match &claims.sub {
        Some(OneOrMany::One(name)) => (Some(name), None),
        Some(many) => (claims.name.as_ref(), Some(many)),
        None => (claims.name.as_ref(), None),
    };
    let listed = [listed, claims.subscribe.as_ref()].into_iter().flatten();
    let subscribe = listed.flat_map(OneOrMany::as_slice).map(String::as_str);
    let publish = claims.publish.iter().flat_map(OneOrMany::as_slice);
    Ok(Credential {
        name: name.map(|name| name.as_str().into()),
        subscribe: filters(subscribe).ok_or(AuthError::Filters)?,
        publish: filters(publish.map(String::as_str)).ok_or(AuthError::Filters)?,
        // Far beyond any clock it is as good as never.
        expires_s: claims.exp.map(|expires| expires as i64),
    })
}

/// A public key and the one algorithm that it is good for.
fn public_key(pem: &[u8]) -> Option<(Algorithm, DecodingKey)> {
    let title = pem.split(|byte| *byte == b'\n').next()?.trim_ascii_end();
    // A private key has no business on a server that only checks.
    if !title.ends_with(b"PUBLIC KEY-----") {
        return None;
    }
    let rsa = || {
        DecodingKey::from_rsa_pem(pem)
            .ok()
            .map(|key| (Algorithm::RS256, key))
    };
    let ec = || {
        DecodingKey::from_ec_pem(pem)
            .ok()
            .map(|key| (Algorithm::ES256, key))
    };
    let ed = || {
        DecodingKey::from_ed_pem(pem)
            .ok()
            .map(|key| (Algorithm::EdDSA, key))
    };
    rsa().or_else(ec).or_else(ed)
}

/// The one algorithm that a key of a set is good for; `None`: it is not spoken here.
fn algorithm_of(jwk: &Jwk) -> Option<Algorithm> {
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        AlgorithmParameters::OctetKey(_) => (Algorithm::HS256, KeyAlgorithm::HS256),
        _ => return None,
    };
    (jwk.common.key_algorithm.is_none_or(|own| own == named)).then_some(algorithm)
}

#[cfg(test)]
mod tests;
