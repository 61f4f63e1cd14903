//! What changed in a repository: paths as bytes, and the readers of what git prints of them.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt::{self, Write},
};

use serde::{Serialize, Serializer};

/// A path from the repository's top, its parts joined by `/`. Any byte but NUL may stand in it, as in git.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoPath(Vec<u8>);

impl RepoPath {
    /// None for what can't be a path below the top: nothing, an absolute path, one with `.` or `..` in it.
    pub fn new(bytes: &[u8]) -> Option<RepoPath> {
        // git ends an untracked repository inside this one with a slash.
        let bytes = bytes.strip_suffix(b"/").unwrap_or(bytes);
        let strange = |part: &[u8]| matches!(part, b"" | b"." | b"..") || part.contains(&0);
        (!bytes.split(|b| *b == b'/').any(strange)).then(|| RepoPath(bytes.to_vec()))
    }

    /// All of it as git has it, without a slash at its ends; it need not be UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As text, with `�` for what is no UTF-8.
    pub fn lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The last part.
    pub fn file_name(&self) -> &[u8] {
        self.0.rsplit(|b| *b == b'/').next().unwrap_or(&self.0)
    }

    /// The directory that holds it; None at the top.
    pub fn directory(&self) -> Option<&[u8]> {
        let slash = self.0.iter().rposition(|b| *b == b'/')?;
        Some(&self.0[..slash])
    }

    /// The path itself, then each directory around it, innermost first.
    pub fn ancestors(&self) -> impl Iterator<Item = &[u8]> {
        let slashes = (0..self.0.len()).rev().filter(|at| self.0[*at] == b'/');
        std::iter::once(self.0.len())
            .chain(slashes)
            .map(|end| &self.0[..end])
    }

    /// The path seen from `directory` (empty, or with a slash at its end); None where it lies elsewhere.
    pub fn below(&self, directory: &[u8]) -> Option<RepoPath> {
        RepoPath::new(self.0.strip_prefix(directory)?)
    }
}

/// One line whatever the name: a line feed in it, printed in a workflow, could be followed by a command to GitHub.
impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.lossy();
        text.chars().try_for_each(|c| {
            if c.is_control() {
                write!(f, "{}", c.escape_default())
            } else {
                f.write_char(c)
            }
        })
    }
}

impl fmt::Debug for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl Serialize for RepoPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.lossy())
    }
}

/// What happened to a path. A rename is a deletion here and an addition there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    Added,
    Modified,
    Deleted,
    /// Not known to git and not ignored by it.
    Untracked,
    /// In the middle of a merge.
    Unmerged,
    /// Named in a list that does not say more.
    Listed,
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ChangeKind::Added => "added",
            ChangeKind::Modified => "modified",
            ChangeKind::Deleted => "deleted",
            ChangeKind::Untracked => "untracked",
            ChangeKind::Unmerged => "unmerged",
            ChangeKind::Listed => "listed",
        })
    }
}

/// One path that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub path: RepoPath,
    pub kind: ChangeKind,
}

impl Change {
    fn new(path: &[u8], kind: ChangeKind) -> Result<Change, String> {
        let path = RepoPath::new(path)
            .ok_or_else(|| format!("`{}` is not a path", String::from_utf8_lossy(path)))?;
        Ok(Change { path, kind })
    }
}

/// Each path once, sorted. Of two changes to a path the later one says what it is now; what was added and then
/// modified is still an addition.
pub fn merge(changes: impl IntoIterator<Item = Change>) -> Vec<Change> {
    let mut merged: BTreeMap<RepoPath, ChangeKind> = BTreeMap::new();
    for Change { path, kind } in changes {
        let known = merged.entry(path).or_insert(kind);
        if (*known, kind) != (ChangeKind::Added, ChangeKind::Modified) {
            *known = kind;
        }
    }
    merged
        .into_iter()
        .map(|(path, kind)| Change { path, kind })
        .collect()
}

