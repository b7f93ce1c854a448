//! The arrows of ARCHITECTURE.md, kept true: who may use whom inside this crate, and which crates only one module knows.

use std::collections::BTreeMap;
use std::path::Path;

/// Each module with those that it may use. `lib.rs`, which names all, and `service`, which uses all, have no line.
const ARROWS: &str = "
    base64 ->
    error ->
    secret ->
    access -> attachment error
    bounded ->
    attachment -> error filename
    filename -> attachment error
    media -> filename
    utf8 ->
    budget -> error
    body -> attachment error utf8
    lease -> error
    metrics -> catalog error storage
    links -> attachment base64 error filename private secret
    lifetime ->
    embedding ->
    network -> base64 secret
    private ->
    ranges -> attachment body error
    upload -> body budget error storage
    storage -> attachment body budget error filename latency media secret
    storage/memory -> attachment body error storage
    storage/local -> attachment body budget error private storage
    storage/azure -> attachment base64 body bounded error latency lease links network secret storage trace upload
    catalog -> access attachment error filename storage
    catalog/recent -> attachment bounded catalog error storage
    catalog/sqlite -> access attachment catalog error media private storage
    latency ->
    trace ->
    history ->
    status ->
    health -> history status
    inspect -> config error metrics storage
    config -> body budget embedding error lifetime network secret storage upload
    delivery -> attachment body config error filename lifetime media ranges secret storage
    verify -> attachment budget catalog error storage
";

#[test]
fn modules_use_only_what_lies_below_them() {
    let lines = ARROWS.lines().filter_map(|line| line.split_once("->"));
    let allowed: BTreeMap<&str, Vec<&str>> = lines
        .map(|(module, used)| (module.trim(), used.split_whitespace().collect()))
        .collect();
    let mut broken = Vec::new();
    for source in sources() {
        if matches!(source.module.as_str(), "lib" | "service") {
            continue;
        }
        for used in source.uses() {
            let known = allowed.get(source.module.as_str());
            // A module without a line is new: it may use anything but the product built on top.
            let fits = known.map_or(used != "service", |known| known.contains(&used.as_str()));
            if !fits && used != source.module && !used.is_empty() {
                broken.push(format!("{} uses {used}", source.path));
            }
        }
    }
    assert!(
        broken.is_empty(),
        "arrows that ARCHITECTURE.md does not have: {broken:#?}"
    );
}

#[test]
fn only_the_azure_backend_knows_azures_crates() {
    for source in sources() {
        let knows = source.code.contains("azure_core")
            || source.code.contains("azure_identity")
            || source.code.contains("azure_storage");
        let may = source.module == "storage/azure";
        assert!(may || !knows, "{} uses a crate of Azure's", source.path);
    }
}

#[test]
fn only_the_sqlite_catalog_knows_sqlite() {
    for source in sources() {
        let may = source.module == "catalog/sqlite";
        assert!(may || !source.code.contains("rusqlite"), "{}", source.path);
    }
}

#[test]
fn the_library_knows_no_server_and_no_command_line() {
    for source in sources() {
        for name in ["axum", "clap", "tower_http", "utoipa"] {
            let uses = source.code.contains(&format!("{name}::"));
            assert!(!uses, "{} uses {name}", source.path);
        }
    }
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("our manifest");
    for name in ["axum", "clap", "tower-http", "utoipa"] {
        assert!(
            !manifest.contains(&format!("\n{name}")),
            "a dependency on {name}"
        );
    }
}

#[test]
fn the_check_sees_what_it_looks_for() {
    let source = Source {
        path: "x.rs".to_owned(),
        module: "x".to_owned(),
        code: code_of(
            "//! [`crate::comment`]\nuse crate::{error::Error, body::{Body, Digests}};\nuse crate::secret::Secret;\n\
             fn f() { crate::upload::upload() } // crate::remark\n#[cfg(test)]\nmod tests { use crate::service; }\n",
        ),
    };
    assert_eq!(source.uses(), ["body", "error", "secret", "upload"]);
    assert!(sources().len() > 15, "the sources are found");
}

struct Source {
    path: String,
    module: String,
    code: String,
}

impl Source {
    /// The modules of this crate that the code names, as `crate::…` or, below `storage` and `catalog`, as `super::…`.
    fn uses(&self) -> Vec<String> {
        let mut found = Vec::new();
        for at in self
            .code
            .match_indices("crate::")
            .map(|(at, _)| at + "crate::".len())
        {
            let rest = &self.code[at..];
            match rest.strip_prefix('{') {
                Some(group) => found.extend(first_names(group)),
                None => found.extend(module_of(rest)),
            }
        }
        if let Some((parent, _)) = self.module.split_once('/')
            && self.path.matches('/').count() == 1
            && self.code.contains("super::")
        {
            found.push(parent.to_owned());
        }
        found.sort();
        found.dedup();
        found
    }
}

/// The module that a path starts with; re-exports such as `crate::Error` are `error`'s.
fn module_of(path: &str) -> Option<String> {
    let name: String = path
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    match name.as_str() {
        "Error" | "ErrorKind" | "Result" => Some("error".to_owned()),
        _ if name.starts_with(char::is_lowercase) => Some(name),
        _ => None,
    }
}

/// The modules in `a::{…}, b}`, up to the brace that ends the group.
fn first_names(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut start) = (0_u32, Vec::new(), 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                names.extend(module_of(group[start..at].trim_start()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let (src, mut folders, mut sources) =
        (root().join("src"), vec![root().join("src")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("our sources") {
            let path = entry.expect("our sources").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("our sources");
                let name = path.strip_prefix(&src).expect("below src");
                let name = name.to_str().expect("ASCII").replace('\\', "/");
                sources.push(Source {
                    module: module_name(&name),
                    code: code_of(&text),
                    path: name,
                });
            }
        }
    }
    sources
}

/// `storage/azure/sign.rs` belongs to `storage/azure`, as every file of a backend does to the backend.
fn module_name(path: &str) -> String {
    let parts: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    match parts.as_slice() {
        [folder, "mod"] => (*folder).to_owned(),
        [folder @ ("storage" | "catalog"), backend, ..] => format!("{folder}/{backend}"),
        [first, ..] => (*first).to_owned(),
        [] => String::new(),
    }
}

/// The text without comments and without its tests, which stand at the end.
fn code_of(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}
