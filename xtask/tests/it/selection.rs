//! `connector list --all-changed` in real git repositories: against a slow reckoning that knows the histories it made,
//! and in every state of a clone in which it must not answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use crate::monorepo::{CONNECTORS, Finished, Monorepo, command, git, git_reading, metadata};

/// Path and content of every file.
type Tree = BTreeMap<Vec<u8>, Vec<u8>>;

fn list(root: &Path, arguments: &[&str]) -> Finished {
    list_with(root, arguments, &[])
}

fn list_with(root: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Finished {
    let mut xtask = command(env!("CARGO_BIN_EXE_xtask"), root);
    xtask.args(["connector", "list"]).args(arguments);
    xtask.envs(variables.iter().copied());
    Finished::from(xtask.output().unwrap())
}

/// Names of the selected connectors and of the deleted ones.
fn names(finished: &Finished) -> (BTreeSet<String>, BTreeSet<String>) {
    let document = finished.json();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let selected = document["connectors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| text(&c["name"]));
    let deleted = document["deleted"].as_array().unwrap().iter().map(text);
    (selected.collect(), deleted.collect())
}

/// The same numbers on every run and machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

const NAMES: [&str; 5] = [
    "source-a",
    "source-a-strict-encrypt",
    "source-b",
    "destination-c",
    "source-d",
];
const FILES: [&[u8]; 9] = [
    b"metadata.yaml",
    b"main.py",
    b"a b.txt",
    b"q\"uote'.txt",
    b"new\nline",
    b"tab\t",
    b"\xff\xfe.bin",
    b"README.md",
    b"deep/er/x",
];
const SHARED: [&[u8]; 3] = [
    b"docker-images/Dockerfile.python-connector",
    b"lib/x.py",
    b"other/file",
];

fn path_in(name: &str, file: &[u8]) -> Vec<u8> {
    [CONNECTORS.as_bytes(), b"/", name.as_bytes(), b"/", file].concat()
}

/// One random edit: a file written or removed, a whole connector made, moved or removed.
fn edit(tree: &mut Tree, random: &mut Random) {
    let name = NAMES[random.below(NAMES.len())];
    let content = random.below(1000).to_string().into_bytes();
    let prefix = path_in(name, b"");
    match random.below(10) {
        0 => tree.retain(|path, _| !path.starts_with(&prefix)),
        1 => {
            let target = path_in(NAMES[random.below(NAMES.len())], b"");
            let moved: Vec<_> = tree
                .iter()
                .filter(|(path, _)| path.starts_with(&prefix))
                .map(|(p, c)| (p.clone(), c.clone()))
                .collect();
            for (path, content) in moved {
                tree.remove(&path);
                tree.insert([&target, &path[prefix.len()..]].concat(), content);
            }
        }
        2 => {
            tree.insert(
                SHARED[random.below(2) * random.below(2) + random.below(2)].to_vec(),
                content,
            );
        }
        3..=4 => {
            tree.remove(&path_in(name, FILES[1 + random.below(FILES.len() - 1)]));
        }
        _ => {
            tree.insert(path_in(name, b"metadata.yaml"), metadata(name).into_bytes());
            if name != "source-d" {
                let path = "[tool.poetry.dependencies]\nlib = {path = '../../../lib'}\n";
                let text = if name == "source-b" { path } else { "" };
                tree.insert(path_in(name, b"pyproject.toml"), text.into());
            }
            tree.insert(
                path_in(name, FILES[1 + random.below(FILES.len() - 1)]),
                content,
            );
        }
    }
}

/// Commits with their parents' numbers. The last but one is the base, the last is HEAD.
struct Graph(Vec<(Tree, Vec<usize>)>);

impl Graph {
    /// Two branches that are merged into each other, also crosswise, at random.
    fn random(random: &mut Random) -> Graph {
        let mut first = Tree::from([(b"seed".to_vec(), b"".to_vec())]);
        (0..6).for_each(|_| edit(&mut first, random));
        let mut graph = Graph(vec![(first, vec![])]);
        let mut tips = [0, 0];
        for _ in 0..3 + random.below(5) {
            let before = tips;
            for branch in [0, 1] {
                let mut parents = vec![tips[branch]];
                let mut tree = graph.0[tips[branch]].0.clone();
                if random.below(3) == 0
                    && before[0] != before[1]
                    && before[1 - branch] != tips[branch]
                {
                    parents.push(before[1 - branch]);
                    for (path, content) in &graph.0[before[1 - branch]].0 {
                        tree.entry(path.clone()).or_insert_with(|| content.clone());
                    }
                }
                (0..random.below(3)).for_each(|_| edit(&mut tree, random));
                graph.0.push((tree, parents));
                tips[branch] = graph.0.len() - 1;
            }
        }
        graph
    }

    fn ancestors(&self, commit: usize) -> BTreeSet<usize> {
        let mut all = BTreeSet::from([commit]);
        for parent in &self.0[commit].1 {
            all.extend(self.ancestors(*parent));
        }
        all
    }

    /// Common ancestors that are no other common ancestor's.
    fn merge_bases(&self) -> Vec<usize> {
        let last = self.0.len() - 1;
        let common: Vec<usize> = self
            .ancestors(last)
            .intersection(&self.ancestors(last - 1))
            .copied()
            .collect();
        let best = |commit: &usize| {
            !common
                .iter()
                .any(|other| other != commit && self.ancestors(*other).contains(commit))
        };
        common.iter().copied().filter(best).collect()
    }

    /// A repository with `main` at the base and `work`, checked out, at HEAD.
    fn write(&self, root: &Path) {
        git(root, &["init", "--quiet"]);
        let mut stream = Vec::new();
        for (number, (tree, parents)) in self.0.iter().enumerate() {
            let last = self.0.len() - 1;
            let branch = if number == last {
                "work".to_owned()
            } else if number + 1 == last {
                "main".to_owned()
            } else {
                format!("c{number}")
            };
            write!(stream, "commit refs/heads/{branch}\nmark :{}\ncommitter n <n@example.com> {} +0000\ndata 1\nx\n", number + 1, 1000 + number).unwrap();
            for (place, parent) in parents.iter().enumerate() {
                writeln!(
                    stream,
                    "{} :{}",
                    if place == 0 { "from" } else { "merge" },
                    parent + 1
                )
                .unwrap();
            }
            stream.extend(b"deleteall\n");
            for (path, content) in tree {
                let quoted: String = path
                    .iter()
                    .map(|b| {
                        if b.is_ascii_alphanumeric() || b"/._-".contains(b) {
                            char::from(*b).to_string()
                        } else {
                            format!("\\{b:03o}")
                        }
                    })
                    .collect();
                write!(
                    stream,
                    "M 644 inline \"{quoted}\"\ndata {}\n",
                    content.len()
                )
                .unwrap();
                stream.extend(content);
                stream.push(b'\n');
            }
        }
        git_reading(root, &["fast-import", "--quiet"], &stream);
        git(root, &["checkout", "--quiet", "work"]);
    }
}

/// Makes the work tree hold `after` instead of `before`.
fn lay(root: &Path, before: &Tree, after: &Tree) {
    for path in before.keys().filter(|path| !after.contains_key(*path)) {
        fs::remove_file(root.join(OsStr::from_bytes(path))).unwrap();
    }
    for (path, content) in after
        .iter()
        .filter(|(path, content)| before.get(*path) != Some(content))
    {
        let path = root.join(OsStr::from_bytes(path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn differing(one: &Tree, other: &Tree) -> BTreeSet<Vec<u8>> {
    one.keys()
        .chain(other.keys())
        .filter(|path| one.get(*path) != other.get(*path))
        .cloned()
        .collect()
}

/// What should be selected, reckoned one connector and one file at a time from the trees alone.
fn reckon(
    changed: &BTreeSet<Vec<u8>>,
    before: &[&Tree],
    now: &Tree,
) -> (BTreeSet<String>, BTreeSet<String>) {
    let there = |name: &str, tree: &Tree| tree.contains_key(&path_in(name, b"metadata.yaml"));
    let counts = |path: &Vec<u8>| !path.ends_with(b"/README.md");
    let own = |name: &str| {
        changed
            .iter()
            .any(|path| counts(path) && path.starts_with(&path_in(name, b"")))
    };
    let mut selected = BTreeSet::new();
    for name in NAMES.iter().filter(|name| there(name, now)) {
        let project = now.get(&path_in(name, b"pyproject.toml"));
        let shared = project.is_some() && changed.contains(SHARED[0]);
        let lib = project.is_some_and(|text| !text.is_empty()) && changed.contains(SHARED[1]);
        let parent = *name == "source-a-strict-encrypt" && own("source-a");
        if own(name) || shared || lib || parent {
            selected.insert((*name).to_owned());
        }
    }
    let gone = |name: &&&str| !there(name, now) && before.iter().any(|tree| there(name, tree));
    (
        selected,
        NAMES
            .iter()
            .filter(gone)
            .map(|name| (*name).to_owned())
            .collect(),
    )
}

#[test]
fn selection_is_what_a_slow_reckoning_says_on_generated_histories() {
    let mut crosswise = 0;
    for seed in 0..40 {
        let mut random = Random(seed);
        let graph = Graph::random(&mut random);
        let bases = graph.merge_bases();
        crosswise += usize::from(bases.len() > 1);
        let repo = Monorepo::new();
        let root = repo.root();
        graph.write(&root);
        let head = &graph.0.last().unwrap().0;
        let mut staged = head.clone();
        (0..random.below(3)).for_each(|_| edit(&mut staged, &mut random));
        lay(&root, head, &staged);
        git(&root, &["add", "--all"]);
        let mut now = staged.clone();
        (0..random.below(3)).for_each(|_| edit(&mut now, &mut random));
        lay(&root, &staged, &now);
        fs::create_dir_all(root.join(CONNECTORS)).unwrap();

        let mut changed = &differing(head, &staged) | &differing(&staged, &now);
        let mut before = vec![head, &staged];
        for base in &bases {
            changed.extend(differing(&graph.0[*base].0, head));
            before.push(&graph.0[*base].0);
        }
        let finished = list(&root, &["--all-changed", "--base", "main", "--json"]).code(0);
        assert_eq!(
            names(&finished),
            reckon(&changed, &before, &now),
            "seed {seed}, {changed:?}"
        );
    }
    assert!(crosswise >= 3, "only {crosswise} histories were crosswise");
}

#[test]
fn a_shallow_clone_selects_what_the_whole_one_does() {
    for seed in 100..108 {
        let graph = Graph::random(&mut Random(seed));
        let repo = Monorepo::new();
        let root = repo.root();
        graph.write(&root);
        let whole = list(&root, &["--all-changed", "--base", "main", "--json"]).code(0);
        let address = format!("file://{}", root.display());
        let clone = repo.scratch().join("clone");
        let name = clone.to_str().unwrap();
        git(
            &root,
            &[
                "clone",
                "--quiet",
                "--depth=1",
                "--branch=work",
                &address,
                name,
            ],
        );
        fs::create_dir_all(clone.join(CONNECTORS)).unwrap();
        let finished = list_with(
            &clone,
            &["--all-changed", "--json"],
            &[("GITHUB_BASE_REF", "main")],
        )
        .code(0);
        assert_eq!(names(&finished), names(&whole), "seed {seed}");
        finished
            .says("fetching main")
            .says("shallow clone: fetching 50 more commits");
    }
}

/// HEAD reaches an old common ancestor directly and the newest only through a commit whose parents are cut off: what
/// the newest one changed and HEAD took back differs from the newest alone.
#[test]
fn a_merge_base_beside_a_cut_is_not_trusted() {
    let file = path_in("source-a", b"main.py");
    let tree = |content: &str, other: &str| {
        let own = [
            (
                path_in("source-a", b"metadata.yaml"),
                metadata("source-a").into_bytes(),
            ),
            (file.clone(), content.into()),
        ];
        own.into_iter()
            .chain([(b"other".to_vec(), other.into())])
            .collect::<Tree>()
    };
    let old = (tree("old", ""), vec![]);
    let newest = (tree("new", ""), vec![0]);
    let cut = (tree("old", "cut"), vec![1]);
    let base = (tree("new", "base"), vec![1]);
    let head = (tree("old", "head"), vec![2, 0]);
    let repo = Monorepo::new();
    let root = repo.root();
    Graph(vec![old, newest, cut, base, head]).write(&root);
    let clone = repo.scratch().join("clone");
    git(
        &root,
        &[
            "clone",
            "--quiet",
            "--no-local",
            ".",
            clone.to_str().unwrap(),
        ],
    );
    let hidden = git(&clone, &["rev-parse", "HEAD^"]);
    fs::write(clone.join(".git/shallow"), format!("{hidden}\n")).unwrap();
    let finished = list(
        &clone,
        &["--all-changed", "--base", "origin/main", "--json"],
    )
    .code(0);
    assert_eq!(names(&finished).0, ["source-a".to_owned()].into());
    finished
        .says("shallow clone: fetching 50 more commits to find the merge base with origin/main");
}

fn one_connector() -> Monorepo {
    let repo = Monorepo::new().connector("source-a", &["pyproject.toml", "main.py"]);
    git(&repo.root(), &["init", "--quiet"]);
    repo
}

fn commit(root: &Path) {
    git(root, &["add", "--all"]);
    git(root, &["commit", "--quiet", "--allow-empty", "--message=x"]);
}

#[test]
fn where_the_change_can_not_be_told_it_is_an_error_and_no_empty_list() {
    let bare = Monorepo::new();
    list(&bare.root(), &["--all-changed"])
        .code(2)
        .says("is not in a git repository")
        .says("--files-from FILE");
    let repo = one_connector();
    let root = repo.root();
    list(&root, &["--all-changed", "--base", "main"])
        .code(2)
        .says("has no commit yet");
    commit(&root);
    list(&root, &["--all-changed"])
        .code(2)
        .says("no base to compare with")
        .says("--base REF");
    list(&root, &["--all-changed", "--base", "nope"])
        .code(2)
        .says("`nope` is no commit")
        .says("git fetch origin nope");
    list(&root, &["--since", "--flag"]).code(2);
    list(&root, &["--since", "a\nb"])
        .code(2)
        .says("can't be a commit");
    git(&root, &["checkout", "--quiet", "--orphan", "lone"]);
    fs::write(root.join("another"), "tree").unwrap();
    commit(&root);
    list(&root, &["--all-changed", "--base", "main"])
        .code(1)
        .says("have no commit in common");
    list_with(&root, &["--all-changed"], &[("GITHUB_BASE_REF", "gone")])
        .code(1)
        .says("help: git fetch origin gone");
    list_with(
        &root,
        &["--all-changed", "--base", "main"],
        &[("PATH", "/nonexistent")],
    )
    .code(3)
    .says("`git` is not installed");
    // A detached HEAD is a commit like any other.
    git(&root, &["checkout", "--quiet", "--detach", "main"]);
    list(&root, &["--all-changed", "--base", "main", "--explain"])
        .code(0)
        .says("no connector is touched");
}

#[test]
fn a_shallow_clone_that_can_not_fetch_says_what_to_type() {
    let repo = one_connector();
    let root = repo.root();
    (0..3).for_each(|_| commit(&root));
    git(&root, &["branch", "old", "HEAD~2"]);
    let clone = repo.scratch().join("clone");
    let address = format!("file://{}", root.display());
    git(
        &root,
        &[
            "clone",
            "--quiet",
            "--depth=1",
            "--no-single-branch",
            &address,
            clone.to_str().unwrap(),
        ],
    );
    git(&clone, &["remote", "set-url", "origin", "/nonexistent"]);
    list(&clone, &["--all-changed", "--base", "origin/old"])
        .code(1)
        .says("no merge base with origin/old in this shallow clone")
        .says("git fetch --unshallow origin");
}

#[test]
fn matrices_shards_and_lists_of_files() {
    let repo = one_connector();
    let root = repo.root();
    commit(&root);
    let empty = list(&root, &["--since", "HEAD", "--format", "matrix"]).code(0);
    assert_eq!(
        empty.stdout,
        "{\"include\":[{\"connector\":\"\",\"language\":\"\"}]}\n"
    );
    let empty = list(&root, &["--since", "HEAD", "--format", "matrices"]).code(0);
    assert_eq!(
        empty.stdout,
        "[{\"include\":[{\"connector\":\"\",\"language\":\"\"}]}]\n"
    );
    fs::write(root.join(CONNECTORS).join("source-a/new\n::error::x"), "").unwrap();
    let one = list(&root, &["--since", "HEAD", "--format", "matrix"]).code(0);
    assert_eq!(
        one.stdout,
        "{\"include\":[{\"connector\":\"source-a\",\"language\":\"python\"}]}\n"
    );
    let explained = list(&root, &["--since", "HEAD", "--explain"]).code(0);
    assert_eq!(
        explained.stdout,
        format!("source-a\n    untracked {CONNECTORS}/source-a/new\\n::error::x\n")
    );
    let parts = ["1/2", "2/2"].map(|part| {
        names(&list(&root, &["--since", "HEAD", "--json", "--shard", part]).code(0))
            .0
            .len()
    });
    assert_eq!(parts.iter().sum::<usize>(), 1);
    fs::write(
        root.join("list"),
        format!("{CONNECTORS}/source-a/gone\n{CONNECTORS}/source-old/metadata.yaml\n"),
    )
    .unwrap();
    let listed = list(&root, &["--files-from", "list", "--json"]).code(0);
    assert_eq!(
        names(&listed),
        (
            ["source-a".to_owned()].into(),
            ["source-old".to_owned()].into()
        )
    );
    assert!(listed.json()["merge_base"].is_null());
}

#[test]
fn more_connectors_than_a_matrix_takes_are_several_matrices() {
    let repo = Monorepo::new();
    let root = repo.root();
    let touched: Vec<String> = (0..600)
        .map(|number| format!("{CONNECTORS}/source-{number}/metadata.yaml\n"))
        .collect();
    let repo = (0..600).fold(repo, |repo, number| {
        repo.manifest_only(&format!("source-{number}"))
    });
    fs::write(repo.scratch().join("list"), touched.concat()).unwrap();
    let file = repo.scratch().join("list");
    let flags = ["--files-from", file.to_str().unwrap(), "--format"];
    let all = list(&root, &[&flags[..], &["matrices"]].concat()).code(0);
    let matrices = all.json();
    let sizes: Vec<usize> = matrices
        .as_array()
        .unwrap()
        .iter()
        .map(|matrix| matrix["include"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [256, 256, 88]);
    list(&root, &[&flags[..], &["matrix"]].concat())
        .code(2)
        .says("a matrix of 600 connectors; GitHub takes at most 256")
        .says("help: split it: --format matrices");
}

#[test]
fn the_base_is_the_pull_requests_or_the_remotes_default_branch() {
    let repo = one_connector();
    let root = repo.root();
    commit(&root);
    git(&root, &["branch", "release"]);
    fs::write(root.join(CONNECTORS).join("source-a/main.py"), "changed").unwrap();
    commit(&root);
    let clone = repo.scratch().join("clone");
    git(&root, &["clone", "--quiet", ".", clone.to_str().unwrap()]);
    let event = repo.scratch().join("event.json");
    fs::write(
        &event,
        r#"{"pull_request": {"base": {"ref": "release", "sha": "12"}}}"#,
    )
    .unwrap();
    let by = |variables: &[(&str, &str)]| {
        let finished = list_with(&clone, &["--all-changed", "--json"], variables).code(0);
        (
            finished.json()["base"].as_str().unwrap().to_owned(),
            names(&finished).0.len(),
        )
    };
    assert_eq!(by(&[]), ("origin/HEAD".to_owned(), 0));
    assert_eq!(
        by(&[("GITHUB_BASE_REF", "release")]),
        ("origin/release".to_owned(), 1)
    );
    assert_eq!(
        by(&[("GITHUB_EVENT_PATH", event.to_str().unwrap())]),
        ("origin/release".to_owned(), 1)
    );
}

#[test]
fn links_and_submodules_are_paths_and_nothing_is_looked_for_behind_them() {
    let repo = one_connector().connector("source-linked", &[]);
    let root = repo.root();
    let connectors = root.join(CONNECTORS);
    fs::rename(connectors.join("source-linked"), root.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("../../elsewhere", connectors.join("source-linked")).unwrap();
    commit(&root);
    fs::write(root.join("elsewhere/x"), "").unwrap();
    let selected = || names(&list(&root, &["--since", "HEAD", "--json"]).code(0)).0;
    assert_eq!(selected(), BTreeSet::new());
    fs::remove_file(connectors.join("source-linked")).unwrap();
    std::os::unix::fs::symlink("../../elsewhere/", connectors.join("source-linked")).unwrap();
    assert_eq!(selected(), ["source-linked".to_owned()].into());
    commit(&root);
    // A repository inside: the path ends with a slash in what git prints.
    let inner = connectors.join("source-inner");
    fs::create_dir(&inner).unwrap();
    git(&inner, &["init", "--quiet"]);
    fs::write(inner.join("metadata.yaml"), metadata("source-inner")).unwrap();
    commit(&inner);
    assert_eq!(selected(), ["source-inner".to_owned()].into());
    commit(&root);
    fs::write(inner.join("dirty"), "").unwrap();
    assert_eq!(selected(), BTreeSet::new());
    commit(&inner);
    assert_eq!(selected(), ["source-inner".to_owned()].into());
}

#[test]
fn a_repository_below_the_work_trees_top_sees_its_own_paths() {
    let repo = Monorepo::new().connector("source-top", &[]).file(
        &format!("sub/{CONNECTORS}/source-below/metadata.yaml"),
        &metadata("source-below"),
    );
    let root = repo.root();
    git(&root, &["init", "--quiet"]);
    git(&root, &["config", "diff.relative", "true"]);
    git(&root, &["config", "status.showUntrackedFiles", "no"]);
    commit(&root);
    for directory in [
        CONNECTORS.to_owned() + "/source-top",
        format!("sub/{CONNECTORS}/source-below"),
    ] {
        fs::write(root.join(&directory).join("committed"), "").unwrap();
    }
    commit(&root);
    let selected = |arguments: &[&str]| {
        let finished = list(
            &root.join("sub"),
            &[&["--since", "HEAD~1", "--json"], arguments].concat(),
        );
        names(&finished.code(0)).0
    };
    assert_eq!(selected(&[]), ["source-below".to_owned()].into());
    assert_eq!(
        selected(&["--shard", "1/1", "--language", "java"]),
        BTreeSet::new()
    );
}

#[test]
fn documentation_pages_count_when_asked_for_and_flags_exclude_each_other() {
    let repo = one_connector();
    let root = repo.root();
    commit(&root);
    fs::create_dir_all(root.join("docs/integrations/sources")).unwrap();
    fs::write(root.join("docs/integrations/sources/x.md"), "").unwrap();
    let selected = |arguments: &[&str]| {
        names(&list(&root, &[&["--since", "HEAD", "--json"], arguments].concat()).code(0))
            .0
            .len()
    };
    assert_eq!((selected(&[]), selected(&["--docs"])), (0, 1));
    for arguments in [
        &["--all-changed", "source-a"][..],
        &["--all-changed", "--since", "HEAD"],
        &["--base", "main"],
        &["--explain"],
        &["--shard", "3/2"],
    ] {
        list(&root, arguments).code(2);
    }
}

#[test]
fn a_connector_that_changed_and_is_not_checked_out_is_an_error() {
    let repo = one_connector().connector("source-other", &[]);
    let root = repo.root();
    commit(&root);
    fs::write(root.join(CONNECTORS).join("source-other/main.py"), "").unwrap();
    commit(&root);
    let list = |since: &str| list(&root, &["--since", since, "--json"]);
    assert_eq!(
        names(&list("HEAD~1").code(0)).0,
        ["source-other".to_owned()].into()
    );
    git(
        &root,
        &[
            "sparse-checkout",
            "set",
            "--no-cone",
            "/*",
            "!source-other/",
        ],
    );
    list("HEAD~1")
        .code(2)
        .says("changed, but not checked out here: airbyte-integrations/connectors/source-other")
        .says("git sparse-checkout add");
    assert_eq!(names(&list("HEAD").code(0)).0, BTreeSet::new());
}

#[test]
fn code_in_the_tree_reaches_connectors_through_the_cdk_and_through_libraries() {
    let files = [
        (
            "@/source-bulk/build.gradle",
            "airbyteBulkConnector {\n    core = 'extract'\n    cdk = 'local'\n}\n",
        ),
        (
            "@/source-newer/build.gradle",
            "airbyteBulkConnector {\n    core = 'extract'\n}\n",
        ),
        ("@/source-newer/gradle.properties", "cdkVersion=local\n"),
        (
            "@/source-java/build.gradle.kts",
            "airbyteJavaConnector {\n    useLocalCdk = true\n}\n",
        ),
        (
            "@/source-released/build.gradle",
            "airbyteJavaConnector {\n    useLocalCdk = false // true before a release\n}\n",
        ),
        // Through two libraries that name each other, and through them from a connector.
        (
            "@/destination-far/build.gradle",
            "dependencies {\n    implementation project(':libs:base')\n}\n",
        ),
        ("libs/base/build.gradle", "api project(':libs:core')\n"),
        (
            "libs/core/build.gradle.kts",
            "api(project(\":libs:base\"))\napi(project(\":airbyte-integrations:connectors:source-java\"))\n",
        ),
        (
            "@/source-python/pyproject.toml",
            "[tool.poetry.dependencies]\none = {path = '../../../python/one'}\n",
        ),
        (
            "python/one/pyproject.toml",
            "[tool.uv.sources]\ninner = { path = 'inner' }\n",
        ),
        (
            "python/one/inner/pyproject.toml",
            "[tool.poetry.dependencies]\ntwo = {path = '../../two', develop = true}\n",
        ),
        // A file that is not TOML names none, as a connector's.
        ("python/two/pyproject.toml", "path = [\n"),
    ];
    let names_of_connectors = [
        "source-bulk",
        "source-newer",
        "source-java",
        "source-released",
        "destination-far",
        "source-python",
    ];
    let repo = names_of_connectors
        .iter()
        .fold(Monorepo::new(), |repo, name| repo.connector(name, &[]));
    let repo = files.iter().fold(repo, |repo, (path, text)| {
        repo.file(&path.replace('@', CONNECTORS), text)
    });
    let root = repo.root();
    for (changed, expected) in [
        (
            "airbyte-cdk/bulk/core/base/src/main/kotlin/X.kt",
            &["source-bulk", "source-newer"][..],
        ),
        // destination-far takes code from source-java.
        (
            "airbyte-cdk/java/airbyte-cdk/core/X.java",
            &["destination-far", "source-java"],
        ),
        ("airbyte-cdk/java/other", &[]),
        ("@/source-java/x", &["destination-far", "source-java"]),
        ("libs/base/src/X.java", &["destination-far"]),
        ("libs/core/src/X.java", &["destination-far"]),
        ("libs/X.java", &[]),
        ("python/one/x.py", &["source-python"]),
        ("python/two/deep/x.py", &["source-python"]),
        ("python/x.py", &[]),
    ] {
        fs::write(root.join("list"), changed.replace('@', CONNECTORS)).unwrap();
        let finished = list(&root, &["--files-from", "list", "--json"]).code(0);
        let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(names(&finished).0, expected, "{changed}");
    }
}
