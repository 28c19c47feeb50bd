//! Who is let in: keys, what anybody may do, origins, addresses and proxies.

use std::net::IpAddr;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{Config, Options};
use crate::addresses::{Limits, Network};
use crate::auth::KeyFiles;
use crate::engine::Settings;
use crate::engine::rights::{Identity, Scope};
use crate::origins::Origins;

/// Longest name of a cookie or of a message's key.
const NAME_BYTES_MAX: usize = 64;

/// What may be done by those who do not say who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Anonymous {
    /// Nothing.
    None,
    /// Subscribe and read.
    Subscribe,
    /// Publish.
    Publish,
    /// Everything.
    All,
}

impl Anonymous {
    fn identity(self) -> Identity {
        let scope = |is_granted| {
            if is_granted {
                Scope::Everything
            } else {
                Scope::nothing()
            }
        };
        Identity {
            name: None,
            subscribe: scope(matches!(self, Anonymous::Subscribe | Anonymous::All)),
            publish: scope(matches!(self, Anonymous::Publish | Anonymous::All)),
        }
    }

    /// What an identity without a name was made of.
    pub(super) fn of(identity: &Identity) -> Anonymous {
        match (&identity.subscribe, &identity.publish) {
            (Scope::Everything, Scope::Everything) => Anonymous::All,
            (Scope::Everything, _) => Anonymous::Subscribe,
            (_, Scope::Everything) => Anonymous::Publish,
            _ => Anonymous::None,
        }
    }
}

/// Where keys come from.
pub(super) fn keys(options: &Options) -> anyhow::Result<KeyFiles> {
    let files = KeyFiles {
        jwt_keys: options.jwt_key.clone(),
        jwks: options.jwks.clone(),
        api_keys: options.api_keys.clone(),
        audience: options.jwt_audience.as_deref().map(Into::into),
        issuer: options.jwt_issuer.as_deref().map(Into::into),
    };
    let has_tokens = !files.jwt_keys.is_empty() || files.jwks.is_some();
    for (key, is_set) in [
        ("jwt-audience", files.audience.is_some()),
        ("jwt-issuer", files.issuer.is_some()),
    ] {
        ensure!(
            has_tokens || !is_set,
            "{key} does nothing without jwt-key or jwks"
        );
    }
    for (key, is_set) in [
        ("auth-cookie", options.auth_cookie.is_some()),
        ("auth-timeout", options.auth_timeout.is_some()),
    ] {
        ensure!(
            !files.is_empty() || !is_set,
            "{key} does nothing without jwt-key, jwks or api-keys"
        );
    }
    Ok(files)
}

/// How much one address may have.
pub(super) fn limits(options: &Options) -> Limits {
    Limits {
        connections: options.max_connections_per_address.unwrap_or(0),
        handshakes_per_s: options.max_handshakes_per_address.unwrap_or(0),
    }
}

/// Fills in what the engine is to know.
pub(super) fn settle(options: &Options, config: &mut Config) -> anyhow::Result<()> {
    let is_local = is_local(config);
    let anonymous = anonymous(options, config, is_local)?;
    let settings = &mut config.settings;
    settings.anonymous = anonymous.identity();
    settings.auth_cookie = name("auth-cookie", options.auth_cookie.as_deref())?;
    settings.room_user = name("room-user", options.room_user.as_deref())?;
    if let Some(timeout) = options.auth_timeout {
        ensure!(timeout.0 > 0, "auth-timeout must be above zero");
        settings.auth_timeout_ms = timeout.0;
    }
    proxies(options, settings)?;
    settings.origins = Origins::parse(&options.allow_origin).context("allow-origin")?;
    settings.origins.allow_missing = options.allow_missing_origin.unwrap_or(true);
    // Behind a proxy of ours, the name by which we were asked is one of ours.
    settings.origins.is_local = is_local && settings.trusted_proxies.is_empty();
    Ok(())
}

