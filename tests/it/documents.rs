//! The documents are true where a machine can tell: links lead somewhere, command lines can be
//! typed, tests that are named exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use mailward::cli::Cli;

use crate::support::source;

struct Document {
    /// Relative to the repository.
    path: PathBuf,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Markdown file of the repository.
fn documents() -> Vec<Document> {
    let mut found = Vec::new();
    collect(root(), &mut found);
    assert!(found.len() > 20, "the documents were not found");
    found
}

fn collect(folder: &Path, found: &mut Vec<Document>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() {
            // What a build or a fuzzing run leaves, and git's own.
            if !name.starts_with('.') && !["target", "corpus", "artifacts"].contains(&&*name) {
                collect(&path, found);
            }
        } else if name.ends_with(".md") {
            let text = std::fs::read_to_string(&path).expect("a document is UTF-8");
            let path = path.strip_prefix(root()).expect("below the root").to_owned();
            found.push(Document { path, text });
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        let folder = root().join(&document.path);
        let folder = folder.parent().expect("a file lies in a folder");
        for link in links(&prose(&document.text)) {
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { root().join(&document.path) } else { folder.join(file) };
            let there = match std::fs::read_to_string(&target) {
                Ok(text) => heading.is_empty() || headings(&text).contains(heading),
                // A folder, or a picture.
                Err(_) => target.exists() && heading.is_empty(),
            };
            if !there {
                broken.push(format!("{}: {link}", document.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_command_line_can_be_typed() {
    let mut seen = 0;
    let mut refused = Vec::new();
    for document in documents() {
        for words in commands(&document.text) {
            seen += 1;
            if let Err(error) = Cli::try_parse_from(&words)
                && !matches!(
                    error.kind(),
                    clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion
                )
            {
                refused.push(format!("{}: {words:?}: {}", document.path.display(), error.kind()));
            }
        }
    }
    assert!(refused.is_empty(), "{refused:#?}");
    assert!(seen > 30, "only {seen} command lines were found");
}

#[test]
fn every_test_that_the_architecture_names_exists() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let (_, table) = text.split_once("| What is always so | Tests |").expect("the table of invariants");
    let (table, _) = table.split_once("\n\n").expect("something follows the table");
    let named: BTreeSet<&str> = table.split('`').skip(1).step_by(2).collect();
    let mut code: String = source::sources().into_iter().map(|source| source.code).collect();
    add_code(&root().join("tests"), &mut code);
    let missing: Vec<_> = named.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(named.len() > 20 && missing.is_empty(), "{missing:#?}");
}

pub fn add_code(folder: &Path, code: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            add_code(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&std::fs::read_to_string(&path).expect("a source file is UTF-8"));
        }
    }
}

/// The text without its code blocks and code spans.
fn prose(text: &str) -> String {
    let mut inside = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !fence && !inside
    });
    lines.map(|line| line.split('`').step_by(2).collect::<Vec<_>>().join("`") + "\n").collect()
}

/// The targets of `[text](target)` that lie in the repository.
fn links(prose: &str) -> Vec<String> {
    let targets = prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).collect()
}

/// The anchors of a document's headings, as GitHub makes them.
fn headings(text: &str) -> BTreeSet<String> {
    let titles = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |title: &str| -> String {
        let kept = title.trim_start_matches('#').trim().to_lowercase();
        kept.chars()
            .filter_map(|c| match c {
                ' ' => Some('-'),
                c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
                _ => None,
            })
            .collect()
    };
    titles.map(anchor).collect()
}

/// The calls of the program in code blocks, and in spans that show a whole call, as a shell would
/// split them into words.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.replace("\\\n", " ").lines() {
        let shown = line.trim_start();
        if shown.starts_with("```") {
            // What a program printed stands in blocks of another language.
            inside = !inside && ["```sh", "```ini"].iter().any(|language| shown.starts_with(language));
        } else if inside || line.starts_with("    ") {
            lines.push(shown.to_owned());
        }
    }
    lines.iter().flat_map(|line| calls(line)).collect()
}

/// Where `mailward` stands for the program: at the start, after `$(`, `|`, `&&` or `ExecStart=`.
fn calls(line: &str) -> Vec<Vec<String>> {
    let line = line.replace("/usr/local/bin/mailward", "mailward");
    let starts = line.match_indices("mailward ").filter(|(place, _)| {
        let before = line[..*place].trim_end();
        before.is_empty() || ["$(", "|", "&&", "ExecStart=", "--"].iter().any(|end| before.ends_with(end))
    });
    starts.map(|(place, _)| words(&line[place..])).collect()
}

fn words(call: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut depth) = (Vec::new(), String::new(), None, 0);
    for letter in call.chars() {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            (None, '(') => depth += 1,
            (None, ')') if depth > 0 => depth -= 1,
            (None, '|' | '>' | '<' | '&' | ')' | ';' | '#') if depth == 0 => break,
            (None, ' ') if depth == 0 => {
                words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
            }
            (Some(_) | None, _) => word.push(letter),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

#[test]
fn what_is_wrong_would_be_seen() {
    let text = "See [a](b.md#c), `[no](x)` and\n```sh\nmailward serve # now\nX=$(mailward user show a@b.c | cat)\n```\n";
    assert_eq!(links(&prose(text)), ["b.md#c"]);
    assert_eq!(commands(text), [vec!["mailward", "serve"], vec!["mailward", "user", "show", "a@b.c"]]);
    assert!(headings("## The `order` of a change, once").contains("the-order-of-a-change-once"));
    assert!(Cli::try_parse_from(["mailward", "user", "enabel", "a@b.c"]).is_err());
    assert_eq!(
        words("mailward backup copy-$(date +%F).sqlite"),
        ["mailward", "backup", "copy-$date +%F.sqlite"]
    );
}
