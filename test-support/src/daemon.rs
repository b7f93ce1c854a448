//! Servers that do not look at their stdin, so a shell does in their place.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::child::Guarded;
use crate::unprivileged::Unprivileged;

/// A server on a port of 127.0.0.1, which is told to end when its owner is dropped, or the test process is gone.
///
/// Told, not killed: PostgreSQL that is killed leaves a segment of shared memory behind, of which a system has 4,096.
#[derive(Debug)]
pub(crate) struct Daemon {
    process: Option<Guarded>,
}

/// What a line of a server's output says about its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Started {
    /// It takes connections.
    Listens,
    /// Somebody else has its port.
    PortIsTaken,
}

impl Daemon {
    /// Runs `command` (its program and arguments, no more) until `signal`; gives `None` if its port is taken.
    ///
    /// `folder` goes with the server, unless [`keep_folder`](Self::keep_folder) stops it. Panics with what the server
    /// wrote if it ends before `ready` recognises a line, or says nothing for a minute.
    pub(crate) async fn start(
        user: Unprivileged,
        folder: &Path,
        command: &Command,
        signal: &str,
        ready: impl Fn(&str) -> Option<Started> + Send + 'static,
    ) -> Option<Self> {
        let mut shell = user.command("sh", folder);
        shell
            .args(["-c", ENDS_WITH_STDIN, signal])
            .arg(folder)
            .arg(command.get_program())
            .args(command.get_args());
        let (process, started) = Guarded::start(shell, ready).await;
        let mut daemon = Self {
            process: Some(process),
        };
        match started {
            Started::Listens => Some(daemon),
            Started::PortIsTaken => {
                daemon.keep_folder();
                None
            }
        }
    }

    /// Stops the server and leaves its folder; returns once it has ended.
    pub(crate) fn keep_folder(&mut self) {
        if let Some(process) = self.process.take() {
            process.end("keep\n");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.end("");
        }
    }
}

/// A port that nobody has at this moment; whoever takes it has to be ready to lose it to somebody faster.
///
/// Below those that Linux gives to outgoing connections (from 32768): a test that stops a server wants its port back, and a
/// client that goes on trying to connect to one of those ports may be given it as its own, and so talk to itself.
pub(crate) fn free_port() -> u16 {
    (0..1000)
        .map(|_| rand::random_range(10_000..32_000))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("one of so many ports is free")
}

/// `$0` the signal, `$1` the folder, then the server and its arguments.
///
/// The reader runs beside the server, so that the shell ends with a server that fails to start. It signals until there is
/// nobody left to signal: a server that is still starting may ignore the first. `3` is our stdin, which a shell takes from
/// what it runs beside itself.
const ENDS_WITH_STDIN: &str = r#"
folder=$1; shift
exec 3<&0
"$@" 2>&1 3<&- &
server=$!
{
    read -r order <&3
    [ "$order" = keep ] && : >"$folder/keep"
    while kill -s "$0" "$server"; do sleep 0.1; done
} >/dev/null 2>&1 &
reader=$!
wait "$server"
kill "$reader" 2>/dev/null
if [ -e "$folder/keep" ]; then rm "$folder/keep"; else cd / && rm -rf -- "$folder"; fi
"#;
