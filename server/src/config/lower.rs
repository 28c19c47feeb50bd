//! From what was written to what is meant: defaults filled in, bounds checked.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;

use anyhow::{Context as _, ensure};

use super::{Bytes, Config, Millis, Options, STATS_INTERVAL_MS, feeds, history, identity, tls};
use crate::engine::{Compression, KeyWindow, Route, Settings, Target, Threshold};

/// Below it little is saved: there is not much in a short text that it could refer back to.
const COMPRESS_THRESHOLD_BYTES: u64 = 256;
const SHARDS_MAX: usize = 1024;
const KERNEL_BUFFER_BYTES: RangeInclusive<u64> = 1 << 10..=1 << 30;

impl Config {
    /// Fills in defaults and checks everything that can be checked without touching a file or a socket.
    ///
    /// # Errors
    /// One sentence that names the flag and the bound.
    pub fn from_options(options: &Options) -> anyhow::Result<Config> {
        let default = Config::default();
        let notsent_lowat = given_or(options.notsent_lowat, default.notsent_lowat.into());
        let mut config = Config {
            // Who asks for TLS alone gets no plain listener beside it.
            listen: if options.listen.is_empty() && options.tls_listen.is_empty() {
                default.listen
            } else {
                options.listen.clone()
            },
            tls_listen: options.tls_listen.clone(),
            tls: tls::files(options)?,
            client_rights: tls::client_rights(options)?,
            admin_listen: options.admin_listen.clone(),
            shards: options.shards.and_then(|shards| shards.0),
            max_connections: connections(options.max_connections)?,
            settings: settings(options)?,
            backlog: options.backlog.unwrap_or(default.backlog),
            recv_buffer: kernel_buffer("recv-buffer", options.recv_buffer)?,
            send_buffer: kernel_buffer("send-buffer", options.send_buffer)?,
            notsent_lowat: size("notsent-lowat", notsent_lowat, 0..=1 << 30)? as u32,
            user_timeout_ms: (options.user_timeout)
                .map_or(default.user_timeout_ms, |millis| millis.0),
            site: options.site.clone(),
            keys: identity::keys(options)?,
            address_limits: identity::limits(options),
            log: options.log_format.unwrap_or_default(),
            log_level: options.log_level.unwrap_or_default(),
            replay: feeds::replay(options)?,
            sim: feeds::sim(options)?,
        };
        identity::settle(options, &mut config)?;
        check_network(&config)?;
        check_timeouts(&config.settings)?;
        check_user_timeout(&config)?;
        Ok(config)
    }
}