/// A server that only this machine reaches lets everybody do everything; any other must be told who may do what.
fn anonymous(options: &Options, config: &Config, is_local: bool) -> anyhow::Result<Anonymous> {
    let asks_for_certificates =
        (config.tls.as_ref()).is_some_and(|files| files.client_ca.is_some());
    let has_keys = !config.keys.is_empty() || asks_for_certificates;
    ensure!(
        has_keys || is_local || options.allow_anonymous.is_some(),
        "whoever reaches {} could do everything: configure who may do what (jwt-key, jwks, api-keys or tls-client-ca), or say what anybody may do (allow-anonymous subscribe, publish or all)",
        open_address(config).map_or_else(String::new, |address| address.to_string())
    );
    let otherwise = if has_keys {
        Anonymous::None
    } else {
        Anonymous::All
    };
    Ok(options.allow_anonymous.unwrap_or(otherwise))
}

/// An address that others than this machine can reach.
fn open_address(config: &Config) -> Option<std::net::SocketAddr> {
    let all = config.listen.iter().chain(&config.tls_listen);
    all.copied().find(|address| match address.ip() {
        IpAddr::V4(v4) => !v4.is_loopback(),
        IpAddr::V6(v6) => !v6.to_canonical().is_loopback(),
    })
}

fn is_local(config: &Config) -> bool {
    open_address(config).is_none()
}

fn proxies(options: &Options, settings: &mut Settings) -> anyhow::Result<()> {
    let networks: Result<Vec<Network>, _> = options
        .trusted_proxy
        .iter()
        .map(|text| text.parse())
        .collect();
    settings.trusted_proxies = networks.context("trusted-proxy")?;
    settings.proxy_protocol = options.proxy_protocol.unwrap_or(false);
    ensure!(
        !settings.proxy_protocol || !settings.trusted_proxies.is_empty(),
        "proxy-protocol needs trusted-proxy: whom to believe"
    );
    Ok(())
}

fn name(key: &str, given: Option<&str>) -> anyhow::Result<Option<Box<str>>> {
    let Some(name) = given else { return Ok(None) };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    ensure!(
        !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_plain),
        "{key} must be a name of letters, digits, '_', '-' and '.', not {name:?}"
    );
    Ok(Some(name.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lower(flags: &[&str]) -> Result<Config, String> {
        Config::from_options(&Options::from_flags(flags)).map_err(|error| format!("{error:#}"))
    }

    fn anybody(flags: &[&str]) -> Result<Anonymous, String> {
        lower(flags).map(|config| Anonymous::of(&config.settings.anonymous))
    }

    #[test]
    fn a_server_that_others_reach_is_told_what_anybody_may_do() {
        let open = "--listen=0.0.0.0:80";
        assert_eq!(anybody(&[]), Ok(Anonymous::All));
        assert_eq!(
            anybody(&["--listen=127.0.0.9:1", "--listen=[::1]:2"]),
            Ok(Anonymous::All)
        );
        assert_eq!(
            anybody(&[open, "--allow-anonymous=subscribe"]),
            Ok(Anonymous::Subscribe)
        );
        assert_eq!(anybody(&[open, "--jwks=k"]), Ok(Anonymous::None));
        assert_eq!(anybody(&["--api-keys=k"]), Ok(Anonymous::None));
        assert_eq!(
            anybody(&["--api-keys=k", "--allow-anonymous=all"]),
            Ok(Anonymous::All)
        );
        for flags in [&[open][..], &["--listen=127.0.0.1:1", "--listen=[::]:1"]] {
            let error = anybody(flags).unwrap_err();
            assert!(
                error.contains("jwt-key") && error.contains("allow-anonymous"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_one_sentence() {
        for (flags, part) in [
            (&["--jwt-audience=a"][..], "jwt-audience does nothing"),
            (&["--auth-cookie=a"], "auth-cookie does nothing"),
            (
                &["--api-keys=k", "--auth-cookie=a b"],
                "auth-cookie must be a name",
            ),
            (&["--room-user="], "room-user must be a name"),
            (
                &["--api-keys=k", "--auth-timeout=0"],
                "auth-timeout must be above zero",
            ),
            (&["--allow-origin=example.com"], "is no origin"),
            (&["--trusted-proxy=10.0.0.0/99"], "is no network"),
            (&["--proxy-protocol"], "needs trusted-proxy"),
        ] {
            let error = lower(flags).expect_err(part);
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn behind_a_proxy_the_name_that_we_were_asked_by_is_ours() {
        assert!(lower(&[]).unwrap().settings.origins.is_local);
        assert!(
            !lower(&["--trusted-proxy=127.0.0.1"])
                .unwrap()
                .settings
                .origins
                .is_local
        );
    }
}
