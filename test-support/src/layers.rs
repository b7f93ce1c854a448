//! Which file of a package uses which, read from the sources: the arrows that ARCHITECTURE.md draws, kept true.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// The sources of a package: each file with those of the same package that it names.
#[derive(Debug)]
pub struct Layers(BTreeMap<String, Source>);

#[derive(Debug, Default)]
struct Source {
    /// Files of the package, as `storage/azure/sign`; `storage/mod.rs` is `storage`.
    uses: BTreeSet<String>,
    /// Crates from outside, by the first word of a path.
    crates: BTreeSet<String>,
}

impl Layers {
    /// Reads every `.rs` below `src`. Tests, which stand in a `#[cfg(test)] mod` or in a `tests.rs`, are not
    /// looked at.
    ///
    /// # Panics
    ///
    /// If a file cannot be read or is not Rust.
    pub fn read(src: &Path) -> Self {
        let mut texts = BTreeMap::new();
        let mut folders = vec![src.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder of sources") {
                let path = entry.expect("an entry").path();
                match path.is_dir() {
                    true => folders.push(path),
                    // `#[cfg(test)] mod tests;`
                    false if path.file_stem().is_some_and(|stem| stem == "tests") => {}
                    false if path.extension().is_some_and(|end| end == "rs") => {
                        let text = std::fs::read_to_string(&path).expect("a source");
                        texts.insert(name_of(src, &path), text);
                    }
                    false => {}
                }
            }
        }
        Self::of(&texts)
    }

    fn of(texts: &BTreeMap<String, String>) -> Self {
        let sources = texts.iter().map(|(name, text)| {
            let file = syn::parse_file(text)
                .unwrap_or_else(|error| panic!("{name}.rs is not Rust: {error}"));
            let mut reader = Reader {
                names: texts,
                module: name.split('/').map(str::to_owned).collect(),
                children: BTreeSet::new(),
                found: Source::default(),
            };
            if matches!(name.as_str(), "lib" | "main") {
                reader.module.clear();
            }
            for item in &file.items {
                if let syn::Item::Mod(module) = item
                    && module.content.is_none()
                {
                    reader.children.insert(module.ident.to_string());
                }
            }
            reader.visit_file(&file);
            reader.found.uses.remove(name);
            (name.clone(), reader.found)
        });
        Self(sources.collect())
    }

    /// What is wrong: a file that has no line in `arrows`, one that uses another that its line does not have, a line that
    /// nothing stands for.
    ///
    /// Each line is `module -> module module …`. A module is a file or a folder; a file belongs to the longest name that
    /// fits. Files of one module may use each other. `*` allows everything.
    ///
    /// # Panics
    ///
    /// If there are no sources.
    pub fn broken(&self, arrows: &str) -> Vec<String> {
        assert!(self.0.len() > 15, "the sources are found");
        let allowed: BTreeMap<&str, BTreeSet<&str>> = arrows
            .lines()
            .filter_map(|line| line.split_once("->"))
            .map(|(module, used)| (module.trim(), used.split_whitespace().collect()))
            .collect();
        let owner = |file: &str| {
            let mut name = file;
            loop {
                if let Some((known, _)) = allowed.get_key_value(name) {
                    return Some(*known);
                }
                name = name.rsplit_once('/')?.0;
            }
        };
        let (mut broken, mut seen) = (Vec::new(), BTreeMap::new());
        for (file, source) in &self.0 {
            let Some(module) = owner(file) else {
                broken.push(format!("{file}.rs has no line"));
                continue;
            };
            let used: &mut BTreeSet<&str> = seen.entry(module).or_default();
            for name in &source.uses {
                match owner(name) {
                    Some(other) if other == module => {}
                    Some(other) => {
                        used.insert(other);
                        let line = &allowed[module];
                        if !line.contains("*") && !line.contains(other) {
                            broken.push(format!("{file}.rs uses {name}"));
                        }
                    }
                    None => {}
                }
            }
        }
        for (module, line) in &allowed {
            let used = seen.get(module);
            match used {
                None => broken.push(format!("{module} has a line and no file")),
                Some(used) => {
                    for other in line
                        .iter()
                        .filter(|other| **other != "*" && !used.contains(**other))
                    {
                        broken.push(format!("{module} does not use {other} any more"));
                    }
                }
            }
        }
        broken
    }

    /// Files that use each other, straight or around corners: each ring, in order of names. A folder's `mod.rs` may use the
    /// files that it puts together, and they its words, if `mod.rs` names them only to hand them on (`pub use`, `pub mod`).
    pub fn rings(&self) -> Vec<Vec<&str>> {
        let reach = |from: &str| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
            while let Some(file) = next.pop() {
                for used in self
                    .0
                    .get(&file)
                    .into_iter()
                    .flat_map(|source| &source.uses)
                {
                    if seen.insert(used.clone()) {
                        next.push(used.clone());
                    }
                }
            }
            seen
        };
        let reached: BTreeMap<&str, BTreeSet<String>> = self
            .0
            .keys()
            .map(|file| (file.as_str(), reach(file)))
            .collect();
        let mut rings: BTreeSet<Vec<&str>> = BTreeSet::new();
        for (file, seen) in &reached {
            if seen.contains(*file) {
                let ring = reached
                    .keys()
                    .filter(|other| seen.contains(**other) && reached[**other].contains(*file));
                rings.insert(ring.copied().collect());
            }
        }
        rings.into_iter().collect()
    }

    /// The files that name the crate `name`.
    pub fn users_of(&self, name: &str) -> Vec<&str> {
        let users = self
            .0
            .iter()
            .filter(|(_, source)| source.crates.contains(name));
        users.map(|(file, _)| file.as_str()).collect()
    }

    /// The files that `file` names.
    pub fn uses(&self, file: &str) -> Vec<&str> {
        let source = self.0.get(file);
        source
            .into_iter()
            .flat_map(|source| &source.uses)
            .map(String::as_str)
            .collect()
    }
}

