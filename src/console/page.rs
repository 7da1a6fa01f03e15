//! The frame around every page: title, navigation, notices; and how a template becomes an answer.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};

use crate::console::assets::{NAMES, Names};
use crate::console::texts::{ENGLISH, Texts};
use crate::console::visit::{Guest, Visitor};
use crate::domain::actor::Role;
use crate::error::Error;

/// Where a page stands in the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tab {
    Users,
    Domains,
    MailServers,
    Applications,
    Audit,
    Me,
}

/// One entry of the navigation.
pub struct TabLink {
    pub path: &'static str,
    pub name: &'static str,
    pub here: bool,
}

/// What the frame shows; every page's template has one, named `frame`.
pub struct Frame {
    pub title: String,
    /// Empty before the sign-in.
    pub navigation: Vec<TabLink>,
    /// Name and address of who is signed in.
    pub signed_in_as: Option<(String, String)>,
    /// For the forms of the page.
    pub csrf: String,
    /// Something to be told once, above everything else.
    pub notice: Option<String>,
    pub assets: &'static Names,
    pub t: &'static Texts,
}

impl Frame {
    /// For somebody who is not, or not quite, signed in.
    pub fn outside(title: impl Into<String>, csrf: String) -> Self {
        Self {
            title: title.into(),
            navigation: Vec::new(),
            signed_in_as: None,
            csrf,
            notice: None,
            assets: &NAMES,
            t: &ENGLISH,
        }
    }

    /// For a guest with a session in an earlier stage.
    pub fn half_way(title: impl Into<String>, guest: &Guest) -> Self {
        Self::outside(title, guest.csrf())
    }

    pub fn inside(title: impl Into<String>, visitor: &Visitor, here: Tab) -> Self {
        let account = &visitor.account;
        Self {
            navigation: navigation(visitor.held.role, here),
            signed_in_as: Some((account.profile.display_name.clone(), account.primary.to_string())),
            ..Self::outside(title, visitor.guest.csrf())
        }
    }

    pub fn with_notice(mut self, notice: Option<String>) -> Self {
        self.notice = notice;
        self
    }
}

fn navigation(role: Role, here: Tab) -> Vec<TabLink> {
    let t = &ENGLISH;
    let mut links = Vec::new();
    if role > Role::Member {
        links.push((Tab::Users, "/users", t.users));
    }
    if role >= Role::Admin {
        links.extend([
            (Tab::Domains, "/domains", t.domains),
            (Tab::MailServers, "/mail-servers", t.mail_servers),
            (Tab::Applications, "/applications", t.applications),
            (Tab::Audit, "/audit", t.audit),
        ]);
    }
    links.push((Tab::Me, "/me", t.my_account));
    links.into_iter().map(|(place, path, name)| TabLink { path, name, here: place == here }).collect()
}

/// A template as an answer.
pub fn answer(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(cause) => Error::caused("rendering a page", cause).into_response(),
    }
}

/// A template as a successful answer.
pub fn ok(template: &impl Template) -> Response {
    answer(StatusCode::OK, template)
}
