//! The protocol between a node and the agent of a mail host: newline-delimited JSON, numbered requests from the node,
//! responses from the agent in any order. An agent begins it by a request of HTTP, which becomes the connection. Start
//! at [`Link`], which asks, and at [`connect`] and [`answer`], which answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue, UPGRADE};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, WriteHalf, split};
use tokio::sync::{Mutex as AsyncMutex, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::connection::{Endpoint, Io, Stream};

/// The version of this protocol; each side states its own first.
pub const VERSION: u32 = 1;
/// Where a node takes agents.
pub const LINK_PATH: &str = "/mail-agent/v1/link";
/// What an agent asks the connection to become.
pub const PROTOCOL: &str = "mailward-mail-agent";
/// How long a node may take to accept the connection, and then to answer.
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes of the longest line that is accepted: some ten thousand accounts.
pub const LARGEST_FRAME: usize = 16 << 20;
/// The idle timeout: after so long without a frame an agent takes its node for gone, and either side one that does
/// not take a frame. A node waits four times as long.
pub const SILENCE: Duration = Duration::from_secs(30);
/// Requests that an agent works on at the same time.
const AT_ONCE: usize = 16;

/// Why a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error("the connection ended")]
    Ended,
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("no answer within {0} seconds")]
    Late(u64),
    #[error("nothing came or went for too long")]
    Silent,
    #[error("a frame has more than {LARGEST_FRAME} bytes")]
    TooLarge,
    #[error("a frame cannot be read: {0}")]
    Unreadable(String),
    /// The other side refused, with its reason.
    #[error("{0}")]
    Refused(String),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Frame {
    Question { id: u64, what: Value },
    Answer { id: u64, what: Value },
    Failure { id: u64, why: String },
}

