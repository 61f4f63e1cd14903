//! Image registries, by the OCI distribution specification 1.1.
//!
//! Everything is asked with retries, as many requests at a time as a host bears, and as whom the credentials say. What
//! comes back is checked against its digest.

mod address;
mod attachments;
mod blob_sources;
mod challenge;
mod credentials;
mod docker_hub;
mod limiter;
mod push;
mod repository;
mod session;
mod tagged;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, fmt, sync::Mutex, time::Duration};

use anyhow::{Context, Result};
use camino::Utf8PathBuf;
use ureq::Agent;

pub use self::{
    address::{LOOPBACK, is_docker_hub, is_loopback},
    attachments::{Attached, Attachment},
    blob_sources::BlobSources,
    credentials::{Credential, Credentials, docker_server},
    push::{From, Pushed, push_layout},
};
use self::{challenge::Challenge, limiter::Limiter};
use super::{http, retry::Policy};
use crate::model::image::{Digest, ImageRef, Tag};

/// Questions are answered in well under a second on a good day.
const QUESTION: Duration = Duration::from_secs(30);
/// A line over which nothing moves for so long is dead.
const STALL: Duration = Duration::from_secs(30);
/// Behind an upload's last byte registries check its digest and copy it to where it stays: gigabytes take minutes.
const STORED: Duration = Duration::from_secs(300);

/// The registries of one run: connections, tokens and limits are shared by all its threads.
pub struct Registries<'a> {
    credentials: Credentials,
    /// Told of each retry, in one line.
    say: Box<dyn Fn(&str) + Send + Sync + 'a>,
    policy: Policy,
    /// Address of Docker Hub's own API.
    docker_hub: String,
    asking: Agent,
    downloading: Agent,
    uploading: Agent,
    limiter: Limiter,
    challenges: Mutex<HashMap<String, Challenge>>,
    /// Authorization headers by registry and scope.
    tokens: Mutex<HashMap<(String, String), String>>,
}

/// One repository of a registry.
pub struct Repository<'r> {
    registries: &'r Registries<'r>,
    registry: String,
    /// Path below the registry.
    name: String,
    /// What questions ask leave for; orders always ask for leave to push.
    access: Access,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Pull,
    Push,
}

/// How a manifest is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    Tag(Tag),
    Digest(Digest),
}

/// A blob to push.
#[derive(Debug, Clone)]
pub struct Blob {
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    pub content: BlobContent,
}

#[derive(Debug, Clone)]
pub enum BlobContent {
    File(Utf8PathBuf),
    Bytes(Vec<u8>),
}

/// How a blob came to be in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arrived {
    /// It was there.
    Existed,
    /// The registry took it from another of its repositories.
    Mounted,
    Uploaded,
}

/// What a registry said to a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    pub digest: Digest,
    /// The subject under whose referrers the registry lists it now; None for one that keeps no such lists.
    pub subject: Option<Digest>,
}

/// Asks whether `registry` (host and port) answers; being asked to log in is an answer.
pub fn ping(registry: &str) -> Result<()> {
    let url = format!("{}/v2/", address::base(registry));
    let status = http::asking(Duration::from_secs(10))
        .get(&url)
        .call()
        .with_context(|| format!("GET {url}"))?
        .status()
        .as_u16();
    match status {
        200 | 401 => Ok(()),
        _ => anyhow::bail!("GET {url}: answered with status {status}, which no registry does"),
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Tag(tag) => tag.fmt(f),
            Reference::Digest(digest) => digest.fmt(f),
        }
    }
}

impl<'a> Registries<'a> {
    /// `say` hears one line for each retry.
    pub fn new(credentials: Credentials, say: impl Fn(&str) + Send + Sync + 'a) -> Registries<'a> {
        Registries {
            credentials,
            say: Box::new(say),
            policy: Policy::NETWORK,
            docker_hub: "https://hub.docker.com".to_owned(),
            asking: http::asking(QUESTION),
            downloading: http::downloading(STALL),
            uploading: http::uploading(STALL, STORED),
            limiter: Limiter::new(http::CONNECTIONS),
            challenges: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    /// Tries as often as `policy` says, and waits so long for any one answer.
    pub fn with_patience(self, policy: Policy, answer: Duration) -> Registries<'a> {
        Registries {
            policy,
            asking: http::asking(answer),
            downloading: http::downloading(answer),
            uploading: http::uploading(answer, answer),
            ..self
        }
    }

    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Asks for Docker Hub's API at another address.
    #[cfg(test)]
    pub fn with_docker_hub(self, address: &str) -> Registries<'a> {
        Registries {
            docker_hub: address.to_owned(),
            ..self
        }
    }

    /// The repository that an image lies in; its tag and digest play no part.
    pub fn repository(&self, image: &ImageRef) -> Repository<'_> {
        Repository {
            registries: self,
            registry: image.registry.clone(),
            name: image.repository.clone(),
            access: Access::Pull,
        }
    }
}
