//! moto, a stand-in for S3 that others wrote, to compare with.

use std::process::Command;

use tokio::sync::OnceCell;

use crate::child::Guarded;
use crate::tool;

/// moto's server, over HTTP, empty at first. It takes any access key and any signature.
#[derive(Debug)]
pub struct Moto {
    address: String,
    _process: Guarded,
}

impl Moto {
    /// Starts one; `None` where it is not installed.
    ///
    /// Panics if it does not start, or says nothing for a minute.
    pub async fn start() -> Option<Self> {
        Self::start_with(5 * 1024 * 1024).await
    }

    /// As [`start`](Self::start), of which each part but the last of an upload must have so many bytes.
    ///
    /// Panics as it does.
    pub async fn start_with(min_part_bytes: u64) -> Option<Self> {
        let entry = tool::s3_clients()?;
        let mut command = Command::new(entry.with_file_name("python"));
        command.args(["-c", SERVE, &min_part_bytes.to_string()]);
        // Port 0 leaves the choice to the system; the port is in this line.
        let (process, address) = Guarded::start(command, |line| {
            line.strip_prefix("moto listens on ").map(str::to_owned)
        })
        .await;
        Some(Self {
            address,
            _process: process,
        })
    }

    /// One for a whole test binary, with parts as in [`start_with`](Self::start_with): whoever comes first says how large.
    pub async fn shared(min_part_bytes: u64) -> Option<&'static Self> {
        static SHARED: OnceCell<Option<Moto>> = OnceCell::const_new();
        let start = || Self::start_with(min_part_bytes);
        SHARED.get_or_init(start).await.as_ref()
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// Ends when stdin does.
const SERVE: &str = "
import logging, sys
import moto.s3.models
moto.s3.models.S3_UPLOAD_PART_MIN_SIZE = int(sys.argv[1])
from moto.server import ThreadedMotoServer
logging.getLogger('werkzeug').setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
server.start()
print('moto listens on', '%s:%d' % server.get_host_and_port(), flush=True)
sys.stdin.buffer.read()
server.stop()
";
