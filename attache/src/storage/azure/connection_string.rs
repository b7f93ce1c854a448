//! A connection string, as the portal gives it.

/// <https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string>
#[derive(Default)]
pub(super) struct ConnectionString {
    pub(super) account: Option<String>,
    pub(super) key: Option<String>,
    pub(super) endpoint: Option<String>,
}

impl ConnectionString {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parsed = Self::default();
        let mut protocol = "https";
        let mut suffix = "core.windows.net";
        for part in unquoted(text)
            .split(';')
            .filter(|part| !part.trim().is_empty())
        {
            // Never say what the part holds: it may be the key.
            let (name, value) = part
                .split_once('=')
                .ok_or("has a part that is not Name=Value")?;
            let value = value.trim();
            // Microsoft's clients read the names without regard to case.
            match name.trim().to_ascii_lowercase().as_str() {
                "accountname" => parsed.account = Some(value.to_owned()),
                "accountkey" => parsed.key = Some(value.to_owned()),
                "blobendpoint" => {
                    parsed.endpoint = Some(value.trim_end_matches('/').to_owned());
                }
                "defaultendpointsprotocol" => protocol = value,
                "endpointsuffix" => suffix = value,
                "sharedaccesssignature" => {
                    return Err(
                        "holds a shared access signature; attache needs AccountKey".to_owned()
                    );
                }
                "usedevelopmentstorage" => {
                    return Err(
                        "is UseDevelopmentStorage; write out AccountName, AccountKey and BlobEndpoint"
                            .to_owned(),
                    );
                }
                _ => {}
            }
        }
        match (&parsed.account, &parsed.key) {
            (Some(account), Some(_)) => {
                parsed
                    .endpoint
                    .get_or_insert_with(|| format!("{protocol}://{account}.blob.{suffix}"));
                Ok(parsed)
            }
            _ => Err("must hold AccountName and AccountKey".to_owned()),
        }
    }
}

/// `docker --env-file` and some service managers keep the quotes that a shell takes away.
fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let inner = ['"', '\'']
        .iter()
        .find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
    inner.unwrap_or(text)
}
