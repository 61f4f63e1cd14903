//! One request to a registry: who we are, how often it is tried, and how its failure reads.

use std::io::Read;

use anyhow::{Context, Error, Result, anyhow};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use ureq::{
    Body,
    http::{Response, StatusCode},
};
use url::form_urlencoded::Serializer;

use super::{Registries, challenge::Challenge, credentials::Credential};
use crate::{
    model::problem::Problem,
    tools::{
        retry::{self, Failed, Next, SayingClock, network_fault, status_of, unexpected_status},
        work::lock,
    },
};

/// Manifests and configurations have kilobytes; the specification lets registries refuse manifests above 4 MiB.
const LARGEST_DOCUMENT: u64 = 16 << 20;
/// As much of an error's body as is read for its message.
const LARGEST_ERROR: u64 = 64 << 10;

/// What a request needs leave for, as the token protocol writes it; several parts stand apart by spaces.
#[derive(Debug, Clone)]
pub struct Scope(pub String);

impl Registries<'_> {
    /// Makes a request as often as the policy allows, with leave for `scope`, and reads its answer. `call` is given the
    /// value of the Authorization header.
    pub fn send<T>(
        &self,
        registry: &str,
        scope: &Scope,
        what: &str,
        mut call: impl FnMut(Option<&str>) -> Result<Response<Body>, ureq::Error>,
        mut read: impl FnMut(Response<Body>) -> Result<T, Failed>,
    ) -> Result<T> {
        let mut attempt = || {
            let slot = self.limiter.enter(registry, self.policy.total);
            let _slot = slot.map_err(Failed::for_good)?;
            let mut authorization = self.known_authorization(registry, scope)?;
            let mut response = call(authorization.as_deref()).map_err(network_fault)?;
            if response.status() == StatusCode::UNAUTHORIZED {
                // A first request, or a token that ran out.
                self.learn_challenge(registry, &response);
                self.forget(registry, scope);
                authorization = self.known_authorization(registry, scope)?;
                if authorization.is_some() {
                    response = call(authorization.as_deref()).map_err(network_fault)?;
                }
            }
            read(response)
        };
        let clock = SayingClock::new(what, &*self.say);
        let result = retry::retry(&self.policy, &clock, || {
            let result = attempt();
            if let Err(Failed {
                next: Next::Again(wait),
                ..
            }) = &result
            {
                self.limiter.quiet(registry, *wait);
            }
            result
        });
        result.map_err(|error| self.explain(error, what, registry))
    }

    /// The Authorization header for a scope: None as long as the registry has not asked for one.
    fn known_authorization(&self, registry: &str, scope: &Scope) -> Result<Option<String>, Failed> {
        let challenge = lock(&self.challenges).get(registry).cloned();
        let Some(challenge) = challenge else {
            return Ok(None);
        };
        let key = (registry.to_owned(), scope.0.clone());
        if let Some(known) = lock(&self.tokens).get(&key) {
            return Ok(Some(known.clone()));
        }
        let credential = self.credentials.of(registry).map_err(Failed::for_good)?;
        let header = match (&challenge, &credential) {
            (Challenge::Basic, Some(Credential::Basic { username, password })) => {
                Some(basic(username, password))
            }
            (Challenge::Basic, _) => None,
            (Challenge::Bearer { realm, service }, _) => {
                let token = self.token(realm, service.as_deref(), scope, credential.as_ref());
                Some(format!(
                    "Bearer {}",
                    retry::while_doing(token, "get a token")?
                ))
            }
        };
        if let Some(header) = &header {
            lock(&self.tokens).insert(key, header.clone());
        }
        Ok(header)
    }

    /// A token for `scope` ("Token Authentication" and "OAuth2 Token Authentication" of the distribution project).
    fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: &Scope,
        credential: Option<&Credential>,
    ) -> Result<String, Failed> {
        let mut query = Serializer::new(String::new());
        if let Some(service) = service {
            query.append_pair("service", service);
        }
        for part in scope.0.split(' ') {
            query.append_pair("scope", part);
        }
        let response = match credential {
            Some(Credential::IdentityToken(refresh)) => {
                query.append_pair("grant_type", "refresh_token");
                query.append_pair("client_id", "xtask");
                query.append_pair("refresh_token", refresh);
                let form = "application/x-www-form-urlencoded";
                self.asking
                    .post(realm)
                    .header("content-type", form)
                    .send(query.finish())
            }
            basic_or_none => {
                let joint = if realm.contains('?') { '&' } else { '?' };
                let mut request = self.asking.get(format!("{realm}{joint}{}", query.finish()));
                if let Some(Credential::Basic { username, password }) = basic_or_none {
                    request = request.header("authorization", basic(username, password));
                }
                request.call()
            }
        };
        // The same token under both names, or under one of them.
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let mut response = expect(response.map_err(network_fault)?, &[200])?;
        let bytes = read_document(&mut response)?;
        let answer: Answer = serde_json::from_slice(&bytes)
            .context("read the token")
            .map_err(Failed::for_now)?;
        let mut tokens = [answer.token, answer.access_token].into_iter().flatten();
        tokens
            .find(|token| !token.is_empty())
            .ok_or_else(|| Failed::for_good(anyhow!("the answer has no token")))
    }

    fn learn_challenge(&self, registry: &str, response: &Response<Body>) {
        let headers = response.headers().get_all("www-authenticate").iter();
        let challenge = headers
            .filter_map(|value| Challenge::parse(value.to_str().ok()?))
            .next();
        if let Some(challenge) = challenge {
            lock(&self.challenges).insert(registry.to_owned(), challenge);
        }
    }

    fn forget(&self, registry: &str, scope: &Scope) {
        lock(&self.tokens).remove(&(registry.to_owned(), scope.0.clone()));
    }

    /// Adds what was being done, and to an answer that denies what to do about it.
    fn explain(&self, error: Error, what: &str, registry: &str) -> Error {
        if !matches!(status_of(&error), Some(401 | 403)) {
            return error.context(what.to_owned());
        }
        let known = self
            .credentials
            .of(registry)
            .is_ok_and(|known| known.is_some());
        let help = if known {
            format!(
                "the credentials known for {registry} are wrong, or have no right to this repository"
            )
        } else {
            format!(
                "no credentials are known for {registry}: run `docker login {registry}`, or for Docker Hub set \
                 DOCKER_HUB_USERNAME and DOCKER_HUB_PASSWORD"
            )
        };
        error.context(Problem::failure(what).help(help))
    }
}

