//! What changed since a branch left its base: committed, staged, unstaged and untracked.
//!
//! Asks git as little as it can: one diff for all merge bases, one status, both without renames and with NUL between
//! paths. In a shallow clone history is fetched by steps until the merge base is certain.

use std::{collections::HashSet, thread, time::Duration};

use anyhow::{Context, Result, anyhow};
use camino::Utf8Path;

use super::{
    super::{process::Program, pull_request::Target},
    git, rev_parse,
};
use crate::model::{
    change::{self, Change},
    problem::Problem,
};

/// How many more commits each step fetches in a shallow clone; after the last everything there is.
const STEPS: [&str; 6] = ["50", "200", "800", "3200", "12800", "51200"];
/// A step can be the whole of a large repository.
const FETCH_LIMIT: Duration = Duration::from_secs(30 * 60);

/// What a change is measured against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// The merge base with a ref or commit as the user typed it.
    Base(String),
    /// The merge base with a pull request's target.
    PullRequest(Target),
    /// The merge base with the default branch of the remote `origin`.
    DefaultBranch,
    /// A commit itself.
    Commit(String),
}

/// What changed, and between what. Commits are full ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// As it was typed or found, such as `origin/master`.
    pub base: String,
    /// More than one where branches were merged crosswise; the changes are those since any of them.
    pub merge_bases: Vec<String>,
    pub head: String,
    /// Each path once, from `root`, sorted.
    pub changes: Vec<Change>,
}

/// What changed below `root` since the merge base (or commit) in commits, index and work tree. Links and submodules
/// are paths that change, not directories that are looked into. `say` gets a line for each fetch.
/// Fails, rather than answer with less than all, when the merge base can't be found.
pub fn since(root: &Utf8Path, since: &Since, say: &(dyn Fn(&str) + Sync)) -> Result<History> {
    let clone = Clone::open(root, say)?;
    thread::scope(|scope| {
        let status = scope.spawn(|| clone.uncommitted());
        let committed = clone.committed(since);
        let uncommitted = status
            .join()
            .map_err(|_| anyhow!("reading git status panicked"))?;
        let mut history = committed?;
        history.changes.extend(uncommitted?);
        history.changes = change::below(change::merge(history.changes), &clone.prefix);
        Ok(history)
    })
}

/// A work tree's repository.
struct Clone<'a> {
    root: &'a Utf8Path,
    /// Where `root` lies below the work tree's top: empty, or with a slash at its end.
    prefix: Vec<u8>,
    shallow: bool,
    say: &'a (dyn Fn(&str) + Sync),
}

impl<'a> Clone<'a> {
    fn open(root: &'a Utf8Path, say: &'a (dyn Fn(&str) + Sync)) -> Result<Clone<'a>> {
        let facts = rev_parse(
            root,
            &[
                "--is-inside-work-tree",
                "--is-shallow-repository",
                "--show-prefix",
            ],
        )?;
        let Some(facts) = facts else {
            let problem = Problem::usage(format!(
                "{root} is not in a git repository, which would know what changed"
            ));
            return Err(problem
                .help("name connectors, or list changed files with --files-from FILE")
                .into());
        };
        let facts = facts.success()?;
        let mut lines = facts.stdout.split(|b| *b == b'\n');
        if lines.next() != Some(b"true") {
            return Err(Problem::usage(format!("{root} is not in a git work tree")).into());
        }
        let shallow = lines.next() == Some(b"true");
        // A directory's name may hold line feeds; only the last one is git's.
        let prefix = lines.collect::<Vec<_>>().join(&b'\n');
        let prefix = prefix.strip_suffix(b"\n").unwrap_or(&prefix).to_vec();
        Ok(Clone {
            root,
            prefix,
            shallow,
            say,
        })
    }

    fn git(&self, args: &[&str]) -> Result<Program> {
        git(self.root, args)
    }

    /// Changes from the merge bases to HEAD.
    fn committed(&self, since: &Since) -> Result<History> {
        let Ends { name, base, head } = self.ends(since)?;
        let merge_bases = match since {
            Since::Commit(_) => vec![base],
            _ => self.merge_bases(&name, &base, &head)?,
        };
        let changes = self.diff(&merge_bases, &head)?;
        Ok(History {
            base: name,
            merge_bases,
            head,
            changes,
        })
    }

    /// One diff from every merge base to `head`: `head` is compared with the commits after it on the line "as if they
    /// are parents" (git-diff-tree(1), --stdin). A path that differs from any of them is in; one that differs from
    /// none is the same in every merge of them, so a merge of `head` can't change it.
    fn diff(&self, merge_bases: &[String], head: &str) -> Result<Vec<Change>> {
        let args = [
            "diff-tree",
            "--stdin",
            "-m",
            "-r",
            "-z",
            "--no-commit-id",
            "--name-status",
            "--no-renames",
        ];
        let program = self
            .git(&args)?
            .input(format!("{head} {}\n", merge_bases.join(" ")));
        let printed = program.output()?;
        change::parse_name_status(&printed.stdout)
            .map_err(|error| anyhow!("read the output of `{}`: {error}", printed.line))
    }

    /// Changes of the index and the work tree. Of a submodule only its commit counts.
    fn uncommitted(&self) -> Result<Vec<Change>> {
        let args = [
            "status",
            "--porcelain=v2",
            "-z",
            "--untracked-files=all",
            "--no-renames",
            "--ignore-submodules=dirty",
        ];
        let printed = self.git(&args)?.output()?;
        change::parse_status(&printed.stdout)
            .map_err(|error| anyhow!("read the output of `{}`: {error}", printed.line))
    }
}

