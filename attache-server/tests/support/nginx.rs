//! The real nginx with the configuration that we ship, and other addresses in it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Answer, connect, read_answer, request};

/// Ends with its owner.
pub struct Nginx {
    pub address: SocketAddr,
    folder: tempfile::TempDir,
    child: Child,
}

/// A stand-in for Azure.
pub struct Store<'a> {
    pub endpoint: &'a str,
    pub ca_pem: &'a str,
}

impl Nginx {
    /// Starts it in front of `attache`, with access to `objects`; `None` if it is not on this machine.
    pub fn start(attache: SocketAddr, objects: &Path, store: Option<Store<'_>>) -> Option<Self> {
        Self::before(&[attache], objects, store)
    }

    /// Starts it in front of several, one after the other in turn.
    pub fn before(
        attache: &[SocketAddr],
        objects: &Path,
        store: Option<Store<'_>>,
    ) -> Option<Self> {
        Self::with(|folder, address| match attache {
            [_] => site(folder, address, attache, objects, store.as_ref()),
            several => replicas(address, several),
        })
    }

    /// Starts it with as many bytes for a body as it has by default.
    pub fn with_its_own_body_limit(attache: SocketAddr, objects: &Path) -> Option<Self> {
        Self::with(|folder, address| {
            let site = site(folder, address, &[attache], objects, None);
            let without = site.replace("client_max_body_size 0;", "");
            assert_ne!(site, without);
            without
        })
    }

    /// Starts it with a site, for a folder of its own and an address.
    pub fn with(site: impl Fn(&Path, SocketAddr) -> String) -> Option<Self> {
        let program = test_support::nginx()?;
        let folder = tempfile::tempdir().expect("a folder");
        for _ in 0..5 {
            // nginx cannot tell which port it got, so it gets one that was free a moment ago.
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = listener.local_addr().expect("bound");
            drop(listener);
            let site = site(folder.path(), address);
            std::fs::write(folder.path().join("attache.conf"), site).expect("written");
            std::fs::write(folder.path().join("nginx.conf"), MAIN).expect("written");
            let mut child = Command::new(&program)
                .arg("-p")
                .arg(folder.path())
                .args(["-c", "nginx.conf", "-e", "error.log"])
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("nginx starts");
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(20) {
                if TcpStream::connect(address).is_ok() {
                    return Some(Self {
                        address,
                        folder,
                        child,
                    });
                }
                if child.try_wait().expect("a child").is_some() {
                    break;
                }
                std::thread::yield_now();
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        let log = std::fs::read_to_string(folder.path().join("error.log")).unwrap_or_default();
        panic!("nginx does not start: {log}");
    }

    pub fn request(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        let mut stream = connect(self.address);
        let bytes = request(&self.address.to_string(), method, target, headers, b"");
        std::io::Write::write_all(&mut stream, &bytes).expect("sent");
        read_answer(&mut stream)
    }

    pub fn get(&self, target: &str) -> Answer {
        self.request("GET", target, &[])
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A quick shutdown that takes the workers along.
        let _ = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        let _ = self.child.wait();
    }
}

/// What a distribution's nginx.conf says, in a folder of the test's own.
const MAIN: &str = "
    daemon off;
    pid nginx.pid;
    worker_processes 1;
    # The files are the test's own. Ignored unless the test runs as root.
    user root;
    events { worker_connections 256; }
    http {
        access_log off;
        client_body_temp_path body;
        proxy_temp_path proxy;
        fastcgi_temp_path fastcgi;
        uwsgi_temp_path uwsgi;
        scgi_temp_path scgi;
        types { text/html html; text/plain txt; }
        include attache.conf;
    }
";

/// The file for several replicas, with their addresses.
fn replicas(address: SocketAddr, attache: &[SocketAddr]) -> String {
    let shipped = include_str!("../../../deploy/nginx/replicas.conf");
    let mut lines = Vec::new();
    let mut addresses = attache.iter();
    for line in shipped.lines() {
        match line.trim().strip_prefix("server attache-") {
            Some(rest) => {
                let (_, options) = rest.split_once(' ').expect("options");
                if let Some(at) = addresses.next() {
                    lines.push(format!("server {at} {options}"));
                }
            }
            None => lines.push(line.replace("listen 80;", &format!("listen {address};"))),
        }
    }
    assert!(addresses.next().is_none(), "the file has three replicas");
    lines.join("\n")
}

fn site(
    folder: &Path,
    address: SocketAddr,
    attache: &[SocketAddr],
    objects: &Path,
    store: Option<&Store<'_>>,
) -> String {
    let mut site = include_str!("../../../deploy/nginx/attache.conf").to_owned();
    let mut change = |shipped: &str, ours: &str| {
        assert!(site.contains(shipped), "{shipped:?} is not in the file");
        site = site.replace(shipped, ours);
    };
    change("listen 80;", &format!("listen {address};"));
    let servers = attache.iter().map(|at| format!("server {at};"));
    let servers: Vec<String> = servers.collect();
    change("server 127.0.0.1:8080;", &servers.join("\n"));
    change(
        "/var/lib/attache/objects/",
        &format!("{}/", objects.display()),
    );
    let host = match store {
        Some(store) => {
            let ca = folder.join("ca.pem");
            std::fs::write(&ca, store.ca_pem).expect("written");
            change(
                "/etc/ssl/certs/ca-certificates.crt",
                &ca.display().to_string(),
            );
            let rest = store.endpoint.strip_prefix("https://").expect("https");
            rest.split('/').next().expect("a host")
        }
        // nginx looks names up when it starts.
        None => {
            change("/etc/ssl/certs/ca-certificates.crt", "");
            "127.0.0.1:1"
        }
    };
    change(
        "server acme.blob.core.windows.net:443;",
        &format!("server {host};"),
    );
    // nginx compares names only, and the stand-in's certificate has this one besides its address.
    change(
        "proxy_ssl_name acme.blob.core.windows.net;",
        "proxy_ssl_name localhost;",
    );
    change("Host acme.blob.core.windows.net;", &format!("Host {host};"));
    if store.is_none() {
        site = site
            .replace("proxy_ssl_trusted_certificate ;", "")
            .replace("proxy_ssl_verify on;", "");
    }
    site
}
