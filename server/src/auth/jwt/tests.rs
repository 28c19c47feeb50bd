//! Good tokens, and every attack on them that has a name.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;

const NOW_S: i64 = 1_790_000_000;
const SECRET: &[u8] = b"a secret of thirty-two bytes, or more";
const RSA_KEY: &[u8] = include_bytes!("../testdata/rsa.key");
const RSA_PEM: &[u8] = include_bytes!("../testdata/rsa.pem");
const EC_KEY: &[u8] = include_bytes!("../testdata/ec.key");
const EC_PEM: &[u8] = include_bytes!("../testdata/ec.pem");
const ED_KEY: &[u8] = include_bytes!("../testdata/ed.key");
const ED_PEM: &[u8] = include_bytes!("../testdata/ed.pem");

fn keys_of(files: &[&[u8]]) -> JwtKeys {
    let mut keys = JwtKeys::new(Some("fanfare".into()), Some("us".into()));
    for file in files {
        keys.add_file(Path::new("key"), file).unwrap();
    }
    keys
}

fn good_claims() -> Value {
    json!({"exp": NOW_S + 60, "aud": "fanfare", "iss": "us", "sub": "ann", "subscribe": ["px.>"], "pub": ["chat"]})
}

fn with(mut claims: Value, key: &str, value: Value) -> Value {
    claims[key] = value;
    claims
}

fn signed(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, key).unwrap()
}

fn by_secret(claims: &Value) -> String {
    signed(Algorithm::HS256, &EncodingKey::from_secret(SECRET), claims)
}

/// A token put together by hand, so that nothing is checked on the way.
fn forged(header: &str, claims: &Value, signature: &str) -> String {
    format!(
        "{}.{}.{signature}",
        B64.encode(header),
        B64.encode(claims.to_string())
    )
}

#[test]
fn each_algorithm_is_accepted_by_its_own_key() {
    let keys = keys_of(&[SECRET, RSA_PEM, EC_PEM, ED_PEM]);
    for (algorithm, key) in [
        (Algorithm::HS256, EncodingKey::from_secret(SECRET)),
        (
            Algorithm::RS256,
            EncodingKey::from_rsa_pem(RSA_KEY).unwrap(),
        ),
        (Algorithm::ES256, EncodingKey::from_ec_pem(EC_KEY).unwrap()),
        (Algorithm::EdDSA, EncodingKey::from_ed_pem(ED_KEY).unwrap()),
    ] {
        let token = signed(algorithm, &key, &good_claims());
        let credential = keys.verify(&token, NOW_S);
        let expected = Credential {
            name: Some("ann".into()),
            subscribe: vec!["px.>".into()],
            publish: vec!["chat".into()],
            expires_s: Some(NOW_S + 60),
        };
        assert_eq!(credential, Ok(expected), "{algorithm:?}");
    }
}

