//! GetObject (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>), the one request that every relay makes.

use http::Method;
use http::header::{HeaderMap, RANGE};

use super::ask::{Ask, header};
use super::dialect::Version;
use super::inner::Inner;
use super::refusal::Fault;
use crate::attachment::ByteRange;
use crate::http::Answer;
use crate::storage::served::Served;

/// An answer whose body is to be read.
pub(super) struct Opened {
    pub(super) headers: HeaderMap,
    partial: bool,
    pub(super) body: Answer,
}

impl Inner {
    /// Asks for an object, or for a part of it; of one version, if that is told.
    ///
    /// # Errors
    ///
    /// What the store said, or why it could not be asked, after the retries that every request gets. Dropped before its end, it asks for
    /// nothing more.
    pub(super) async fn open(
        &self,
        key: &str,
        range: Option<ByteRange>,
        version: Option<&Version>,
    ) -> Result<Opened, Fault> {
        let mut ask = Ask::new(Method::GET, key);
        if let Some(range) = range {
            let last = range.end.saturating_sub(1);
            ask = ask.header(header(RANGE, format!("bytes={}-{last}", range.start))?);
        }
        if let Some(version) = version {
            ask = ask.header(version.condition.clone());
        }
        let answered = self.ask(&ask).await?;
        Ok(Opened {
            headers: answered.headers,
            partial: answered.partial,
            body: answered.body,
        })
    }
}

impl Opened {
    /// What it brings.
    pub(super) fn served(&self) -> Served<'_> {
        Served {
            headers: &self.headers,
            partial: self.partial,
        }
    }
}
