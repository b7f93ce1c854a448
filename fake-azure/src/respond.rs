//! Answers: the error form of the service, and the body that all answers share.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use crate::core::Core;
use crate::faults::BodyFaultKind;
use crate::state::Blob;
use crate::xml;

/// An answer under construction.
pub(crate) type Answer = Response<AnswerBody>;

/// Why there is no regular answer.
#[derive(Debug)]
pub(crate) enum Stop {
    /// An error answer.
    Fail(Box<Fail>),
    /// The connection ends without one.
    Disconnect,
}

/// An error answer of the service.
#[derive(Debug)]
pub(crate) struct Fail {
    pub(crate) status: StatusCode,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) detail: Option<String>,
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl Fail {
    pub(crate) fn new(status: u16, code: &str, message: &str) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            code: code.to_owned(),
            message: message.to_owned(),
            detail: None,
            headers: Vec::new(),
        }
    }

    /// Adds the element in which the service explains a refused signature.
    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Renders the answer. `with_body` is false for HEAD, whose errors have headers only.
    pub(crate) fn into_answer(self, request_id: &str, now: &str, with_body: bool) -> Answer {
        let mut answer = Response::new(AnswerBody::empty());
        *answer.status_mut() = self.status;
        let bodiless = self.status == StatusCode::NOT_MODIFIED || !with_body;
        if !bodiless {
            let detail = self
                .detail
                .map(|text| xml::element("AuthenticationErrorDetail", &text))
                .unwrap_or_default();
            // The service repeats request id and time in the message; clients print them from there.
            let message = format!("{}\nRequestId:{request_id}\nTime:{now}", self.message);
            let text = format!(
                "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error>{}{}{detail}</Error>",
                xml::element("Code", &self.code),
                xml::element("Message", &message),
            );
            answer
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
            *answer.body_mut() = AnswerBody::full(text);
        }
        set(&mut answer, "x-ms-error-code", &self.code);
        for (name, value) in self.headers {
            set(&mut answer, name, &value);
        }
        answer
    }
}

impl From<Fail> for Stop {
    fn from(fail: Fail) -> Self {
        Self::Fail(Box::new(fail))
    }
}

/// An answer with status and no body.
pub(crate) fn status(status: StatusCode) -> Answer {
    let mut answer = Response::new(AnswerBody::empty());
    *answer.status_mut() = status;
    answer
}

/// 200 with an XML document.
pub(crate) fn xml_document(text: String) -> Answer {
    let mut answer = Response::new(AnswerBody::full(text));
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    answer
}

/// An answer in JSON.
pub(crate) fn json(code: u16, value: &serde_json::Value) -> Answer {
    let mut answer = Response::new(AnswerBody::full(value.to_string()));
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    answer
}

/// Sets a header whose value may hold any text; what no header can carry is left out.
pub(crate) fn set(answer: &mut Answer, name: &str, value: &str) {
    let name = HeaderName::try_from(name);
    let value = HeaderValue::from_bytes(value.as_bytes());
    if let (Ok(name), Ok(value)) = (name, value) {
        answer.headers_mut().insert(name, value);
    }
}

/// Declares a length that the body, as in an answer to HEAD, does not have.
pub(crate) fn set_length(answer: &mut Answer, len: u64) {
    answer
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from(len));
}

/// The body of an answer: nothing, a small document, or a part of a blob.
pub(crate) enum AnswerBody {
    Small(Option<Bytes>),
    Blob(Box<BlobBody>),
}

impl AnswerBody {
    pub(crate) fn empty() -> Self {
        Self::Small(None)
    }

    pub(crate) fn full(text: impl Into<Bytes>) -> Self {
        let bytes = text.into();
        Self::Small((!bytes.is_empty()).then_some(bytes))
    }
}

