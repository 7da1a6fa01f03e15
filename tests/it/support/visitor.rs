//! A browser without a window: cookies, pages, and forms as the last page offered them.

use std::collections::BTreeMap;

use axum::http::StatusCode;

use crate::support::world::{Answer, World};

pub struct Visitor<'a> {
    world: &'a World,
    cookies: BTreeMap<String, String>,
    /// Sent with every request.
    pub headers: Vec<(String, String)>,
    /// The page seen last.
    pub page: String,
}

impl<'a> Visitor<'a> {
    pub fn new(world: &'a World) -> Self {
        Self { world, cookies: BTreeMap::new(), headers: Vec::new(), page: String::new() }
    }

    /// Somebody who signed in with that password.
    pub async fn signed_in(world: &'a World, address: &str, password: &str) -> Self {
        let mut visitor = Self::new(world);
        let answer = visitor.sign_in(address, password).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        visitor
    }

    pub async fn sign_in(&mut self, address: &str, password: &str) -> Answer {
        self.get("/").await;
        self.post("/sign-in", &[("address", address), ("password", password)]).await
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, "").await
    }

    /// Sends a form with the token of the page seen last.
    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let csrf = self.csrf();
        let mut all = vec![("csrf", csrf.as_str())];
        all.extend(fields);
        self.post_as_is(path, &all).await
    }

    /// Sends a form with nothing but these fields.
    pub async fn post_as_is(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.send("POST", path, &body).await
    }

    /// Follows a redirect into the house; anything else stays.
    pub async fn follow(&mut self, answer: Answer) -> Answer {
        match answer.headers.get("location") {
            Some(to) => self.get(to.to_str().expect("a path")).await,
            None => answer,
        }
    }

    async fn send(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let mut headers = vec![("user-agent", "Visitor/1.0")];
        if !cookies.is_empty() {
            headers.push(("cookie", cookies.as_str()));
        }
        if method == "POST" {
            headers.push(("content-type", "application/x-www-form-urlencoded"));
        }
        headers.extend(self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let path = path.split('#').next().unwrap_or_default();
        let answer = self.world.send(method, path, &headers, body.to_owned()).await;
        for set in answer.headers.get_all("set-cookie") {
            let set = set.to_str().expect("ASCII");
            let (name, value) =
                set.split(';').next().and_then(|pair| pair.split_once('=')).expect("a cookie");
            if set.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        if !answer.text.is_empty() {
            self.page.clone_from(&answer.text);
        }
        answer
    }

    /// The token in the forms of the page seen last.
    pub fn csrf(&self) -> String {
        let (_, rest) = self.page.split_once(r#"name="csrf" value=""#).unwrap_or_default();
        rest.split('"').next().unwrap_or_default().to_owned()
    }

    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.get(name).map(String::as_str)
    }

    /// Takes over somebody else's cookie.
    pub fn set_cookie(&mut self, name: &str, value: &str) {
        self.cookies.insert(name.to_owned(), value.to_owned());
    }
}
