//! Every command can be used by somebody who has nothing but its help.

use clap::{Command, CommandFactory as _};
use mailward::cli::Cli;

use super::Place;

fn leaves(command: &Command, words: &[String], found: &mut Vec<(String, Command)>) {
    let mut words = words.to_vec();
    words.push(command.get_name().to_owned());
    let inner: Vec<_> = command.get_subcommands().filter(|one| one.get_name() != "help").collect();
    if inner.is_empty() {
        found.push((words.join(" "), command.clone()));
    }
    for one in inner {
        leaves(one, &words, found);
    }
}

#[test]
fn what_every_command_takes_is_taken_by_every_command() {
    let mut definition = Cli::command();
    definition.build();
    let everywhere: Vec<_> = definition.get_arguments().filter(|one| one.is_global_set()).cloned().collect();
    assert!(everywhere.len() > 4, "{everywhere:?}");
    let mut all = Vec::new();
    leaves(&definition, &[], &mut all);
    for (name, command) in all {
        for one in &everywhere {
            // One of its own with the same id would take its place, and its value.
            let same = command.get_arguments().find(|own| own.get_id() == one.get_id());
            let long = same.and_then(clap::Arg::get_long);
            assert_eq!(long, one.get_long(), "{name}");
        }
    }
}

#[test]
fn every_command_has_a_sentence_and_an_example_that_can_be_typed() {
    let mut definition = Cli::command();
    definition.build();
    let mut all = Vec::new();
    leaves(&definition, &[], &mut all);
    assert!(all.len() > 45, "{} commands", all.len());
    let helps = all.iter().filter_map(|(_, command)| Some(command.get_after_help()?.to_string()));
    let wide: Vec<String> = helps
        .flat_map(|help| help.lines().filter(|line| line.len() > 79).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    // A wrapped line could not be copied into a shell.
    assert!(wide.is_empty(), "too wide for a terminal: {wide:#?}");
    for (name, command) in all {
        assert!(command.get_about().is_some(), "{name} says nothing about itself");
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples = help.split_once("Examples:\n").map(|(_, examples)| examples.trim_start());
        let examples = examples.unwrap_or_else(|| panic!("{name} has no example"));
        assert!(examples.contains(&name), "the example of {name} shows another command");
        for example in typed(examples) {
            let parsed = Cli::command().try_get_matches_from(&example);
            assert!(parsed.is_ok(), "the example {example:?} of {name}: {}", parsed.expect_err("refused"));
        }
    }
}

/// The calls of the program in examples, as a shell would split them into words.
fn typed(examples: &str) -> Vec<Vec<String>> {
    let lines = examples.replace("\\\n      ", "").replace("$(date +%F)", "today");
    let calls = lines.lines().filter_map(|line| {
        // What a person reads beside a call stands after a gap.
        let call = line.trim_start();
        let call = call.find("mailward ").map(|start| &call[start..])?;
        Some(call.split("     ").next().unwrap_or(call).to_owned())
    });
    calls.map(|call| words(&call)).collect()
}

fn words(call: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for letter in call.chars() {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            (None, '|' | '>' | '<' | '&' | ')' | ';') => break,
            (None, ' ') => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            (Some(_) | None, _) => word.push(letter),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

#[test]
fn the_definitions_hold_together() {
    Cli::command().debug_assert();
}

#[test]
fn completions_and_manual_pages_come_from_the_same_definitions() {
    let place = Place::empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = place.json_free(&["completions", shell]);
        assert!(text.contains("reset-password"), "{shell}");
    }
    let page = place.json_free(&["man"]);
    assert!(page.contains(".TH mailward 1") && page.contains("doctor"));
    std::fs::create_dir(place.path("man1")).expect("a folder");
    place.run_bare(&["man", "--dir", "man1"]);
    let page = std::fs::read_to_string(place.path("man1/mailward-user-reset-password.1")).expect("a page");
    assert!(page.contains("keep\\-sessions"), "{page}");
}

impl Place {
    /// A command that must not even look for a configuration.
    fn run_bare(&self, arguments: &[&str]) -> super::Said {
        let mut command = self.command(arguments);
        command.env_remove("MAILWARD_CONFIG");
        super::said(command, "").good()
    }

    fn json_free(&self, arguments: &[&str]) -> String {
        self.run_bare(arguments).out
    }
}
