//! The load: connections that are kept open, each with one call at a time. It shares the cores
//! with the server, so the server's own processor time is told beside every rate.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HeaderName;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// One call.
pub struct Call {
    pub method: &'static str,
    pub path: String,
    pub body: String,
}

impl Call {
    pub fn get(path: String) -> Self {
        Self { method: "GET", path, body: String::new() }
    }

    pub fn put(path: String, body: String) -> Self {
        Self { method: "PUT", path, body }
    }

    /// A form of a page.
    pub fn form(path: String, body: String) -> Self {
        Self { method: "POST", path, body }
    }
}

/// A connection that is kept open.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    credential: (HeaderName, String),
}

impl Connection {
    pub async fn open(address: SocketAddr, token: &str) -> Result<Self> {
        Self::with(address, header::AUTHORIZATION, format!("Zoho-oauthtoken {token}")).await
    }

    /// With what goes along in that header.
    pub async fn with(address: SocketAddr, header: HeaderName, value: String) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connecting")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.context("speaking HTTP/1.1")?;
        tokio::spawn(connection);
        Ok(Self { sender, credential: (header, value) })
    }

    /// Sends one call and reads its whole answer, which must be a success.
    pub async fn call(&mut self, call: Call) -> Result<Bytes> {
        let named = format!("{} {}", call.method, call.path);
        let answer = self.answer(call).await?;
        if !answer.status().is_success() {
            bail!("{named}: {}: {}", answer.status(), String::from_utf8_lossy(answer.body()));
        }
        Ok(answer.into_body())
    }

    /// Sends one call and reads its whole answer, whatever it says.
    pub async fn answer(&mut self, call: Call) -> Result<Response<Bytes>> {
        let (name, value) = &self.credential;
        let mut request = Request::builder()
            .method(call.method)
            .uri(&call.path)
            .header(header::HOST, "127.0.0.1")
            .header(name, value);
        if !call.body.is_empty() {
            let kind =
                if call.method == "POST" { "application/x-www-form-urlencoded" } else { "application/json" };
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = request.body(Full::new(Bytes::from(call.body)))?;
        self.sender.ready().await.context("the connection ended")?;
        let (head, body) = self.sender.send_request(request).await.context(call.path)?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }
}

/// What a load met.
#[derive(Debug, Clone, Default)]
pub struct Load {
    pub seconds: f64,
    /// Microseconds of each call, sorted.
    micros: Vec<u32>,
}

impl Load {
    pub fn of(mut micros: Vec<u32>, seconds: f64) -> Self {
        micros.sort_unstable();
        Self { seconds, micros }
    }

    pub fn calls(&self) -> usize {
        self.micros.len()
    }

    pub fn rate(&self) -> f64 {
        self.calls() as f64 / self.seconds
    }

    /// Milliseconds within which this share of the calls was answered.
    pub fn within(&self, share: f64) -> f64 {
        let place = ((self.micros.len() as f64 * share) as usize).min(self.micros.len().saturating_sub(1));
        self.micros.get(place).map_or(f64::NAN, |micros| f64::from(*micros) / 1000.0)
    }

    pub fn p50(&self) -> f64 {
        self.within(0.50)
    }

    pub fn p99(&self) -> f64 {
        self.within(0.99)
    }
}

/// Calls over `connections` for that long; `make` gets the number of the connection and of its call.
pub async fn drive(
    address: SocketAddr,
    token: &str,
    connections: usize,
    time: Duration,
    make: impl Fn(usize, u64) -> Call + Clone + 'static,
) -> Result<Load> {
    paced(address, token, connections, time, Duration::ZERO, make).await
}

/// The same with a pause after each call, to look at a server that others keep busy.
pub async fn paced(
    address: SocketAddr,
    token: &str,
    connections: usize,
    time: Duration,
    pause: Duration,
    make: impl Fn(usize, u64) -> Call + Clone + 'static,
) -> Result<Load> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::open(address, token).await?);
    }
    let start = Instant::now();
    let tasks: Vec<_> = open
        .into_iter()
        .enumerate()
        .map(|(number, mut connection)| {
            let make = make.clone();
            tokio::task::spawn_local(async move {
                let mut micros = Vec::new();
                for call in 0.. {
                    let before = Instant::now();
                    if before.duration_since(start) >= time {
                        break;
                    }
                    connection.call(make(number, call)).await?;
                    micros.push(u32::try_from(before.elapsed().as_micros()).unwrap_or(u32::MAX));
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                }
                anyhow::Ok(micros)
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    Ok(Load::of(all, start.elapsed().as_secs_f64()))
}

/// The same loop around work of this process, such as a commit on a bare driver.
pub async fn repeat(time: Duration, mut work: impl AsyncFnMut() -> Result<()>) -> Result<Load> {
    let start = Instant::now();
    let mut micros = Vec::new();
    loop {
        let before = Instant::now();
        if before.duration_since(start) >= time {
            return Ok(Load::of(micros, start.elapsed().as_secs_f64()));
        }
        work().await?;
        micros.push(u32::try_from(before.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
}

/// Several loads that ran beside each other, as one.
pub fn together(loads: Vec<Load>) -> Load {
    let seconds = loads.iter().map(|load| load.seconds).fold(0.0, f64::max);
    Load::of(loads.into_iter().flat_map(|load| load.micros).collect(), seconds)
}

/// The middle of several rounds.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}
