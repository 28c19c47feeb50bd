//! The binary `fanfare-loadgen`: parse, run, exit code.

fn main() -> std::process::ExitCode {
    fanfare_loadgen::run_command_line()
}
