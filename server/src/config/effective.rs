//! A configuration written out as options again, nothing left to defaults: what `--check-config` prints.

use std::num::NonZeroUsize;

use super::feeds::BUILT_IN;
use super::{Anonymous, Bytes, Config, Millis, Options, Shards, history};

impl Config {
    /// The options that give this configuration, nothing left out.
    #[must_use]
    pub fn to_options(&self, routes: &[String]) -> Options {
        let settings = &self.settings;
        let pairs = self.tls.as_ref().map_or(&[][..], |files| &files.pairs);
        let keys = &self.keys;
        let compression = settings.compression;
        let replay = self.replay.as_ref();
        let sim = self.sim.as_ref();
        Options {
            listen: self.listen.clone(),
            tls_listen: self.tls_listen.clone(),
            tls_cert: pairs
                .iter()
                .map(|(certificate, _)| certificate.clone())
                .collect(),
            tls_key: pairs.iter().map(|(_, key)| key.clone()).collect(),
            tls_client_rights: (self.client_rights.iter())
                .map(ToString::to_string)
                .collect(),
            tls_client_ca: (self.tls.as_ref()).and_then(|files| files.client_ca.clone()),
            admin_listen: self.admin_listen.clone(),
            shards: Some(Shards(self.shards)),
            max_connections: self.max_connections.map(NonZeroUsize::get),
            backlog: Some(self.backlog),
            recv_buffer: self.recv_buffer.map(|bytes| Bytes(bytes.into())),
            send_buffer: self.send_buffer.map(|bytes| Bytes(bytes.into())),
            notsent_lowat: Some(Bytes(self.notsent_lowat.into())),
            user_timeout: Some(Millis(self.user_timeout_ms)),
            route: routes.to_vec(),
            jwt_key: keys.jwt_keys.clone(),
            jwks: keys.jwks.clone(),
            jwt_audience: keys.audience.as_deref().map(Into::into),
            jwt_issuer: keys.issuer.as_deref().map(Into::into),
            api_keys: keys.api_keys.clone(),
            auth_cookie: settings.auth_cookie.as_deref().map(Into::into),
            // Without keys it would be refused, because it does nothing.
            auth_timeout: (!keys.is_empty()).then_some(Millis(settings.auth_timeout_ms)),
            allow_anonymous: Some(Anonymous::of(&settings.anonymous)),
            room_user: settings.room_user.as_deref().map(Into::into),
            allow_origin: settings.origins.written(),
            allow_missing_origin: Some(settings.origins.allow_missing),
            max_connections_per_address: Some(self.address_limits.connections),
            max_handshakes_per_address: Some(self.address_limits.handshakes_per_s),
            trusted_proxy: (settings.trusted_proxies.iter())
                .map(ToString::to_string)
                .collect(),
            proxy_protocol: Some(settings.proxy_protocol),
            echo: Some(settings.echo),
            site: self.site.clone(),
            replay: replay.map(|replay| {
                replay
                    .path
                    .as_ref()
                    .map_or_else(|| BUILT_IN.to_owned(), |path| path.display().to_string())
            }),
            topic_column: replay.and_then(|replay| replay.topic_column.clone()),
            time_column: replay.and_then(|replay| replay.time_column.clone()),
            topic_prefix: replay.map(|replay| replay.topic_prefix.clone()),
            speed: replay.map(|replay| replay.speed),
            repeat: replay.map(|replay| replay.repeat),
            sim: sim.map(|sim| sim.symbols),
            sim_seed: sim.map(|sim| sim.seed),
            sim_rate: sim.map(|sim| sim.rate),
            max_frame_bytes: Some(Bytes(settings.frame_bytes_max)),
            max_message_bytes: Some(Bytes(settings.message_bytes_max as u64)),
            max_payload_bytes: Some(Bytes(settings.payload_bytes_max as u64)),
            max_body_bytes: Some(Bytes(settings.body_bytes_max as u64)),
            max_commands_per_s: Some(settings.commands_per_s),
            max_publishes_per_s: Some(settings.publishes_per_s),
            max_pings_per_s: Some(settings.pings_per_s),
            max_fragments: Some(match settings.fragments_max {
                u32::MAX => 0,
                most => most,
            }),
            max_subscriptions: Some(settings.subscriptions_max),
            max_topics: Some(settings.topics_max),
            max_keys: Some(settings.keys.count),
            key_age: Some(Millis(settings.keys.age_ms)),
            max_filters: Some(settings.filters_max),
            max_filters_per_topic: Some(settings.filters_per_topic_max),
            max_filter_topics: Some(settings.filter_topics_max),
            max_kept_bytes: Some(Bytes(settings.kept_bytes_max)),
            history: history::written(&settings.history),
            history_count: Some(settings.history.otherwise.count),
            max_outbox_bytes: Some(Bytes(settings.outbox_bytes_max.into())),
            compress: Some(compression.threshold.bytes().is_some()),
            compress_threshold: (compression.threshold.bytes()).map(|bytes| Bytes(bytes.into())),
            compress_contexts: (compression.threshold.bytes()).map(|_| compression.contexts_max),
            flush_interval_us: Some(settings.flush_interval_us),
            max_head_bytes: Some(Bytes(settings.head_bytes_max as u64)),
            body_timeout: Some(Millis(settings.body_timeout_ms)),
            keep_alive_timeout: Some(Millis(settings.keep_alive_timeout_ms)),
            max_wait: Some(Millis(settings.wait_max_ms)),
            handshake_timeout: Some(Millis(settings.handshake_timeout_ms)),
            ping_interval: Some(Millis(settings.ping_interval_ms)),
            idle_timeout: Some(Millis(settings.idle_timeout_ms)),
            heartbeat: Some(Millis(settings.heartbeat_ms)),
            slow_timeout: Some(Millis(settings.slow_timeout_ms)),
            close_timeout: Some(Millis(settings.close_timeout_ms)),
            log_format: Some(self.log),
            log_level: Some(self.log_level),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::feeds::SIM_SEED;
    use crate::config::file;
    use clap::{Args as _, Command};

    /// Options in which everything is set.
    fn full() -> Options {
        let flags = [
            "--replay=x.csv",
            "--topic-column=a",
            "--time-column=b",
            "--topic-prefix=p.",
            "--sim=3",
            "--recv-buffer=8k",
            "--send-buffer=9k",
            "--route=/a=/raw",
            "--static=/srv/www",
            "--jwt-key=k.pem",
            "--jwks=k.json",
            "--jwt-audience=a",
            "--jwt-issuer=i",
            "--api-keys=keys",
            "--auth-cookie=c",
            "--room-user=user",
            "--allow-origin=https://*.example.com",
            "--trusted-proxy=10.0.0.0/8",
            "--history=px.>,count=9,age=5m",
            "--shards=2",
            "--admin-listen=127.0.0.1:9100",
            "--max-connections=7",
            "--listen=127.0.0.1:7001",
            "--tls-listen=127.0.0.1:7002",
            "--tls-cert=c.pem",
            "--tls-key=c.key",
            "--tls-client-ca=ca.pem",
            "--tls-client-rights=feed sub=a pub=b",
            "--compress",
        ];
        let options = Options::from_flags(&flags);
        Config::from_options(&options)
            .unwrap()
            .to_options(&options.route)
    }

    #[test]
    fn every_serve_flag_has_a_config_key_and_every_key_a_flag() {
        let table = toml::Table::try_from(full()).unwrap();
        let mut written: Vec<&String> = table.keys().collect();
        let mut flags = file::keys();
        written.sort();
        flags.sort();
        assert_eq!(written, flags.iter().collect::<Vec<_>>());
    }

    #[test]
    fn the_effective_configuration_written_as_toml_gives_the_same_configuration() {
        let full = full();
        let read: Options = toml::from_str(&full.to_toml().unwrap()).unwrap();
        assert_eq!(read, full);
        let config = Config::from_options(&read).unwrap();
        assert_eq!(config.to_options(&full.route), full);
        let default = Config::default();
        assert_eq!(
            Config::from_options(&default.to_options(&[])).unwrap(),
            default
        );
    }

    #[test]
    fn the_defaults_in_the_help_are_the_defaults() {
        let mut options = Config::default().to_options(&[]);
        // What is told only where it does something, and what depends on where the server listens.
        options.auth_timeout = Some(Millis(Config::default().settings.auth_timeout_ms));
        options.allow_anonymous = None;
        options.repeat = Some(false);
        options.speed = Some(1.0);
        options.sim_seed = Some(SIM_SEED);
        options.compress_threshold = Some(Bytes(256));
        options.compress_contexts = Some(0);
        let table = toml::Table::try_from(options).unwrap();
        let command = Options::augment_args(Command::new("serve"));
        for arg in command.get_arguments() {
            let key = arg.get_long().expect("every option is a long flag");
            let help = arg
                .get_help()
                .expect("every option has a help text")
                .to_string();
            let told = help
                .split_once("[default: ")
                .map(|(_, rest)| rest.trim_end_matches(']').to_owned());
            let meant = table.get(key).map(|value| match value {
                toml::Value::String(text) => text.clone(),
                toml::Value::Array(texts) => texts[0].as_str().unwrap().to_owned(),
                toml::Value::Float(number) => number.to_string(),
                other => other.to_string(),
            });
            assert_eq!(told, meant, "--{key}");
        }
    }
}
