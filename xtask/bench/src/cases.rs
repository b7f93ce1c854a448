//! What is measured in every round, and on whom.

use crate::plan::Plan;
use crate::world::Peer;

pub const KIB: u64 = 1024;
pub const MIB: u64 = 1024 * KIB;

/// Connections of every load that says nothing else.
pub const CONNECTIONS: usize = 16;

/// Those of the cases of many connections: as many as the browsers of a busy site hold open before one server.
pub const WIDE: usize = 256;

/// Attachments that small requests are spread over.
pub const SMALL: u64 = 256;

/// A load that is repeated in every round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Case {
    Redirect,
    Url,
    Relay4K,
    Relay64K,
    Relay1M,
    RelayLarge,
    Range64K,
    Upload64K,
    Upload1M,
    UploadLarge,
    S3Put64K,
    S3Get64K,
    S3Put64M,
    S3Get64M,
    S3Redirect,
    LocalRelay4K,
    LocalRelay64K,
    LocalRelay1M,
    LocalRelay64M,
    LocalUpload64K,
    LocalUploadLarge,
    WideRedirect,
    WideRelay4K,
    WideRelay64K,
    H2Redirect,
    H2Relay4K,
    H2Relay64K,
}

impl Case {
    pub const ALL: [Self; 27] = [
        Self::Redirect,
        Self::Url,
        Self::Relay4K,
        Self::Relay64K,
        Self::Relay1M,
        Self::RelayLarge,
        Self::Range64K,
        Self::Upload64K,
        Self::Upload1M,
        Self::UploadLarge,
        Self::S3Put64K,
        Self::S3Get64K,
        Self::S3Put64M,
        Self::S3Get64M,
        Self::S3Redirect,
        Self::LocalRelay4K,
        Self::LocalRelay64K,
        Self::LocalRelay1M,
        Self::LocalRelay64M,
        Self::LocalUpload64K,
        Self::LocalUploadLarge,
        Self::WideRedirect,
        Self::WideRelay4K,
        Self::WideRelay64K,
        Self::H2Redirect,
        Self::H2Relay4K,
        Self::H2Relay64K,
    ];