fn locked(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was read from the connection.
enum Came {
    /// A part of a frame.
    Part,
    Frame(Frame),
    End,
}

/// Reads frames.
struct Frames<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    fn of(reader: R) -> Self {
        Self { reader: BufReader::new(reader), line: Vec::new() }
    }

    /// Waits for what comes next. Whoever gives up waiting loses nothing of it.
    async fn next(&mut self) -> Result<Came, LinkError> {
        let part = self.reader.fill_buf().await.map_err(|cause| LinkError::Broken(cause.to_string()))?;
        if part.is_empty() {
            return if self.line.is_empty() { Ok(Came::End) } else { Err(LinkError::Ended) };
        }
        let end = part.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(part.len(), |end| end + 1);
        if self.line.len() + used > LARGEST_FRAME {
            return Err(LinkError::TooLarge);
        }
        self.line.extend_from_slice(&part[..used]);
        self.reader.consume(used);
        if end.is_none() {
            return Ok(Came::Part);
        }
        let line = std::mem::take(&mut self.line);
        // What serde says of a value could be a secret of ours: the place is enough.
        serde_json::from_slice(&line).map(Came::Frame).map_err(|cause| {
            LinkError::Unreadable(format!("it is wrong at byte {} of {}", cause.column(), line.len()))
        })
    }
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> Result<(), LinkError> {
    let broken = |cause: std::io::Error| LinkError::Broken(cause.to_string());
    let mut line = serde_json::to_vec(frame).map_err(|cause| LinkError::Unreadable(cause.to_string()))?;
    line.push(b'\n');
    if line.len() > LARGEST_FRAME {
        return Err(LinkError::TooLarge);
    }
    let sent = async {
        writer.write_all(&line).await?;
        writer.flush().await
    };
    timeout(SILENCE, sent).await.map_err(|_| LinkError::Silent)?.map_err(broken)
}

/// The asking side. Questions may be asked at once; each gets its own answer.
pub struct Link {
    writer: Arc<AsyncMutex<WriteHalf<Io>>>,
    waiting: Arc<Mutex<Waiting>>,
}

struct Waiting {
    last: u64,
    /// Once the connection has ended: why.
    answers: Result<HashMap<u64, oneshot::Sender<Result<Value, LinkError>>>, LinkError>,
}

impl Link {
    /// Takes a connection over. The second part reads the answers and has to run for as long as the link is used;
    /// it says why it ended.
    pub fn over(io: Io) -> (Arc<Self>, impl Future<Output = LinkError> + Send) {
        let (reader, writer) = split(io);
        let waiting = Arc::new(Mutex::new(Waiting { last: 0, answers: Ok(HashMap::new()) }));
        let link = Arc::new(Self { writer: Arc::new(AsyncMutex::new(writer)), waiting });
        let listening = Arc::clone(&link);
        let reading = async move {
            let mut frames = Frames::of(reader);
            // An agent is asked every few seconds, so that its silence is one of the connection.
            let why = loop {
                match timeout(4 * SILENCE, frames.next()).await.unwrap_or(Err(LinkError::Silent)) {
                    Ok(Came::Part) => {}
                    Ok(Came::Frame(Frame::Answer { id, what })) => listening.arrived(id, Ok(what)),
                    Ok(Came::Frame(Frame::Failure { id, why })) => {
                        listening.arrived(id, Err(LinkError::Refused(why)))
                    }
                    Ok(Came::Frame(Frame::Question { .. })) => {
                        break LinkError::Unreadable("an agent asks nothing".to_owned());
                    }
                    Ok(Came::End) => break LinkError::Ended,
                    Err(why) => break why,
                }
            };
            // Who could not write may have said why before.
            let mut waiting = listening.lock();
            match &waiting.answers {
                Err(before) => before.clone(),
                Ok(_) => {
                    waiting.answers = Err(why.clone());
                    why
                }
            }
        };
        (link, reading)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        locked(&self.waiting)
    }

    fn ended(&self) -> LinkError {
        self.lock().answers.as_ref().err().cloned().unwrap_or(LinkError::Ended)
    }

    /// Nobody may be waiting any more; then the answer is dropped.
    fn arrived(&self, id: u64, answer: Result<Value, LinkError>) {
        if let Some(waiter) = self.lock().answers.as_mut().ok().and_then(|answers| answers.remove(&id)) {
            let _gone = waiter.send(answer);
        }
    }

    /// In a task of its own: who loses patience must not leave half a frame behind. Nothing follows one that could
    /// not be written whole.
    fn send(&self, frame: Frame) -> JoinHandle<Result<(), LinkError>> {
        let (writer, waiting) = (Arc::clone(&self.writer), Arc::clone(&self.waiting));
        tokio::spawn(async move {
            let mut writer = writer.lock().await;
            if let Err(why) = &locked(&waiting).answers {
                return Err(why.clone());
            }
            let sent = write(&mut *writer, &frame).await;
            if let Err(why @ (LinkError::Broken(_) | LinkError::Silent)) = &sent {
                locked(&waiting).answers = Err(why.clone());
                let _gone = timeout(Duration::from_secs(1), writer.shutdown()).await;
            }
            sent
        })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// `Refused` with what the other side said; the others when nothing is known of what it did.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        what: &(impl Serialize + Sync),
        patience: Duration,
    ) -> Result<T, LinkError> {
        let unreadable = |cause: serde_json::Error| LinkError::Unreadable(cause.to_string());
        let what = serde_json::to_value(what).map_err(unreadable)?;
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut waiting = self.lock();
            waiting.last += 1;
            let id = waiting.last;
            waiting.answers.as_mut().map_err(|why| why.clone())?.insert(id, sender);
            id
        };
        let sent = self.send(Frame::Question { id, what });
        let asked = async {
            sent.await.unwrap_or(Err(LinkError::Ended))?;
            // Nobody answers any more once the reading has ended, and it has said why.
            answer.await.unwrap_or_else(|_| Err(self.ended()))
        };
        let answer = timeout(patience, asked).await.unwrap_or(Err(LinkError::Late(patience.as_secs())));
        if answer.is_err() {
            self.lock().answers.as_mut().ok().map(|answers| answers.remove(&id));
        }
        T::deserialize(answer?)
            .map_err(|_| LinkError::Unreadable("the answer is none to the question".to_owned()))
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("open", &self.lock().answers.is_ok()).finish_non_exhaustive()
    }
}

/// Opens an agent's connection to a node, which knows the agent by its key.
///
/// # Errors
/// In words for the agent's log.
pub async fn connect(node: &Endpoint, key: &SecretString) -> Result<Io, String> {
    let stream = node.connect(CONNECT).await?;
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|cause| cause.to_string())?;
    let connection = tokio::spawn(connection.with_upgrades());
    let upgraded = upgrade(sender, node, key).await;
    if upgraded.is_err() {
        connection.abort();
    }
    upgraded
}

