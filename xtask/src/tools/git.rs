//! git: what the history says of a connector, and what changed.

pub mod history;
pub mod objects;
mod revisions;

use std::fs;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use xshell::{Shell, cmd};

pub use self::revisions::{Revisions, commit};
use super::process::{Finished, Program};
use crate::model::problem::Problem;

/// A clone of the repository at `root` as it is committed, in `directory`, which is not there yet. It shares the
/// objects of its origin.
pub fn clone(root: &Utf8Path, directory: &Utf8Path) -> Result<()> {
    let shell = Shell::new().context("open a shell")?;
    let clone = cmd!(shell, "git clone --quiet --shared {root} {directory}");
    Program::from(clone).output()?;
    Ok(())
}

/// A work tree of the repository's own beside the user's. Removed when this is dropped.
#[derive(Debug)]
pub struct Checkout {
    repository: Utf8PathBuf,
    top: Utf8PathBuf,
    /// What `root` is in the user's work tree.
    pub root: Utf8PathBuf,
}

impl Checkout {
    /// Checks out those of `paths` (from `root`) that `commit` has, in `directory`, which is not there yet.
    ///
    /// # Errors
    /// When the repository lacks the commit.
    pub fn new(
        root: &Utf8Path,
        commit: &str,
        paths: &[&Utf8Path],
        directory: &Utf8Path,
    ) -> Result<Checkout> {
        let has = |what: &str| -> Result<bool> {
            let asked = git(root, &["cat-file", "-e", what])?.finish()?;
            Ok(asked.status.success())
        };
        if !has(&format!("{commit}^{{commit}}"))? {
            // An image's date is that of the last commit that touched its connector: one commit alone can't tell it.
            let shallow = git(root, &["rev-parse", "--is-shallow-repository"])?.read()?;
            let (clone, whole) = match shallow.trim() {
                "true" => ("shallow clone", "--unshallow "),
                _ => ("clone", ""),
            };
            return Err(
                Problem::environment(format!("commit {commit} is not in this {clone}"))
                    .help(format!("git fetch {whole}origin {commit}"))
                    .into(),
            );
        }
        let prefix = git(root, &["rev-parse", "--show-prefix"])?.read()?;
        let add = ["worktree", "add", "--quiet", "--no-checkout", "--detach"];
        git(root, &[&add[..], &[directory.as_str(), commit]].concat())?.output()?;
        let checkout = Checkout {
            repository: root.to_owned(),
            top: directory.to_owned(),
            root: directory.join(prefix.trim()),
        };
        for path in paths {
            let path = Utf8Path::new(prefix.trim()).join(path);
            if has(&format!("{commit}:{path}"))? {
                let take = ["checkout", "--quiet", commit, "--", path.as_str()];
                git(&checkout.top, &take)?.output()?;
            }
        }
        fs::create_dir_all(&checkout.root).with_context(|| format!("make {}", checkout.root))?;
        Ok(checkout)
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let remove = ["worktree", "remove", "--force", self.top.as_str()];
        // What stays is a directory below target, and `git worktree prune` forgets it once it is gone.
        let _ = git(&self.repository, &remove).and_then(|program| program.output());
    }
}

/// Makes a repository of what lies in `directory`, all of it committed.
pub fn init(directory: &Utf8Path) -> Result<()> {
    git(directory, &["init", "--quiet", "--initial-branch=main"])?.output()?;
    commit_all(directory, "Begin")
}

/// Begins a branch where HEAD is, without going there.
pub fn branch(root: &Utf8Path, name: &str) -> Result<()> {
    git(root, &["branch", "--force", name])?.output()?;
    Ok(())
}

/// Commits everything there is, in nobody's name.
pub fn commit_all(root: &Utf8Path, message: &str) -> Result<()> {
    git(root, &["add", "--all"])?.output()?;
    let nobody = ["-c", "user.name=xtask", "-c", "user.email=xtask@localhost"];
    let commit = ["commit", "--quiet", "--no-gpg-sign", "--message", message];
    git(root, &[&nobody[..], &commit].concat())?.output()?;
    Ok(())
}

/// Address of the remote `origin` as a browser takes it; None where there is none.
pub fn origin(root: &Utf8Path) -> Result<Option<String>> {
    let origin = git(root, &["config", "--get", "remote.origin.url"])?.finish()?;
    Ok(https_address(origin.text().trim()))
}

