//! From what was written to what is meant: defaults filled in, bounds checked, and back again for `--check-config`.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};

use super::{Bytes, Config, Millis, Options, Shards};
use crate::engine::{Route, Settings, Target};
use crate::feed::{Replay, Sim};

/// The name of the recording that is part of the program.
const BUILT_IN: &str = "builtin";
const SHARDS_MAX: usize = 1024;
const KERNEL_BUFFER_BYTES: RangeInclusive<u64> = 1 << 10..=1 << 30;
/// A shard addresses its topics with 32 bits less a few marks; a million symbols are already a burst of a million frames.
const SYMBOLS_MAX: u32 = 1_000_000;
const SIM_SEED: u64 = 1;

impl Config {
    /// Fills in defaults and checks everything that can be checked without touching a file or a socket.
    ///
    /// # Errors
    /// One sentence that names the flag and the bound.
    pub fn from_options(options: &Options) -> anyhow::Result<Config> {
        let default = Config::default();
        let config = Config {
            listen: if options.listen.is_empty() {
                default.listen
            } else {
                options.listen.clone()
            },
            shards: options.shards.and_then(|shards| shards.0),
            max_connections: options.max_connections.unwrap_or(default.max_connections),
            settings: settings(options)?,
            backlog: options.backlog.unwrap_or(default.backlog),
            recv_buffer: kernel_buffer("recv-buffer", options.recv_buffer)?,
            send_buffer: kernel_buffer("send-buffer", options.send_buffer)?,
            log: options.log_format.unwrap_or_default(),
            log_level: options.log_level.unwrap_or_default(),
            replay: replay(options)?,
            sim: sim(options)?,
        };
        check_network(&config)?;
        check_timeouts(&config.settings)?;
        Ok(config)
    }

