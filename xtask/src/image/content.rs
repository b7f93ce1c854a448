//! What lies in the image: of this Debian machine what the program is linked with, and the program.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::layer::Layer;
use crate::command::{Failure, say, text_of};

/// The user that attache is in the image, and its group; that of the images of distroless, so that volumes keep their owner.
pub(super) const USER: u32 = 65_532;

/// Where attache stores, and the only folder that it writes to.
pub(super) const DATA: &str = "/var/lib/attache";

/// The roots of the web, in the file that most libraries look into.
pub(super) const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The libraries of `binary` with their licences, root certificates, and who is who.
pub(super) fn base(binary: &Path) -> Result<Layer, Failure> {
    let mut layer = Layer::new();
    // Where engines mount something, also into a root that is read-only.
    for folder in ["/dev", "/proc", "/sys"] {
        layer.folder(folder, 0o755, 0);
    }
    layer.bytes("/etc/passwd", PASSWD);
    layer.bytes("/etc/group", GROUP);
    layer.bytes("/etc/nsswitch.conf", "hosts: files dns\n");
    if !Path::new(ROOTS).is_file() {
        return Err(Failure::new(format!(
            "xtask: there is no {ROOTS}; install ca-certificates"
        )));
    }
    layer.file(ROOTS, Path::new(ROOTS), 0o644);
    // They are put together where they are installed, so no package has the file.
    let licence_of_roots = Path::new("/usr/share/doc/ca-certificates/copyright");
    layer.file(&licence_of_roots.to_string_lossy(), licence_of_roots, 0o644);
    for library in libraries(binary)? {
        layer.file(&library.to_string_lossy(), &library, 0o755);
        match licence(&library) {
            Some(licence) => layer.file(&licence.to_string_lossy(), &licence, 0o644),
            None => say(&format!(
                "xtask: no package has {}, so its licence is not in the image",
                library.display()
            )),
        }
    }
    Ok(layer)
}

/// The program, its licences, and the folder that it may write to.
pub(super) fn own(root: &Path, binary: &Path) -> Result<Layer, Failure> {
    let mut layer = Layer::new();
    layer.file("/attache", binary, 0o755);
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        let path = format!("/usr/share/doc/attache/{licence}");
        layer.file(&path, &root.join(licence), 0o644);
    }
    layer.folder(DATA, 0o750, USER);
    Ok(layer)
}

/// The libraries of a program and the loader that starts it, where the loader finds them.
fn libraries(binary: &Path) -> Result<Vec<PathBuf>, Failure> {
    let said = text_of(Command::new("ldd").arg(binary))?;
    let mut found = Vec::new();
    for line in said.lines().map(str::trim) {
        // `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f…)`, the loader without an arrow; the kernel's has no path.
        let path = line.split_once("=> ").map_or(line, |(_, path)| path);
        if path.starts_with("not found") {
            return Err(Failure::new(format!("xtask: ldd: {line}")));
        }
        if path.starts_with('/') {
            let path = path.split_once(" (").map_or(path, |(path, _)| path);
            found.push(PathBuf::from(path));
        }
    }
    Ok(found)
}

/// The file that says under which licence Debian has `file`.
fn licence(file: &Path) -> Option<PathBuf> {
    let file = file.to_str()?;
    // Of the two names that a library has since `/lib` is a link to `/usr/lib`, dpkg knows one.
    let owner = [file.to_owned(), format!("/usr{file}")]
        .iter()
        .find_map(|name| text_of(Command::new("dpkg-query").args(["--search", name])).ok())?;
    // `libc6:amd64: /lib/x86_64-linux-gnu/libc.so.6`
    let package = owner.split(':').next()?;
    let licence = Path::new("/usr/share/doc").join(package).join("copyright");
    licence.is_file().then_some(licence)
}

const PASSWD: &str = "\
root:x:0:0:root:/:/sbin/nologin
attache:x:65532:65532:attache:/var/lib/attache:/sbin/nologin
";

const GROUP: &str = "\
root:x:0:
attache:x:65532:
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_has_the_same_number_everywhere() {
        let user = format!("attache:x:{USER}:");
        assert!(GROUP.contains(&user));
        assert!(PASSWD.contains(&format!("{user}{USER}:attache:{DATA}:")));
    }
}