/// The changes below `directory` (empty, or with a slash at its end) as seen from there; others are left out.
pub fn below(changes: Vec<Change>, directory: &[u8]) -> Vec<Change> {
    if directory.is_empty() {
        return changes;
    }
    let seen = |change: Change| {
        let path = change.path.below(directory)?;
        Some(Change { path, ..change })
    };
    changes.into_iter().filter_map(seen).collect()
}

/// Reads `--name-status -z` of git diff and its plumbing: a status, NUL, a path, NUL; for a rename or a copy a
/// second path (git-diff(1), "Raw output format"). Anything else is an error: a record passed over would be a
/// connector not built.
pub fn parse_name_status(output: &[u8]) -> Result<Vec<Change>, String> {
    let mut fields = records(output)?.into_iter();
    let mut changes = Vec::new();
    while let Some(status) = fields.next() {
        let mut path = || {
            fields
                .next()
                .ok_or_else(|| format!("no path after status {}", shown(status)))
        };
        match status {
            [b'A'] => changes.push(Change::new(path()?, ChangeKind::Added)?),
            [b'M' | b'T'] => changes.push(Change::new(path()?, ChangeKind::Modified)?),
            [b'D'] => changes.push(Change::new(path()?, ChangeKind::Deleted)?),
            [b'U'] => changes.push(Change::new(path()?, ChangeKind::Unmerged)?),
            [b'R', ..] => {
                changes.push(Change::new(path()?, ChangeKind::Deleted)?);
                changes.push(Change::new(path()?, ChangeKind::Added)?);
            }
            [b'C', ..] => {
                path()?;
                changes.push(Change::new(path()?, ChangeKind::Added)?);
            }
            _ => return Err(format!("unknown status {}", shown(status))),
        }
    }
    Ok(changes)
}

/// Reads `git status --porcelain=v2 -z` (git-status(1), "Porcelain Format Version 2").
pub fn parse_status(output: &[u8]) -> Result<Vec<Change>, String> {
    let mut records = records(output)?.into_iter();
    let mut changes = Vec::new();
    while let Some(record) = records.next() {
        let malformed = || format!("unknown record {}", shown(record));
        match record {
            [b'#' | b'!', b' ', ..] => {}
            [b'?', b' ', path @ ..] => changes.push(Change::new(path, ChangeKind::Untracked)?),
            // 1 XY sub mH mI mW hH hI path
            [b'1', b' ', index, tree, b' ', ..] => {
                let path = after_fields(record, 8).ok_or_else(malformed)?;
                changes.push(Change::new(path, kind_of(*index, *tree))?);
            }
            // 2 XY sub mH mI mW hH hI Xscore path NUL origPath
            [b'2', b' ', index, tree, b' ', ..] => {
                let path = after_fields(record, 9).ok_or_else(malformed)?;
                let origin = records.next().ok_or_else(malformed)?;
                if *index == b'R' || *tree == b'R' {
                    changes.push(Change::new(origin, ChangeKind::Deleted)?);
                }
                let kind = match kind_of(*index, *tree) {
                    ChangeKind::Deleted => ChangeKind::Deleted,
                    _ => ChangeKind::Added,
                };
                changes.push(Change::new(path, kind)?);
            }
            // u XY sub m1 m2 m3 mW h1 h2 h3 path
            [b'u', b' ', ..] => {
                let path = after_fields(record, 10).ok_or_else(malformed)?;
                changes.push(Change::new(path, ChangeKind::Unmerged)?);
            }
            _ => return Err(malformed()),
        }
    }
    Ok(changes)
}

