//! `fanfare hash-key`: makes an API key, and the line of the server's file that stands for it.

use std::process::ExitCode;

use anyhow::{Context as _, ensure};

use crate::auth::new_key;

const EXAMPLES: &str = "\
Examples:
  fanfare hash-key feed --publish 'px.>,news' >> api.keys    the key is shown once, the file gets its line
  fanfare hash-key cron --publish alerts --subscribe 'px.*'";

/// Make an API key: its owner gets the key, the file of --api-keys gets the line
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Who the key is for
    name: String,

    /// Topics and filters that it may subscribe to, separated by commas
    #[arg(long, value_name = "FILTER,…")]
    subscribe: Option<String>,

    /// Topics and filters that it may publish to, separated by commas
    #[arg(long, value_name = "FILTER,…")]
    publish: Option<String>,
}

/// Prints the key to standard error and the line to standard output, so that `>> keys` keeps just what the server needs.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let is_name = !args.name.is_empty()
        && !args.name.contains(char::is_whitespace)
        && !args.name.starts_with('#');
    ensure!(is_name, "a key's name is a word, not {:?}", args.name);
    let mut words = String::new();
    for (word, list) in [("sub", &args.subscribe), ("pub", &args.publish)] {
        let Some(list) = list else { continue };
        for filter in list.split(',') {
            fanfare_wire::topic::check_filter(filter)
                .with_context(|| format!("{filter:?} is no topic filter"))?;
        }
        words.push_str(&format!(" {word}={list}"));
    }
    ensure!(
        !words.is_empty(),
        "say what the key may do: --subscribe, --publish, or both"
    );
    let mut random = [0; 32];
    getrandom::fill(&mut random)
        .map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}"))?;
    let key = new_key(random);
    eprintln!("the key, which is shown only now: {}", key.key);
    println!("{} {}{words}", args.name, key.hash);
    Ok(ExitCode::SUCCESS)
}
