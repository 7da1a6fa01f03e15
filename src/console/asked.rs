//! What the address of a page asks, after the question mark. Nothing in it is an error by itself: what
//! cannot be understood is not there, and a page where that would show more than was asked says so.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::app::App;
use crate::console::form::Form;
use crate::console::said::Said;

pub struct Asked {
    form: Form,
    /// Whether the question was text at all.
    pub is_text: bool,
}

impl std::ops::Deref for Asked {
    type Target = Form;
    fn deref(&self) -> &Form {
        &self.form
    }
}

impl Asked {
    /// What was done before the browser came here.
    pub fn said(&self) -> Option<Said> {
        Said::of(self.text("said"))
    }

    /// The same in words, for a page of somebody who is signed in.
    pub fn notice(&self) -> Option<String> {
        self.said().filter(|said| !said.is_outside()).map(|said| said.text().to_owned())
    }

    pub fn number(&self, name: &str) -> Option<i64> {
        self.text(name).parse().ok()
    }
}

impl FromRequestParts<App> for Asked {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let form = Form::parse(query);
        Ok(Self { is_text: form.is_ok(), form: form.unwrap_or_default() })
    }
}

/// The address of a page with what it is asked; empty values are left out.
pub fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        query.append_pair(name, value);
    }
    match query.finish() {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}
