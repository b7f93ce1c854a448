//! The headers of an object, and why they cannot be read. S3 refuses even a HEAD of what is encrypted with a key of its
//! writer's (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html>), and such a response has no body
//! to say so.

use http::Method;
use http::header::{HeaderMap, HeaderValue, RANGE};

use super::ask::Ask;
use super::inner::Inner;
use super::refusal::Fault;
use crate::error::Result;

impl Inner {
    /// As [`head`](Self::head), and where that is refused without a reason, another request asks for it.
    ///
    /// # Errors
    ///
    /// [`CustomerKey`](crate::ErrorKind::CustomerKey) if only its writer can have even these; what the store said otherwise.
    pub(super) async fn look(
        &self,
        key: &str,
        operation: &'static str,
    ) -> Result<Option<HeaderMap>> {
        let fail = |fault| self.fail(fault, operation, key);
        match self.head(key).await {
            Err(Fault::Refused(refusal)) if refusal.status == 400 => {}
            outcome => return outcome.map_err(fail),
        }
        let first = (RANGE, HeaderValue::from_static("bytes=0-0"));
        match self.ask(&Ask::new(Method::GET, key).header(first)).await {
            // What was in the way is over: a credential that was renewed, an object that was overwritten.
            Ok(_) => self.head(key).await.map_err(fail),
            Err(fault) if fault.is_absent() => Ok(None),
            Err(fault) => Err(fail(fault)),
        }
    }
}
