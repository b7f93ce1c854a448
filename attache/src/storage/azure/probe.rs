//! Whether a container can be used.

use super::inner::Inner;
use crate::error::Result;
use crate::storage::Probe;

impl Inner {
    /// Asks for the container by one authenticated call.
    pub(super) async fn probe(&self) -> Result<Probe> {
        let target = &self.target;
        self.client
            .blob_container_client(&target.container)
            .get_properties(None)
            .await
            .map_err(|error| self.fail(error, "probe", &target.container))?;
        Ok(Probe {
            summary: format!(
                "container \"{}\" in account \"{}\" by credential \"{}\"{}",
                target.container,
                target.account,
                target.credential,
                match self.transport.proxy_for(target.endpoint.as_str()) {
                    Some(proxy) => format!(", through the proxy {}", proxy.address()),
                    None => String::new(),
                }
            ),
            clock_skew_s: self
                .transport
                .counts()
                .skew()
                .map(|skew| skew.as_seconds_f64()),
        })
    }
}
