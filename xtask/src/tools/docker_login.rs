//! docker's configuration for one run, in a directory of its own that ends with the run: the credentials of the
//! environment are in it, and nothing of them stays.

use std::{
    env, fs,
    os::unix::fs::{OpenOptionsExt, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

const CONFIG: &str = "config.json";

/// A private DOCKER_CONFIG.
#[derive(Debug)]
pub struct Login {
    directory: TempDir,
}

impl Login {
    /// A copy of docker's own configuration, with the logins of DOCKER_AUTH_CONFIG, which old clients don't read.
    pub fn new() -> Result<Login> {
        let directory = tempfile::tempdir().context("make a private directory for docker")?;
        let own = own_directory();
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let mut texts = vec![];
        if let Some(own) = own.filter(|own| own.is_dir()) {
            let entries = own.read_dir().with_context(|| format!("read {own:?}"))?;
            for entry in entries {
                let entry = entry.with_context(|| format!("read {own:?}"))?;
                if entry.file_name() == CONFIG {
                    texts.push(read(&entry.path()));
                } else {
                    // Contexts, builders and plugins are the user's own.
                    let path = entry.path();
                    let path = path.canonicalize().unwrap_or(path);
                    symlink(path, directory.path().join(entry.file_name()))
                        .context("lay out docker's configuration")?;
                }
            }
        }
        texts.extend(env::var("DOCKER_AUTH_CONFIG").ok());
        let mut file = fs::OpenOptions::new();
        let path = directory.path().join(CONFIG);
        let file = file.write(true).create_new(true).mode(0o600).open(path);
        let file = file.context("write docker's configuration")?;
        serde_json::to_writer(file, &merged(&texts)).context("write docker's configuration")?;
        Ok(Login { directory })
    }

    /// What DOCKER_CONFIG has to be.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

fn own_directory() -> Option<PathBuf> {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let named = variable("DOCKER_CONFIG").map(PathBuf::from);
    named.or_else(|| Some(Path::new(&variable("HOME")?).join(".docker")))
}

/// docker's configuration with the logins of all texts, the last one's first. A credential store would keep what is
/// logged in to here, so it only answers for the registries that it has already.
fn merged(texts: &[String]) -> Value {
    let parsed = texts
        .iter()
        .filter_map(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
    let mut whole = Map::new();
    for mut next in parsed {
        let table = |value: Option<Value>| match value {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        };
        let mut auths = table(whole.remove("auths"));
        let mut helpers = table(next.remove("credHelpers"));
        let theirs = table(next.remove("auths"));
        if let Some(store) = next.remove("credsStore") {
            for server in theirs.keys() {
                helpers.entry(server.clone()).or_insert(store.clone());
            }
        }
        auths.extend(theirs);
        whole.extend(next);
        whole.insert("auths".into(), auths.into());
        if !helpers.is_empty() {
            whole.insert("credHelpers".into(), helpers.into());
        }
    }
    if whole.is_empty() {
        json!({})
    } else {
        whole.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_keeps_answering_for_what_it_has_and_gets_nothing_new() {
        let own = r#"{"credsStore": "desktop", "currentContext": "x", "auths": {"ghcr.io": {}, "quay.io": {"auth": "YQ=="}}}"#;
        let given = r#"{"auths": {"quay.io": {"auth": "Yg=="}}}"#;
        assert_eq!(
            merged(&[own.to_owned(), given.to_owned(), "not JSON".to_owned()]),
            json!({
                "currentContext": "x",
                "auths": {"ghcr.io": {}, "quay.io": {"auth": "Yg=="}},
                "credHelpers": {"ghcr.io": "desktop", "quay.io": "desktop"},
            })
        );
        assert_eq!(merged(&[]), json!({}));
    }
}
