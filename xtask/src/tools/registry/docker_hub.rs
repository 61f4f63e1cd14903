//! Docker Hub's own API, which tells of a tag without counting as a pull (docs.docker.com, "Docker Hub API").

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{
    Reference, Repository,
    session::{Scope, expect, read_document},
    tagged::Tagged,
};
use crate::{
    model::image::{Digest, Tag},
    tools::retry::Failed,
};

/// The limits of Docker Hub's API are its own, apart from the registry's.
const HOST: &str = "hub.docker.com";

#[derive(Deserialize)]
struct Answer {
    /// Old tags have none.
    digest: Option<Digest>,
    #[serde(default)]
    images: Vec<Image>,
}

#[derive(Deserialize)]
struct Image {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    digest: Option<Digest>,
}

impl Repository<'_> {
    /// What Docker Hub says a tag is; None when there is no such tag, or none that the credentials may see.
    pub fn on_docker_hub(&self, tag: &Tag) -> Result<Option<Tagged>> {
        let url = format!(
            "{}/v2/repositories/{}/tags/{tag}",
            self.registries.docker_hub, self.name
        );
        let answer = self.registries.send(
            HOST,
            &Scope(String::new()),
            &format!("GET {url}"),
            |_| self.registries.asking.get(&url).call(),
            |response| {
                let mut response = expect(response, &[200, 404])?;
                if response.status() == 404 {
                    return Ok(None);
                }
                let bytes = read_document(&mut response)?;
                let answer = serde_json::from_slice::<Answer>(&bytes);
                // Half an answer may be a whole one the next time.
                answer
                    .context("read the tag")
                    .map(Some)
                    .map_err(Failed::for_now)
            },
        )?;
        let Some(answer) = answer else {
            // Its own API shows what is public alone. The registry denies those without a right to a repository, whether
            // there is one or not.
            let known = self.registries.credentials.of(&self.registry)?.is_some();
            if !known {
                return Ok(None);
            }
            let digest = self.visible_digest(&Reference::Tag(tag.clone()))?;
            return digest.map(|digest| self.on_registry(digest)).transpose();
        };
        let platforms = answer.images.into_iter().filter_map(|image| {
            let platform = format!("{}/{}", image.os, image.architecture)
                .parse()
                .ok()?;
            Some((platform, image.digest?))
        });
        let platforms = platforms.collect();
        let digest = match answer.digest {
            Some(digest) => Some(digest),
            None => self.digest(&Reference::Tag(tag.clone()))?,
        };
        Ok(digest.map(|digest| Tagged { digest, platforms }))
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Duration};

    use super::*;
    use crate::{
        model::platform::Platform,
        tools::{
            registry::{Credentials, Registries},
            retry::Policy,
            test_server::{Answer, Server},
        },
    };

    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    const POLICY: Policy = Policy {
        tries: 3,
        total: Duration::from_secs(10),
        first: Duration::from_millis(1),
        longest: Duration::from_millis(1),
    };

    /// As Docker Hub answered for a public image in 2025, shortened.
    fn body() -> String {
        let hex = |digit: &str| digit.repeat(64);
        format!(
            r#"{{"name":"1.0.0","digest":"sha256:{}","tag_status":"active","images":[
            {{"architecture":"amd64","os":"linux","digest":"sha256:{}","status":"active"}},
            {{"architecture":"arm64","variant":"v8","os":"linux","digest":"sha256:{}","status":"active"}},
            {{"architecture":"unknown","os":"unknown","digest":"sha256:{}","status":"active"}}]}}"#,
            hex("a"),
            hex("b"),
            hex("c"),
            hex("d")
        )
    }

    /// Asks a Docker Hub whose API and registry answer so; the result, what was said of retries, and the requests.
    fn ask(answers: Vec<Answer>) -> (Result<Option<Tagged>>, Vec<String>, Vec<String>) {
        let server = Server::start(answers);
        let said = Mutex::new(Vec::new());
        let say = |line: &str| said.lock().unwrap().push(line.to_owned());
        let url = server.url("");
        let registries = Registries::new(Credentials::hub("me", "secret"), say)
            .with_patience(POLICY, server.patience)
            .with_docker_hub(url.as_str().trim_end_matches('/'));
        let image = format!("{}/airbyte/source-faker", url.authority());
        let repository = registries.repository(&image.parse().unwrap());
        let result = repository.on_docker_hub(&"1.0.0".parse().unwrap());
        drop(registries);
        (result, said.into_inner().unwrap(), server.requests())
    }

    fn json(text: &str) -> Answer {
        Answer::ok("application/json", text)
    }

    #[test]
    fn a_tag_is_asked_of_the_api_by_its_repository_and_nothing_secret_is_shown() {
        let (result, said, requests) = ask(vec![json(&body())]);
        let tagged = result.unwrap().unwrap();
        assert_eq!(tagged.digest.hex(), "a".repeat(64));
        let platforms: Vec<Platform> = tagged.platforms.iter().map(|(p, _)| *p).collect();
        assert_eq!(platforms, Platform::ALL);
        assert!(said.is_empty());
        let start = "GET /v2/repositories/airbyte/source-faker/tags/1.0.0 HTTP/1.1";
        assert!(requests[0].starts_with(start), "{requests:?}");
        assert!(!requests[0].to_lowercase().contains("authorization"));
    }

    #[test]
    fn what_is_not_public_is_asked_of_the_registry_with_the_credentials() {
        let hex = "b".repeat(64);
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json",
            "digest":"sha256:{hex}","size":2,"platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#
        );
        let digest = Digest::of(index.as_bytes());
        let head = |digest: &str| {
            Answer::ok(INDEX, "").header(&format!("Docker-Content-Digest: {digest}"))
        };
        let asks = Answer::status(401).header("WWW-Authenticate: Basic realm=\"x\"");
        let there = vec![
            Answer::status(404),
            asks.clone(),
            head(&digest.to_string()),
            Answer::ok(INDEX, index),
            head(&format!("sha256:{hex}")),
        ];
        let (private, said, requests) = ask(there);
        let private = private.unwrap().unwrap();
        assert_eq!(private.digest, digest);
        assert_eq!(private.platforms.len(), 1);
        assert!(said.is_empty());
        let path = "/v2/airbyte/source-faker/manifests";
        let first_lines = requests
            .iter()
            .map(|request| request.lines().next().unwrap());
        assert_eq!(
            first_lines.collect::<Vec<_>>(),
            [
                "GET /v2/repositories/airbyte/source-faker/tags/1.0.0 HTTP/1.1".to_owned(),
                format!("HEAD {path}/1.0.0 HTTP/1.1"),
                format!("HEAD {path}/1.0.0 HTTP/1.1"),
                format!("GET {path}/{digest} HTTP/1.1"),
                format!("HEAD {path}/sha256:{hex} HTTP/1.1"),
            ]
        );
        let authorized =
            |request: &String| request.to_lowercase().contains("authorization: basic ");
        assert!(requests[2..].iter().all(authorized), "{requests:?}");
        for refusal in [
            vec![Answer::status(404)],
            vec![asks.clone(), Answer::status(401)],
            vec![asks, Answer::status(403)],
        ] {
            let answers = [vec![Answer::status(404)], refusal].concat();
            let (absent, said, requests) = ask(answers.clone());
            assert_eq!((absent.unwrap(), requests.len()), (None, answers.len()));
            assert!(said.is_empty());
        }
    }

    #[test]
    fn faults_that_pass_are_outlived_and_each_retry_is_said_once() {
        let body = body();
        for fault in [
            Answer::status(429).header("Retry-After: 0"),
            Answer::status(429).header("X-Retry-After: 1"),
            Answer::status(500),
            Answer::status(502),
            Answer::hang_up(),
            Answer::silence(),
            json(&body).cut(20),
            json("{\"images\":"),
        ] {
            let (result, said, _) = ask(vec![fault.clone(), json(&body)]);
            assert!(result.unwrap().is_some(), "{fault:?}");
            assert_eq!(said.len(), 1, "{fault:?}: {said:?}");
            assert!(said[0].contains("trying again in"));
            let (result, said, _) = ask(vec![fault.clone(); 3]);
            let error = format!("{:#}", result.unwrap_err());
            assert!(error.contains("tried 3 times"), "{fault:?}: {error}");
            assert_eq!(said.len(), 2);
        }
    }

    #[test]
    fn a_wait_longer_than_the_budget_is_not_begun_and_denials_are_asked_once() {
        let (result, said, requests) = ask(vec![Answer::status(429).header("Retry-After: 3600")]);
        let error = format!("{:#}", result.unwrap_err());
        assert!(
            error.contains("more than the 10 s of waiting allowed") && said.is_empty(),
            "{error}"
        );
        assert_eq!(requests.len(), 1);
        for status in [401, 403] {
            let (result, said, requests) = ask(vec![Answer::status(status); 3]);
            assert!(result.is_err() && said.is_empty());
            assert_eq!(requests.len(), 1, "{status}");
        }
    }
}
