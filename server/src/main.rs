//! The `fanfare` binary: see [`fanfare::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    fanfare::cli::run()
}
