//! `fanfare serve`: flags and file become a checked configuration, and a server runs until it is told to stop.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::{WRONG_USE, fail, log};
use crate::config::{Config, Options};
use crate::feed::replay;
use crate::server;

const EXAMPLES: &str = "\
Examples:
  fanfare serve                                              listen on 127.0.0.1:9001
  fanfare serve --listen 0.0.0.0:9001 --listen '[::]:9002'
  fanfare serve --route /stocks=/raw --route '/document/*=/room/document.*'
  fanfare serve --replay builtin --speed 86400 --loop --topic-prefix daily.
  fanfare serve --replay trades.csv.gz --topic-column Symbol --time-column Time --speed 10
  fanfare serve --sim 500 --sim-rate 2000
  fanfare serve --config fanfare.toml --check-config         print what would hold, and exit

Sizes are bytes, 64k, 1m, 1g; durations 500ms, 30s, 5m, 2h. In a config file each key is a flag without its dashes:
  listen = [\"0.0.0.0:9001\", \"[::]:9002\"]
  idle-timeout = \"75s\"
Flags win over the file. SIGTERM or SIGINT ends the server gently, a second one at once.";

/// Run the server
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Read settings from this TOML file; flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print the settings that would hold, as a config file, and exit
    #[arg(long)]
    check_config: bool,

    #[command(flatten)]
    options: Options,
}

pub(super) fn run(args: &Args) -> ExitCode {
    // Whatever goes wrong before the server runs, the operator can change.
    serve(args).unwrap_or_else(|error| fail(WRONG_USE, format!("{error:#}")))
}

fn serve(args: &Args) -> anyhow::Result<ExitCode> {
    let options = match &args.config {
        Some(path) => args.options.over_file(path)?,
        None => args.options.clone(),
    };
    let config = Config::from_options(&options)?;
    if let Some(recording) = &config.replay {
        replay::check(recording).context("replay")?;
    }
    if args.check_config {
        let text = config.to_options(&options.route).to_toml()?;
        // A reader that went away wanted no more of it.
        let _ = io::stdout().write_all(text.as_bytes());
        return Ok(ExitCode::SUCCESS);
    }
    log::init(config.log, config.log_level);
    server::run(&config)
}