/// Reads a list of paths: separated by NUL when there is one in it, else by line feeds.
pub fn parse_list(text: &[u8]) -> Result<Vec<RepoPath>, String> {
    let lines = !text.contains(&0);
    let path = |entry: &[u8]| {
        let shown = String::from_utf8_lossy(entry);
        if lines && entry.len() > 1 && entry.starts_with(b"\"") && entry.ends_with(b"\"") {
            return Err(format!(
                "{shown}: a quoted path; list paths with NUL between them, as `git diff --name-only -z` does"
            ));
        }
        RepoPath::new(entry.strip_prefix(b"./").unwrap_or(entry))
            .ok_or_else(|| format!("`{shown}` is not a path below the repository's top"))
    };
    let separator = if lines { b'\n' } else { 0 };
    text.split(|b| *b == separator)
        .map(|entry| entry.strip_suffix(b"\r").filter(|_| lines).unwrap_or(entry))
        .filter(|entry| !entry.is_empty())
        .map(path)
        .collect()
}

/// What index and work tree together make of a path; the work tree comes last.
fn kind_of(index: u8, tree: u8) -> ChangeKind {
    match (index, tree) {
        (_, b'D') | (b'D', _) => ChangeKind::Deleted,
        (b'A', _) | (_, b'A') => ChangeKind::Added,
        _ => ChangeKind::Modified,
    }
}

/// NUL-terminated records; output that was cut off in the middle of one is an error.
fn records(output: &[u8]) -> Result<Vec<&[u8]>, String> {
    let Some((last, whole)) = output.split_last() else {
        return Ok(Vec::new());
    };
    if *last != 0 {
        return Err("the output was cut off".to_owned());
    }
    Ok(whole.split(|b| *b == 0).collect())
}

/// What stands after `count` fields that are separated by single spaces.
fn after_fields(record: &[u8], count: usize) -> Option<&[u8]> {
    record.splitn(count + 1, |b| *b == b' ').nth(count)
}

