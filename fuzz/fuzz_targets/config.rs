//! A configuration is loaded, or all that is wrong with it is said; what is shown of it can be loaded again, and never
//! shows a secret.
#![no_main]

use attache::ErrorKind;
use attache::config::load;
use libfuzzer_sys::fuzz_target;

/// The server's configuration, which holds the library's: the server is a binary, so its folder is compiled in here.
#[allow(dead_code, reason = "only reading and showing is tried here")]
#[path = "../../attache-server/src/config/mod.rs"]
mod config;

use config::Settings;

/// In the environment, where the input may say so.
const SECRET: &str = "hunter2hunter2";

fuzz_target!(|input: &str| {
    // The file, a zero, and lines of the environment.
    let (file, environment) = input.split_once('\0').unwrap_or((input, ""));
    // Would have files read that the input names.
    if input.to_ascii_lowercase().contains("_file") || input.contains(SECRET) {
        return;
    }
    let with_secret = environment.starts_with('!');
    let variables = environment
        .lines()
        .filter_map(|line| line.split_once('='))
        .chain(with_secret.then_some(("AZURE_CLIENT_SECRET", SECRET)))
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    match load::from_parts::<Settings>(Some(file), variables) {
        Ok(config) => {
            let shown = load::to_toml(&config);
            assert!(!shown.contains(SECRET), "{shown}");
            assert!(!format!("{config:?}").contains(SECRET));
            if !shown.contains("[redacted]") {
                let again: Settings =
                    load::from_parts(Some(&shown), []).expect("what is shown is valid");
                assert_eq!(again, config, "{shown}");
            }
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Misconfigured);
            assert!(!error.detail().contains(SECRET), "{error}");
            assert!(error.detail().len() > 10, "{error}");
        }
    }
});
