//! The commit that images are made from: what is the same for all connectors is asked once.

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};

use super::{git, origin, rev_parse};
use crate::model::{
    change::{self, Change},
    revision::{Changed, Revision},
};

/// What git says of a work tree.
#[derive(Debug)]
pub struct Revisions {
    root: Utf8PathBuf,
    /// None outside a work tree or before the first commit.
    head: Option<Head>,
}

#[derive(Debug)]
struct Head {
    commit: String,
    source: Option<String>,
    /// What differs from the commit, as seen from the root.
    changes: Vec<Change>,
}

impl Revisions {
    /// Asks about all that lies below `directory`, relative to `root`.
    pub fn read(root: &Utf8Path, directory: &Utf8Path) -> Result<Revisions> {
        let mut revisions = Revisions {
            root: root.to_owned(),
            head: None,
        };
        if let Some((prefix, commit)) = checked_out(root)? {
            let status = [
                "status",
                "--porcelain=v2",
                "-z",
                "--untracked-files=all",
                "--",
                directory.as_str(),
            ];
            let status = git(root, &status)?.output()?;
            let changes = change::parse_status(&status.stdout)
                .map_err(anyhow::Error::msg)
                .with_context(|| format!("read the output of `{}`", status.line))?;
            revisions.head = Some(Head {
                commit,
                source: origin(root)?,
                changes: change::below(changes, prefix.as_bytes()),
            });
        }
        Ok(revisions)
    }

    /// What git knows of a directory (relative to the root); None outside a work tree or before the first commit.
    pub fn of(&self, directory: &Utf8Path) -> Result<Option<Revision>> {
        let Some(head) = &self.head else {
            return Ok(None);
        };
        let log = git(
            &self.root,
            &[
                "log",
                "-1",
                "--no-show-signature",
                "--date=format-local:%Y-%m-%dT%H:%M:%SZ",
                "--format=%ct %cd %D",
                "--",
                directory.as_str(),
            ],
        )?
        .env("TZ", "UTC")
        .read()?;
        let inside = format!("{directory}/");
        Ok(Some(Revision {
            commit: head.commit.clone(),
            dirty: head
                .changes
                .iter()
                .any(|change| change.path.below(inside.as_bytes()).is_some()),
            changed: parse_changed(&log),
            source: head.source.clone(),
        }))
    }
}

/// The commit that is checked out; None outside a work tree or before the first commit.
pub fn commit(root: &Utf8Path) -> Result<Option<String>> {
    Ok(checked_out(root)?.map(|(_, commit)| commit))
}

/// Where `root` lies in its work tree (empty, or with a slash at its end), and the commit.
fn checked_out(root: &Utf8Path) -> Result<Option<(String, String)>> {
    let arguments = ["--quiet", "--show-prefix", "--verify", "HEAD"];
    // 1 is its "no such commit" (git-rev-parse(1), --quiet).
    let parsed = rev_parse(root, &arguments)?.filter(|parsed| parsed.status.code() != Some(1));
    let Some(parsed) = parsed else {
        return Ok(None);
    };
    let text = parsed.success()?.text();
    let text = text.trim_end();
    let (prefix, commit) = text.rsplit_once('\n').unwrap_or(("", text));
    Ok(Some((prefix.to_owned(), commit.to_owned())))
}

fn parse_changed(text: &str) -> Option<Changed> {
    let mut words = text.splitn(3, ' ');
    Some(Changed {
        epoch: words.next()?.parse().ok()?,
        date: words.next()?.to_owned(),
        // git's name for where a shallow clone ends.
        cut_off: words
            .next()
            .is_some_and(|names| names.split(", ").any(|name| name == "grafted")),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tools::{files::executable, git::init};

    /// Signs and verifies anything, saying so as gpg does.
    const GPG: &str = r#"#!/bin/sh
case "$*" in
*--verify*) echo "gpg: Good signature" >&2; echo "[GNUPG:] GOODSIG 1 n" ;;
*) cat > /dev/null; printf '\n[GNUPG:] SIG_CREATED D\n' >&2; printf -- '-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n' ;;
esac
"#;

    /// A repository with a connector that is committed.
    fn repository(root: &Utf8Path) {
        fs::create_dir_all(root.join("connectors/old")).unwrap();
        fs::write(root.join("connectors/old/file"), "1").unwrap();
        init(root).unwrap();
    }

    fn revision(root: &Utf8Path, connector: &str) -> Option<Revision> {
        let revisions = Revisions::read(root, "connectors/*".into()).unwrap();
        revisions.of(connector.into()).unwrap()
    }

    #[test]
    fn what_git_does_not_know_is_dirty_also_as_a_whole_directory() {
        let root = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(root.path()).unwrap();
        repository(root);
        fs::create_dir(root.join("connectors/new")).unwrap();
        fs::write(root.join("connectors/new/file"), "1").unwrap();
        for (connector, dirty) in [("connectors/old", false), ("connectors/new", true)] {
            assert_eq!(
                revision(root, connector).unwrap().dirty,
                dirty,
                "{connector}"
            );
        }
    }

    #[test]
    fn a_date_is_read_also_where_signatures_are_shown() {
        let root = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(root.path()).unwrap();
        repository(root);
        let gpg = root.join(".git/gpg");
        executable(&gpg, GPG);
        let settings = [
            ["config", "gpg.program", gpg.as_str()],
            ["config", "log.showSignature", "true"],
            ["config", "user.name", "n"],
            ["config", "user.email", "n@example.com"],
        ];
        for setting in settings {
            git(root, &setting).unwrap().output().unwrap();
        }
        let sign = ["commit", "--quiet", "--amend", "--no-edit", "--gpg-sign"];
        git(root, &sign).unwrap().output().unwrap();
        let changed = revision(root, "connectors/old").unwrap().changed.unwrap();
        assert!(
            changed.epoch > 0 && changed.date.ends_with('Z'),
            "{changed:?}"
        );
    }

    #[test]
    fn no_repository_and_no_commit_are_no_revision() {
        let root = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(root.path()).unwrap();
        assert_eq!(commit(root).unwrap(), None);
        git(root, &["init", "--quiet"]).unwrap().output().unwrap();
        assert_eq!(commit(root).unwrap(), None);
    }

    #[test]
    fn the_edge_of_a_shallow_clone_is_told_from_a_commit() {
        for (log, expected) in [
            ("1 1970-01-01T00:00:01Z", Some(false)),
            (
                "1 1970-01-01T00:00:01Z HEAD -> main, tag: grafted-1",
                Some(false),
            ),
            ("1 1970-01-01T00:00:01Z grafted, HEAD -> main", Some(true)),
            ("1 1970-01-01T00:00:01Z grafted", Some(true)),
            ("", None),
        ] {
            let changed = parse_changed(log);
            assert_eq!(changed.map(|changed| changed.cut_off), expected, "{log}");
        }
    }
}