/// The two commits that are compared.
struct Ends {
    /// What the base is called.
    name: String,
    base: String,
    head: String,
}

impl Clone<'_> {
    fn ends(&self, since: &Since) -> Result<Ends> {
        let names = candidates(since)?;
        if let Some(ends) = self.resolve(&names)? {
            return Ok(ends);
        }
        if let Some(branch) = self.branch_to_fetch(since) {
            (self.say)(&format!("fetching {branch}, which this clone lacks"));
            if let Err(error) = self.fetch_tip(&branch) {
                return Err(error.context(unknown(since)));
            }
            let names = [names.clone(), vec!["FETCH_HEAD".to_owned()]].concat();
            if let Some(ends) = self.resolve(&names)? {
                let name = if ends.name == "FETCH_HEAD" {
                    branch
                } else {
                    ends.name
                };
                return Ok(Ends { name, ..ends });
            }
        }
        Err(unknown(since).into())
    }

    /// HEAD and the first of the names that is a commit here.
    fn resolve(&self, names: &[String]) -> Result<Option<Ends>> {
        let lines: String = ["HEAD"]
            .into_iter()
            .chain(names.iter().map(String::as_str))
            .map(|name| format!("{name}^{{commit}}\n"))
            .collect();
        let found = self
            .git(&["cat-file", "--batch-check=%(objectname)"])?
            .input(lines)
            .read()?;
        let mut commits = found
            .lines()
            .map(|line| is_commit_id(line).then(|| line.to_owned()));
        let head = commits.next().flatten().ok_or_else(|| {
            Problem::usage(format!(
                "the repository around {} has no commit yet",
                self.root
            ))
            .help("commit something, or name connectors")
        })?;
        let base = names
            .iter()
            .zip(commits)
            .find_map(|(name, commit)| Some((name, commit?)));
        Ok(base.map(|(name, base)| Ends {
            name: name.trim_start_matches("refs/remotes/").to_owned(),
            base,
            head,
        }))
    }

    /// What to ask the remote for when the base is not here: a pull request's target always, what the user typed
    /// where this clone is known to lack history.
    fn branch_to_fetch(&self, since: &Since) -> Option<String> {
        match since {
            Since::PullRequest(target) => Some(target.branch.clone()),
            Since::Base(name) | Since::Commit(name) if self.shallow => {
                Some(name.strip_prefix("origin/").unwrap_or(name).to_owned())
            }
            _ => None,
        }
    }

    fn fetch_tip(&self, name: &str) -> Result<()> {
        let depth = self.shallow.then_some("--depth=1");
        let tracked = format!("+refs/heads/{name}:refs/remotes/origin/{name}");
        let fetch = |refspec: &str| {
            let args: Vec<&str> = ["fetch", "--no-tags", "--quiet"]
                .into_iter()
                .chain(depth)
                .collect();
            self.fetch(&[&args[..], &["origin", refspec]].concat())
        };
        // What is no branch may be a tag or a commit.
        fetch(&tracked).or_else(|error| fetch(name).map_err(|_| error))
    }

    fn fetch(&self, args: &[&str]) -> Result<()> {
        self.git(args)?
            .env("GIT_TERMINAL_PROMPT", "0")
            .limit(FETCH_LIMIT)
            .output()?;
        Ok(())
    }
}

