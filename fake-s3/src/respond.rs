//! The error form of the service.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use stand_in::answer::{Answer, AnswerBody, Fail, set};
use stand_in::xml;

/// Renders an error answer. `with_body` is false for HEAD, whose errors have headers only. `detail` is XML.
pub(crate) fn render(fail: Fail, resource: &str, request_id: &str, with_body: bool) -> Answer {
    let mut answer = Response::new(AnswerBody::empty());
    *answer.status_mut() = fail.status;
    if with_body && fail.status != StatusCode::NOT_MODIFIED {
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>{}{}{}{}{}</Error>",
            xml::element("Code", &fail.code),
            xml::element("Message", &fail.message),
            fail.detail.unwrap_or_default(),
            xml::element("Resource", resource),
            xml::element("RequestId", request_id),
        );
        answer
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        *answer.body_mut() = AnswerBody::full(text);
    }
    for (name, value) in fail.headers {
        set(&mut answer, name, &value);
    }
    answer
}

pub(crate) fn no_such_bucket(name: &str) -> Fail {
    Fail::new(404, "NoSuchBucket", "The specified bucket does not exist")
        .detail(xml::element("BucketName", name))
}

pub(crate) fn no_such_key(key: &str) -> Fail {
    Fail::new(404, "NoSuchKey", "The specified key does not exist.")
        .detail(xml::element("Key", key))
}

pub(crate) fn no_such_upload(id: &str) -> Fail {
    Fail::new(
        404,
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
    )
    .detail(xml::element("UploadId", id))
}

pub(crate) fn access_denied() -> Fail {
    Fail::new(403, "AccessDenied", "Access Denied")
}

pub(crate) fn precondition_failed(condition: &str) -> Fail {
    Fail::new(
        412,
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
    )
    .detail(xml::element("Condition", condition))
}

pub(crate) fn invalid_argument(message: &str, name: &str, value: &str) -> Fail {
    Fail::new(400, "InvalidArgument", message)
        .detail(xml::element("ArgumentName", name) + &xml::element("ArgumentValue", value))
}

pub(crate) fn malformed_xml() -> Fail {
    Fail::new(
        400,
        "MalformedXML",
        "The XML you provided was not well-formed or did not validate against our published schema",
    )
}
