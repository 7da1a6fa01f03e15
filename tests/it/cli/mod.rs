//! The command line as a person or a script meets it: the real program, in folders of its own.

mod backups;
mod configuration;
mod demo;
mod dry_run;
mod first_steps;
mod help;
mod mail_agents;
mod mail_servers;
mod operator;
mod secrets;
mod serving;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// A folder with a configuration of its own, in which the program is run.
pub struct Place {
    folder: tempfile::TempDir,
}

/// What one run said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Place {
    pub fn empty() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    /// With an organization, its domain example.org and the super administrator admin@example.org.
    pub fn initialised() -> Self {
        let place = Self::empty();
        place.init().good();
        place
    }

    pub fn init(&self) -> Said {
        self.run(&[
            "init",
            "--database",
            "sqlite:data/mailward.sqlite",
            "--organization",
            "Example",
            "--domain",
            "example.org",
            "--admin",
            "admin@example.org",
            "--json",
        ])
    }

    /// With a backup, `copy.sqlite`, of a database that is gone; its folder is `old` now.
    pub fn with_a_backup_alone(&self) {
        self.run(&["backup", "copy.sqlite"]).good();
        std::fs::rename(self.path("data"), self.path("old")).expect("moved away");
        std::fs::create_dir(self.path("data")).expect("a folder");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// The program, with nothing of the test's own environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailward"));
        command
            .current_dir(self.root())
            .env_clear()
            .env("MAILWARD_CONFIG", self.path("mailward.toml"))
            .env("MAILWARD_MAIL_LOGINS_KEY_FILE", self.path("logins.key"))
            .env("MAILWARD_PASSWORDS_MEMORY_KIB", "64")
            .env("MAILWARD_PASSWORDS_PASSES", "1")
            .args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, "")
    }

    pub fn run_with(&self, arguments: &[&str], input: &str) -> Said {
        said(self.command(arguments), input)
    }

    /// Runs a command that must succeed, and reads its JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        self.run(&all).good().json()
    }
}

/// Runs a command to its end.
pub fn said(mut command: Command, input: &str) -> Said {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // A program that refuses early does not read its input.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("the program ends");
    Said {
        code: output.status.code().expect("no signal"),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

impl Said {
    #[track_caller]
    pub fn good(self) -> Self {
        assert_eq!(self.code, 0, "out: {}\nerr: {}", self.out, self.err);
        self
    }

    /// A refusal with this exit code; answers what it said.
    #[track_caller]
    pub fn refused(self, code: i32) -> String {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        assert_eq!(self.out, "", "standard output carries only what was asked for");
        self.err
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("no JSON: {}", self.out))
    }
}

/// A string in an answer.
#[track_caller]
pub fn text(answer: &Value, key: &str) -> String {
    answer[key].as_str().unwrap_or_else(|| panic!("no {key} in {answer}")).to_owned()
}
