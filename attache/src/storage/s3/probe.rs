//! Whether a bucket can be used.

use super::inner::Inner;
use super::refusal::{Fault, Refusal};
use crate::error::Result;
use crate::storage::Probe;

impl Inner {
    /// Asks for the bucket by one authenticated call: a page with nothing in it, as its refusals say why, and those of HEAD do not.
    pub(super) async fn probe(&self) -> Result<Probe> {
        let nothing = vec![("max-keys", "1".to_owned())];
        match self
            .page(super::page::Listed::Objects, PROBED, &nothing)
            .await
        {
            Ok(_) => {}
            // Somebody else's error page is no store.
            Err(fault) => return Err(self.fail(elsewhere(fault), "probe", &self.place.bucket)),
        }
        let place = &self.place;
        let region = match place.region.as_str() {
            "" => String::new(),
            region => format!(" in region \"{region}\""),
        };
        let url = format!("{}://{}", place.endpoint.scheme(), place.endpoint.host());
        let proxy = match self.client.proxy_for(&url) {
            Some(proxy) => format!(", through the proxy {}", proxy.address()),
            None => String::new(),
        };
        Ok(Probe {
            summary: format!(
                "bucket \"{}\"{region} at {} by credential \"{}\"{proxy}",
                place.bucket,
                place.endpoint.host(),
                place.credential
            ),
            clock_skew_s: self
                .client
                .counts()
                .skew()
                .map(|skew| skew.as_seconds_f64()),
        })
    }
}

/// A prefix that nothing has: a page of it is empty, and costs as little as one can.
const PROBED: &str = "attache/probe/";

/// An answer that is not S3's: the endpoint is something else.
fn elsewhere(fault: Fault) -> Fault {
    match fault {
        Fault::Refused(refusal) if refusal.code == "NotAListing" => Fault::Refused(Refusal {
            status: 404,
            ..refusal
        }),
        fault => fault,
    }
}