    /// A word for flags and file names.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Redirect => "redirect",
            Self::Url => "url",
            Self::Relay4K => "relay-4k",
            Self::Relay64K => "relay-64k",
            Self::Relay1M => "relay-1m",
            Self::RelayLarge => "relay-large",
            Self::Range64K => "range-64k",
            Self::Upload64K => "upload-64k",
            Self::Upload1M => "upload-1m",
            Self::UploadLarge => "upload-large",
            Self::S3Put64K => "s3-put-64k",
            Self::S3Get64K => "s3-get-64k",
            Self::S3Put64M => "s3-put-64m",
            Self::S3Get64M => "s3-get-64m",
            Self::S3Redirect => "s3-redirect",
            Self::LocalRelay4K => "local-relay-4k",
            Self::LocalRelay64K => "local-relay-64k",
            Self::LocalRelay1M => "local-relay-1m",
            Self::LocalRelay64M => "local-relay-64m",
            Self::LocalUpload64K => "local-upload-64k",
            Self::LocalUploadLarge => "local-upload-large",
            Self::WideRedirect => "wide-redirect",
            Self::WideRelay4K => "wide-relay-4k",
            Self::WideRelay64K => "wide-relay-64k",
            Self::H2Redirect => "h2-redirect",
            Self::H2Relay4K => "h2-relay-4k",
            Self::H2Relay64K => "h2-relay-64k",
        }
    }

    /// The case whose requests these are: from another place, over more connections, or by another protocol.
    pub const fn like(self) -> Self {
        match self {
            Self::WideRedirect | Self::H2Redirect => Self::Redirect,
            Self::LocalRelay4K | Self::WideRelay4K | Self::H2Relay4K => Self::Relay4K,
            Self::LocalRelay64K | Self::WideRelay64K | Self::H2Relay64K => Self::Relay64K,
            Self::LocalRelay1M => Self::Relay1M,
            Self::LocalUpload64K => Self::Upload64K,
            Self::LocalUploadLarge => Self::UploadLarge,
            _ => self,
        }
    }

    pub const fn is_local(self) -> bool {
        matches!(
            self,
            Self::LocalRelay4K
                | Self::LocalRelay64K
                | Self::LocalRelay1M
                | Self::LocalRelay64M
                | Self::LocalUpload64K
                | Self::LocalUploadLarge
        )
    }

    /// Whether it is told over HTTP/2.
    pub const fn is_h2(self) -> bool {
        matches!(self, Self::H2Redirect | Self::H2Relay4K | Self::H2Relay64K)
    }

    pub const fn connections(self) -> usize {
        match self {
            Self::WideRedirect | Self::WideRelay4K | Self::WideRelay64K => WIDE,
            _ => CONNECTIONS,
        }
    }

    pub fn title(self, plan: &Plan) -> String {
        match self {
            Self::Redirect => "redirect to a signed URL".to_owned(),
            Self::Url => "temporary URL as JSON".to_owned(),
            Self::Relay4K => "relay of 4 KiB".to_owned(),
            Self::Relay64K => "relay of 64 KiB".to_owned(),
            Self::Relay1M => "relay of 1 MiB".to_owned(),
            Self::RelayLarge => format!("relay of {}", size_word(plan.large())),
            Self::Range64K => format!("64 KiB from the middle of {}", size_word(plan.large())),
            Self::Upload64K => "upload of 64 KiB".to_owned(),
            Self::Upload1M => "upload of 1 MiB".to_owned(),
            Self::UploadLarge => format!("upload of {}", size_word(plan.large())),
            Self::S3Put64K => "S3 PUT of 64 KiB".to_owned(),
            Self::S3Get64K => "S3 GET of 64 KiB".to_owned(),
            Self::S3Put64M => "S3 PUT of 64 MiB".to_owned(),
            Self::S3Get64M => "S3 GET of 64 MiB".to_owned(),
            Self::S3Redirect => "redirect of a presigned S3 GET".to_owned(),
            Self::LocalRelay64M => "relay of 64 MiB from local disk".to_owned(),
            Self::LocalRelay4K | Self::LocalRelay64K | Self::LocalRelay1M => {
                format!("{} from local disk", self.like().title(plan))
            }
            Self::LocalUpload64K | Self::LocalUploadLarge => {
                format!("{} to local disk", self.like().title(plan))
            }
            Self::WideRedirect | Self::WideRelay4K | Self::WideRelay64K => {
                format!("{} over {WIDE} connections", self.like().title(plan))
            }
            Self::H2Redirect | Self::H2Relay4K | Self::H2Relay64K => {
                format!("{} over HTTP/2", self.like().title(plan))
            }
        }
    }

    /// Bytes of one request.
    pub fn size(self, plan: &Plan) -> u64 {
        match self.like() {
            Self::Relay4K => 4 * KIB,
            Self::Relay64K | Self::Range64K | Self::Upload64K | Self::S3Put64K | Self::S3Get64K => {
                64 * KIB
            }
            Self::S3Put64M | Self::S3Get64M | Self::LocalRelay64M => 64 * MIB,
            Self::Relay1M | Self::Upload1M => MIB,
            Self::RelayLarge | Self::UploadLarge => plan.large(),
            // Redirects, and what is told as JSON.
            _ => 0,
        }
    }

    pub const fn is_upload(self) -> bool {
        matches!(
            self.like(),
            Self::Upload64K | Self::Upload1M | Self::UploadLarge | Self::S3Put64K | Self::S3Put64M
        )
    }

    pub const fn is_large(self) -> bool {
        matches!(
            self.like(),
            Self::RelayLarge
                | Self::UploadLarge
                | Self::S3Put64M
                | Self::S3Get64M
                | Self::LocalRelay64M
        )
    }

    /// Whose costs are 1.
    pub const fn ours(self) -> Peer {
        match self {
            Self::S3Put64K | Self::S3Get64K | Self::S3Put64M | Self::S3Get64M => Peer::AttacheS3,
            Self::S3Redirect => Peer::AttacheS3Azure,
            _ if self.is_local() => Peer::AttacheLocal,
            _ => Peer::Attache,
        }
    }

    /// What must be known to read its figures.
    pub const fn remark(self) -> Option<&'static str> {
        match self {
            Self::S3Put64K | Self::S3Put64M => Some(
                "Both on local disk, with presigned URLs that leave the payload unsigned. Before it responds, attache has the object and \
                 what is known of it on disk (`fsync` of two files and of the folders above them); rclone responds when the system has the bytes in memory.",
            ),
            Self::S3Get64K | Self::S3Get64M => Some(
                "Both on local disk, with presigned URLs; the bytes are in the system's page cache.",
            ),
            Self::S3Redirect => Some(
                "Both before the stand-in. *attache* is the redirect of an attachment by its own API, without a signature to check.",
            ),
            Self::LocalRelay4K | Self::LocalRelay64K | Self::LocalRelay1M | Self::LocalRelay64M => {
                Some(
                    "From files that are in the system's page cache. nginx serves files of the same bytes with `sendfile` and `tcp_nopush`; \
                     it looks at nothing but their path.",
                )
            }
            Self::LocalUpload64K | Self::LocalUploadLarge => Some(
                "Before it responds, attache has the object and what is known of it on disk (`fsync` of the files and of the folders above them). \
                 No peer here does that; an earlier attache is measured beside it if `--before` names one.",
            ),
            Self::WideRedirect | Self::WideRelay4K | Self::WideRelay64K => {
                Some("The same requests as over 16 connections, all connections busy at once.")
            }
            Self::H2Redirect | Self::H2Relay4K | Self::H2Relay64K => Some(
                "HTTP/2 without TLS and without an upgrade (prior knowledge, RFC 9113 section 3.3): 16 connections with 4 streams at a time on \
                 each, windows of 1 MiB a stream and 16 MiB a connection. nginx has buffers of 64 KiB.",
            ),
            _ => None,
        }
    }

    /// Requests of one round: enough for a second of CPU or so, whose clock has steps of 10 ms.
    pub fn requests(self, peer: Peer, plan: &Plan) -> u64 {
        let slow = matches!(
            peer,
            Peer::NodeSingleton | Peer::NodeRequest | Peer::NodePiped
        );
        let full = match (self.like(), slow) {
            (Self::Redirect | Self::Url | Self::S3Redirect, false) => 40_000,
            (Self::Redirect | Self::Url | Self::S3Redirect, true) => 400,
            (Self::Relay4K, false) => 20_000,
            (Self::Relay64K | Self::Range64K, false) => 8000,
            (Self::Relay4K | Self::Relay64K | Self::Range64K, true) => 400,
            (Self::Relay1M, true) => 100,
            (Self::Upload64K, true) => 200,
            (Self::Upload1M, true) => 50,
            (Self::Upload64K, _) => 1000,
            (Self::Upload1M, _) => 200,
            (Self::RelayLarge | Self::UploadLarge, _) => 1,
            (Self::S3Put64K, _) => 1000,
            (Self::S3Get64K, _) => 4000,
            (Self::S3Put64M, _) => 8,
            (Self::S3Get64M | Self::LocalRelay64M, _) => 16,
            (Self::Relay1M, _) if self.is_local() => 1600,
            (Self::Relay1M, _) => 400,
            // The others are like one of those above.
            _ => 1,
        };
        let full = match (self, peer) {
            // It reads ahead, megabytes for each.
            (Self::Range64K, Peer::Rclone) => 100,
            (_, Peer::Rclone) => (full / 4).max(1),
            // It copies nothing: a request costs it too little for so coarse a clock.
            (_, Peer::NginxLocal) => full * 4,
            _ => full,
        };
        if plan.quick { (full / 4).max(1) } else { full }
    }

    /// Who takes part.
    pub fn peers(self) -> &'static [Peer] {
        use Peer::{
            Attache, AttacheBefore, AttacheLocal, AttacheLocalBefore, AttacheS3, AttacheS3Azure,
            AttacheS3Before, AttacheWithoutMd5, FileSocket, FileSocketMd5, Hyper, HyperMd5,
            HyperSocket, HyperSocketMd5, Nginx, NginxH2, NginxLarge, NginxLocal, NodeRequest,
            NodeSingleton, ObjectStore, Rclone, RcloneS3,
        };
        match self {
            Self::S3Put64K | Self::S3Put64M => &[
                AttacheS3,
                AttacheS3Before,
                RcloneS3,
                FileSocket,
                FileSocketMd5,
            ],
            Self::S3Get64K | Self::S3Get64M => &[AttacheS3, AttacheS3Before, RcloneS3],
            Self::S3Redirect => &[AttacheS3Azure, Attache],
            Self::LocalRelay4K | Self::LocalRelay64K | Self::LocalRelay1M | Self::LocalRelay64M => {
                &[AttacheLocal, AttacheLocalBefore, NginxLocal]
            }
            Self::LocalUpload64K | Self::LocalUploadLarge => &[AttacheLocal, AttacheLocalBefore],
            Self::WideRedirect | Self::H2Redirect => &[Attache, AttacheBefore],
            Self::WideRelay4K | Self::WideRelay64K => &[Attache, AttacheBefore, Nginx, NginxLarge],
            Self::H2Relay4K | Self::H2Relay64K => &[Attache, AttacheBefore, NginxH2],
            Self::Redirect | Self::Url => &[Attache, AttacheBefore, NodeSingleton, NodeRequest],
            Self::Range64K => &[
                Attache,
                AttacheBefore,
                Nginx,
                NginxLarge,
                Rclone,
                NodeSingleton,
                NodeRequest,
            ],
            Self::Relay4K | Self::Relay64K | Self::Relay1M | Self::RelayLarge => &[
                Attache,
                AttacheBefore,
                Nginx,
                NginxLarge,
                Rclone,
                NodeSingleton,
                NodeRequest,
                Hyper,
                ObjectStore,
            ],
            Self::Upload64K | Self::Upload1M => &[
                Attache,
                AttacheWithoutMd5,
                AttacheBefore,
                Nginx,
                NodeSingleton,
                NodeRequest,
                Hyper,
                HyperMd5,
                ObjectStore,
            ],
            Self::UploadLarge => &[
                Attache,
                AttacheWithoutMd5,
                AttacheBefore,
                Nginx,
                NodeSingleton,
                NodeRequest,
                Hyper,
                HyperMd5,
                HyperSocket,
                HyperSocketMd5,
                ObjectStore,
            ],
        }
    }
}

pub fn size_word(bytes: u64) -> String {
    match bytes {
        0..MIB => format!("{} KiB", bytes / KIB),
        _ if bytes.is_multiple_of(1024 * MIB) => format!("{} GiB", bytes / (1024 * MIB)),
        _ => format!("{} MiB", bytes / MIB),
    }
}
