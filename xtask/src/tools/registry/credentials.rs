//! Who we are to a registry: the action's two variables, else docker's own configuration.

use std::{env, fmt, fs, path::Path};

use anyhow::{Context, Result};
use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};

use super::address::{is_docker_hub, is_loopback};

/// Docker's configuration names Docker Hub by this address.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// What docker's configuration calls a registry.
pub fn docker_server(registry: &str) -> &str {
    if is_docker_hub(registry) {
        DOCKER_HUB
    } else {
        registry
    }
}

/// What a registry is told.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    Basic {
        username: String,
        password: String,
    },
    /// An OAuth 2 refresh token, which buys tokens for a registry.
    IdentityToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

/// Where credentials are looked up.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    hub: Option<Credential>,
    /// The text of docker's configuration files, the first one first.
    configurations: Vec<String>,
}

impl Credentials {
    /// Those of the environment (`DOCKER_HUB_USERNAME` and `DOCKER_HUB_PASSWORD`, `DOCKER_AUTH_CONFIG`) and of docker's
    /// configuration (`$DOCKER_CONFIG/config.json` or `~/.docker/config.json`).
    ///
    /// # Errors
    /// When one of the two variables is set without the other, or a configuration can't be read.
    pub fn gather() -> Result<Credentials> {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let hub = match (
            variable("DOCKER_HUB_USERNAME"),
            variable("DOCKER_HUB_PASSWORD"),
        ) {
            (Some(username), Some(password)) => Some(Credential::Basic { username, password }),
            (None, None) => None,
            (Some(_), None) => {
                anyhow::bail!("DOCKER_HUB_USERNAME is set without DOCKER_HUB_PASSWORD")
            }
            (None, Some(_)) => {
                anyhow::bail!("DOCKER_HUB_PASSWORD is set without DOCKER_HUB_USERNAME")
            }
        };
        let mut configurations: Vec<String> = variable("DOCKER_AUTH_CONFIG").into_iter().collect();
        let directory = variable("DOCKER_CONFIG")
            .map(Into::into)
            .or_else(|| Some(Path::new(&variable("HOME")?).join(".docker")));
        if let Some(file) = directory.map(|directory| directory.join("config.json"))
            && file.exists()
        {
            let text = fs::read_to_string(&file);
            configurations.push(text.with_context(|| format!("read {}", file.display()))?);
        }
        Ok(Credentials {
            hub,
            configurations,
        })
    }

    /// As the action's variables give them, without docker's configuration.
    #[cfg(test)]
    pub fn hub(username: &str, password: &str) -> Credentials {
        Credentials {
            hub: Some(Credential::Basic {
                username: username.into(),
                password: password.into(),
            }),
            configurations: Vec::new(),
        }
    }

    /// Whether the environment gives something that docker does not know by itself.
    pub fn beyond_docker(&self) -> bool {
        self.hub.is_some() || env::var_os("DOCKER_AUTH_CONFIG").is_some_and(|text| !text.is_empty())
    }

    /// The action's variables, where they are a registry's.
    pub fn given_for(&self, registry: &str) -> Option<&Credential> {
        self.hub
            .as_ref()
            .filter(|_| is_docker_hub(registry) || is_loopback(registry))
    }

    /// What is known for a registry (host and port). The action's variables are Docker Hub's, and those of a registry on
    /// this host, which stands in for it; no other registry is shown them.
    pub fn of(&self, registry: &str) -> Result<Option<Credential>> {
        if let Some(hub) = self.given_for(registry) {
            return Ok(Some(hub.clone()));
        }
        let server = docker_server(registry);
        for text in &self.configurations {
            match get_credential_from_reader(text.as_bytes(), server) {
                Ok(DockerCredential::UsernamePassword(username, password)) => {
                    return Ok(Some(Credential::Basic { username, password }));
                }
                Ok(DockerCredential::IdentityToken(token)) => {
                    return Ok(Some(Credential::IdentityToken(token)));
                }
                Err(CredentialRetrievalError::NoCredentialConfigured) => {}
                // Every helper answers so for a server it does not know.
                Err(CredentialRetrievalError::HelperFailure { stdout, .. })
                    if stdout.contains("credentials not found") => {}
                Err(error) => {
                    // A helper's own words may quote what it holds.
                    let said = match error {
                        CredentialRetrievalError::HelperFailure { helper, .. } => {
                            format!("{helper} failed")
                        }
                        other => other.to_string(),
                    };
                    anyhow::bail!("read docker's credentials for {registry}: {said}")
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    fn basic(username: &str, password: &str) -> Credential {
        Credential::Basic {
            username: username.into(),
            password: password.into(),
        }
    }

    #[test]
    fn the_actions_variables_are_docker_hubs_and_dockers_configuration_is_everyones() {
        let auth = |text: &str| BASE64_STANDARD.encode(text);
        let first = format!(
            r#"{{"auths":{{"ghcr.io":{{"auth":"{}"}}}}}}"#,
            auth("first:secret:with:colons")
        );
        let second = format!(
            r#"{{"auths":{{"ghcr.io":{{"auth":"{}"}},"https://index.docker.io/v1/":{{"auth":"{}"}},
                "registry.example:8443":{{"auth":"","identitytoken":"refresh"}}}},
                "credHelpers":{{"gcr.io":"no-such-helper"}}}}"#,
            auth("second:x"),
            auth("hub:y")
        );
        let with = |hub: Option<Credential>| Credentials {
            hub,
            configurations: vec![first.clone(), second.clone()],
        };
        let action = basic("action", "z");
        for (hub, registry, expected) in [
            (None, "docker.io", Some(basic("hub", "y"))),
            (None, "ghcr.io", Some(basic("first", "secret:with:colons"))),
            (
                None,
                "registry.example:8443",
                Some(Credential::IdentityToken("refresh".into())),
            ),
            (None, "quay.io", None),
            (Some(&action), "docker.io", Some(action.clone())),
            (Some(&action), "127.0.0.1:5000", Some(action.clone())),
            (Some(&action), "quay.io", None),
            (Some(&action), "127.0.0.1.evil.example", None),
        ] {
            assert_eq!(
                with(hub.cloned()).of(registry).unwrap(),
                expected,
                "{registry}"
            );
        }
        let error = with(None).of("gcr.io").unwrap_err().to_string();
        assert!(
            error.starts_with("read docker's credentials for gcr.io"),
            "{error}"
        );
        assert_eq!(format!("{action:?}"), "Credential(…)");
    }
}
