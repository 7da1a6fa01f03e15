//! Reads our own sources the way a reviewer skims them: code without comments, strings apart.

use std::path::{Path, PathBuf};

/// A source file of `src/`, taken apart.
pub struct Source {
    /// Relative to the repository: `src/store/mod.rs`.
    pub path: String,
    /// The code with its comments and the insides of its strings blanked.
    pub code: String,
    /// The string literals, in order.
    pub strings: Vec<String>,
}

/// Every `.rs` file below `src/`.
pub fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    files.sort();
    assert!(files.len() > 5, "the sources were not found");
    files
        .iter()
        .map(|file| {
            let text = std::fs::read_to_string(file).expect("a source file is UTF-8");
            let path = file.strip_prefix(root).expect("below the root").display().to_string();
            Source::parse(path, &text)
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

impl Source {
    pub fn parse(path: impl Into<String>, text: &str) -> Self {
        let (mut code, mut strings) = (String::new(), Vec::new());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let length = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").map_or(rest.len(), |end| end + 2)
            } else if let Some((start, end, length)) = string(rest, code.chars().last()) {
                strings.push(rest[start..end].to_owned());
                code.push('"');
                length
            } else if first == '\'' {
                let length = character(rest);
                code.push('\'');
                length
            } else {
                code.push(first);
                first.len_utf8()
            };
            rest = &rest[length..];
        }
        Self { path: path.into(), code, strings }
    }

    /// The identifiers of the code, in order.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
    }
}

/// A string literal at the start of `rest`: where its content starts and ends, and its length.
fn string(rest: &str, before: Option<char>) -> Option<(usize, usize, usize)> {
    if before.is_some_and(|c| c.is_alphanumeric() || c == '_') && !rest.starts_with('"') {
        return None;
    }
    let prefix = rest.find(|c| c != 'b' && c != 'c' && c != 'r')?;
    let hashes = rest[prefix..].chars().take_while(|c| *c == '#').count();
    let start = prefix + hashes + 1;
    if prefix > 2 || rest[prefix + hashes..].chars().next()? != '"' {
        return None;
    }
    if rest[..prefix].contains('r') {
        let close = format!("\"{}", "#".repeat(hashes));
        let end = start + rest[start..].find(&close)?;
        return Some((start, end, end + close.len()));
    }
    let mut escaped = false;
    for (place, c) in rest[start..].char_indices() {
        match c {
            '"' if !escaped => return (hashes == 0).then_some((start, start + place, start + place + 1)),
            _ => escaped = c == '\\' && !escaped,
        }
    }
    None
}

/// The length of a character literal, or of the quote that starts a lifetime.
fn character(rest: &str) -> usize {
    let inside: Vec<char> = rest.chars().skip(1).take(12).collect();
    match inside.as_slice() {
        ['\\', _, more @ ..] => more
            .iter()
            .position(|c| *c == '\'')
            .map_or(1, |end| 1 + inside[..end + 3].iter().map(|c| c.len_utf8()).sum::<usize>()),
        [c, '\'', ..] => 2 + c.len_utf8(),
        _ => 1,
    }
}

#[test]
fn comments_strings_and_characters_are_told_apart() {
    let text = r###"
// use crate::api; "no"
fn f<'a>(x: &'a str) -> char { let s = "a \" // b"; /* "c" */ let r = r#"d "e" f"#; '"'; '\''; b"g"; x('\u{1F600}') }
"###;
    let source = Source::parse("src/x.rs", text);
    assert_eq!(source.strings, ["a \\\" // b", "d \"e\" f", "g"]);
    assert!(!source.code.contains("api") && source.code.contains("fn f<'a>"), "{}", source.code);
    assert!(source.code.trim_end().ends_with("x(') }"), "{}", source.code);
}
