//! The console's pages, as an administrator with a million users sees them.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use hyper::header::{COOKIE, LOCATION, SET_COOKIE};
use serde_json::{Map, Value, json};

use crate::figures::Bench;
use crate::fill::{ADMIN, PASSWORD, World};
use crate::load::{Call, Connection, Load, together};
use crate::report::{Figure, Target, rounded};
use crate::server::Server;

/// How often each page is asked for in one round.
const TIMES: u64 = 40;

impl Bench {
    pub async fn console(&mut self) -> Result<Figure> {
        let mut figure = Figure::new("console");
        let worlds = [("sqlite", Ok(&self.many)), ("postgres", self.postgres())];
        for (engine, world) in worlds {
            let world = match world {
                Ok(world) => world,
                Err(why) => {
                    figure.tell(engine, format!("skipped: {why:#}"));
                    continue;
                }
            };
            let server = self.start(world, true).await?;
            let told = self.every_page(&server, world, engine, &mut figure).await?;
            figure.tell(engine, told);
            server.stop()?;
        }
        Ok(figure)
    }

    async fn every_page(
        &self,
        server: &Server,
        world: &World,
        engine: &str,
        figure: &mut Figure,
    ) -> Result<Map<String, Value>> {
        let mut browser = sign_in(server).await?;
        let mut told = Map::new();
        let mut worst = ("", 0.0_f64);
        for (name, path) in PAGES {
            let mut rounds = Vec::new();
            for round in 0..self.arguments.rounds() as u64 {
                let mut micros = Vec::new();
                let start = Instant::now();
                for time in 0..TIMES {
                    let number = (round * TIMES + time).wrapping_mul(7919) as i64;
                    let path = path
                        .replace("{zuid}", &world.zuid(number).to_string())
                        .replace("{number}", &number.rem_euclid(world.accounts).to_string());
                    let before = Instant::now();
                    let body = browser.call(Call::get(path.clone())).await?;
                    micros.push(u32::try_from(before.elapsed().as_micros()).unwrap_or(u32::MAX));
                    ensure!(body.starts_with(b"<!"), "{path} answered no page");
                }
                rounds.push(Load::of(micros, start.elapsed().as_secs_f64()));
            }
            let load = together(rounds);
            if load.p99() > worst.1 {
                worst = (name, load.p99());
            }
            let figures =
                json!({"p50Milliseconds": rounded(load.p50()), "p99Milliseconds": rounded(load.p99())});
            told.insert(name.to_owned(), figures);
        }
        let (name, p99) = worst;
        figure.check(format!("worst p99 of a page on {engine} ({name})"), p99, Target::Within(100.0, "ms"));
        Ok(told)
    }
}

/// What is looked at. The terms are ones that people type, and ones that are hard to find.
const PAGES: [(&str, &str); 21] = [
    ("users", "/users"),
    ("users, a later page", "/users?after={zuid}"),
    ("users, disabled", "/users?state=disabled"),
    ("users, blocked", "/users?state=blocked"),
    ("users, one-time password", "/users?state=one-time"),
    ("users, never signed in", "/users?state=never"),
    ("search, a frequent name", "/users?q=johansson"),
    ("search, two names", "/users?q=ada+bianchi"),
    ("search, a number in an address", "/users?q={number}"),
    ("search, three letters", "/users?q=gre"),
    ("search, two letters", "/users?q=al"),
    ("search, nobody has it", "/users?q=quetzalcoatl"),
    ("search, across the @", "/users?q=ia%40zy"),
    ("search, a whole address", "/users?q=johansson{number}%40zylker.example"),
    ("user", "/users/{zuid}"),
    ("user, before a reset", "/users/{zuid}/reset-password"),
    ("audit", "/audit"),
    ("domains", "/domains"),
    ("mail servers", "/mail-servers"),
    ("my account", "/me"),
    ("my security", "/me/security"),
];

/// The administrator's browser, signed in through the page.
async fn sign_in(server: &Server) -> Result<Connection> {
    let mut guest = Connection::open(server.address, "").await?;
    let page = guest.answer(Call::get("/".to_owned())).await?;
    let cookie = cookie_of(&page).context("the sign-in page sets a cookie")?;
    let text = String::from_utf8_lossy(page.body());
    let (_, csrf) = text.split_once(r#"name="csrf" value=""#).context("the form has a token")?;
    let csrf = csrf.split('"').next().context("the form has a token")?.to_owned();
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("csrf", csrf.as_str()), ("address", ADMIN), ("password", PASSWORD)])
        .finish();
    let mut guest = Connection::with(server.address, COOKIE, cookie).await?;
    let answer = guest.answer(Call::form("/sign-in".to_owned(), form)).await?;
    ensure!(answer.headers().contains_key(LOCATION), "signing in answered {}", answer.status());
    Connection::with(server.address, COOKIE, cookie_of(&answer).context("a session has a cookie")?).await
}

fn cookie_of<T>(answer: &hyper::Response<T>) -> Option<String> {
    let set = answer.headers().get(SET_COOKIE)?.to_str().ok()?;
    Some(set.split(';').next()?.to_owned())
}
