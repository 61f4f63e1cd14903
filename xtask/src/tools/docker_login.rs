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

use super::registry::docker_server;

const CONFIG: &str = "config.json";

/// A private DOCKER_CONFIG.
#[derive(Debug)]
pub struct Login {
    directory: TempDir,
}

impl Login {
    /// A copy of docker's own configuration, with the logins of DOCKER_AUTH_CONFIG, which old clients don't read. A
    /// `docker login` to one of `registries` stays in it.
    pub fn new(registries: &[&str]) -> Result<Login> {
        let directory = tempfile::tempdir().context("make a private directory for docker")?;
        let own = own_directory();
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let mut kept = String::new();
        if let Some(own) = own.filter(|own| own.is_dir()) {
            let entries = own.read_dir().with_context(|| format!("read {own:?}"))?;
            for entry in entries {
                let entry = entry.with_context(|| format!("read {own:?}"))?;
                if entry.file_name() == CONFIG {
                    kept = read(&entry.path());
                } else {
                    // Contexts, builders and plugins are the user's own.
                    let path = entry.path();
                    let path = path.canonicalize().unwrap_or(path);
                    symlink(path, directory.path().join(entry.file_name()))
                        .context("lay out docker's configuration")?;
                }
            }
        }
        let given = env::var("DOCKER_AUTH_CONFIG").unwrap_or_default();
        let mut file = fs::OpenOptions::new();
        let path = directory.path().join(CONFIG);
        let file = file.write(true).create_new(true).mode(0o600).open(path);
        let file = file.context("write docker's configuration")?;
        serde_json::to_writer(file, &merged(&kept, &given, registries))
            .context("write docker's configuration")?;
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

/// docker's own configuration with the logins that are given, which come first. They and what `registries` are logged in
/// to with stay here: where the helper of a server is `""` docker asks and fills no credential store, and where there are
/// helpers it looks for no other (docker/cli, `getConfiguredCredentialStore` and `ContainsAuth`).
fn merged(own: &str, given: &str, registries: &[&str]) -> Value {
    let parse = |text| serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
    let table = |whole: &mut Map<String, Value>, key: &str| match whole.remove(key) {
        Some(Value::Object(table)) => table,
        _ => Map::new(),
    };
    let (mut whole, mut given) = (parse(own), parse(given));
    let mut auths = table(&mut whole, "auths");
    let mut helpers = table(&mut whole, "credHelpers");
    let mut logins = table(&mut given, "auths");
    let store = given.remove("credsStore").unwrap_or_else(|| json!(""));
    // A `{}` only marks that a store has the login.
    logins.retain(|_, login| store != json!("") || *login != json!({}));
    for server in logins.keys() {
        // docker asks for the host of what may be a URL here.
        let (_, rest) = server.split_once("://").unwrap_or(("", server));
        let (host, _) = rest.split_once('/').unwrap_or((rest, ""));
        helpers.extend([server, host].map(|name| (name.to_owned(), store.clone())));
    }
    helpers.extend(table(&mut given, "credHelpers"));
    let servers = registries.iter().map(|registry| docker_server(registry));
    helpers.extend(servers.map(|server| (server.to_owned(), json!(""))));
    auths.extend(logins);
    whole.extend(given);
    whole.insert("auths".into(), auths.into());
    whole.insert("credHelpers".into(), helpers.into());
    whole.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUB: &str = "https://index.docker.io/v1/";

    #[test]
    fn what_the_environment_gives_stays_in_the_file_and_the_users_store_answers_for_the_rest() {
        let store = r#"{"credsStore": "desktop", "currentContext": "x",
            "auths": {"https://index.docker.io/v1/": {}, "quay.io": {"auth": "YQ=="}}}"#;
        let helpers = r#"{"credHelpers": {"ghcr.io": "desktop", "gcr.io": "gcloud"}}"#;
        for (own, given, registries, expected) in [
            (
                store,
                "not JSON",
                &["docker.io", "127.0.0.1:5000"][..],
                json!({
                    "credsStore": "desktop",
                    "currentContext": "x",
                    "auths": {HUB: {}, "quay.io": {"auth": "YQ=="}},
                    "credHelpers": {HUB: "", "127.0.0.1:5000": ""},
                }),
            ),
            (
                "",
                "",
                &["docker.io"],
                json!({"auths": {}, "credHelpers": {HUB: ""}}),
            ),
            (
                helpers,
                r#"{"auths": {"https://ghcr.io": {"auth": "Yg=="}, "gcr.io": {}}, "credHelpers": {"quay.io": "ours"}}"#,
                &[],
                json!({
                    "auths": {"https://ghcr.io": {"auth": "Yg=="}},
                    "credHelpers": {"https://ghcr.io": "", "ghcr.io": "", "gcr.io": "gcloud", "quay.io": "ours"},
                }),
            ),
            (
                helpers,
                r#"{"auths": {"gcr.io": {}}, "credsStore": "ours"}"#,
                &[],
                json!({
                    "auths": {"gcr.io": {}},
                    "credHelpers": {"ghcr.io": "desktop", "gcr.io": "ours"},
                }),
            ),
        ] {
            assert_eq!(merged(own, given, registries), expected, "{own} {given}");
        }
    }
}