fn settings(options: &Options) -> anyhow::Result<Settings> {
    let default = Settings::default();
    let millis = |given: Option<Millis>, default| given.map_or(default, |millis| millis.0);
    let frame_bytes = given_or(options.max_frame_bytes, default.frame_bytes_max);
    let message_bytes = given_or(options.max_message_bytes, default.message_bytes_max as u64);
    let payload_bytes = given_or(options.max_payload_bytes, default.payload_bytes_max as u64);
    let outbox_bytes = given_or(options.max_outbox_bytes, default.outbox_bytes_max.into());
    let kept_bytes = given_or(options.max_kept_bytes, default.kept_bytes_max);
    let head_bytes = given_or(options.max_head_bytes, default.head_bytes_max as u64);
    let body_bytes = given_or(options.max_body_bytes, default.body_bytes_max as u64);
    let echo = options.echo.unwrap_or(default.echo);
    Ok(Settings {
        routes: routes(&options.route, echo)?,
        // Filled in by `identity::settle`, which knows where the server listens.
        anonymous: default.anonymous,
        origins: default.origins,
        auth_cookie: default.auth_cookie,
        auth_timeout_ms: default.auth_timeout_ms,
        room_user: default.room_user,
        trusted_proxies: default.trusted_proxies,
        proxy_protocol: default.proxy_protocol,
        echo,
        // 125 bytes is what every control frame may have.
        frame_bytes_max: size("max-frame-bytes", frame_bytes, 125..=1 << 30)?,
        message_bytes_max: size("max-message-bytes", message_bytes, 125..=1 << 30)? as usize,
        payload_bytes_max: size("max-payload-bytes", payload_bytes, 1..=1 << 30)? as usize,
        commands_per_s: rate(
            "max-commands-per-s",
            options.max_commands_per_s.unwrap_or(default.commands_per_s),
        )?,
        publishes_per_s: rate(
            "max-publishes-per-s",
            options
                .max_publishes_per_s
                .unwrap_or(default.publishes_per_s),
        )?,
        pings_per_s: rate(
            "max-pings-per-s",
            options.max_pings_per_s.unwrap_or(default.pings_per_s),
        )?,
        fragments_max: match options.max_fragments {
            Some(0) => u32::MAX,
            given => given.unwrap_or(default.fragments_max),
        },
        subscriptions_max: count(
            "max-subscriptions",
            options
                .max_subscriptions
                .unwrap_or(default.subscriptions_max),
        )?,
        topics_max: count(
            "max-topics",
            options.max_topics.unwrap_or(default.topics_max),
        )?,
        keys: KeyWindow {
            count: options.max_keys.unwrap_or(default.keys.count),
            age_ms: millis(options.key_age, default.keys.age_ms),
        },
        filters_max: count(
            "max-filters",
            options.max_filters.unwrap_or(default.filters_max),
        )?,
        filters_per_topic_max: count(
            "max-filters-per-topic",
            options
                .max_filters_per_topic
                .unwrap_or(default.filters_per_topic_max),
        )?,
        filter_topics_max: count(
            "max-filter-topics",
            options
                .max_filter_topics
                .unwrap_or(default.filter_topics_max),
        )?,
        kept_bytes_max: size("max-kept-bytes", kept_bytes, 1 << 20..=1 << 50)?,
        history: history::rules(
            &options.history,
            options
                .history_count
                .unwrap_or(default.history.otherwise.count),
        ),
        outbox_bytes_max: size("max-outbox-bytes", outbox_bytes, 4 << 10..=1 << 30)? as u32,
        compression: compression(options)?,
        flush_interval_us: flush_interval(options.flush_interval_us)?,
        head_bytes_max: size("max-head-bytes", head_bytes, 1 << 10..=1 << 20)? as usize,
        body_timeout_ms: millis(options.body_timeout, default.body_timeout_ms),
        keep_alive_timeout_ms: millis(options.keep_alive_timeout, default.keep_alive_timeout_ms),
        body_bytes_max: size("max-body-bytes", body_bytes, 1 << 10..=1 << 30)? as usize,
        wait_max_ms: millis(options.max_wait, default.wait_max_ms),
        handshake_timeout_ms: millis(options.handshake_timeout, default.handshake_timeout_ms),
        ping_interval_ms: millis(options.ping_interval, default.ping_interval_ms),
        idle_timeout_ms: millis(options.idle_timeout, default.idle_timeout_ms),
        heartbeat_ms: millis(options.heartbeat, default.heartbeat_ms),
        slow_timeout_ms: millis(options.slow_timeout, default.slow_timeout_ms),
        close_timeout_ms: millis(options.close_timeout, default.close_timeout_ms),
        has_admin_port: !options.admin_listen.is_empty(),
        stats_interval_ms: STATS_INTERVAL_MS,
    })
}

/// How messages are compressed. What says how makes sense only if they are.
fn compression(options: &Options) -> anyhow::Result<Compression> {
    let threshold = given_or(options.compress_threshold, COMPRESS_THRESHOLD_BYTES);
    let threshold = size("compress-threshold", threshold, 0..=1 << 30)? as u32;
    if !options.compress.unwrap_or(false) {
        ensure!(
            options.compress_threshold.is_none() && options.compress_contexts.is_none(),
            "compress-threshold and compress-contexts do nothing without compress"
        );
        return Ok(Settings::default().compression);
    }
    Ok(Compression {
        threshold: Threshold::from_bytes(threshold),
        contexts_max: options.compress_contexts.unwrap_or(0),
    })
}

