//! What a request passes before its door: its body is waited for, and it takes one of a limited number of
//! places. `serve` puts both in front of every router.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use bytes::BytesMut;
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::app::App;
use crate::wire::MAX_BODY;

/// How long a client may take to send a body.
const BODY_TIME: Duration = Duration::from_secs(30);
/// A larger body is not even read to its end; one below is, so that the client reads the refusal and not a
/// broken connection.
const MOST_DRAINED: usize = 1024 * 1024;

/// The answer while `server.most_at_once` requests are in progress, in the API's envelope.
const NO_PLACE: &str = r#"{"data":{"errorCode":"SERVICE_UNAVAILABLE","moreInfo":"too many requests are under way, and nothing was changed; try again in 1 second"},"status":{"code":503,"description":"Service Unavailable"}}"#;

/// Takes a request that has arrived, or sends it away at once: waiting would cost those their time that were
/// taken. It writes no line, since a refusal must cost far less than an answer.
pub async fn take_a_place(State(app): State<App>, request: Request, next: Next) -> Response {
    // Whoever keeps watch is answered at any time.
    if matches!(request.uri().path(), "/health/live" | "/health/ready") {
        return next.run(request).await;
    }
    match app.places.try_acquire() {
        Ok(_place) => next.run(request).await,
        Err(_) => {
            app.metrics.answered("no place", request.method().as_str(), 503, Duration::ZERO);
            let mut response = Response::new(Body::from(NO_PLACE));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            for (name, value) in [
                (header::CONTENT_TYPE, "application/json"),
                (header::RETRY_AFTER, "1"),
                (header::CACHE_CONTROL, "no-store"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ] {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            if let Ok(id) = HeaderValue::from_str(&app.random.request_id()) {
                response.headers_mut().insert("x-request-id", id);
            }
            response
        }
    }
}

/// Waits for the whole body, so that a client that sends slowly, or never, holds nothing but its connection.
pub async fn wait_for_body(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    if body.is_end_stream() {
        return next.run(Request::from_parts(head, body)).await;
    }
    let body = Body::new(Arrived::of(body, BODY_TIME).await);
    next.run(Request::from_parts(head, body)).await
}

/// A body that is here, as far as it came. Of one that is too large as much is kept as shows it.
#[derive(Default)]
struct Arrived {
    data: BytesMut,
    broken: Option<axum::Error>,
}

impl Arrived {
    async fn of(body: Body, patience: Duration) -> Self {
        let mut arrived = Self::default();
        arrived.broken = match timeout(patience, arrived.take_in(body)).await {
            Ok(came) => came.err(),
            Err(_) => Some(axum::Error::new("the body of the request did not come in time")),
        };
        arrived
    }

    async fn take_in(&mut self, mut body: Body) -> Result<(), axum::Error> {
        let mut seen = 0;
        while seen <= MOST_DRAINED
            && let Some(frame) = body.frame().await
        {
            let Ok(data) = frame?.into_data() else { continue };
            seen += data.len();
            // In one piece: a body of many small ones would take many times its size.
            let room = (MAX_BODY + 1).saturating_sub(self.data.len());
            self.data.extend_from_slice(&data[..data.len().min(room)]);
        }
        Ok(())
    }
}

impl HttpBody for Arrived {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, axum::Error>>> {
        if !self.data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(self.data.split().freeze()))));
        }
        Poll::Ready(self.broken.take().map(Err))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.broken.is_none()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self.broken {
            Some(_) => http_body::SizeHint::new(),
            None => http_body::SizeHint::with_exact(self.data.len() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        struct Silence;
        impl HttpBody for Silence {
            type Data = Bytes;
            type Error = std::convert::Infallible;
            fn poll_frame(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<std::result::Result<Frame<Bytes>, Self::Error>>> {
                Poll::Pending
            }
        }
        let patience = Duration::from_millis(20);
        let body = Body::new(Arrived::of(Body::new(Silence), patience).await);
        let refusal = axum::body::to_bytes(body, 1000).await.expect_err("nothing came");
        assert!(refusal.to_string().contains("did not come in time"), "{refusal}");
    }
}
