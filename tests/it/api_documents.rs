//! Documents that are made from the code, as `docs/api` is: compared here, and written anew with
//! `MAILWARD_BLESS=1`.

use std::fmt::Write as _;
use std::path::Path;

use mailward::api::refusals::{self, Documented};
use mailward::app::accounts::{MODES, Method, ModeInfo, ParameterKind};
use mailward::domain::rights::Forms;

use crate::support::source::sources;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");

/// Compares with the committed file below `docs`, or writes it.
pub fn committed(name: &str, made: &str) {
    let path = Path::new(FOLDER).join(name);
    if std::env::var_os("MAILWARD_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a folder");
        std::fs::write(&path, made).expect("written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    let first = there.lines().zip(made.lines()).position(|(old, new)| old != new);
    let line = first.unwrap_or_else(|| there.lines().count().min(made.lines().count())) + 1;
    assert!(
        there == made,
        "docs/{name} is not what the code says, from line {line} on; MAILWARD_BLESS=1 writes it anew"
    );
}

#[test]
fn the_openapi_document_is_committed_as_it_is_served() {
    let mut text = serde_json::to_string_pretty(&mailward::api::document()).expect("JSON");
    text.push('\n');
    committed("api/openapi.json", &text);
}

#[test]
fn every_refusal_is_documented() {
    let mut text = String::from(
        "# Errors\n\n\
         Made from the code; do not edit. Every refusal has the HTTP status of its envelope, and `data.moreInfo` tells a \
         person what to do. After a 4xx answer nothing was changed.\n\n\
         | HTTP | `errorCode` | When | `moreInfo`, for example |\n| --- | --- | --- | --- |\n",
    );
    for refusal in refusals::in_envelope() {
        let example = match refusal.body["data"]["moreInfo"].as_str() {
            Some(more_info) => more_info.replace('|', "\\|"),
            None => format!("none; the body is `{}`", refusal.body),
        };
        row(&mut text, &refusal, &example);
    }
    text.push_str(
        "\n## At the token endpoint\n\n\
         `POST /oauth/v2/token` and `/oauth/v2/token/revoke` answer as the original does: most refusals under HTTP 200. What \
         cannot be read is answered with `{\"error\":\"invalid_request\"}` and an `error_description`. Introspection \
         answers as RFC 7662 says: 401 `invalid_client`, 400 `invalid_request`.\n\n\
         | HTTP | `error` | When | Body |\n| --- | --- | --- | --- |\n",
    );
    for refusal in refusals::at_the_token_endpoint() {
        row(&mut text, &refusal, &format!("`{}`", refusal.body));
    }
    committed("api/errors.md", &text);
}

fn row(text: &mut String, refusal: &Documented, example: &str) {
    let Documented { status, code, when, .. } = refusal;
    writeln!(text, "| {status} | `{code}` | {when} | {example} |").expect("a string takes everything");
}

#[test]
fn every_mode_is_documented() {
    let mut text = String::from(
        "# Modes\n\n\
         Made from the code; do not edit. A mode is sent as `mode` in the body of a `PUT`, by an administrator to \
         `/api/organization/{zoid}/accounts/{id}` with the user's `zuid` in the body, or, where the mode has an own form, \
         by the person to `/api/accounts/{accountId}`. `{id}` is a zuid or an accountId; without it `zuid` names the user. \
         Flags may be sent as `true` or `\"true\"`, numbers as `5` or `\"5\"`, and one value in place of a list of one.\n\n\
         Success is `{\"status\":{\"code\":200,\"description\":\"success\"}}`; a header `X-Mailward-Change` names the change, \
         if anything was changed. `X-Mailward-Reason` says why, in at most 200 characters. The refusals stand in \
         [errors.md](errors.md).\n",
    );
    for info in MODES {
        describe(&mut text, info);
    }
    committed("api/modes.md", &text);
}

fn describe(text: &mut String, info: &ModeInfo) {
    let mut line = |line: &str| writeln!(text, "{line}").expect("a string takes everything");
    line(&format!("\n## {}\n\n{}\n", info.name, info.summary));
    line(match info.method {
        Method::Put => "- Sent as: `PUT` with `mode`",
        Method::Delete => "- Sent as: `DELETE /api/organization/{zoid}/accounts`",
        Method::Elsewhere => "- Sent as: a call with an address of its own; see [openapi.json](openapi.json)",
    });
    let desk = info.verb.map(|verb| format!(", the help desk with `{}`", verb.as_str())).unwrap_or_default();
    let elsewhere = matches!(info.method, Method::Elsewhere);
    line(&match info.forms {
        Forms::AdminOrOwn if elsewhere => {
            "- By: people on their own account; administrators at the command line".to_owned()
        }
        Forms::AdminOnly => format!("- By: administrators{desk}"),
        Forms::AdminOrOwn => format!("- By: administrators{desk}, and people on their own account"),
    });
    if !info.also.is_empty() {
        line(&format!("- Other spellings: `{}`", info.also.join("`, `")));
    }
    if !info.parameters.is_empty() {
        line("\n| Parameter | Type | Mandatory | Meaning |\n| --- | --- | --- | --- |");
    }
    for parameter in info.parameters {
        let kind = match parameter.kind {
            ParameterKind::Text => "text",
            ParameterKind::Number => "number",
            ParameterKind::Flag => "flag",
            ParameterKind::Addresses | ParameterKind::Words => "list of texts",
            ParameterKind::Users => "list of numbers",
            ParameterKind::Object => "object",
        };
        let mandatory = if parameter.mandatory { "yes" } else { "no" };
        line(&format!("| `{}` | {kind} | {mandatory} | {} |", parameter.name, parameter.meaning));
    }
    line(&format!("\n```json\n{}\n```", info.sample));
}

/// The variants of an enum of `error.rs`.
fn variants(of: &str) -> Vec<String> {
    let sources = sources();
    let source = sources.iter().find(|source| source.path == "src/error.rs").expect("error.rs");
    let (_, after) = source.code.split_once(&format!("pub enum {of} {{")).expect("the enum");
    let (inside, _) = after.split_once("\n}").expect("its end");
    let names = inside.lines().filter(|line| line.starts_with("    ") && !line.starts_with("     "));
    names
        .map(|line| line.trim().chars().take_while(|c| c.is_alphanumeric()).collect::<String>())
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn no_refusal_is_left_out_of_the_documents() {
    let shown: Vec<String> = refusals::in_envelope()
        .iter()
        .chain(&refusals::at_the_token_endpoint())
        .map(|refusal| format!("{:?}", refusal.error))
        .collect();
    // Documented together with the one that looks alike.
    let alike = ["Again", "Unique", "AddressKept", "ReadOnly"];
    let mut names = variants("Error");
    names.extend(variants("Malformed"));
    names.extend(variants("GrantRefusal"));
    assert!(names.len() > 30, "{names:?}");
    let word = |text: &str, name: &str| text.split(|c: char| !c.is_alphanumeric()).any(|word| word == name);
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !alike.contains(&name.as_str()) && !shown.iter().any(|text| word(text, name)))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
