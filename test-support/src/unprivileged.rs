//! Servers that refuse to run as root, in tests that do.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// Who runs such a server: whoever runs the tests, and for root a user without rights.
///
/// That user has to be able to reach the program and the temporary folder: neither may lie below a folder that only root
/// can enter, such as `/root`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unprivileged {
    /// User and group; `None` if the tests do not run as root.
    ids: Option<(u32, u32)>,
}

impl Unprivileged {
    /// Who runs a server whose data lies in `folder`, which this process has just made; the folder becomes theirs.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        let this = Self {
            ids: made_by_root(folder).then(user_without_rights),
        };
        this.give(folder);
        this
    }

    /// Makes them the owner of `path`, whose content only they (and root) can read from now on if it is a file.
    pub(crate) fn give(self, path: &Path) {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            if path.is_file() {
                let secret = std::fs::Permissions::from_mode(0o600);
                std::fs::set_permissions(path, secret).expect("a file of ours");
            }
            if let Some((user, group)) = self.ids {
                std::os::unix::fs::chown(path, Some(user), Some(group)).expect("root may");
            }
        }
        #[cfg(not(unix))]
        let _ = path;
    }

    /// `program`, run by them in `folder`, without our environment: variables like `PGPORT` would change what it does.
    pub(crate) fn command(self, program: impl AsRef<OsStr>, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LC_ALL", "C");
        #[cfg(unix)]
        if let Some((user, group)) = self.ids {
            use std::os::unix::process::CommandExt as _;
            command.uid(user).gid(group);
        }
        command
    }
}

/// Whether we are root: what we have just made belongs to us.
fn made_by_root(folder: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(folder).expect("a folder of ours").uid() == 0
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        false
    }
}

/// User and group of `postgres`, which comes with Debian's package, else of `nobody`. `initdb` wants one that has a name.
fn user_without_rights() -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").expect("a list of users");
    let ids = |wanted: &str| {
        let mut rows = users.lines().map(|line| line.split(':'));
        let mut row = rows.find_map(|mut row| (row.next() == Some(wanted)).then_some(row))?;
        Some((row.nth(1)?.parse().ok()?, row.next()?.parse().ok()?))
    };
    ids("postgres")
        .or_else(|| ids("nobody"))
        .expect("a user `postgres` or `nobody`: as root, PostgreSQL does not start")
}
