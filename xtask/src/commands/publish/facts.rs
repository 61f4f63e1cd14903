//! What is known before anything is decided: what the registry holds, and what was published from here.

use anyhow::{Context as _, Result};
use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::{
    commands::{Context, package},
    flags::Publish,
    model::{
        connector::Connector,
        image::{Digest, ImageRef, Tag},
        platform::Platform,
        release::Mode,
    },
    plan::publish::{Found, Package, latest::LatestNow, steps},
    repo::Repo,
    tools::{
        files,
        registry::{Reference, Registries},
    },
};

/// What the registry holds under an image's tag. A dry run goes on without a registry.
pub fn found(
    registries: &Registries<'_>,
    image: &ImageRef,
    platforms: &[Platform],
    mode: Mode,
) -> Result<Found> {
    let tag = image.tag.as_ref().context("an image has a tag")?;
    let repository = registries.repository(image);
    let repository = match mode {
        Mode::Real => repository.for_push(),
        Mode::DryRun => repository,
    };
    let tagged = match (repository.tagged(tag), mode) {
        (Ok(tagged), _) => tagged,
        (Err(error), Mode::DryRun) => {
            return Ok(Found::Unknown {
                because: format!("{error:#}"),
            });
        }
        (Err(error), Mode::Real) => {
            let what = format!("look whether {image} exists");
            return Err(error.context(what));
        }
    };
    let Some(tagged) = tagged else {
        return Ok(Found::Absent);
    };
    let is_there =
        |platform: &&Platform| tagged.platforms.iter().any(|(there, _)| there == *platform);
    Ok(Found::There {
        platforms: platforms.iter().filter(is_there).copied().collect(),
        missing: platforms.iter().filter(|p| !is_there(p)).copied().collect(),
        digest: tagged.digest,
    })
}

/// What the package index has of a connector's package, which is an error of its own without a token to upload it. A
/// release that is no package asks for neither, so it fails over nothing that it would not do.
pub fn package(
    context: &Context,
    connector: &Connector,
    flags: &Publish,
) -> Result<(Package, Option<package::Found>)> {
    let never = steps::never_a_package(flags.release_type, !flags.tag_override.is_empty());
    if let (Some(_), Some(because)) = (&connector.metadata.package, never) {
        return Ok((Package::Unknown { because }, None));
    }
    let mode = flags.mode();
    let upload = match mode {
        Mode::Real => package::Upload::Yes,
        Mode::DryRun => package::Upload::No,
    };
    let found = match (package::find(context, connector), mode) {
        (Ok(found), _) => found,
        (Err(error), Mode::DryRun) => {
            let because = format!("not known: {error:#}");
            return Ok((Package::Unknown { because }, None));
        }
        (Err(error), Mode::Real) => return Err(error),
    };
    let Some(found) = found else {
        return Ok((Package::None, None));
    };
    found.expect_token(upload)?;
    let name = found.package.to_string();
    let package = match found.exists {
        true => Package::Exists { name },
        false => Package::Missing { name },
    };
    Ok((package, Some(found)))
}

/// What the tag latest of an image's repository points to. The version of `ours` is known without being asked.
pub fn latest(registries: &Registries<'_>, image: &ImageRef, ours: &Digest) -> Result<LatestNow> {
    let repository = registries.repository(image);
    let tag: Tag = "latest".parse().map_err(anyhow::Error::msg)?;
    let Some(digest) = repository.digest(&Reference::Tag(tag))? else {
        return Ok(LatestNow::Absent);
    };
    let version = match digest == *ours {
        true => None,
        false => repository
            .version(&digest)?
            .and_then(|text| text.parse().ok()),
    };
    Ok(LatestNow::There { digest, version })
}

/// What was last published from this repository under an image's name.
#[derive(Serialize, Deserialize)]
struct Published {
    image: ImageRef,
    digest: Digest,
    /// What the tag was being set to when the run ended: the registry may have taken it or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<Digest>,
}