fn shown(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(changes: Result<Vec<Change>, String>) -> Vec<String> {
        match changes {
            Ok(changes) => changes
                .iter()
                .map(|c| format!("{} {}", c.kind, c.path))
                .collect(),
            Err(error) => vec![format!("error: {error}")],
        }
    }

    #[test]
    fn name_status_is_read_whatever_bytes_the_paths_hold() {
        for (output, expected) in [
            (&b""[..], &[][..]),
            (
                b"M\0a b\0A\0q\"\n\0D\0\xff\0T\0link\0",
                &[
                    "modified a b",
                    "added q\"\\n",
                    "deleted \u{fffd}",
                    "modified link",
                ],
            ),
            (
                b"R100\0old\0new\0C075\0from\0to\0",
                &["deleted old", "added new", "added to"],
            ),
            (b"U\0torn\0", &["unmerged torn"]),
            (b"M\0", &["error: no path after status \"M\""]),
            (b"X\0a\0", &["error: unknown status \"X\""]),
            (b"M\0a", &["error: the output was cut off"]),
            (b"M\0../a\0", &["error: `../a` is not a path"]),
        ] {
            assert_eq!(
                told(parse_name_status(output)),
                expected,
                "{}",
                shown(output)
            );
        }
    }

    #[test]
    fn status_is_read_record_by_record() {
        let hashes = "100644 100644 100644 1111 2222";
        let record = |text: &str| format!("{text}\0").into_bytes();
        for (output, expected) in [
            (
                record(&format!("1 .M N... {hashes} a  b")),
                &["modified a  b"][..],
            ),
            (record(&format!("1 A. N... {hashes} new")), &["added new"]),
            (
                record(&format!("1 AD N... {hashes} gone")),
                &["deleted gone"],
            ),
            (
                record(&format!("1 D. N... {hashes} gone")),
                &["deleted gone"],
            ),
            (
                record(&format!("1 .M SC.. {hashes} module")),
                &["modified module"],
            ),
            (
                record(&format!("2 R. N... {hashes} R100 new\0old")),
                &["deleted old", "added new"],
            ),
            (
                record(&format!("2 C. N... {hashes} C100 new\0old")),
                &["added new"],
            ),
            (
                record("u UU N... 1 2 3 4 h1 h2 h3 torn file"),
                &["unmerged torn file"],
            ),
            (record("? nested/"), &["untracked nested"]),
            (record("# branch.oid 1234\0! ignored"), &[]),
            (
                record("1 .M N..."),
                &["error: unknown record \"1 .M N...\""],
            ),
            (record("? "), &["error: `` is not a path"]),
            (record("hello"), &["error: unknown record \"hello\""]),
        ] {
            assert_eq!(told(parse_status(&output)), expected, "{}", shown(&output));
        }
    }

    #[test]
    fn lists_are_separated_by_lines_or_by_nul() {
        let read = |text: &[u8]| {
            parse_list(text).map(|paths| paths.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        for (text, expected) in [
            (&b"a\n./b/c\r\n\n"[..], &["a", "b/c"][..]),
            (b"a\nb\0c\"\0", &["a\\nb", "c\""]),
            (b"", &[]),
            (b"\n", &[]),
        ] {
            assert_eq!(read(text).unwrap(), expected, "{}", shown(text));
        }
        for bad in [&b"/etc/passwd\n"[..], b"a/../b\n", b"\"a\\303\"\n"] {
            assert!(read(bad).is_err(), "{}", shown(bad));
        }
    }

    #[test]
    fn a_path_knows_what_is_around_it() {
        let path = RepoPath::new(b"a/b/c").unwrap();
        assert_eq!(
            path.ancestors().collect::<Vec<_>>(),
            [&b"a/b/c"[..], b"a/b", b"a"]
        );
        assert_eq!(
            (path.file_name(), path.directory()),
            (&b"c"[..], Some(&b"a/b"[..]))
        );
        assert_eq!(RepoPath::new(b"a").unwrap().directory(), None);
        assert_eq!(path.below(b"a/"), RepoPath::new(b"b/c"));
        assert_eq!(path.below(b"b/"), None);
    }

    #[test]
    fn a_path_comes_out_once_with_what_it_is_now() {
        use ChangeKind::{Added, Deleted, Modified, Untracked};
        for (first, then, expected) in [
            (Added, Modified, Added),
            (Modified, Deleted, Deleted),
            (Deleted, Untracked, Untracked),
            (Added, Deleted, Deleted),
        ] {
            let changes = [first, then].map(|kind| Change::new(b"a", kind).unwrap());
            assert_eq!(merge(changes), [Change::new(b"a", expected).unwrap()]);
        }
    }

    /// Not one of many torn, shuffled and random outputs makes a reader panic, and what is read whole is read the
    /// same again.
    #[test]
    fn no_output_makes_the_readers_panic() {
        let corpus: [&[u8]; 4] = [
            b"M\0a b\0R100\0old\0new\0C1\0x\0y\0D\0\xff\xfe\0",
            b"1 .M N... 100644 100644 100644 11 22 a b\0? u/\0! i\0# h\0",
            b"2 R. N... 100644 100644 100644 11 22 R100 new\0old\0u UU N... 1 2 3 4 5 6 7 t\0",
            b"./a\nb\r\n\"q\"\n",
        ];
        let mut state = 7u64;
        let mut random = move |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..20_000 {
            let mut text = corpus[random(corpus.len())].to_vec();
            for _ in 0..random(6) {
                let at = random(text.len().max(1)).min(text.len());
                match random(4) {
                    0 => text.truncate(at),
                    1 => text.insert(at, [0, b' ', b'/', b'R', b'\n', b'"', 255][random(7)]),
                    2 => text.extend_from_within(at..),
                    _ if at < text.len() => text[at] = random(256) as u8,
                    _ => {}
                }
            }
            for read in [parse_name_status(&text), parse_status(&text)] {
                let merged = read.map(merge).unwrap_or_default();
                assert_eq!(merge(merged.clone()), merged);
            }
            let _ = parse_list(&text);
        }
    }
}
