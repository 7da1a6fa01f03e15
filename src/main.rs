use std::process::ExitCode;

fn main() -> ExitCode {
    // Whatever this process makes is nobody else's to read: databases, backups, configuration.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    mailward::cli::main()
}
