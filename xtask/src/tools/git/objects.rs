//! Files as they were at a commit.

use anyhow::{Context, Result, anyhow};
use camino::Utf8Path;
use camino::Utf8PathBuf;

/// A file at a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    pub commit: String,
    /// From the directory that git is asked in.
    pub path: Utf8PathBuf,
}

/// The contents of files, all asked for at once; None for what was no file then.
pub fn contents(root: &Utf8Path, files: &[Past]) -> Result<Vec<Option<Vec<u8>>>> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    // One name a line is what git reads: a path with a line feed would be two names.
    let name = |past: &Past| match past.path.as_str().contains('\n') {
        true => "-\n".to_owned(),
        false => format!("{}:./{}\n", past.commit, past.path),
    };
    let names: String = files.iter().map(name).collect();
    let program = super::git(root, &["cat-file", "--batch"])?;
    let printed = program.input(names).output()?;
    let contents = parse(&printed.stdout, files.len());
    contents.with_context(|| format!("read the output of `{}`", printed.line))
}

/// Reads `OBJECT TYPE SIZE`, a line feed, the content and another line feed for each object there is, and a line of
/// another form for each that is not (git-cat-file(1), "BATCH OUTPUT").
fn parse(mut text: &[u8], count: usize) -> Result<Vec<Option<Vec<u8>>>> {
    let mut contents = Vec::with_capacity(count);
    for _ in 0..count {
        let end = text.iter().position(|byte| *byte == b'\n');
        let end =
            end.ok_or_else(|| anyhow!("it ends after {} objects of {count}", contents.len()))?;
        let line = String::from_utf8_lossy(&text[..end]).into_owned();
        text = &text[end + 1..];
        let Some((is_file, size)) = header(&line) else {
            contents.push(None);
            continue;
        };
        let content = text.get(..size).filter(|_| text.get(size) == Some(&b'\n'));
        let content =
            content.ok_or_else(|| anyhow!("an object is not as long as `{line}` says"))?;
        contents.push(is_file.then(|| content.to_vec()));
        text = &text[size + 1..];
    }
    Ok(contents)
}

/// Whether the object is a file, and how many bytes follow; None where there is no object.
fn header(line: &str) -> Option<(bool, usize)> {
    let mut words = line.split(' ');
    let (id, kind, size) = (words.next()?, words.next()?, words.next()?);
    let is_header = words.next().is_none() && super::history::is_commit_id(id);
    is_header.then_some((kind == "blob", size.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_read_by_their_length() {
        let id = "a".repeat(40);
        let text =
            format!("{id} blob 4\na\nb\n\nX:./no such 12 missing\n{id} tree 0\n\n{id} blob 0\n\n");
        assert_eq!(
            parse(text.as_bytes(), 4).unwrap(),
            [Some(b"a\nb\n".to_vec()), None, None, Some(Vec::new())]
        );
        for (text, says) in [
            (format!("{id} blob 9\nab\n"), "not as long"),
            (String::new(), "ends after 0"),
        ] {
            let error = parse(text.as_bytes(), 1).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
