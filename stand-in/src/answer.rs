//! Answers, why there is none, and the body that all answers share.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

/// An answer under construction.
pub type Answer = Response<AnswerBody>;

/// Why there is no regular answer.
#[derive(Debug)]
pub enum Stop {
    /// An error answer.
    Fail(Box<Fail>),
    /// The connection ends without one.
    Disconnect,
}

/// An error answer of the service.
#[derive(Debug)]
pub struct Fail {
    /// Its status.
    pub status: StatusCode,
    /// The word that clients match.
    pub code: String,
    /// The sentence that people read.
    pub message: String,
    /// More of it, in an element of its own.
    pub detail: Option<String>,
    /// Headers of this answer only.
    pub headers: Vec<(&'static str, String)>,
}

impl Fail {
    /// With status, code and message.
    pub fn new(status: u16, code: &str, message: &str) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            code: code.to_owned(),
            message: message.to_owned(),
            detail: None,
            headers: Vec::new(),
        }
    }

    /// Adds the element in which the service explains a refused signature.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl From<Fail> for Stop {
    fn from(fail: Fail) -> Self {
        Self::Fail(Box::new(fail))
    }
}

/// An answer with status and no body.
pub fn status(status: StatusCode) -> Answer {
    let mut answer = Response::new(AnswerBody::empty());
    *answer.status_mut() = status;
    answer
}

/// 200 with an XML document.
pub fn xml_document(text: String) -> Answer {
    let mut answer = Response::new(AnswerBody::full(text));
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    answer
}

/// An answer in JSON.
pub fn json(code: u16, value: &serde_json::Value) -> Answer {
    let mut answer = Response::new(AnswerBody::full(value.to_string()));
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    answer
}

/// Sets a header whose value may hold any text; what no header can carry is left out.
pub fn set(answer: &mut Answer, name: &str, value: &str) {
    let name = HeaderName::try_from(name);
    let value = HeaderValue::from_bytes(value.as_bytes());
    if let (Ok(name), Ok(value)) = (name, value) {
        answer.headers_mut().insert(name, value);
    }
}

/// Declares a length that the body, as in an answer to HEAD, does not have.
pub fn set_length(answer: &mut Answer, len: u64) {
    answer
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from(len));
}

/// The body of an answer.
pub enum AnswerBody {
    /// Nothing, or a small document.
    Small(Option<Bytes>),
    /// A part of an object.
    Object(Pin<Box<dyn Body<Data = Bytes, Error = io::Error> + Send>>),
}

impl AnswerBody {
    /// Nothing.
    pub fn empty() -> Self {
        Self::Small(None)
    }

    /// A small document.
    pub fn full(text: impl Into<Bytes>) -> Self {
        let bytes = text.into();
        Self::Small((!bytes.is_empty()).then_some(bytes))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Small(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::Object(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Small(bytes) => bytes.is_none(),
            Self::Object(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Small(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Self::Object(body) => body.size_hint(),
        }
    }
}
