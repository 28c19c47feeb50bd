//! From a validated [`Config`] to running shards, and back to an exit code.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, bail};
use mio::{Poll, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::addresses::Table;
use crate::auth::Keyring;
use crate::certificates::Certificates;
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::disconnect::LABEL_NAMES;
use crate::engine::{Counters, Engine};
use crate::feed::{self, Sink};
use crate::feeder::Feeder;
use crate::hub::Charter;
use crate::hub::mail::ShardId;
use crate::mesh::{Mesh, Wake};
use crate::pages::Pages;
use crate::reactor::{self, Listen, Plan, Reactor, sys};
use crate::shards::Division;
use crate::site::Site;

/// Open files that a shard needs beside its connections, its listeners and the others' pollers: standard streams, signals, refusals.
const RESERVED_FILES: usize = 64;

/// Runs the server until a signal ends it. A second signal ends it at once.
///
/// Prints `listening on ws://…` or `wss://…` for each address, `admin on http://…` for each of the operator's, then `ready`, to
/// standard output.
///
/// # Errors
/// What the operator must mend: an address that cannot be had, a limit that is too low.
pub fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let open_files =
        sys::raise_open_files_limit().context("cannot read the limit on open files")?;
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let reserved =
        RESERVED_FILES + config.listen.len() + config.tls_listen.len() + config.admin_listen.len();
    let room = Division::room(cores, open_files as usize, reserved);
    let connections_max = (config.max_connections).map_or(room, NonZeroUsize::get);
    let division = Division::plan(
        connections_max,
        cores,
        open_files as usize,
        reserved,
        config.shards,
    )?;
    tracing::info!("{division}");

    let certificates = certificates(config)?;
    let listen = probe(config)?;
    let (mesh, polls) = weave(division.shards)?;
    let mesh = Arc::new(mesh);
    let charter = charter(config, division.shards);
    let plan = Plan {
        listen: listen.clone(),
        connections_max,
        shard_connections_max: division.shard_connections_max,
        notsent_lowat: config.notsent_lowat,
        close_timeout_ms: config.settings.close_timeout_ms,
        certificates: certificates.clone(),
        client_rights: config.client_rights.as_slice().into(),
    };
    let keys = keys(config)?;
    let addresses =
        (!config.address_limits.is_off()).then(|| Arc::new(Table::new(config.address_limits)));
    let pages = Pages::open(config.site.as_deref())?;
    heed_signals(&mesh, certificates.clone(), keys.clone())?;
    let shared = Shared {
        site: pages.site.clone(),
        keys,
        addresses,
    };
    let shards = start_shards(config, &mesh, &charter, &plan, &shared, polls)?;
    announce(&listen)?;
    let feeds = start_feeds(config, &mesh, &charter)?;
    let total = join(shards)?;
    for feed in feeds {
        // A feed reports its own troubles; that it panicked would have ended the process.
        let _ = feed.join();
    }
    pages.close();
    report(&total);
    if let Some(certificates) = certificates {
        let [full, resumed, failed] = certificates.counts().read();
        tracing::info!(full, resumed, failed, "TLS handshakes");
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the certificates, and watches their files from then on.
fn certificates(config: &Config) -> anyhow::Result<Option<Arc<Certificates>>> {
    let Some(files) = config.tls.clone() else {
        return Ok(None);
    };
    let certificates = Arc::new(Certificates::load(files)?);
    certificates
        .clone()
        .watch()
        .context("cannot watch the certificates")?;
    Ok(Some(certificates))
}

/// Makes sure that every address can be had, and learns the port that a `:0` becomes.
fn probe(config: &Config) -> anyhow::Result<Vec<Listen>> {
    let listen = |(address, tls, is_admin)| {
        let listen = Listen {
            address,
            is_admin,
            backlog: config.backlog,
            recv_buffer: config.recv_buffer,
            send_buffer: config.send_buffer,
            user_timeout_ms: config.user_timeout_ms,
            tls,
        };
        let bound = listen
            .probe()
            .with_context(|| format!("cannot listen on {address}"))?;
        Ok(Listen {
            address: bound,
            ..listen
        })
    };
    let plain = config.listen.iter();
    let tls = config.tls_listen.iter();
    let admin = config.admin_listen.iter();
    plain
        .map(|address| (*address, false, false))
        .chain(tls.map(|address| (*address, true, false)))
        .chain(admin.map(|address| (*address, false, true)))
        .map(listen)
        .collect()
}

/// Makes all pollers and wakers. Before the shards have file tables of their own, so that each can wake every other.
fn weave(shards: u16) -> anyhow::Result<(Mesh, Vec<Poll>)> {
    let mut polls = Vec::new();
    let mut wakes: Vec<Wake> = Vec::new();
    for _ in 0..shards {
        let poll = Poll::new().context("cannot make a poller")?;
        let waker = Waker::new(poll.registry(), reactor::WAKER).context("cannot make a waker")?;
        wakes.push(Box::new(move || {
            // An eventfd write fails only when its counter is full, and then the shard is awake.
            let _ = waker.wake();
        }));
        polls.push(poll);
    }
    Ok((Mesh::new(wakes), polls))
}

fn charter(config: &Config, shards: u16) -> Charter {
    let settings = &config.settings;
    let seed = RandomState::new().build_hasher().finish();
    Charter {
        shards,
        seed,
        epoch: base36(seed >> 32).into(),
        topics_per_owner_max: settings.topics_max.div_ceil(u32::from(shards)),
        // However many shards share it, each must have room for a few of the largest messages.
        kept_bytes_per_owner_max: (settings.kept_bytes_max / u64::from(shards))
            .max(8 * settings.message_bytes_max as u64),
        filter_topics_max: settings.filter_topics_max,
        filters_per_topic_max: settings.filters_per_topic_max,
        keys: settings.keys,
        history: settings.history.clone().into(),
        threshold: settings.compression.threshold,
    }
}

/// The keys of clients, where there are any.
fn keys(config: &Config) -> anyhow::Result<Option<Arc<Keyring>>> {
    if config.keys.is_empty() {
        return Ok(None);
    }
    Ok(Some(Arc::new(Keyring::open(config.keys.clone())?)))
}

/// The first signal to end stops the server in order, the second at once. With certificates or keys, SIGHUP reads them anew;
/// without, it ends the process as it always did.
fn heed_signals(
    mesh: &Arc<Mesh>,
    certificates: Option<Arc<Certificates>>,
    keys: Option<Arc<Keyring>>,
) -> anyhow::Result<()> {
    let has_files = certificates.is_some() || keys.is_some();
    let heeded = [SIGTERM, SIGINT]
        .into_iter()
        .chain(has_files.then_some(SIGHUP));
    let mut signals = Signals::new(heeded).context("cannot catch signals")?;
    let mesh = mesh.clone();
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut stopping = false;
            for signal in signals.forever() {
                if signal == SIGHUP {
                    if let Some(certificates) = &certificates {
                        certificates.reload();
                    }
                    if let Some(keys) = &keys {
                        reload_keys(keys);
                    }
                    continue;
                }
                if std::mem::replace(&mut stopping, true) {
                    // The shell's convention for an end by signal.
                    std::process::exit(128 + signal);
                }
                tracing::info!(signal, "stopping; once more ends at once");
                mesh.stop();
            }
        })?;
    Ok(())
}

