//! Imports run one way. The table below is the architecture; this test reads the sources and holds them to it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A module of the server, and the modules it may import.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("lib", &[]),
    ("cli", &["auth", "client", "config", "feed", "server"]),
    ("client", &[]),
    ("certificates", &[]),
    (
        "config",
        &["addresses", "auth", "engine", "feed", "origins"],
    ),
    (
        "server",
        &[
            "addresses",
            "auth",
            "certificates",
            "clock",
            "config",
            "engine",
            "feed",
            "feeder",
            "hub",
            "mesh",
            "pages",
            "reactor",
            "shards",
            "site",
        ],
    ),
    ("shards", &[]),
    (
        "reactor",
        &[
            "addresses",
            "certificates",
            "clock",
            "engine",
            "hub",
            "ledger",
            "mesh",
            "metrics",
        ],
    ),
    ("feeder", &["feed", "hub", "mesh"]),
    (
        "engine",
        &[
            "addresses",
            "auth",
            "clock",
            "hub",
            "ledger",
            "metrics",
            "origins",
            "site",
        ],
    ),
    ("addresses", &[]),
    ("auth", &[]),
    ("origins", &[]),
    ("pages", &["site"]),
    ("site", &[]),
    ("mesh", &["hub"]),
    // Test only: does what the reactor does, with sockets and clocks that it makes up.
    ("sim", &["clock", "engine", "hub"]),
    ("hub", &["ledger", "metrics"]),
    ("metrics", &["ledger"]),
    ("ledger", &[]),
    ("feed", &[]),
    ("clock", &[]),
];

/// What a part of the tree must not name: words, and the files (by prefix) they are forbidden in.
const MUST_NOT_NAME: &[(&[&str], &[&str], &str)] = &[
    (
        &["server/src/engine", "server/src/hub"],
        &[
            "mio::",
            "std::net",
            "Instant",
            "SystemTime",
            "std::thread",
            "std::fs",
            "socket2",
            "libc::",
        ],
        "engine and hub know no socket and no clock",
    ),
    (
        &["server/src/hub"],
        &["Conn", "ConnId"],
        "the hub knows members by number",
    ),
    (
        &["wire/src"],
        &[
            "std::net",
            "std::fs",
            "std::io",
            "std::thread",
            "Instant",
            "SystemTime",
            "unsafe {",
            "unsafe fn",
        ],
        "wire does no I/O, has no clock, no threads and no unsafe code",
    ),
    (
        &["loadgen/src"],
        &["fanfare::"],
        "the load generator never imports the server",
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

/// Every Rust source below `folder`, with its path from the workspace's root.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path
                    .strip_prefix(root())
                    .expect("below the root")
                    .display()
                    .to_string();
                found.push((name, fs::read_to_string(&path).expect("a source")));
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}");
    found
}

/// Code without comments and without test modules: what ships.
fn shipped(source: &str) -> String {
    let code = source
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or("");
    code.lines()
        .map(|line| line.split("//").next().unwrap_or(""))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The module of the server that a file belongs to.
fn module_of(name: &str) -> &str {
    let below = name
        .strip_prefix("server/src/")
        .expect("a source of the server");
    below
        .split('/')
        .next()
        .expect("a name")
        .trim_end_matches(".rs")
}

/// The modules named after `crate::`, in paths and in `use crate::{a, b::c}`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let preceded = code[..at]
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$');
        if preceded {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            for part in group.split_inclusive([',', '{', '}']) {
                if depth == 0 {
                    found.insert(word(part.trim_start()));
                }
                match part.chars().next_back() {
                    Some('{') => depth += 1,
                    Some('}') if depth == 0 => break,
                    Some('}') => depth -= 1,
                    _ => {}
                }
            }
        } else {
            found.insert(word(rest));
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

fn word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

#[test]
fn every_import_is_in_the_table() {
    for (name, source) in sources("server/src") {
        let module = module_of(&name);
        let (_, allowed) = (MAY_IMPORT.iter().find(|(from, _)| *from == module))
            .unwrap_or_else(|| panic!("{name}: the module {module} is not in the table"));
        for import in imports(&shipped(&source)) {
            // Modules only: `crate::run` would be a function of the crate's root, of which there is none.
            let ok = import == module || allowed.contains(&import.as_str());
            assert!(ok, "{name}: {module} may not import {import}");
        }
    }
}

#[test]
fn the_table_has_no_cycle() {
    fn reaches(from: &str, to: &str) -> bool {
        let (_, next) = MAY_IMPORT
            .iter()
            .find(|(name, _)| *name == from)
            .expect("in the table");
        next.iter().any(|name| *name == to || reaches(name, to))
    }
    for (module, _) in MAY_IMPORT {
        assert!(
            !reaches(module, module),
            "{module} imports itself by way of others"
        );
    }
}

#[test]
fn no_layer_names_what_is_not_its_business() {
    for (folders, words, why) in MUST_NOT_NAME {
        for (name, source) in folders.iter().flat_map(|folder| sources(folder)) {
            let code = shipped(&source);
            for forbidden in *words {
                let named = code.match_indices(forbidden).any(|(at, _)| {
                    let before = code[..at].chars().next_back();
                    let after = code[at + forbidden.len()..].chars().next();
                    let inside =
                        |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
                    !inside(before) && (forbidden.ends_with([':', '{', 'n']) || !inside(after))
                });
                assert!(!named, "{name} names {forbidden}: {why}");
            }
        }
    }
}

#[test]
fn unsafe_code_stands_only_in_the_sys_modules() {
    for (name, source) in ["server/src", "loadgen/src", "wire/src"]
        .iter()
        .flat_map(|folder| sources(folder))
    {
        if !name.ends_with("/sys.rs") {
            let code = shipped(&source);
            assert!(
                !code.contains("unsafe {")
                    && !code.contains("unsafe fn")
                    && !code.contains("unsafe impl"),
                "{name}"
            );
        }
    }
}

#[test]
fn the_test_sees_what_it_looks_for() {
    let code = "use crate::{a::b, c};\nuse crate::d::{e, f};\nlet x = crate::g::h();\nuse fanfare_crate::no;";
    let expected: BTreeSet<String> = ["a", "c", "d", "g"].into_iter().map(Into::into).collect();
    assert_eq!(imports(code), expected);
}