/// A part of a blob on its way out, with what shall go wrong on that way.
///
/// Chunks are made when the connection asks for them, so a slow reader holds one chunk.
pub(crate) struct BlobBody {
    core: Arc<Core>,
    blob: Arc<Blob>,
    offset: u64,
    end: u64,
    sent: u64,
    fault: Option<(BodyFaultKind, u64)>,
    pause: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// What the body ends with once the pause is over.
    ending: Option<&'static str>,
}

impl BlobBody {
    pub(crate) fn new(
        core: Arc<Core>,
        blob: Arc<Blob>,
        offset: u64,
        end: u64,
        fault: Option<(BodyFaultKind, u64)>,
    ) -> Self {
        core.tally.reads.open();
        Self {
            core,
            blob,
            offset,
            end,
            sent: 0,
            fault,
            pause: None,
            ending: None,
        }
    }

    fn next(&mut self) -> Option<Bytes> {
        if self.offset >= self.end {
            return None;
        }
        let mut most = usize::try_from(self.end - self.offset)
            .unwrap_or(usize::MAX)
            .min(CHUNK);
        let mut turn = false;
        if let Some((kind, after)) = self.fault {
            let left = usize::try_from(after - self.sent).unwrap_or(usize::MAX);
            match kind {
                BodyFaultKind::Cut if left == 0 => {
                    self.ending = Some("cut on order");
                    self.pause = Some(Box::pin(tokio::time::sleep(FLUSH)));
                    return Some(Bytes::new());
                }
                BodyFaultKind::Silence if left == 0 => {
                    self.ending = Some("silenced on order");
                    let core = Arc::clone(&self.core);
                    self.pause = Some(Box::pin(async move { core.silence_over().await }));
                    return Some(Bytes::new());
                }
                BodyFaultKind::Corrupt => turn = left < most,
                BodyFaultKind::Cut | BodyFaultKind::Silence => most = most.min(left),
            }
            if turn {
                let mut chunk = self.blob.content.chunk(self.offset, most).to_vec();
                if let Some(byte) = chunk.get_mut(left) {
                    *byte ^= 1;
                    self.fault = None;
                }
                return Some(self.advance(chunk.into()));
            }
        }
        let chunk = self.blob.content.chunk(self.offset, most);
        Some(self.advance(chunk))
    }

    fn advance(&mut self, chunk: Bytes) -> Bytes {
        let len = chunk.len() as u64;
        self.offset += len;
        self.sent += len;
        self.core.tally.bytes_out.fetch_add(len, Ordering::Relaxed);
        let speed = self.core.faults(|f| f.download_bytes_per_second);
        if let Some(speed) = speed {
            self.pause = Some(Box::pin(tokio::time::sleep(time_for(len, speed))));
        }
        chunk
    }
}

impl Drop for BlobBody {
    fn drop(&mut self) {
        self.core.tally.reads.close();
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let body = match self.get_mut() {
            Self::Small(bytes) => return Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::Blob(body) => body,
        };
        loop {
            if let Some(pause) = &mut body.pause {
                if pause.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                body.pause = None;
                if let Some(why) = body.ending {
                    return Poll::Ready(Some(Err(io::Error::other(why))));
                }
            }
            match body.next() {
                Some(chunk) if chunk.is_empty() => {}
                other => return Poll::Ready(other.map(|chunk| Ok(Frame::data(chunk)))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Small(bytes) => bytes.is_none(),
            Self::Blob(body) => body.offset >= body.end,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Small(bytes) => bytes.as_ref().map_or(0, |b| b.len() as u64),
            Self::Blob(body) => body.end - body.offset,
        })
    }
}

/// How long `bytes` take at `speed` bytes per second.
pub(crate) fn time_for(bytes: u64, speed: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / speed.max(1) as f64)
}

/// Most bytes of a blob handed to the connection at once.
const CHUNK: usize = 64 * 1024;

/// Time for a connection to write what precedes a cut; it drops what it has not written.
const FLUSH: Duration = Duration::from_millis(20);
