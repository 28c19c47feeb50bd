//! What a server presents, and what it says of files that are of no use.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use fanfare_tls::{ServerFiles, Trust, peer_name, ticketer};
use rcgen::{DnType, KeyPair, PKCS_ED25519, SanType, date_time_ymd};
use support::{Authority, Pair};

fn load(pairs: &[(PathBuf, PathBuf)], client_ca: Option<&Path>) -> Result<Vec<String>, String> {
    let files = ServerFiles {
        pairs: pairs.to_vec(),
        client_ca: client_ca.map(Path::to_owned),
    };
    let loaded = files.load(ticketer().unwrap());
    loaded
        .map(|loaded| loaded.warnings)
        .map_err(|error| error.to_string())
}

#[test]
fn what_is_wrong_with_a_file_is_told_in_one_sentence() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue(&["localhost"]);
    let (other_certificate, other_key) = authority.issue(&["other"]);
    let write = |name: &str, text: &str| {
        let path = authority.path(name);
        fs::write(&path, text).unwrap();
        path
    };
    let empty = write("empty", "");
    let broken = write(
        "broken",
        "-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----\n",
    );
    let no_x509 = write(
        "nox509",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let encrypted = write(
        "encrypted",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let odd = write(
        "odd",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    let missing = authority.path("missing");
    for (pair, part) in [
        ((&missing, &key), "cannot read "),
        ((&certificate, &missing), "No such file or directory"),
        ((&empty, &key), "empty holds no certificate in PEM form"),
        (
            (&key, &key),
            "localhost.key holds no certificate in PEM form",
        ),
        (
            (&certificate, &empty),
            "empty holds no private key in PEM form",
        ),
        (
            (&certificate, &certificate),
            "localhost.pem holds no private key in PEM form",
        ),
        (
            (&broken, &key),
            "broken holds a certificate that cannot be read: ",
        ),
        (
            (&no_x509, &key),
            "nox509 holds a certificate that cannot be read: it is not X.509",
        ),
        (
            (&certificate, &encrypted),
            "is encrypted; write it without a password",
        ),
        (
            (&certificate, &odd),
            "odd is none of RSA (2048 to 8192 bits), ECDSA",
        ),
        (
            (&certificate, &other_key),
            "other.key does not belong to the certificate in ",
        ),
        (
            (&other_certificate, &key),
            "localhost.key does not belong to the certificate in ",
        ),
    ] {
        let error = load(&[(pair.0.clone(), pair.1.clone())], None).expect_err(part);
        assert!(error.contains(part) && !error.contains('\n'), "{error}");
    }
    let pair = [(certificate, key)];
    assert!(
        load(&pair, Some(&empty))
            .unwrap_err()
            .contains("holds no certificate")
    );
    assert_eq!(load(&pair, Some(&authority.ca())), Ok(vec![]));
}

#[test]
fn certificates_that_clients_refuse_are_told_of() {
    let authority = Authority::new();
    for (from, to, part) in [
        (2020, 2021, "old.pem expired on "),
        (4000, 4001, "old.pem is not valid before "),
        (2020, 4000, ""),
    ] {
        let pair = authority.issue_with(&["old"], |params| {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(to, 1, 1);
        });
        let warnings = load(&[pair], None).unwrap();
        assert_eq!(
            warnings.len(),
            usize::from(!part.is_empty()),
            "{warnings:?}"
        );
        assert!(
            warnings.iter().all(|warning| warning.contains(part)),
            "{warnings:?}"
        );
    }
}

#[test]
fn the_name_that_a_client_asks_for_chooses_the_certificate_and_the_first_serves_the_rest() {
    let authority = Authority::new();
    let files = ServerFiles {
        pairs: vec![
            authority.issue(&["first.example"]),
            authority.issue(&["second.example", "third.example"]),
            authority.issue(&["*.cdn.example"]),
        ],
        client_ca: None,
    };
    let config = files.load(ticketer().unwrap()).unwrap().config;
    for (host, served) in [
        ("first.example", "first.example"),
        ("second.example", "second.example"),
        ("THIRD.example", "second.example"),
        ("a.cdn.example", "*.cdn.example"),
        ("cdn.example", "first.example"),
        ("127.0.0.1", "first.example"),
    ] {
        let client = Trust::Anybody.config(false).unwrap();
        let mut pair = Pair::new(client, config.clone(), host);
        pair.exchange(usize::MAX).unwrap();
        let certificate = &pair.client.peer_certificates().unwrap()[0];
        let name = peer_name(certificate).unwrap().replace("any", "*");
        assert_eq!(name, served, "{host}");
    }
}

#[test]
fn keys_of_all_kinds_are_served() {
    let authority = Authority::new();
    let (certificate, _) = authority.issue(&["localhost"]);
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let own = params.self_signed(&key).unwrap();
    let paths = (certificate, authority.path("ed25519.key"));
    fs::write(&paths.0, own.pem()).unwrap();
    fs::write(&paths.1, key.serialize_pem()).unwrap();
    assert_eq!(load(&[paths], None), Ok(vec![]));
}

#[test]
fn a_client_is_who_its_certificate_says() {
    let authority = Authority::new();
    let der = |change: &dyn Fn(&mut rcgen::CertificateParams)| {
        use rustls::pki_types::pem::PemObject as _;
        let (path, _) = authority.issue_with(&["h"], change);
        rustls::pki_types::CertificateDer::from_pem_file(path).unwrap()
    };
    let named = der(&|params| params.distinguished_name.push(DnType::CommonName, "alice"));
    assert_eq!(peer_name(&named).as_deref(), Some("alice"));
    let nameless = der(&|params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names = vec![SanType::Rfc822Name("a@example".try_into().unwrap())];
    });
    assert_eq!(peer_name(&nameless).as_deref(), Some("a@example"));
}
