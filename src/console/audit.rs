//! The audit log: who did what to whom, when and why; filtered, and taken away as a file.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::app::entries::{self, Cursor, Filter, MOST, PAGE};
use crate::clock::{DAY, Millis, rfc3339, start_of};
use crate::console::asked::{Asked, with_query};
use crate::console::entries::{Line, VERBS};
use crate::console::page::{Frame, Tab, ok};
use crate::console::refusals;
use crate::console::texts::{ENGLISH, fill};
use crate::console::visit::Visitor;
use crate::error::{Error, Result};

pub struct VerbChoice {
    pub value: &'static str,
    pub name: &'static str,
    pub chosen: bool,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    verbs: Vec<VerbChoice>,
    person: String,
    since: Day,
    until: Day,
    /// What is said where nothing is listed.
    empty: String,
    lines: Vec<Line>,
    next: Option<String>,
    csv: String,
    jsonl: String,
}

/// A day of the filter, as it was asked for.
pub struct Day {
    typed: String,
    /// The first moment of it; `None` where nothing is typed.
    start: Option<Millis>,
    /// Why it is no day.
    problem: Option<Error>,
}

impl Day {
    fn of(asked: &Asked, field: &str) -> Self {
        let typed = asked.text(field).to_owned();
        let start = start_of(&typed);
        let is_day = typed.trim().is_empty() || start.is_some();
        let problem = (!is_day).then(|| Error::Refused(fill(ENGLISH.day_unreadable, &[&typed.trim()])));
        Self { typed, start, problem }
    }

    fn told(&self) -> Option<String> {
        self.problem.as_ref().map(refusals::text)
    }
}

/// What is asked for. A filter that cannot be read is refused: to leave it out would list everything.
fn filter(asked: &Asked) -> Result<Filter> {
    if !asked.is_text {
        return Err(Error::Refused(ENGLISH.question_unreadable.to_owned()));
    }
    let (since, until) = (Day::of(asked, "since"), Day::of(asked, "until"));
    if let Some(problem) = since.problem.or(until.problem) {
        return Err(problem);
    }
    let verb = asked.trimmed("verb").map(str::to_owned);
    let mut after = asked.text("after").split('.').map(|part| part.parse::<i64>().ok());
    let mut part = || after.next().flatten();
    Ok(Filter {
        verb,
        person: asked.trimmed("person").map(str::to_owned),
        since: since.start,
        // The day itself belongs to it.
        until: until.start.map(|day| day + DAY),
        after: match (part(), part(), part()) {
            (Some(at), Some(id), Some(step)) => Some(Cursor { at, id, step }),
            (None, _, _) | (Some(_), None, _) | (Some(_), Some(_), None) => None,
        },
    })
}

/// The entries that fit.
///
/// # Errors
/// Rights; `NotFound` where nobody fits; why the filter cannot be read.
async fn entries(app: &App, visitor: &Visitor, filter: Result<Filter>, most: usize) -> Result<entries::Page> {
    let (caller, zoid) = (visitor.caller(app), visitor.organization());
    match filter {
        Ok(filter) => match entries::page(app, &caller, zoid, &filter, most).await {
            Err(Error::NotFound(_)) => Err(Error::NotFound(ENGLISH.nobody_with_it.to_owned())),
            other => other,
        },
        // Who may not read the log is told that, whatever was asked.
        Err(problem) => entries::may_read(app, &caller, zoid).await.and(Err(problem)),
    }
}

/// `GET /audit`
pub async fn show(State(app): State<App>, visitor: Visitor, asked: Asked) -> Result<Response> {
    let nothing = || entries::Page { entries: Vec::new(), next: None, names: BTreeMap::new() };
    let (page, empty) = match entries(&app, &visitor, filter(&asked), PAGE).await {
        Ok(page) => (page, ENGLISH.no_entries.to_owned()),
        Err(error @ Error::NotFound(_)) => {
            (nothing(), format!("{} {}", refusals::text(&error), ENGLISH.deleted_by_zuid))
        }
        Err(Error::Refused(_)) => (nothing(), ENGLISH.filter_unreadable.to_owned()),
        Err(other) => return Err(other),
    };
    let now = app.clock.now();
    let here = |path: &str, more: &[(&str, &str)]| {
        let mut query = vec![
            ("verb", asked.text("verb")),
            ("person", asked.text("person")),
            ("since", asked.text("since")),
            ("until", asked.text("until")),
        ];
        query.extend(more);
        with_query(path, &query)
    };
    let next = page.next.map(|next| format!("{}.{}.{}", next.at, next.id, next.step));
    let page = AuditPage {
        frame: Frame::inside(ENGLISH.audit, &visitor, Tab::Audit),
        verbs: VERBS
            .iter()
            .map(|(value, name)| VerbChoice { value, name: name(), chosen: *value == asked.text("verb") })
            .collect(),
        person: asked.text("person").to_owned(),
        since: Day::of(&asked, "since"),
        until: Day::of(&asked, "until"),
        empty,
        lines: page.entries.iter().map(|row| Line::of(row, &page.names, now)).collect(),
        next: next.map(|next| here("/audit", &[("after", &next)])),
        csv: here("/audit/export", &[("as", "csv")]),
        jsonl: here("/audit/export", &[("as", "jsonl")]),
    };
    Ok(ok(&page))
}

/// `GET /audit/export`: the newest entries of a filter as a file, as lines of JSON unchanged or as a table.
pub async fn export(State(app): State<App>, visitor: Visitor, asked: Asked) -> Result<Response> {
    let wanted = filter(&asked);
    let mut page = entries(&app, &visitor, wanted.clone(), MOST).await?;
    // A look goes only so far back, and entries that are wanted may lie behind many others.
    while page.entries.len() < MOST && page.next.is_some() {
        let further = wanted.clone().map(|wanted| Filter { after: page.next, ..wanted });
        let more = entries(&app, &visitor, further, MOST - page.entries.len()).await?;
        page.entries.extend(more.entries);
        page.names.extend(more.names);
        page.next = more.next;
    }
    let (kind, name, bytes) = match asked.text("as") {
        "csv" => ("text/csv; charset=utf-8", "audit.csv", table(&page)?),
        _ => {
            let lines = page.entries.iter().map(|row| format!("{}\n", row.entry));
            ("application/x-ndjson", "audit.jsonl", lines.collect::<String>().into_bytes())
        }
    };
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    Ok((headers, bytes).into_response())
}

fn table(page: &entries::Page) -> Result<Vec<u8>> {
    let t = &ENGLISH;
    let failed = |cause| Error::caused("writing a table", cause);
    let mut file = csv::Writer::from_writer(Vec::new());
    let heads = [t.when, t.change_number, t.who, t.what, t.whom, t.why, t.details];
    file.write_record(heads).map_err(failed)?;
    for row in &page.entries {
        let line = Line::of(row, &page.names, row.at);
        let cells = [
            rfc3339(row.at),
            line.change,
            row.actor.clone(),
            row.verb.clone(),
            line.whom,
            line.reason,
            line.details.join("; "),
        ];
        file.write_record(cells.map(harmless)).map_err(failed)?;
    }
    file.into_inner().map_err(|cause| Error::internal(cause.error()))
}

/// A cell that a spreadsheet would take for a formula gets a sign before it.
fn harmless(cell: String) -> String {
    match cell.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r') => format!("'{cell}"),
        Some(_) | None => cell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        assert_eq!(harmless("=1+1".to_owned()), "'=1+1");
        assert_eq!(harmless("left the company".to_owned()), "left the company");
    }
}