/// The answer when it has one of these statuses; else the failure, with what the registry said about it.
pub fn expect(mut response: Response<Body>, statuses: &[u16]) -> Result<Response<Body>, Failed> {
    if statuses.contains(&response.status().as_u16()) {
        return Ok(response);
    }
    let failed = unexpected_status(&response);
    let mut body = Vec::new();
    let reader = response.body_mut().as_reader();
    // The status alone has to do when the rest does not come.
    let _ = reader.take(LARGEST_ERROR).read_to_end(&mut body);
    Err(match said(&body) {
        Some(said) => Failed {
            error: failed.error.context(said),
            ..failed
        },
        None => failed,
    })
}

/// The first of a registry's errors ("Error Codes" of the distribution specification): `DENIED: the reason`.
fn said(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        errors: Vec<Said>,
    }
    #[derive(Deserialize)]
    struct Said {
        code: String,
        #[serde(default)]
        message: String,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let first = answer.errors.into_iter().next()?;
    let text = format!("{}: {}", first.code, first.message);
    // Nothing of a registry's goes to a terminal raw.
    Some(text.chars().filter(|c| !c.is_control()).take(300).collect())
}

/// A small body, whole; one that ends too early may come whole the next time.
pub fn read_document(response: &mut Response<Body>) -> Result<Vec<u8>, Failed> {
    let body = response.body_mut().with_config().limit(LARGEST_DOCUMENT);
    body.read_to_vec().map_err(network_fault)
}

fn basic(username: &str, password: &str) -> String {
    format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{username}:{password}"))
    )
}
