//! The Debian package, installed into a root of its own: modes and owners, the unit, and the way back.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn done(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the program is there");
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}\n{out}\n{err}");
    format!("{out}{err}")
}

/// A machine of Debian's with nothing on it but users and dpkg's own records.
fn empty_machine(folder: &Path) -> PathBuf {
    let machine = folder.join("machine");
    for part in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "etc", "tmp"] {
        fs::create_dir_all(machine.join(part)).expect("a folder");
    }
    fs::write(machine.join("var/lib/dpkg/status"), "").expect("a file");
    fs::write(machine.join("etc/passwd"), "root:x:0:0:root:/root:/bin/bash\n").expect("a file");
    fs::write(machine.join("etc/group"), "root:x:0:\n").expect("a file");
    fs::write(machine.join("etc/shadow"), "root:*:19000:0:99999:7:::\n").expect("a file");
    fs::write(machine.join("etc/gshadow"), "root:*::\n").expect("a file");
    machine
}

fn dpkg(machine: &Path) -> Command {
    let mut dpkg = Command::new("dpkg");
    // The needed packages are those of the machine outside.
    dpkg.arg("--root").arg(machine).args(["--force-script-chrootless", "--force-depends", "--no-pager"]);
    dpkg.arg("--log=/dev/null").env("DEBIAN_FRONTEND", "noninteractive");
    dpkg
}

#[test]
fn the_package_installs_a_hardened_service_and_leaves_the_accounts_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let made = Command::new(root().join("scripts/package"))
        .args(["--uncompressed", "--binary", env!("CARGO_BIN_EXE_mailward"), "--out"])
        .arg(&out)
        .output()
        .expect("scripts/package runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let package = String::from_utf8(made.stdout).expect("a path").trim_end().to_owned();

    let machine = empty_machine(folder.path());
    done(dpkg(&machine).args(["--install", &package]));
    let user = fs::read_to_string(machine.join("etc/passwd")).expect("users");
    let user = user.lines().find(|line| line.starts_with("mailward:")).expect("the service's user");
    let fields: Vec<&str> = user.split(':').collect();
    assert_eq!((fields[5], fields[6]), ("/var/lib/mailward", "/usr/sbin/nologin"));
    let uid: u32 = fields[2].parse().expect("a number");
    for (path, mode, owner) in [
        ("usr/bin/mailward", 0o755, 0),
        ("usr/lib/systemd/system/mailward.service", 0o644, 0),
        ("usr/lib/systemd/system/mailward-mail-agent.service", 0o644, 0),
        ("etc/mailward", 0o750, uid),
        ("etc/mailward/mailward.toml", 0o640, uid),
        ("var/lib/mailward", 0o700, uid),
        ("usr/share/man/man1/mailward.1.gz", 0o644, 0),
        ("usr/share/bash-completion/completions/mailward", 0o644, 0),
    ] {
        let there = fs::metadata(machine.join(path)).unwrap_or_else(|why| panic!("{path}: {why}"));
        assert_eq!((there.mode() & 0o7777, there.uid()), (mode, owner), "{path}");
    }
    done(Command::new(machine.join("usr/bin/mailward")).arg("--version"));
    // The defaults are a configuration.
    let config = machine.join("etc/mailward/mailward.toml");
    let database = format!("sqlite:{}", machine.join("var/lib/mailward/mailward.sqlite").display());
    done(
        Command::new(machine.join("usr/bin/mailward"))
            .arg("--config")
            .arg(&config)
            .args(["init", "--organization", "Example", "--domain", "example.org"])
            .args(["--admin", "admin@example.org"])
            .env("MAILWARD_DATABASE_URL", &database)
            .env("MAILWARD_PASSWORDS_MEMORY_KIB", "64"),
    );

    for unit in ["mailward", "mailward-mail-agent"] {
        unit_is_good(&machine, unit);
    }

    // What the operator has written stays when the package comes again.
    fs::write(&config, "[log]\nlevel = \"warn\"\n").expect("a configuration");
    done(dpkg(&machine).args(["--force-confold", "--install", &package]));
    assert!(fs::read_to_string(&config).expect("the configuration").contains("warn"));
    done(dpkg(&machine).args(["--purge", "mailward"]));
    assert!(!machine.join("usr/bin/mailward").exists() && !config.exists());
    assert!(machine.join("var/lib/mailward/mailward.sqlite").exists(), "the accounts stay");
}

fn unit_is_good(machine: &Path, name: &str) {
    let unit = machine.join(format!("usr/lib/systemd/system/{name}.service"));
    let unit = fs::read_to_string(unit).expect("the unit");
    let place = machine.join(format!("tmp/{name}.service"));
    // The check looks whether the program is there, on this machine; the manual is not.
    let program = machine.join("usr/bin/mailward").display().to_string();
    let here =
        unit.replace("/usr/bin/mailward", &program).replace(&format!("Documentation=man:{name}(1)\n"), "");
    fs::write(&place, here).expect("a unit");
    let said = done(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&place));
    assert!(!said.contains(&format!("{name}.service")), "{said}");
    let said =
        done(Command::new("systemd-analyze").args(["security", "--offline=true", "--no-pager"]).arg(&place));
    let level = said.lines().find(|line| line.contains("Overall exposure level")).expect("a verdict");
    let level: f64 = level.split_whitespace().find_map(|word| word.parse().ok()).expect("a number");
    assert!(level < 2.5, "{said}");
}
