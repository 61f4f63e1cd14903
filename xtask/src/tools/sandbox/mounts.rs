//! Mounts that a killed engine left behind.

use std::fs;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use xshell::{Shell, cmd};

use super::layout::Layout;
use crate::tools::process::Program;

/// Unmounts what a killed engine left behind, the innermost first.
pub fn unmount_below(layout: &Layout) -> Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("read the mount table")?;
    let shell = Shell::new().context("open a shell")?;
    for path in mounts_below(&table, &[&layout.root, &layout.run]) {
        Program::from(cmd!(shell, "umount --lazy {path}")).output()?;
    }
    Ok(())
}

/// Mount points below `roots` in a `/proc/self/mountinfo`, the innermost and latest first.
fn mounts_below(table: &str, roots: &[&Utf8Path]) -> Vec<Utf8PathBuf> {
    let points = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape);
    let mut points: Vec<Utf8PathBuf> = points
        .map(Utf8PathBuf::from)
        .filter(|point| roots.iter().any(|root| point.starts_with(root)))
        .collect();
    points.reverse();
    points.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    points
}

/// Spaces, tabs, line ends and backslashes stand there as octal numbers (`proc_pid_mountinfo(5)`).
fn unescape(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (escape, plain)| {
        text.replace(escape, plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_the_sandbox_are_found_innermost_first() {
        let table = "1 0 8:1 / / rw - ext4 /dev/a rw
2 1 0:5 / /r/target/sandbox/a rw - overlay overlay rw
3 1 0:6 / /r/target/sandbox/a/b\\040c rw - tmpfs tmpfs rw
4 1 0:7 / /r/target/sandbox-other rw - tmpfs tmpfs rw
5 1 0:8 / /run/x/netns rw - nsfs nsfs rw
6 1 0:9 / /r/target rw - tmpfs tmpfs rw
";
        let found = mounts_below(
            table,
            &[Utf8Path::new("/r/target/sandbox"), Utf8Path::new("/run/x")],
        );
        assert_eq!(
            found,
            [
                "/r/target/sandbox/a/b c",
                "/r/target/sandbox/a",
                "/run/x/netns"
            ]
        );
    }
}
