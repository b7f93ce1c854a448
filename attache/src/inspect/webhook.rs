//! A webhook of the application: the file is the body of a POST, and the status is the verdict.
//!
//! 2xx accepts; 400 to 499 refuses, with the reason in `detail` or `reason` of a JSON body, or the body as text; anything
//! else is not a verdict. It may respond before it has read everything.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use futures::channel::mpsc;
use futures::{SinkExt as _, StreamExt as _};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Uri};
use http_body::Frame;
use http_body_util::StreamBody;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::task::JoinHandle;

use super::inspector::{Inspection, Inspector, Verdict};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Answer, Client, ClientConfig, NoAnswer, Trust};
use crate::storage::Facts;

/// Longest answer that is read.
const MAX_ANSWER: usize = 16 * 1024;

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(60);

type Payload = StreamBody<File>;

pub(super) struct Webhook {
    client: Arc<Client<Payload>>,
    url: Uri,
}

impl Webhook {
    pub(super) fn new(url: &str) -> Result<Self> {
        let config = ClientConfig {
            idle_after: IDLE,
            ..ClientConfig::default()
        };
        Ok(Self {
            client: Arc::new(Client::new(&config, Trust::roots()?)),
            url: url
                .parse()
                .map_err(|_| Error::new(ErrorKind::Misconfigured, "hooks.webhook is not a URL"))?,
        })
    }
}

/// The body: bytes, then an explicit end. A body that merely stops (the upload failed) is an error, so that the
/// application never takes a part for the whole.
struct File {
    pieces: mpsc::Receiver<Option<Bytes>>,
    ended: bool,
}

impl Stream for File {
    type Item = Result<Frame<Bytes>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.pieces.poll_next_unpin(cx).map(|piece| match piece {
            Some(Some(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(None) => {
                self.ended = true;
                None
            }
            None => {
                self.ended = true;
                Some(Err(Error::new(ErrorKind::ClientGone, "the upload failed")))
            }
        })
    }
}

struct Post {
    pieces: mpsc::Sender<Option<Bytes>>,
    answer: JoinHandle<Result<Verdict>>,
}

impl Drop for Post {
    fn drop(&mut self) {
        self.answer.abort();
    }
}

#[async_trait]
impl Inspector for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    async fn begin(&self, facts: &Facts) -> Result<Box<dyn Inspection>> {
        let (pieces, receiver) = mpsc::channel(0);
        let file = File {
            pieces: receiver,
            ended: false,
        };
        let mut request = Request::post(self.url.clone());
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut headers = vec![
            ("x-attache-id", facts.id.as_str().to_owned()),
            ("x-attache-filename", encoded(facts.filename.as_str())),
            (CONTENT_TYPE.as_str(), facts.content_type.clone()),
        ];
        if let Some(owner) = &facts.owner {
            headers.push(("x-attache-owner", owner.as_str().to_owned()));
        }
        if let Some(author) = &facts.created_by {
            headers.push(("x-attache-created-by", encoded(author.as_str())));
        }
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                request = request.header(name, value);
            }
        }
        let request = request.body(StreamBody::new(file)).map_err(|error| {
            Error::internal("the webhook's request cannot be built").with_source(error)
        })?;
        let client = self.client.clone();
        Ok(Box::new(Post {
            pieces,
            answer: tokio::spawn(async move { verdict(client.send_untimed(request).await).await }),
        }))
    }
}

#[async_trait]
impl Inspection for Post {
    async fn chunk(&mut self, bytes: &Bytes) -> Result<()> {
        // Nobody takes it any more once the answer is there; the verdict tells which.
        let _ = self.pieces.send(Some(bytes.clone())).await;
        Ok(())
    }

    async fn verdict(&mut self) -> Result<Verdict> {
        let _ = self.pieces.send(None).await;
        (&mut self.answer)
            .await
            .map_err(|error| Error::internal("the webhook's task failed").with_source(error))?
    }
}

async fn verdict(answer: std::result::Result<http::Response<Answer>, NoAnswer>) -> Result<Verdict> {
    let down = |what: String| Error::new(ErrorKind::UpstreamUnavailable, what);
    let answer = answer.map_err(|error| {
        down("the webhook cannot be reached, or hung up".to_owned()).with_source(error)
    })?;
    let status = answer.status();
    if status.is_success() {
        return Ok(Verdict::Accepted);
    }
    if !status.is_client_error() {
        return Err(down(format!(
            "the webhook responded with {}",
            status.as_u16()
        )));
    }
    // A refusal without words is a refusal.
    let body = answer.into_body().whole(MAX_ANSWER).await;
    let body = body.unwrap_or_default();
    Ok(Verdict::Refused(reason(&body)))
}

fn reason(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let told = json.as_ref().and_then(|json| {
        let word = |name: &str| json.get(name).and_then(serde_json::Value::as_str);
        word("detail").or_else(|| word("reason"))
    });
    match told {
        Some(told) => told.to_owned(),
        None => String::from_utf8_lossy(body).into_owned(),
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").finish_non_exhaustive()
    }
}
