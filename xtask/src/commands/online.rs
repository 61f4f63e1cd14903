//! Asks registries about images: each question once, within bounds of time, and never taking a fault for an answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{Context, work};
use crate::{
    model::{
        config::Config,
        image::{Digest, ImageRef},
    },
    plan::base_image::BaseImage,
    tools::{
        registry::{Credentials, Reference, Registries},
        retry::{Policy, status_of},
    },
};

/// A check waits no longer than this for all its answers together; what is asked later is not known.
const TOTAL: Duration = Duration::from_secs(120);
const ANSWER: Duration = Duration::from_secs(10);
const POLICY: Policy = Policy {
    tries: 3,
    total: Duration::from_secs(20),
    first: Duration::from_secs(1),
    longest: Duration::from_secs(5),
};

/// What was learnt, or why it is not known.
pub type Answer<T> = Result<T, String>;

/// The registries as they are asked about connectors.
pub struct Online<'a> {
    registries: Registries<'a>,
    config: Config,
    start: Instant,
    /// Hosts that did not answer, and what became of it: they are not asked again.
    silent: Mutex<BTreeMap<String, String>>,
}

impl<'a> Online<'a> {
    /// Asks nobody yet. Images are asked about as declared, without stand-ins, with less patience than in a publish.
    pub fn new(context: &Context, say: &'a (dyn Fn(&str) + Sync)) -> Result<Online<'a>> {
        let registries = Registries::new(Credentials::gather()?, say);
        Ok(Online {
            registries: registries.with_patience(POLICY, ANSWER),
            // A stand-in says nothing of the image it stands for.
            config: Config {
                stand_ins: BTreeMap::new(),
                ..context.resolved.config.clone()
            },
            start: Instant::now(),
            silent: Mutex::default(),
        })
    }

    /// The tags of each image's repository, by its name; a repository that is not there has none.
    pub fn tags(&self, images: &BTreeSet<ImageRef>) -> BTreeMap<String, Answer<Vec<String>>> {
        let names: BTreeMap<String, &ImageRef> =
            images.iter().map(|image| (image.name(), image)).collect();
        let named: Vec<(String, &ImageRef)> = names.into_iter().collect();
        let answers = self.each(&named, |(_, image)| {
            self.ask(image, |image| {
                Ok(self
                    .registries
                    .repository(image)
                    .tags()?
                    .unwrap_or_default())
            })
        });
        named
            .into_iter()
            .map(|(name, _)| name)
            .zip(answers)
            .collect()
    }

    /// The digest of each image (by its digest where it has one, else by its tag); None where it is not there.
    pub fn digests(
        &self,
        images: &BTreeSet<ImageRef>,
    ) -> BTreeMap<ImageRef, Answer<Option<Digest>>> {
        let images: Vec<ImageRef> = images.iter().cloned().collect();
        let answers = self.each(&images, |image| {
            self.ask(image, |image| {
                let reference = match (&image.digest, &image.tag) {
                    (Some(digest), _) => Reference::Digest(digest.clone()),
                    (None, Some(tag)) => Reference::Tag(tag.clone()),
                    (None, None) => Reference::Tag("latest".parse().map_err(anyhow::Error::msg)?),
                };
                self.registries.repository(image).digest(&reference)
            })
        });
        images.into_iter().zip(answers).collect()
    }

    fn each<T: Sync, R: Send>(&self, items: &[T], ask: impl Fn(&T) -> R + Sync) -> Vec<R> {
        // Waiting costs no processor; the limiter keeps to what a host bears.
        const AT_A_TIME: std::num::NonZeroUsize = std::num::NonZeroUsize::new(16).unwrap();
        work::each(items, AT_A_TIME, ask)
    }

    fn ask<T>(&self, image: &ImageRef, question: impl Fn(&ImageRef) -> Result<T>) -> Answer<T> {
        let used = BaseImage::resolve(image, &self.config)?.used;
        let silent = || work::lock(&self.silent);
        if let Some(why) = silent().get(&used.registry) {
            return Err(why.clone());
        }
        if self.start.elapsed() > TOTAL {
            return Err(format!(
                "{}: not asked, {} s are over",
                used.registry,
                TOTAL.as_secs()
            ));
        }
        question(&used).map_err(|error| {
            let why = format!("{error:#}");
            if status_of(&error).is_none() {
                silent().insert(used.registry.clone(), why.clone());
            }
            why
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::test_server::{Answer, Server};

    /// A registry that denies one repository is not silent: it is asked about the next one.
    #[test]
    fn a_denied_repository_says_nothing_of_the_others() {
        for status in [401, 403] {
            let tags = Answer::ok("application/json", r#"{"tags": ["1.0.0"]}"#);
            let server = Server::start(vec![Answer::status(status), tags]);
            let online = Online {
                registries: Registries::new(Credentials::default(), |_| {}),
                config: Config::default(),
                start: Instant::now(),
                silent: Mutex::default(),
            };
            let port = server.url("/").port().unwrap();
            let tags = |repository: &str| {
                let image: ImageRef = format!("127.0.0.1:{port}/{repository}").parse().unwrap();
                let mut answers = online.tags(&BTreeSet::from([image]));
                answers.pop_first().unwrap().1
            };
            let denied = tags("a/denied").unwrap_err();
            // The port is the system's choice and can hold the status's digits.
            let words = denied.replace(&port.to_string(), "PORT");
            assert_eq!(words.matches(&status.to_string()).count(), 1, "{denied}");
            assert_eq!(tags("a/open").unwrap(), ["1.0.0"]);
        }
    }
}