/// The digest that was last published from here under this name; None when that is not known. `there` is what the
/// registry has: of a publish that never heard whether its tag was set, it tells.
pub fn published(repo: &Repo, image: &ImageRef, there: Option<&Digest>) -> Option<Digest> {
    let text = std::fs::read_to_string(record(repo, image)).ok()?;
    let published: Published = serde_json::from_str(&text).ok()?;
    let next = published.next.filter(|next| Some(next) == there);
    (published.image == *image).then(|| next.unwrap_or(published.digest))
}

/// Has `set_tag` publish `ours` and remembers it. Whatever ends that, to the next run neither `ours` nor `before`, which
/// was published from here before, is another's.
pub fn remember(
    repo: &Repo,
    image: &ImageRef,
    before: Option<&Digest>,
    ours: &Digest,
    set_tag: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let write = |digest: &Digest, next: Option<&Digest>| {
        let published = Published {
            image: image.clone(),
            digest: digest.clone(),
            next: next.cloned(),
        };
        let text = serde_json::to_string_pretty(&published).context("write what was published")?;
        files::write(&record(repo, image), &(text + "\n"))
    };
    if let Some(before) = before {
        write(before, Some(ours))?;
    }
    set_tag()?;
    write(ours, None)
}

fn record(repo: &Repo, image: &ImageRef) -> Utf8PathBuf {
    let tag = image
        .tag
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let directory = repo
        .target()
        .join("published")
        .join(image.registry.replace(':', "-"));
    directory.join(&image.repository).join(tag + ".json")
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;
    use crate::tools::{
        registry::Credentials,
        test_server::{Answer, Server},
    };

    #[test]
    fn a_publish_that_ended_while_its_tag_was_set_is_known_to_the_next_run() {
        let [old, new, other] = [&b"old"[..], b"new", b"other"].map(Digest::of);
        let directory = tempfile::tempdir().unwrap();
        let repo = Repo::at(Utf8Path::from_path(directory.path()).unwrap());
        let image: ImageRef = "r.example:5000/a/b:1".parse().unwrap();
        let known = |there| published(&repo, &image, Some(there));
        let set = |before, ours, outcome: Result<()>| {
            let ended = outcome.is_err();
            let done = remember(&repo, &image, before, ours, || outcome);
            assert_eq!(done.is_err(), ended);
        };
        let lost = || Err(anyhow::anyhow!("answered with status 504"));
        // What nothing is known of is refused to nobody.
        set(None, &old, lost());
        assert_eq!(known(&other), None);
        set(None, &old, Ok(()));
        set(Some(&old), &new, lost());
        for (there, expected) in [(&old, &old), (&new, &new), (&other, &old)] {
            assert_eq!(known(there).as_ref(), Some(expected));
        }
        set(Some(&old), &new, Ok(()));
        for there in [&old, &new, &other] {
            assert_eq!(known(there).as_ref(), Some(&new));
        }
    }

    /// Token servers deny a repository that is not there yet to whoever does not ask to push.
    #[test]
    fn a_real_publish_asks_for_leave_to_push_and_a_dry_run_does_not() {
        for (mode, scope) in [(Mode::Real, "pull%2Cpush "), (Mode::DryRun, "pull ")] {
            let asks = r#"WWW-Authenticate: Bearer realm="http://127.0.0.1:PORT/token""#;
            let server = Server::start(vec![
                Answer::status(401).header(asks),
                Answer::ok("application/json", r#"{"token":"x"}"#),
                Answer::status(404),
            ]);
            let port = server.url("/").port().unwrap();
            let image: ImageRef = format!("127.0.0.1:{port}/a/b:1").parse().unwrap();
            let registries = Registries::new(Credentials::default(), |_| {});
            let found = found(&registries, &image, &[], mode).unwrap();
            assert!(matches!(found, Found::Absent), "{found:?}");
            let asked = server.requests()[1].clone();
            assert!(asked.contains(&format!("a%2Fb%3A{scope}HTTP")), "{asked}");
        }
    }
}