    /// The options that give this configuration, nothing left out.
    #[must_use]
    pub fn to_options(&self, routes: &[String]) -> Options {
        let settings = &self.settings;
        let replay = self.replay.as_ref();
        let sim = self.sim.as_ref();
        Options {
            listen: self.listen.clone(),
            shards: Some(Shards(self.shards)),
            max_connections: Some(self.max_connections),
            backlog: Some(self.backlog),
            recv_buffer: self.recv_buffer.map(|bytes| Bytes(bytes.into())),
            send_buffer: self.send_buffer.map(|bytes| Bytes(bytes.into())),
            route: routes.to_vec(),
            echo: Some(settings.echo),
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
            max_fragments: Some(settings.fragments_max),
            max_subscriptions: Some(settings.subscriptions_max),
            max_topics: Some(settings.topics_max),
            max_outbox_bytes: Some(Bytes(settings.outbox_bytes_max.into())),
            max_head_bytes: Some(Bytes(settings.head_bytes_max as u64)),
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

fn settings(options: &Options) -> anyhow::Result<Settings> {
    let default = Settings::default();
    let millis = |given: Option<Millis>, default| given.map_or(default, |millis| millis.0);
    let frame_bytes = given_or(options.max_frame_bytes, default.frame_bytes_max);
    let message_bytes = given_or(options.max_message_bytes, default.message_bytes_max as u64);
    let outbox_bytes = given_or(options.max_outbox_bytes, default.outbox_bytes_max.into());
    let head_bytes = given_or(options.max_head_bytes, default.head_bytes_max as u64);
    let echo = options.echo.unwrap_or(default.echo);
    Ok(Settings {
        routes: routes(&options.route, echo)?,
        echo,
        // 125 bytes is what every control frame may have.
        frame_bytes_max: size("max-frame-bytes", frame_bytes, 125..=1 << 30)?,
        message_bytes_max: size("max-message-bytes", message_bytes, 125..=1 << 30)? as usize,
        fragments_max: count(
            "max-fragments",
            options.max_fragments.unwrap_or(default.fragments_max),
        )?,
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
        outbox_bytes_max: size("max-outbox-bytes", outbox_bytes, 4 << 10..=1 << 30)? as u32,
        head_bytes_max: size("max-head-bytes", head_bytes, 1 << 10..=1 << 20)? as usize,
        handshake_timeout_ms: millis(options.handshake_timeout, default.handshake_timeout_ms),
        ping_interval_ms: millis(options.ping_interval, default.ping_interval_ms),
        idle_timeout_ms: millis(options.idle_timeout, default.idle_timeout_ms),
        heartbeat_ms: millis(options.heartbeat, default.heartbeat_ms),
        slow_timeout_ms: millis(options.slow_timeout, default.slow_timeout_ms),
        close_timeout_ms: millis(options.close_timeout, default.close_timeout_ms),
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

fn replay(options: &Options) -> anyhow::Result<Option<Replay>> {
    let Some(file) = &options.replay else {
        let idle = [
            ("topic-column", options.topic_column.is_some()),
            ("time-column", options.time_column.is_some()),
            ("topic-prefix", options.topic_prefix.is_some()),
            ("speed", options.speed.is_some()),
            ("loop", options.repeat.is_some()),
        ];
        refuse_idle(&idle, "replay")?;
        return Ok(None);
    };
    let speed = options.speed.unwrap_or(1.0);
    ensure!(
        speed.is_finite() && speed > 0.0,
        "speed must be above zero, not {speed}"
    );
    let topic_prefix = options.topic_prefix.clone().unwrap_or_default();
    // A prefix may end in a dot, so it is judged with a topic behind it.
    fanfare_wire::topic::check_topic(&format!("{topic_prefix}x"))
        .with_context(|| format!("topic-prefix {topic_prefix:?} begins no topic"))?;
    ensure!(
        !topic_prefix.starts_with('$'),
        "topic-prefix: topics that begin with '$' belong to the server"
    );
    Ok(Some(Replay {
        path: (file != BUILT_IN).then(|| PathBuf::from(file)),
        topic_column: options.topic_column.clone(),
        time_column: options.time_column.clone(),
        topic_prefix,
        speed,
        repeat: options.repeat.unwrap_or(false),
    }))
}

fn sim(options: &Options) -> anyhow::Result<Option<Sim>> {
    let Some(symbols) = options.sim else {
        let idle = [
            ("sim-seed", options.sim_seed.is_some()),
            ("sim-rate", options.sim_rate.is_some()),
        ];
        refuse_idle(&idle, "sim")?;
        return Ok(None);
    };
    ensure!(
        (1..=SYMBOLS_MAX).contains(&symbols),
        "sim must be between 1 and {SYMBOLS_MAX} symbols, not {symbols}"
    );
    let rate = options.sim_rate.unwrap_or(2.0 * f64::from(symbols));
    ensure!(
        rate.is_finite() && rate > 0.0,
        "sim-rate must be above zero, not {rate}"
    );
    let seed = options.sim_seed.unwrap_or(SIM_SEED);
    ensure!(
        i64::try_from(seed).is_ok(),
        "sim-seed must be below 2^63, as any number in a config file"
    );
    Ok(Some(Sim {
        symbols,
        seed,
        rate,
    }))
}

/// A setting without the feed it belongs to would do nothing, which is hardly what was meant.
fn refuse_idle(settings: &[(&str, bool)], feed: &str) -> anyhow::Result<()> {
    match settings.iter().find(|(_, given)| *given) {
        Some((key, _)) => bail!("{key} does nothing without {feed}"),
        None => Ok(()),
    }
}

fn check_network(config: &Config) -> anyhow::Result<()> {
    for (index, address) in config.listen.iter().enumerate() {
        let twice = address.port() != 0 && config.listen[..index].contains(address);
        ensure!(!twice, "listen names {address} twice");
    }
    let shards = config.shards.map_or(1, |shards| shards.get());
    ensure!(
        shards <= SHARDS_MAX,
        "shards must be at most {SHARDS_MAX}, not {shards}"
    );
    ensure!(
        config.max_connections > 0,
        "max-connections must be above zero"
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
        ("slow-timeout", settings.slow_timeout_ms),
        ("close-timeout", settings.close_timeout_ms),
    ] {
        ensure!(millis > 0, "{key} must be above zero");
    }
    let (ping, idle) = (settings.ping_interval_ms, settings.idle_timeout_ms);
    ensure!(
        ping == 0 || idle == 0 || ping < idle,
        "ping-interval ({}) must be below idle-timeout ({}), or silent connections are closed before they are asked",
        Millis(ping),
        Millis(idle)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file;
    use clap::{Args as _, Command, FromArgMatches as _};

    fn options(flags: &[&str]) -> Options {
        let command = Options::augment_args(Command::new("serve"));
        let flags = std::iter::once("serve").chain(flags.iter().copied());
        Options::from_arg_matches(
            &command
                .try_get_matches_from(flags)
                .expect("flags that exist"),
        )
        .unwrap()
    }

    fn lower(flags: &[&str]) -> Result<Config, String> {
        Config::from_options(&options(flags)).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn no_flags_give_the_documented_defaults() {
        assert_eq!(lower(&[]), Ok(Config::default()));
    }

    #[test]
    fn flags_reach_the_configuration() {
        let config = lower(&[
            "--listen=0.0.0.0:80",
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
            (&["--max-topics=0"], "max-topics must be above zero"),
            (
                &["--ping-interval=75s"],
                "ping-interval (75s) must be below idle-timeout (75s)",
            ),
            (&["--close-timeout=0"], "close-timeout must be above zero"),
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
            "--shards=2",
        ];
        let options = options(&flags);
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
        options.repeat = Some(false);
        options.speed = Some(1.0);
        options.sim_seed = Some(SIM_SEED);
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