fn reload_keys(keys: &Keyring) {
    match keys.reload() {
        Ok(()) => tracing::info!("the keys were read again"),
        Err(error) => tracing::error!("the keys stay as they were: {error}"),
    }
}

/// What all shards share.
#[derive(Clone)]
struct Shared {
    site: Arc<Site>,
    keys: Option<Arc<Keyring>>,
    addresses: Option<Arc<Table>>,
}

type Shard = JoinHandle<std::io::Result<Counters>>;

fn start_shards(
    config: &Config,
    mesh: &Arc<Mesh>,
    charter: &Charter,
    plan: &Plan,
    shared: &Shared,
    polls: Vec<Poll>,
) -> anyhow::Result<Vec<Shard>> {
    let settings = Arc::new(config.settings.clone());
    let live = Arc::new(AtomicUsize::new(0));
    let clock = Clock::start();
    let (ready, is_ready) = mpsc::channel();
    let mut shards = Vec::new();
    for (number, poll) in polls.into_iter().enumerate() {
        let me = ShardId(number as u16);
        let (mesh, live, ready, plan) = (mesh.clone(), live.clone(), ready.clone(), plan.clone());
        let mesh_to_stop = mesh.clone();
        let (charter, settings, shared) = (charter.clone(), settings.clone(), shared.clone());
        let shard = thread::Builder::new()
            .name(format!("shard-{number}"))
            .spawn(move || {
                let started = sys::unshare_files().and_then(|()| {
                    let engine = Engine::new(me, charter, settings, plan.reserved_connections());
                    let engine = engine
                        .with_site(shared.site)
                        .with_keys(shared.keys)
                        .with_addresses(shared.addresses);
                    Reactor::new(me, poll, engine, mesh, clock, plan, live)
                });
                match started {
                    Ok(reactor) => {
                        let _ = ready.send(Ok(()));
                        // Whoever waits for all shards waits until every sender is gone.
                        drop(ready);
                        // One shard that cannot go on ends them all: its connections and topics are gone.
                        reactor.run().inspect_err(|_| mesh_to_stop.stop())
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error));
                        Ok(Counters::default())
                    }
                }
            })?;
        shards.push(shard);
    }
    drop(ready);
    for started in is_ready {
        if let Err(error) = started {
            mesh.stop();
            return Err(error).context("a shard cannot start");
        }
    }
    Ok(shards)
}

