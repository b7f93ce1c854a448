//! Blocks that are staged under a name: which there are, and how they go.

use azure_storage_blob::models::BlockListType;

use super::super::inner::Inner;
use super::super::refusal::is_absent;
use super::block::{Id, Nonce};

/// The blocks that are staged under a name.
#[derive(Default)]
pub(super) struct Staged {
    /// Those that are ours.
    pub(super) ids: Vec<Id>,
    /// There are others.
    foreign: bool,
}

/// Get Block List (<https://learn.microsoft.com/rest/api/storageservices/get-block-list>): at most 100,000, which the service holds to.
pub(super) async fn staged(inner: &Inner, name: &str) -> azure_core::Result<Staged> {
    let client = inner.blob(name).block_blob_client();
    let list = match client
        .get_block_list(BlockListType::Uncommitted, None)
        .await
    {
        Ok(answer) => answer.into_model()?,
        Err(error) if is_absent(&error) => return Ok(Staged::default()),
        Err(error) => return Err(error),
    };
    let blocks = list.uncommitted_blocks.unwrap_or_default();
    let all = blocks.len();
    let ids: Vec<Id> = blocks
        .into_iter()
        .filter_map(|block| Id::from_bytes(&block.name?))
        .collect();
    Ok(Staged {
        foreign: ids.len() < all,
        ids,
    })
}

/// Removes the blocks of `nonce`, where that costs nothing: no blob is under the name, whose place an empty one would take for a
/// moment, and nobody else has blocks there, which would go, too. Returns whether they are gone.
pub(super) async fn shed(inner: &Inner, name: &str, nonce: Nonce) -> azure_core::Result<bool> {
    let staged = staged(inner, name).await?;
    if staged.ids.iter().all(|id| id.nonce != nonce) {
        return Ok(true);
    }
    let alone = !staged.foreign && staged.ids.iter().all(|id| id.nonce == nonce);
    let there = match inner.blob(name).get_properties(None).await {
        Ok(_) => true,
        Err(error) if is_absent(&error) => false,
        Err(error) => return Err(error),
    };
    if !alone || there || inner.keeps_blobs().await? || inner.would_keep(name).await {
        return Ok(false);
    }
    let attempt = uuid::Uuid::now_v7().simple().to_string();
    match inner.shed_blocks(name, &attempt).await {
        // Taken, and not there: to Azurite, blocks alone take a name.
        Err(error) if is_absent(&error) => inner.replace_blocks(name).await.map(|()| true),
        outcome => outcome,
    }
}
