//! A test in a process of its own, where what belongs to the whole process (a subscriber, a record of
//! statements) belongs to it alone.

use std::process::Command;

use super::postgres;

const CHILD: &str = "MAILWARD_TEST_CHILD";

/// Runs `work` in a new process that runs this test alone, and answers what it printed; in that
/// process runs it and answers `None`. `test` is the test's full name.
pub fn in_a_child(test: &str, work: impl FnOnce()) -> Option<String> {
    if std::env::var_os(CHILD).is_some() {
        work();
        return None;
    }
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    child.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    child.env("MAILWARD_TEST_POSTGRES", postgres::server());
    let output = child.output().expect("this program can be started again");
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
    Some(told)
}