fn name_of(src: &Path, path: &Path) -> String {
    let name: PathBuf = path
        .strip_prefix(src)
        .expect("below src")
        .with_extension("");
    let name = name.to_str().expect("ASCII").replace('\\', "/");
    name.strip_suffix("/mod").map(str::to_owned).unwrap_or(name)
}

struct Reader<'a> {
    names: &'a BTreeMap<String, String>,
    /// The module of the file.
    module: Vec<String>,
    /// Modules that the file declares.
    children: BTreeSet<String>,
    found: Source,
}

impl Reader<'_> {
    fn note(&mut self, path: &[String]) {
        let Some(first) = path.first() else { return };
        let mut absolute: Vec<String>;
        match first.as_str() {
            "crate" => absolute = path[1..].to_vec(),
            "self" => absolute = [self.module.as_slice(), &path[1..]].concat(),
            "super" => {
                let up = path.iter().take_while(|part| *part == "super").count();
                let kept = self.module.len().saturating_sub(up);
                absolute = [&self.module[..kept], &path[up..]].concat();
            }
            name if self.children.contains(name) => {
                absolute = [self.module.as_slice(), path].concat();
            }
            name => {
                self.found.crates.insert(name.to_owned());
                return;
            }
        }
        // The longest front that is a file; what follows is an item in it.
        while !absolute.is_empty() {
            let name = absolute.join("/");
            if self.names.contains_key(&name) {
                self.found.uses.insert(name);
                return;
            }
            absolute.pop();
        }
    }

    fn tree(&mut self, front: &mut Vec<String>, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                front.push(path.ident.to_string());
                self.tree(front, &path.tree);
                front.pop();
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(front, tree);
                }
            }
            syn::UseTree::Name(name) => {
                let mut path = front.clone();
                if name.ident != "self" || front.is_empty() {
                    path.push(name.ident.to_string());
                }
                self.note(&path);
            }
            syn::UseTree::Rename(name) => {
                let mut path = front.clone();
                if name.ident != "self" {
                    path.push(name.ident.to_string());
                }
                self.note(&path);
            }
            syn::UseTree::Glob(_) => self.note(front),
        }
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .meta
                .require_list()
                .is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        // Handing on is not using.
        if !is_test(&item.attrs) && !matches!(item.vis, syn::Visibility::Public(_)) {
            self.tree(&mut Vec::new(), &item.tree);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            let parts: Vec<String> = path
                .segments
                .iter()
                .map(|part| part.ident.to_string())
                .collect();
            let known = matches!(parts[0].as_str(), "crate" | "self" | "super");
            // A type's function, `Vec::new`, is no crate; an imported module's was counted where it was imported.
            let is_crate = parts[0].starts_with(char::is_lowercase);
            if known || is_crate {
                self.note(&parts);
            }
        }
        visit::visit_path(self, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(files: &[(&str, &str)]) -> Layers {
        let texts = files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Layers::of(&texts.collect())
    }

    #[test]
    fn every_way_to_name_a_file_is_seen_and_tests_and_comments_are_not() {
        let layers = layers(&[
            ("lib", "mod a; mod b; pub use a::A;"),
            (
                "a",
                "//! [`crate::b`]\n// crate::c\n#[cfg(test)] mod tests { use crate::c; }",
            ),
            (
                "b",
                "use crate::{a::{A, self}, c::d::D as E}; fn f() { super::e::f(); serde_json::to_string(&1) }",
            ),
            (
                "c",
                "mod d; use d::D; fn f() -> crate::Result { crate::a::f() }",
            ),
            (
                "c/d",
                "use super::super::b::B; use super::C; use tokio::sync;",
            ),
            ("e", ""),
        ]);
        assert_eq!(layers.uses("lib"), Vec::<&str>::new());
        assert_eq!(layers.uses("a"), Vec::<&str>::new());
        assert_eq!(layers.uses("b"), ["a", "c/d", "e"]);
        assert_eq!(layers.uses("c"), ["a", "c/d"]);
        assert_eq!(layers.uses("c/d"), ["b", "c"]);
        assert_eq!(layers.users_of("serde_json"), ["b"]);
        assert_eq!(layers.users_of("tokio"), ["c/d"]);
        assert_eq!(layers.rings(), [["b", "c", "c/d"]]);
    }
}