fn given_or(given: Option<Bytes>, default: u64) -> u64 {
    given.map_or(default, |bytes| bytes.0)
}

fn size(key: &str, bytes: u64, allowed: RangeInclusive<u64>) -> anyhow::Result<u64> {
    ensure!(
        allowed.contains(&bytes),
        "{key} must be between {} and {}, not {}",
        Bytes(*allowed.start()),
        Bytes(*allowed.end()),
        Bytes(bytes)
    );
    Ok(bytes)
}

fn rate(key: &str, per_s: u32) -> anyhow::Result<u32> {
    const MOST: u32 = 1_000_000;
    ensure!(
        per_s <= MOST,
        "{key} must be at most {MOST}, or 0 for any number, not {per_s}"
    );
    Ok(per_s)
}

fn connections(given: Option<usize>) -> anyhow::Result<Option<NonZeroUsize>> {
    let given =
        given.map(|most| NonZeroUsize::new(most).context("max-connections must be above zero"));
    given.transpose()
}

/// Longer than a second is no flush interval but a mistake in the unit.
fn flush_interval(given_us: Option<u32>) -> anyhow::Result<u32> {
    let interval_us = given_us.unwrap_or(0);
    ensure!(
        interval_us <= 1_000_000,
        "flush-interval-us must be at most 1000000, one second, not {interval_us}"
    );
    Ok(interval_us)
}

fn count(key: &str, count: u32) -> anyhow::Result<u32> {
    ensure!(count > 0, "{key} must be above zero");
    Ok(count)
}

fn kernel_buffer(key: &str, given: Option<Bytes>) -> anyhow::Result<Option<u32>> {
    given
        .map(|bytes| size(key, bytes.0, KERNEL_BUFFER_BYTES).map(|bytes| bytes as u32))
        .transpose()
}

fn routes(texts: &[String], echo: bool) -> anyhow::Result<Vec<Route>> {
    let mut routes: Vec<Route> = Vec::with_capacity(texts.len());
    for text in texts {
        let route = Route::parse(text).with_context(|| format!("route {text:?}"))?;
        ensure!(
            echo || route.target != Target::Echo,
            "route {text:?} leads to /echo, which needs --echo"
        );
        ensure!(
            routes.iter().all(|earlier| earlier.path != route.path),
            "the path {:?} has two routes; keep one",
            route.path
        );
        routes.push(route);
    }
    Ok(routes)
}

fn check_network(config: &Config) -> anyhow::Result<()> {
    let lists = [
        ("listen", &config.listen),
        ("tls-listen", &config.tls_listen),
        ("admin-listen", &config.admin_listen),
    ];
    for (place, (key, addresses)) in lists.iter().enumerate() {
        for (index, address) in addresses.iter().enumerate() {
            // Each :0 becomes a port of its own.
            if address.port() == 0 {
                continue;
            }
            let twice = addresses[..index].contains(address);
            ensure!(!twice, "{key} names {address} twice");
            for (other, named) in &lists[..place] {
                let both = named.contains(address);
                ensure!(!both, "{other} and {key} both name {address}");
            }
        }
    }
    let shards = config.shards.map_or(1, |shards| shards.get());
    ensure!(
        shards <= SHARDS_MAX,
        "shards must be at most {SHARDS_MAX}, not {shards}"
    );
    ensure!(
        (1..=1 << 20).contains(&config.backlog),
        "backlog must be between 1 and {}, not {}",
        1 << 20,
        config.backlog
    );
    Ok(())
}