/// git's version.
pub fn version() -> Result<String> {
    let shell = Shell::new().context("open a shell")?;
    let printed = Program::from(cmd!(shell, "git --version")).read()?;
    Ok(printed.trim_start_matches("git version ").to_owned())
}

/// git without locks that would get in a user's way, with messages that can be recognised.
fn git(root: &Utf8Path, args: &[&str]) -> Result<Program> {
    let shell = Shell::new().context("open a shell")?;
    let git = cmd!(shell, "git -C {root} --no-optional-locks {args...}");
    Ok(Program::from(git).env("LC_ALL", "C"))
}

/// What `git rev-parse` comes to; None where there is no repository. One that git does not trust is none of those.
fn rev_parse(root: &Utf8Path, args: &[&str]) -> Result<Option<Finished>> {
    let finished = git(root, &[&["rev-parse"], args].concat())?.finish()?;
    let nowhere = !finished.status.success() && finished.tail().contains("not a git repository");
    Ok((!nowhere).then_some(finished))
}

/// `https://host/path` for the forms a remote's address is written in; None for a local path.
fn https_address(remote: &str) -> Option<String> {
    let rest = match remote.split_once("://") {
        Some(("https" | "http" | "ssh" | "git", rest)) => rest.to_owned(),
        Some(_) => return None,
        // scp-like: git@host:path
        None => {
            let (host, path) = remote.split_once(':')?;
            host.contains('@').then(|| format!("{host}/{path}"))?
        }
    };
    let (host, path) = rest.split_once('/')?;
    let host = host.rsplit('@').next()?.split(':').next()?;
    Some(format!(
        "https://{host}/{}",
        path.trim_end_matches('/').trim_end_matches(".git")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_gets_a_commit_that_the_clone_lacks_with_its_history() {
        let place = tempfile::tempdir().unwrap();
        let place = Utf8Path::from_path(place.path()).unwrap();
        let connector = Utf8Path::new("connector");
        let origin = place.join("origin");
        let write = |name: &str| fs::write(origin.join(connector).join(name), name).unwrap();
        let clone_as = |name: &str, depth: &[&str]| {
            let (from, to) = (format!("file://{origin}"), place.join(name));
            let clone = [&["clone", "--quiet"], depth, &[&from, to.as_str()]].concat();
            git(place, &clone).unwrap().output().unwrap();
            to
        };
        fs::create_dir_all(origin.join(connector)).unwrap();
        write("first");
        init(&origin).unwrap();
        let old = clone_as("old", &[]);
        write("published");
        commit_all(&origin, "Publish").unwrap();
        let commit = commit(&origin).unwrap().unwrap();
        write("newer");
        commit_all(&origin, "Go on").unwrap();
        let shallow = clone_as("shallow", &["--depth=1"]);

        for (root, message) in [
            (old, format!("commit {commit} is not in this clone")),
            (
                shallow,
                format!("commit {commit} is not in this shallow clone"),
            ),
        ] {
            let tree = root.with_extension("tree");
            let check_out = || Checkout::new(&root, &commit, &[connector], &tree);
            let error = check_out().unwrap_err();
            assert_eq!(error.to_string(), message);
            let help = Problem::help_of(&error).unwrap();
            let fetch: Vec<&str> = help.strip_prefix("git ").unwrap().split(' ').collect();
            git(&root, &fetch).unwrap().output().unwrap();

            let checkout = check_out().unwrap();
            let directory = checkout.root.join(connector);
            assert!(directory.join("published").exists() && !directory.join("newer").exists());
            let touched = ["log", "-1", "--format=%s", "--", "connector/first"];
            let touched = git(&checkout.root, &touched).unwrap().read().unwrap();
            assert_eq!(touched, "Begin", "{message}");
        }
    }

    #[test]
    fn remotes_become_https_without_credentials() {
        for (remote, expected) in [
            (
                "https://example.com/airbytehq/airbyte.git",
                Some("https://example.com/airbytehq/airbyte"),
            ),
            (
                "https://user:secret@example.com/a/b",
                Some("https://example.com/a/b"),
            ),
            ("git@example.com:a/b.git", Some("https://example.com/a/b")),
            (
                "ssh://git@example.com:22/a/b",
                Some("https://example.com/a/b"),
            ),
            ("/srv/repositories/a", None),
            ("file:///srv/a", None),
            ("", None),
        ] {
            assert_eq!(https_address(remote).as_deref(), expected, "{remote}");
        }
    }
}
