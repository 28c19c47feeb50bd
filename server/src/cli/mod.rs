//! The command line: `fanfare serve`, `fanfare sub`, `fanfare pub`.
//!
//! [`run`] is all there is to `main`. Exit codes: 0 done, 1 it failed, 2 the operator has to change something. What went wrong
//! is told in one sentence on standard error.

use std::fmt::Display;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

mod hash_key;
mod log;
mod publish;
mod serve;
mod subscribe;
mod trust;

const FAILED: u8 = 1;
const WRONG_USE: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  fanfare serve --sim 500                          serve a simulated market of 500 symbols
  fanfare sub ws://127.0.0.1:9001/ws AAPL MSFT     print updates as they come
  fanfare pub ws://127.0.0.1:9001/ws AAPL '{\"price\":187.2}'

`fanfare <COMMAND> --help` tells more.";

/// A push server: topics over WebSockets.
#[derive(Debug, Parser)]
#[command(name = "fanfare", version, about, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Args>),
    Sub(subscribe::Args),
    Pub(publish::Args),
    HashKey(hash_key::Args),
}

/// Does what the command line asks for.
#[must_use]
pub fn run() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return explain(&error),
    };
    let done = match command {
        Command::Serve(args) => return serve::run(&args),
        Command::Sub(args) => subscribe::run(&args),
        Command::Pub(args) => publish::run(&args),
        Command::HashKey(args) => hash_key::run(&args),
    };
    done.unwrap_or_else(|error| fail(FAILED, format!("{error:#}")))
}

fn fail(code: u8, sentence: impl Display) -> ExitCode {
    eprintln!("fanfare: {sentence}");
    ExitCode::from(code)
}

/// Prints help and version as clap does; a mistake as one sentence instead of a page.
fn explain(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        // Help that cannot be printed, because nobody reads it, is no failure.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return fail(WRONG_USE, "a command is missing; try 'fanfare --help'");
    }
    fail(WRONG_USE, sentence(&error.to_string()))
}

/// The message of clap's page, its hints behind semicolons, without the usage below.
fn sentence(page: &str) -> String {
    let message = page.split("\n\nUsage:").next().unwrap_or(page);
    let message = message
        .split("\n\nFor more information")
        .next()
        .unwrap_or(message);
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let paragraphs = message.split("\n\n").map(|paragraph| {
        let lines = paragraph
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join(" ")
    });
    paragraphs.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn refusal(arguments: &[&str]) -> String {
        let arguments = std::iter::once("fanfare").chain(arguments.iter().copied());
        sentence(
            &Cli::try_parse_from(arguments)
                .expect_err("wrong use")
                .to_string(),
        )
    }

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_use_is_told_in_one_sentence() {
        for (arguments, expected) in [
            (
                &["serve", "--max-conections", "5"][..],
                "unexpected argument '--max-conections' found; tip: a similar argument exists: '--max-connections'",
            ),
            (
                &["serve", "--idle-timeout", "5"],
                "invalid value '5' for '--idle-timeout <DURATION>': a duration is a whole number with a unit",
            ),
            (
                &["serve", "--listen", "localhost"],
                "invalid value 'localhost' for '--listen <ADDRESS>': invalid socket address syntax",
            ),
            (
                &["serve", "--log-format", "xml"],
                "invalid value 'xml' for '--log-format <FORMAT>' [possible values: text, json]",
            ),
            (
                &["serv"],
                "unrecognized subcommand 'serv'; tip: a similar subcommand exists: 'serve'",
            ),
            (
                &["sub"],
                "the following required arguments were not provided: <URL> <TOPIC>...",
            ),
            (
                &["sub", "http://x", "A"],
                "invalid value 'http://x' for '<URL>': a URL begins with ws:// or wss://",
            ),
            (
                &["sub", "ws://x", "a..b"],
                "invalid value 'a..b' for '<TOPIC>...': empty segment",
            ),
            (
                &["sub", "--since", "k3f", "ws://x", "a"],
                "invalid value 'k3f' for '--since <EPOCH:SEQ>': it is the epoch and the last seq",
            ),
            (
                &["pub", "ws://x", "a.*", "1"],
                "invalid value 'a.*' for '<TOPIC>': ",
            ),
            (
                &["pub", "ws://x", "a", "{"],
                "invalid value '{' for '<DATA|->': ",
            ),
        ] {
            let told = refusal(arguments);
            assert!(told.starts_with(expected), "{told}");
            assert!(!told.contains('\n'), "{told}");
        }
    }

    #[test]
    fn every_command_has_help_with_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                help.contains(&format!("fanfare {} ", command.get_name())),
                "{}",
                command.get_name()
            );
        }
    }
}
