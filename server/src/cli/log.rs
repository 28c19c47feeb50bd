//! Where log lines go: standard error, as text or as JSON. Standard output belongs to what was asked for.

use std::io;

use tracing_subscriber::filter::LevelFilter;

use crate::config::{LogFormat, LogLevel};

/// Sets logging up for the whole process. A second call changes nothing.
pub(super) fn init(format: LogFormat, level: LogLevel) {
    let lines = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(filter(level))
        .with_target(false);
    // An error only says that a subscriber is set already.
    let _ = match format {
        LogFormat::Text => lines
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