#[test]
fn no_attack_that_has_a_name_gets_in() {
    let claims = good_claims();
    let token = by_secret(&claims);
    let parts: Vec<&str> = token.split('.').collect();
    let tampered = with(claims.clone(), "pub", json!([">"]));
    let rsa = EncodingKey::from_rsa_pem(RSA_KEY).unwrap();
    let with_crit = Header {
        crit: Some(vec!["exp".into()]),
        ..Header::new(Algorithm::HS256)
    };
    let secret = EncodingKey::from_secret(SECRET);
    let public_as_secret = EncodingKey::from_secret(RSA_PEM.trim_ascii());
    for (what, token, error) in [
        (
            "none",
            forged(r#"{"alg":"none"}"#, &claims, ""),
            AuthError::Malformed,
        ),
        (
            "None",
            forged(r#"{"alg":"None"}"#, &claims, ""),
            AuthError::Malformed,
        ),
        (
            "no algorithm",
            forged("{}", &claims, parts[2]),
            AuthError::Malformed,
        ),
        (
            "no signature",
            format!("{}.{}.", parts[0], parts[1]),
            AuthError::Signature,
        ),
        (
            "two parts",
            format!("{}.{}", parts[0], parts[1]),
            AuthError::Malformed,
        ),
        ("four parts", format!("{token}.x"), AuthError::Malformed),
        (
            "other claims under the old signature",
            format!(
                "{}.{}.{}",
                parts[0],
                B64.encode(tampered.to_string()),
                parts[2]
            ),
            AuthError::Signature,
        ),
        (
            "the public key as the secret",
            signed(Algorithm::HS256, &public_as_secret, &claims),
            AuthError::Signature,
        ),
        (
            "a longer hash of the same key",
            signed(Algorithm::HS512, &secret, &claims),
            AuthError::Signature,
        ),
        (
            "another padding of the same key",
            signed(Algorithm::PS256, &rsa, &claims),
            AuthError::Signature,
        ),
        (
            "another secret",
            signed(
                Algorithm::HS256,
                &EncodingKey::from_secret(&[7; 40]),
                &claims,
            ),
            AuthError::Signature,
        ),
        (
            "a header that must be understood",
            encode(&with_crit, &claims, &secret).unwrap(),
            AuthError::Malformed,
        ),
        (
            "expired",
            by_secret(&with(claims.clone(), "exp", json!(NOW_S))),
            AuthError::Expired,
        ),
        (
            "no expiry",
            by_secret(&with(claims.clone(), "exp", Value::Null)),
            AuthError::NoExpiry,
        ),
        (
            "not yet",
            by_secret(&with(claims.clone(), "nbf", json!(NOW_S + 31))),
            AuthError::NotYet,
        ),
        (
            "another audience",
            by_secret(&with(claims.clone(), "aud", json!(["a", "b"]))),
            AuthError::Audience,
        ),
        (
            "no audience",
            by_secret(&with(claims.clone(), "aud", Value::Null)),
            AuthError::Audience,
        ),
        (
            "another issuer",
            by_secret(&with(claims.clone(), "iss", json!("them"))),
            AuthError::Audience,
        ),
        (
            "no issuer",
            by_secret(&with(claims.clone(), "iss", Value::Null)),
            AuthError::Audience,
        ),
        (
            "what is no filter",
            by_secret(&with(claims.clone(), "pub", json!(["a..b"]))),
            AuthError::Filters,
        ),
        (
            "too many filters",
            by_secret(&with(claims.clone(), "pub", json!(vec!["a"; 257]))),
            AuthError::Filters,
        ),
        (
            "expiry as a text",
            by_secret(&with(claims, "exp", json!("9999999999"))),
            AuthError::Malformed,
        ),
        ("nonsense", "a.b.c".into(), AuthError::Malformed),
    ] {
        let keys = keys_of(&[SECRET, RSA_PEM]);
        assert_eq!(keys.verify(&token, NOW_S), Err(error), "{what}");
    }
}

#[test]
fn a_public_key_is_good_for_its_own_algorithm_alone() {
    let public_as_secret = EncodingKey::from_secret(RSA_PEM);
    let token = signed(Algorithm::HS256, &public_as_secret, &good_claims());
    assert_eq!(
        keys_of(&[RSA_PEM]).verify(&token, NOW_S),
        Err(AuthError::Signature)
    );
    let token = signed(
        Algorithm::ES256,
        &EncodingKey::from_ec_pem(EC_KEY).unwrap(),
        &good_claims(),
    );
    assert_eq!(
        keys_of(&[RSA_PEM, ED_PEM]).verify(&token, NOW_S),
        Err(AuthError::Signature)
    );
}

#[test]
fn the_issuers_clock_may_be_half_a_minute_ahead() {
    let early = with(good_claims(), "nbf", json!(NOW_S + 29));
    let token = by_secret(&early);
    assert!(keys_of(&[SECRET]).verify(&token, NOW_S).is_ok());
}

#[test]
fn a_list_in_sub_is_what_may_be_subscribed_to() {
    let claims = json!({"exp": NOW_S + 60, "aud": ["x", "fanfare"], "iss": "us", "sub": ["a", "b.*"], "name": "bob"});
    let credential = keys_of(&[SECRET])
        .verify(&by_secret(&claims), NOW_S)
        .unwrap();
    assert_eq!(credential.name.as_deref(), Some("bob"));
    assert_eq!(credential.subscribe, ["a".into(), "b.*".into()]);
    assert!(credential.publish.is_empty());
}

/// The numbers of the RSA key, as a set has them.
fn rsa_jwk(more: &Value) -> Value {
    let key = EncodingKey::from_rsa_pem(RSA_KEY).unwrap();
    let jwk = Jwk::from_encoding_key(&key, Algorithm::RS256).unwrap();
    let mut jwk = serde_json::to_value(jwk).unwrap();
    for (name, value) in more.as_object().unwrap() {
        jwk[name] = value.clone();
    }
    jwk
}

fn set_of(keys: &[Value]) -> Result<JwtKeys, String> {
    let mut read = JwtKeys::new(None, None);
    let text = json!({ "keys": keys }).to_string();
    let added = read.add_set(Path::new("set"), text.as_bytes());
    added.map(|()| read).map_err(|error| error.to_string())
}

#[test]
fn a_set_is_used_by_the_names_of_its_keys() {
    let keys = set_of(&[rsa_jwk(&json!({"kid": "one"}))]).unwrap();
    let key = EncodingKey::from_rsa_pem(RSA_KEY).unwrap();
    for (kid, is_good) in [
        (Some("one"), true),
        (None, true),
        (Some("two"), false),
        (Some("../one"), false),
    ] {
        let header = Header {
            kid: kid.map(Into::into),
            ..Header::new(Algorithm::RS256)
        };
        let token = encode(&header, &good_claims(), &key).unwrap();
        assert_eq!(keys.verify(&token, NOW_S).is_ok(), is_good, "{kid:?}");
    }
}

#[test]
fn keys_for_other_uses_are_left_out_of_a_set() {
    for more in [
        json!({"use": "enc"}),
        json!({"alg": "RS512"}),
        json!({"alg": "RSA-OAEP"}),
    ] {
        let error = set_of(&[rsa_jwk(&more)]).unwrap_err();
        assert!(error.contains("no key in it"), "{error}");
    }
    let others = json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"});
    assert!(set_of(&[others, rsa_jwk(&json!({"use": "sig", "alg": "RS256"}))]).is_ok());
}

#[test]
fn a_file_that_is_no_key_is_named() {
    for (bytes, part) in [
        (&b"short"[..], "at least 32 bytes"),
        (
            b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
            "not a public key",
        ),
        (RSA_KEY, "not a public key"),
    ] {
        let error = JwtKeys::new(None, None).add_file(Path::new("k.pem"), bytes);
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with("k.pem: ") && error.contains(part),
            "{error}"
        );
    }
}
