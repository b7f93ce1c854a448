//! The error form of the service.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use stand_in::answer::{Answer, AnswerBody, Fail, set};
use stand_in::xml;

/// Renders an error answer. `with_body` is false for HEAD, whose errors have headers only.
pub(crate) fn render(fail: Fail, request_id: &str, now: &str, with_body: bool) -> Answer {
    let mut answer = Response::new(AnswerBody::empty());
    *answer.status_mut() = fail.status;
    let bodiless = fail.status == StatusCode::NOT_MODIFIED || !with_body;
    if !bodiless {
        let detail = fail
            .detail
            .map(|text| xml::element("AuthenticationErrorDetail", &text))
            .unwrap_or_default();
        // The service repeats request id and time in the message; clients print them from there.
        let message = format!("{}\nRequestId:{request_id}\nTime:{now}", fail.message);
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error>{}{}{detail}</Error>",
            xml::element("Code", &fail.code),
            xml::element("Message", &message),
        );
        answer
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        *answer.body_mut() = AnswerBody::full(text);
    }
    set(&mut answer, "x-ms-error-code", &fail.code);
    for (name, value) in fail.headers {
        set(&mut answer, name, &value);
    }
    answer
}
