//! moto, a stand-in for S3 that others wrote, to compare with.

use std::process::Command;

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
        let entry = tool::s3_clients()?;
        let mut command = Command::new(entry.with_file_name("python"));
        command.args(["-c", SERVE]);
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
from moto.server import ThreadedMotoServer
logging.getLogger('werkzeug').setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
server.start()
print('moto listens on', '%s:%d' % server.get_host_and_port(), flush=True)
sys.stdin.buffer.read()
server.stop()
";