async fn upgrade(
    mut sender: http1::SendRequest<Empty<Bytes>>,
    node: &Endpoint,
    key: &SecretString,
) -> Result<Io, String> {
    let mut key = HeaderValue::try_from(format!("Bearer {}", key.expose_secret()))
        .map_err(|_| "the key has signs that no key has".to_owned())?;
    key.set_sensitive(true);
    let request = Request::get(LINK_PATH)
        .header(HOST, node.url().authority())
        .header(AUTHORIZATION, key)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, PROTOCOL)
        .body(Empty::new())
        .map_err(|cause| cause.to_string())?;
    let response = timeout(CONNECT, sender.send_request(request))
        .await
        .map_err(|_| format!("no answer within {} seconds", CONNECT.as_secs()))?
        .map_err(|cause| cause.to_string())?;
    match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => {}
        StatusCode::UNAUTHORIZED => {
            return Err("the node does not know this key; see `mailward mail-agent rotate-key`".to_owned());
        }
        status => return Err(format!("it answers HTTP status {status}")),
    }
    let upgraded = timeout(CONNECT, hyper::upgrade::on(response))
        .await
        .map_err(|_| "the connection did not become a link".to_owned())?
        .map_err(|cause| cause.to_string())?;
    Ok(Box::new(TokioIo::new(upgraded)))
}

