//! A gate before a server, which lets clients' bytes through until it is told not to.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

pub struct Gate {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// How many bytes of a connection pass towards the server, if not all do.
    limit: Mutex<Option<u64>>,
    opened: Condvar,
}

impl Gate {
    pub fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::<Shared>::default();
        let of_connections = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // The server may be away; the client sees its connection end.
                let Ok(server) = TcpStream::connect(server) else {
                    continue;
                };
                let (answers, to) = (server.try_clone(), client.try_clone());
                let (answers, to) = (answers.expect("a socket"), to.expect("a socket"));
                let shared = of_connections.clone();
                std::thread::spawn(move || pass(client, server, &shared));
                std::thread::spawn(move || pass(answers, to, &Shared::default()));
            }
        });
        Self { address, shared }
    }

    /// From now on no connection brings the server more than so many bytes; those that would are held.
    pub fn stop_after(&self, bytes: u64) {
        *self.shared.limit.lock().expect("not poisoned") = Some(bytes);
    }

    /// Connections that are held break, and new ones bring all that they have.
    pub fn open(&self) {
        *self.shared.limit.lock().expect("not poisoned") = None;
        self.shared.opened.notify_all();
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut buffer = [0; 16 * 1024];
    let mut passed = 0;
    while let Ok(got @ 1..) = from.read(&mut buffer) {
        passed += got as u64;
        let limit = shared.limit.lock().expect("not poisoned");
        if limit.is_some_and(|limit| passed > limit) {
            let held = |limit: &mut Option<u64>| limit.is_some();
            drop(shared.opened.wait_while(limit, held));
            break;
        }
        drop(limit);
        if to.write_all(&buffer[..got]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
