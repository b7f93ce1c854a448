//! Files on local disk: nginx beside an attache that keeps its objects there.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use fake_azure::fill_pattern;

use crate::cases::{KIB, MIB};
use crate::process::{Process, free_address};
use crate::stage::Stored;
use crate::world::start_nginx;
use crate::{Outcome, Places};

/// What is stored besides the small attachments.
pub const SIZES: [u64; 3] = [64 * KIB, MIB, 64 * MIB];

/// Starts an nginx that serves `files` below `folder` as `/local/`.
pub fn nginx(places: &Places, folder: &Path) -> Outcome<(Process, SocketAddr)> {
    fs::create_dir_all(folder.join(FILES))?;
    let address = free_address()?;
    let config = NGINX.replace("@LISTEN@", &address.to_string());
    let process = start_nginx(places, folder, &config, address)?;
    Ok((process, address))
}

/// Writes the bytes of what an attache has stored into files of the same names, for the nginx in `folder`.
pub fn lay_out(folder: &Path, stored: &Stored) -> Outcome<()> {
    let files = folder.join(FILES).join("user");
    fs::create_dir_all(&files)?;
    let small = stored.small.iter().map(|name| (name, 4 * KIB));
    let others = stored.by_size.iter().map(|(size, name)| (name, *size));
    for (name, size) in small.chain(others) {
        write_pattern(&files.join(format!("{name}.bin")), size)?;
    }
    Ok(())
}

/// A file with `size` bytes of the pattern.
fn write_pattern(path: &Path, size: u64) -> Outcome<()> {
    let mut file = fs::File::create(path)?;
    let mut piece = vec![0; usize::try_from(size.min(MIB))?];
    let mut written = 0;
    while written < size {
        let take = usize::try_from((size - written).min(piece.len() as u64))?;
        fill_pattern(written, &mut piece[..take]);
        file.write_all(&piece[..take])?;
        written += take as u64;
    }
    Ok(())
}

/// Below the folder of the nginx.
const FILES: &str = "files";

/// nginx as a server of files, by the two settings that its manual advises for them
/// (<https://nginx.org/en/docs/http/ngx_http_core_module.html#sendfile>). The descriptors are opened anew for each request, as
/// attache opens them.
const NGINX: &str = "\
    sendfile on;
    tcp_nopush on;
    server {
        listen @LISTEN@ backlog=4096;
        location /local/ { alias files/; }
    }
";