fn announce(listen: &[Listen]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for listen in listen {
        let scheme = match listen {
            Listen { is_admin: true, .. } => "admin on http",
            Listen { tls: true, .. } => "listening on wss",
            _ => "listening on ws",
        };
        writeln!(out, "{scheme}://{}", listen.address)?;
    }
    writeln!(out, "ready")?;
    out.flush()?;
    Ok(())
}

fn start_feeds(
    config: &Config,
    mesh: &Arc<Mesh>,
    charter: &Charter,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let mut feeds = Vec::new();
    if let Some(replay) = config.replay.clone() {
        feeds.push(start_feed("replay", mesh, charter, move |sink| {
            feed::replay::run(&replay, sink).map(|report| tracing::info!(?report, "replay ended"))
        })?);
    }
    if let Some(sim) = config.sim.clone() {
        feeds.push(start_feed("sim", mesh, charter, move |sink| {
            feed::sim::run(&sim, sink);
            Ok(())
        })?);
    }
    Ok(feeds)
}

/// A feed on a thread of its own. One that fails is reported, and the server goes on.
fn start_feed(
    name: &'static str,
    mesh: &Arc<Mesh>,
    charter: &Charter,
    run: impl FnOnce(&mut dyn Sink) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<JoinHandle<()>> {
    let mut sink = Feeder::new(mesh.clone(), charter.clone());
    let feed = thread::Builder::new().name(name.into()).spawn(move || {
        if let Err(error) = run(&mut sink) {
            tracing::error!("{name}: {error:#}");
        }
    })?;
    Ok(feed)
}

/// Waits for all shards to end.
fn join(shards: Vec<Shard>) -> anyhow::Result<Counters> {
    let mut total = Counters::default();
    for shard in shards {
        // A panic would have ended the process (profile), except in tests.
        let Ok(ended) = shard.join() else {
            bail!("a shard panicked");
        };
        total.add(&ended.context("a shard failed")?);
    }
    Ok(total)
}

fn report(total: &Counters) {
    let reasons: Vec<String> = (LABEL_NAMES.iter().zip(total.disconnects))
        .filter(|(_, count)| *count > 0)
        .map(|(label, count)| format!("{label} {count}"))
        .collect();
    tracing::info!(
        opened = total.opened,
        upgraded = total.upgraded,
        requests = total.requests,
        streams = total.streams,
        messages_in = total.messages_in,
        updates_in = total.updates_in,
        deliveries = total.deliveries,
        skipped_slow = total.skipped_slow,
        skipped_rate = total.skipped_rate,
        skipped_stale = total.skipped_stale,
        slow_entered = total.slow_entered,
        slow_left = total.slow_left,
        rate_limited = total.rate_limited,
        refused_tokens = total.refused_tokens,
        bytes_in = total.bytes_in,
        bytes_out = total.bytes_out,
        disconnects = reasons.join(", "),
        "stopped"
    );
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize]);
        number /= 36;
        if number == 0 {
            break;
        }
    }
    digits.reverse();
    digits.into_iter().map(char::from).collect()
}