/// Answers questions until the connection ends, or nothing came for so long while there was nothing to work on; says
/// why. Each is worked on as it comes, several at once; what is not answered then is given up.
pub async fn answer<F, W>(io: impl Stream + 'static, silence: Duration, work: F) -> LinkError
where
    F: Fn(Value) -> W,
    W: Future<Output = Result<Value, String>> + Send + 'static,
{
    let (reader, writer) = split(io);
    let writer = Arc::new(AsyncMutex::new(writer));
    let mut frames = Frames::of(reader);
    let mut working: JoinSet<()> = JoinSet::new();
    loop {
        let came = tokio::select! {
            came = frames.next() => came,
            // From here on silence is counted: whoever waits for an answer may be silent.
            Some(_) = working.join_next() => continue,
            () = sleep(silence), if working.is_empty() => return LinkError::Silent,
        };
        match came {
            Ok(Came::Part) => {}
            Ok(Came::Frame(Frame::Question { id, what })) => {
                while working.len() >= AT_ONCE {
                    working.join_next().await;
                }
                let (writer, work) = (Arc::clone(&writer), work(what));
                working.spawn(async move {
                    let answer = match work.await {
                        Ok(what) => Frame::Answer { id, what },
                        Err(why) => Frame::Failure { id, why },
                    };
                    // If it cannot be written, the reading ends as well.
                    let _broken = write(&mut *writer.lock().await, &answer).await;
                });
            }
            Ok(Came::Frame(Frame::Answer { .. } | Frame::Failure { .. })) => {
                return LinkError::Unreadable("a node answers nothing".to_owned());
            }
            Ok(Came::End) => return LinkError::Ended,
            Err(why) => return why,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn pair() -> (Arc<Link>, tokio::task::JoinHandle<LinkError>, DuplexStream) {
        let (near, far) = duplex(1 << 16);
        let (link, reading) = Link::over(Box::new(near));
        (link, tokio::spawn(reading), far)
    }

    #[tokio::test]
    async fn each_question_gets_its_own_answer_whichever_comes_first() {
        let (link, _reading, far) = pair();
        tokio::spawn(answer(far, SOON, |what: Value| async move {
            tokio::time::sleep(Duration::from_millis(what["wait"].as_u64().unwrap_or(0))).await;
            match what["wait"].as_u64() {
                Some(3) => Err("three is too many".to_owned()),
                _ => Ok(what["wait"].clone()),
            }
        }));
        let ask = async |wait: u64| link.ask::<u64>(&json!({"wait": wait}), SOON).await;
        let (slow, quick, refused) = tokio::join!(ask(100), ask(1), ask(3));
        assert_eq!((slow, quick), (Ok(100), Ok(1)));
        assert_eq!(refused, Err(LinkError::Refused("three is too many".to_owned())));
    }

    #[tokio::test]
    async fn a_link_that_ended_answers_at_once_and_says_why() {
        let (link, reading, far) = pair();
        let waits = tokio::spawn({
            let link = Arc::clone(&link);
            async move { link.ask::<u64>(&json!({}), SOON).await }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(far);
        assert!(waits.await.expect("it ends").is_err());
        assert_eq!(reading.await.expect("it ends"), LinkError::Ended);
        assert_eq!(link.ask::<u64>(&json!({}), SOON).await, Err(LinkError::Ended));
    }

    #[tokio::test]
    async fn garbage_and_frames_that_are_too_large_end_the_link_with_a_clear_word() {
        let (link, reading, mut far) = pair();
        far.write_all(b"{\"answer\":{\"id\":1,\"what\":secret}}\n").await.expect("written");
        let why = reading.await.expect("it ends").to_string();
        assert!(why.contains("cannot be read") && why.contains("byte") && !why.contains("secret"), "{why}");
        let asked = link.ask::<u64>(&json!({}), SOON).await.expect_err("nobody answers");
        assert_eq!(asked.to_string(), why, "who asks is told as much");

        let (_link, reading, mut far) = pair();
        tokio::spawn(async move {
            let part = vec![b'x'; 1 << 16];
            while far.write_all(&part).await.is_ok() {}
        });
        assert_eq!(reading.await.expect("it ends"), LinkError::TooLarge);

        let (_link, reading, mut far) = pair();
        far.write_all(b"{\"question\":{\"id\":1,\"what\":{}}}\n").await.expect("written");
        assert!(reading.await.expect("it ends").to_string().contains("an agent asks nothing"));

        let (mut near, far) = duplex(1 << 16);
        let answering = tokio::spawn(answer(far, SOON, |what| async { Ok(what) }));
        near.write_all(b"GET / HTTP/1.1\n").await.expect("written");
        assert!(answering.await.expect("it ends").to_string().contains("cannot be read"));
    }

    #[tokio::test]
    async fn a_node_that_says_nothing_is_given_up_after_a_while() {
        let (mut near, far) = duplex(1 << 16);
        let answering = answer(far, Duration::from_millis(50), |what| async { Ok(what) });
        assert_eq!(answering.await, LinkError::Silent);
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).await.expect("closed");
        let (link, _reading, _far) = pair();
        let late = link.ask::<u64>(&json!({}), Duration::from_millis(50)).await;
        assert_eq!(late, Err(LinkError::Late(0)));
    }

    #[tokio::test]
    async fn who_loses_patience_leaves_no_half_frame_behind() {
        let (near, far) = duplex(64);
        let (link, reading) = Link::over(Box::new(near));
        tokio::spawn(reading);
        let long = "x".repeat(10_000);
        let late = link.ask::<String>(&json!({"say": long}), Duration::from_millis(50)).await;
        assert_eq!(late, Err(LinkError::Late(0)), "nobody reads yet");
        tokio::spawn(answer(far, SOON, |what: Value| async move { Ok(what["say"].clone()) }));
        let short = link.ask::<String>(&json!({"say": "short"}), SOON).await;
        assert_eq!(short.as_deref(), Ok("short"));
    }

    #[tokio::test]
    async fn an_answer_may_take_longer_than_the_silence_after_which_a_node_is_given_up() {
        let silence = Duration::from_millis(200);
        let (link, _reading, far) = pair();
        let answering = tokio::spawn(answer(far, silence, |what: Value| async move {
            tokio::time::sleep(Duration::from_millis(what["wait"].as_u64().unwrap_or(0))).await;
            Ok(what["wait"].clone())
        }));
        let ask = async |wait: u64| link.ask::<u64>(&json!({"wait": wait}), SOON).await;
        assert_eq!(ask(700).await, Ok(700));
        assert_eq!(ask(1).await, Ok(1), "the silence counts from the answer");
        assert_eq!(answering.await.expect("it ends"), LinkError::Silent);
    }

    #[tokio::test]
    async fn a_frame_that_comes_in_pieces_beside_the_work_on_another_is_read_whole() {
        let (mut near, far) = duplex(1 << 16);
        tokio::spawn(answer(far, SOON, |what: Value| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(what)
        }));
        for number in 1..=5 {
            // While this one is worked on, the next one comes in two pieces.
            near.write_all(
                format!("{{\"question\":{{\"id\":{number},\"what\":{number}}}}}\n{{\"quest").as_bytes(),
            )
            .await
            .expect("written");
            tokio::time::sleep(Duration::from_millis(50)).await;
            near.write_all(format!("ion\":{{\"id\":{0},\"what\":{0}}}}}\n", number + 10).as_bytes())
                .await
                .expect("written");
        }
        let mut lines = BufReader::new(near).lines();
        let mut answered = Vec::new();
        for _ in 0..10 {
            let line = lines.next_line().await.expect("read").expect("an answer");
            let frame: Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(frame["answer"]["id"], frame["answer"]["what"]);
            answered.extend(frame["answer"]["id"].as_u64());
        }
        answered.sort_unstable();
        assert_eq!(answered, [1, 2, 3, 4, 5, 11, 12, 13, 14, 15]);
    }
}