impl Clone<'_> {
    /// Every best common ancestor of the two commits, with as much history fetched as that takes.
    fn merge_bases(&self, name: &str, base: &str, head: &str) -> Result<Vec<String>> {
        let mut shallow = self.shallow;
        let mut steps = STEPS.iter();
        loop {
            let printed = self.git(&["merge-base", "--all", base, head])?.finish()?;
            // 1 is its "none" (git-merge-base(1)); anything else is a failure.
            let printed = if printed.status.code() == Some(1) {
                printed
            } else {
                printed.success()?
            };
            let found: Vec<String> = printed.text().lines().map(str::to_owned).collect();
            let uncertain = found.is_empty() || shallow && self.is_cut(base, head)?;
            if !uncertain {
                return Ok(found);
            }
            if !shallow {
                return Err(unrelated(name).into());
            }
            self.deepen(steps.next().copied(), name, &[head, base]).map_err(|error| {
                Problem::failure(format!("no merge base with {name} in this shallow clone, and fetching more of it failed: {error}"))
                    .help(format!("git fetch --unshallow origin && git fetch origin {name}", name = name.trim_start_matches("origin/")))
            })?;
            shallow = self
                .git(&["rev-parse", "--is-shallow-repository"])?
                .read()?
                == "true";
            if shallow && steps.len() == 0 {
                return Err(unrelated(name).into());
            }
        }
    }

    /// Whether history is cut off before the two commits' histories meet. Where every commit that only one of them
    /// has shows its parents, each path down to a common ancestor is whole, so none that counts is missing; a merge
    /// base found beside a cut may be too old or not the only one.
    fn is_cut(&self, base: &str, head: &str) -> Result<bool> {
        let file = self.git(&["rev-parse", "--git-path", "shallow"])?.read()?;
        let file = self.root.join(file);
        let cuts = std::fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
        let cuts: HashSet<&str> = cuts.lines().collect();
        let apart = self
            .git(&["rev-list", &format!("{base}...{head}")])?
            .output()?
            .text();
        Ok(apart.lines().any(|commit| cuts.contains(commit)))
    }

    /// Fetches `step` more commits than there are (all when None) behind the commits given; behind whatever the remote
    /// is set up to fetch when it does not serve single commits, or when one of them was never pushed.
    fn deepen(&self, step: Option<&str>, name: &str, commits: &[&str]) -> Result<()> {
        let (depth, what) = match step {
            Some(step) => (format!("--deepen={step}"), format!("{step} more commits")),
            None => ("--unshallow".to_owned(), "the whole history".to_owned()),
        };
        (self.say)(&format!(
            "shallow clone: fetching {what} to find the merge base with {name}"
        ));
        let args = ["fetch", "--no-tags", "--quiet", &depth, "origin"];
        self.fetch(&[&args[..], commits].concat())
            .or_else(|_| self.fetch(&args))
    }
}

/// The names under which the base may be known here, best first.
fn candidates(since: &Since) -> Result<Vec<String>> {
    let names = match since {
        Since::Base(name) => vec![name.clone(), format!("refs/remotes/origin/{name}")],
        Since::Commit(name) => vec![name.clone()],
        Since::DefaultBranch => vec!["refs/remotes/origin/HEAD".to_owned()],
        Since::PullRequest(Target { branch, commit }) => {
            let tracked = format!("refs/remotes/origin/{branch}");
            std::iter::once(tracked).chain(commit.clone()).collect()
        }
    };
    // One name a line is what git reads; a name with a dash in front would be a flag.
    let strange =
        |name: &String| name.is_empty() || name.starts_with('-') || name.contains(char::is_control);
    match names.iter().find(|name| strange(name)) {
        Some(name) => Err(Problem::usage(format!("{name:?} can't be a commit or a branch")).into()),
        None => Ok(names),
    }
}

fn unknown(since: &Since) -> Problem {
    match since {
        Since::Base(name) | Since::Commit(name) => {
            let branch = name.strip_prefix("origin/").unwrap_or(name);
            Problem::usage(format!("`{name}` is no commit, branch or tag of this repository"))
                .help(format!("git fetch origin {branch}, or git fetch --unshallow origin where this clone is shallow"))
        }
        Since::PullRequest(target) => Problem::failure(format!("the pull request's target `{}` is not in this clone", target.branch))
            .help(format!("git fetch origin {0}:refs/remotes/origin/{0}", target.branch)),
        Since::DefaultBranch => Problem::usage("no base to compare with: this is no pull request, and the remote's default branch is not known here")
            .help("name one with --base REF, or let git find it out: git remote set-head origin --auto"),
    }
}

fn unrelated(name: &str) -> Problem {
    Problem::failure(format!(
        "HEAD and {name} have no commit in common, so what changed can't be told"
    ))
    .help("name another base with --base REF, or compare with a commit itself: --since COMMIT")
}

/// SHA-1 or SHA-256, in hexadecimal.
pub(super) fn is_commit_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}