fn check_timeouts(settings: &Settings) -> anyhow::Result<()> {
    for (key, millis) in [
        ("handshake-timeout", settings.handshake_timeout_ms),
        ("body-timeout", settings.body_timeout_ms),
        ("keep-alive-timeout", settings.keep_alive_timeout_ms),
        ("slow-timeout", settings.slow_timeout_ms),
        ("close-timeout", settings.close_timeout_ms),
    ] {
        ensure!(millis > 0, "{key} must be above zero");
    }
    let (ping, idle) = (settings.ping_interval_ms, settings.idle_timeout_ms);
    // Pings are spread over up to a quarter of the interval, and an answer needs its time.
    let latest_ping = u64::from(ping) + u64::from(ping) / 4 + 1000;
    ensure!(
        ping == 0 || idle == 0 || latest_ping < u64::from(idle),
        "ping-interval ({}) and a quarter more must be a second below idle-timeout ({}), or silent connections are closed before they can answer",
        Millis(ping),
        Millis(idle)
    );
    Ok(())
}

/// The kernel also counts the time in which a living peer reads nothing, and ends the connection without a word.
fn check_user_timeout(config: &Config) -> anyhow::Result<()> {
    let (user, slow) = (config.user_timeout_ms, config.settings.slow_timeout_ms);
    ensure!(
        user == 0 || user > slow,
        "user-timeout ({}) must be longer than slow-timeout ({}), or slow readers are cut off before they are told",
        Millis(user),
        Millis(slow)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::feeds::SIM_SEED;
    use crate::feed::Sim;

    fn lower(flags: &[&str]) -> Result<Config, String> {
        Config::from_options(&Options::from_flags(flags)).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn no_flags_give_the_documented_defaults() {
        assert_eq!(lower(&[]), Ok(Config::default()));
    }

    #[test]
    fn flags_reach_the_configuration() {
        let config = lower(&[
            "--listen=0.0.0.0:80",
            "--allow-anonymous=all",
            "--listen=[::1]:0",
            "--shards=3",
            "--max-frame-bytes=1m",
            "--idle-timeout=0",
            "--route=/stocks=/raw",
            "--echo",
            "--replay=builtin",
            "--speed=86400",
            "--loop",
            "--sim=500",
            "--send-buffer=16k",
            "--admin-listen=127.0.0.1:9100",
            "--compress",
            "--compress-threshold=1k",
            "--compress-contexts=9",
            "--max-fragments=0",
        ])
        .unwrap();
        assert_eq!(
            config.listen,
            ["0.0.0.0:80".parse().unwrap(), "[::1]:0".parse().unwrap()]
        );
        assert_eq!(config.shards.map(usize::from), Some(3));
        assert_eq!(config.settings.frame_bytes_max, 1 << 20);
        assert_eq!(config.settings.idle_timeout_ms, 0);
        assert_eq!(
            config.settings.routes,
            [Route::parse("/stocks=/raw").unwrap()]
        );
        assert!(config.settings.echo);
        assert_eq!(config.send_buffer, Some(16_384));
        assert_eq!(config.admin_listen, ["127.0.0.1:9100".parse().unwrap()]);
        assert!(config.settings.has_admin_port);
        let compression = config.settings.compression;
        assert_eq!(compression.threshold.bytes(), Some(1024));
        assert_eq!(compression.contexts_max, 9);
        assert_eq!(config.settings.fragments_max, u32::MAX);
        let replay = config.replay.unwrap();
        assert_eq!(
            (replay.path, replay.speed, replay.repeat),
            (None, 86_400.0, true)
        );
        assert_eq!(
            config.sim,
            Some(Sim {
                symbols: 500,
                seed: SIM_SEED,
                rate: 1000.0
            })
        );
    }

    #[test]
    fn a_switch_of_the_file_can_be_taken_back_by_a_flag() {
        assert!(!lower(&["--echo=false"]).unwrap().settings.echo);
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_one_sentence() {
        for (flags, part) in [
            (&["--route=stocks=/raw"][..], "must begin with '/'"),
            (&["--route=/a=/nowhere"], "none of /ws"),
            (&["--route=/a=/room/a..b"], "not a topic"),
            (
                &["--route=/a=/raw", "--route=/a=/ws"],
                "the path \"/a\" has two routes",
            ),
            (&["--route=/a=/echo"], "needs --echo"),
            (
                &["--listen=127.0.0.1:1", "--listen=127.0.0.1:1"],
                "listen names 127.0.0.1:1 twice",
            ),
            (
                &[
                    "--listen=127.0.0.1:1",
                    "--tls-listen=127.0.0.1:1",
                    "--tls-cert=a",
                    "--tls-key=b",
                ],
                "listen and tls-listen both name 127.0.0.1:1",
            ),
            (
                &["--tls-listen=127.0.0.1:1"],
                "tls-listen needs tls-cert and tls-key",
            ),
            (
                &[
                    "--tls-listen=127.0.0.1:1",
                    "--tls-cert=a",
                    "--tls-cert=b",
                    "--tls-key=c",
                ],
                "tls-cert and tls-key come in pairs, but 2 and 1 were given",
            ),
            (&["--tls-key=c"], "tls-key does nothing without tls-listen"),
            (
                &["--tls-client-rights=* sub=a"],
                "tls-client-rights does nothing without tls-client-ca",
            ),
            (
                &[
                    "--tls-listen=127.0.0.1:1",
                    "--tls-cert=a",
                    "--tls-key=c",
                    "--tls-client-ca=c",
                    "--tls-client-rights=feed",
                ],
                "tls-client-rights: \"feed\" is not NAME",
            ),
            (
                &["--admin-listen=127.0.0.1:1", "--admin-listen=127.0.0.1:1"],
                "admin-listen names 127.0.0.1:1 twice",
            ),
            (
                &["--listen=127.0.0.1:1", "--admin-listen=127.0.0.1:1"],
                "listen and admin-listen both name 127.0.0.1:1",
            ),
            (&["--shards=5000"], "shards must be at most 1024"),
            (
                &["--max-connections=0"],
                "max-connections must be above zero",
            ),
            (&["--backlog=0"], "backlog must be between 1 and"),
            (
                &["--max-frame-bytes=100"],
                "max-frame-bytes must be between 125 and 1g, not 100",
            ),
            (
                &["--max-message-bytes=2g"],
                "max-message-bytes must be between 125 and 1g, not 2g",
            ),
            (
                &["--max-outbox-bytes=1k"],
                "max-outbox-bytes must be between 4k and 1g",
            ),
            (
                &["--max-head-bytes=2m"],
                "max-head-bytes must be between 1k and 1m",
            ),
            (
                &["--send-buffer=1"],
                "send-buffer must be between 1k and 1g",
            ),
            (
                &["--max-commands-per-s=2000000"],
                "max-commands-per-s must be at most 1000000",
            ),
            (&["--max-topics=0"], "max-topics must be above zero"),
            (
                &["--compress-threshold=1k"],
                "compress-threshold and compress-contexts do nothing without compress",
            ),
            (
                &["--compress", "--compress-threshold=2g"],
                "compress-threshold must be between 0 and 1g, not 2g",
            ),
            (
                &["--ping-interval=75s"],
                "ping-interval (75s) and a quarter more must be a second below idle-timeout (75s)",
            ),
            (&["--close-timeout=0"], "close-timeout must be above zero"),
            (
                &["--slow-timeout=2m"],
                "user-timeout (1m) must be longer than slow-timeout (2m)",
            ),
            (&["--speed=2"], "speed does nothing without replay"),
            (&["--sim-rate=2"], "sim-rate does nothing without sim"),
            (
                &["--replay=builtin", "--speed=0"],
                "speed must be above zero",
            ),
            (
                &["--replay=builtin", "--speed=inf"],
                "speed must be above zero",
            ),
            (
                &["--replay=builtin", "--topic-prefix=a b"],
                "begins no topic",
            ),
            (
                &["--replay=builtin", "--topic-prefix=$sys."],
                "belong to the server",
            ),
            (
                &["--sim=0"],
                "sim must be between 1 and 1000000 symbols, not 0",
            ),
            (&["--sim=5", "--sim-rate=-1"], "sim-rate must be above zero"),
        ] {
            let error = lower(flags).expect_err(part);
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
    }
}
