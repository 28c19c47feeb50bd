//! What is read out of a certificate: for which names it stands, when it is valid, and whom it names.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// Certificates that expire within so many days are worth a warning.
const SOON_DAYS: i64 = 14;
const DAY_S: i64 = 24 * 3600;

/// What a server needs to know of a certificate of its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Host names in lower case; the first label may be `*`.
    pub(crate) names: Vec<String>,
    /// Why clients will refuse it now, or soon.
    pub(crate) warning: Option<String>,
}

impl Facts {
    /// Reads a certificate; `None` if it is none.
    pub(crate) fn read(certificate: &CertificateDer<'_>) -> Option<Facts> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let mut names = host_names(&certificate);
        if names.is_empty() {
            // Clients look at the alternative names only (RFC 9110, section 4.3.4); old certificates have none.
            names.extend(common_name(&certificate));
        }
        for name in &mut names {
            name.make_ascii_lowercase();
        }
        Some(Facts {
            names,
            warning: warning(&certificate, unix_now_s()),
        })
    }

    /// Whether it stands for the host `name`, in lower case. A `*` is one whole label (RFC 6125, section 6.4.3).
    pub(crate) fn cover(&self, name: &str) -> bool {
        let above = name.split_once('.').map(|(_, above)| above);
        self.names.iter().any(|own| match own.strip_prefix("*.") {
            Some(own) => Some(own) == above,
            None => own == name,
        })
    }
}

/// Whom a certificate names: the subject's common name, or else the first alternative name that is text.
#[must_use]
pub fn peer_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    common_name(&certificate).or_else(|| {
        let names = certificate.subject_alternative_name().ok()??;
        names
            .value
            .general_names
            .iter()
            .find_map(|name| match name {
                GeneralName::DNSName(text)
                | GeneralName::RFC822Name(text)
                | GeneralName::URI(text) => Some((*text).to_owned()),
                _ => None,
            })
    })
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let name = certificate.subject().iter_common_name().next()?;
    let name = name.as_str().ok()?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn host_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let hosts = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
    hosts.collect()
}

fn warning(certificate: &X509Certificate<'_>, now_s: i64) -> Option<String> {
    let validity = certificate.validity();
    let (from_s, to_s) = (
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    );
    if now_s > to_s {
        return Some(format!(
            "expired on {}; clients refuse it",
            validity.not_after
        ));
    }
    if now_s < from_s {
        return Some(format!(
            "is not valid before {}; clients refuse it until then",
            validity.not_before
        ));
    }
    (to_s - now_s < SOON_DAYS * DAY_S).then(|| format!("expires soon, on {}", validity.not_after))
}

fn unix_now_s() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label() {
        let facts = Facts {
            names: vec!["push.example".into(), "*.cdn.example".into()],
            warning: None,
        };
        for (name, covered) in [
            ("push.example", true),
            ("a.cdn.example", true),
            ("cdn.example", false),
            ("a.b.cdn.example", false),
            ("a.push.example", false),
            ("other.example", false),
            ("", false),
        ] {
            assert_eq!(facts.cover(name), covered, "{name}");
        }
    }

    #[test]
    fn what_is_no_certificate_says_nothing() {
        let rubbish = CertificateDer::from(vec![0x30, 0x03, 1, 2, 3]);
        assert_eq!(Facts::read(&rubbish), None);
        assert_eq!(peer_name(&rubbish), None);
    }
}
