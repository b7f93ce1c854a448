//! The operations that are told apart: the unit of counting and of breaking.

use http::Method;
use stand_in::operations;
use stand_in::wire::Query;

operations! {
    /// One operation of the service, named as Microsoft's REST pages name it.
    busy = "ServerBusy";

    /// Entra: a client secret or assertion exchanged for a token.
    Token,
    /// The managed-identity endpoint of a virtual machine.
    ManagedIdentityToken,
    /// Entra: the tenant's OpenID metadata.
    Discovery,
    /// `POST ?restype=service&comp=userdelegationkey`.
    GetUserDelegationKey,
    /// `GET ?restype=service&comp=properties`.
    GetServiceProperties,
    /// `GET ?restype=account&comp=properties`.
    GetAccountInfo,
    /// `GET ?comp=list`.
    ListContainers,
    /// `PUT container?restype=container`.
    CreateContainer,
    /// `GET` or `HEAD container?restype=container`.
    GetContainerProperties,
    /// `DELETE container?restype=container`.
    DeleteContainer,
    /// `GET container?restype=container&comp=list`.
    ListBlobs,
    /// `PUT blob`.
    PutBlob,
    /// `PUT blob?comp=block`.
    PutBlock,
    /// `PUT blob?comp=blocklist`.
    PutBlockList,
    /// `GET blob?comp=blocklist`.
    GetBlockList,
    /// `GET blob`.
    GetBlob,
    /// `HEAD blob`.
    GetBlobProperties,
    /// `GET` or `HEAD blob?comp=metadata`.
    GetBlobMetadata,
    /// `PUT blob?comp=metadata`.
    SetBlobMetadata,
    /// `PUT blob?comp=properties`.
    SetBlobProperties,
    /// `PUT blob?comp=tier`.
    SetBlobTier,
    /// `PUT blob?comp=snapshot`.
    SnapshotBlob,
    /// `DELETE blob`.
    DeleteBlob,
    /// Anything that this stand-in does not know.
    Unknown,
}

impl Op {
    /// What a blob request asks for, from its method, query and depth of path.
    pub(crate) fn of(method: &Method, container: bool, blob: bool, query: &Query) -> Self {
        let comp = query.value("comp").unwrap_or_default();
        let restype = query.value("restype").unwrap_or_default();
        let read = method == Method::GET || method == Method::HEAD;
        match (blob, container) {
            (true, _) => match (method.as_str(), comp) {
                ("PUT", "") => Self::PutBlob,
                ("PUT", "block") => Self::PutBlock,
                ("PUT", "blocklist") => Self::PutBlockList,
                ("PUT", "metadata") => Self::SetBlobMetadata,
                ("PUT", "properties") => Self::SetBlobProperties,
                ("PUT", "snapshot") => Self::SnapshotBlob,
                ("PUT", "tier") => Self::SetBlobTier,
                ("GET", "") => Self::GetBlob,
                ("HEAD", "") => Self::GetBlobProperties,
                ("GET", "blocklist") => Self::GetBlockList,
                (_, "metadata") if read => Self::GetBlobMetadata,
                ("DELETE", "") => Self::DeleteBlob,
                _ => Self::Unknown,
            },
            (false, true) => match (method.as_str(), restype, comp) {
                ("PUT", "container", "") => Self::CreateContainer,
                ("DELETE", "container", "") => Self::DeleteContainer,
                ("GET", "container", "list") => Self::ListBlobs,
                (_, "container", "" | "metadata") if read => Self::GetContainerProperties,
                (_, "account", "properties") if read => Self::GetAccountInfo,
                _ => Self::Unknown,
            },
            (false, false) => match (method.as_str(), restype, comp) {
                ("POST", "service", "userdelegationkey") => Self::GetUserDelegationKey,
                ("GET", "service", "properties") => Self::GetServiceProperties,
                (_, "account", "properties") if read => Self::GetAccountInfo,
                ("GET", _, "list") => Self::ListContainers,
                _ => Self::Unknown,
            },
        }
    }

    /// The letters of a SAS of which one is needed; empty where a SAS never suffices.
    pub(crate) const fn sas_letters(self) -> &'static str {
        match self {
            Self::GetBlob
            | Self::GetBlobProperties
            | Self::GetBlobMetadata
            | Self::GetBlockList => "r",
            Self::PutBlob | Self::PutBlockList => "wc",
            // A block may become part of what is there already.
            Self::PutBlock => "w",
            Self::SetBlobMetadata | Self::SetBlobProperties | Self::SetBlobTier => "w",
            Self::SnapshotBlob => "wc",
            Self::DeleteBlob => "d",
            Self::ListBlobs => "l",
            _ => "",
        }
    }
}
