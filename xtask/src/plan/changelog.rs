//! The table of versions in a connector's documentation page.

use super::checks::names_version;

/// One row to come.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    pub version: &'a str,
    /// YYYY-MM-DD.
    pub date: &'a str,
    /// Number of the pull request; a placeholder stands where it is not known.
    pub pull_request: Option<u64>,
    pub text: &'a str,
    /// Address of the repository that pull requests are in; empty where it is not known.
    pub source: &'a str,
}

/// What stands for the number of a pull request that is not there yet, as Airbyte's own tool writes it.
const PLACEHOLDER: &str = "*PR_NUMBER_PLACEHOLDER*";

/// The page with the entry as the first row of its changelog's table; unchanged when the version is in there.
pub fn add(page: &str, entry: &Entry) -> Result<String, String> {
    let lines: Vec<&str> = page.split_inclusive('\n').collect();
    let heading = lines
        .iter()
        .position(|line| line.to_lowercase().contains("# changelog"))
        .ok_or("there is no heading `## Changelog`")?;
    let below = &lines[heading + 1..];
    if has_version(below.iter().copied(), entry.version) {
        return Ok(page.to_owned());
    }
    let rule = below
        .iter()
        .position(|line| is_rule(line))
        .filter(|rule| *rule > 0)
        .ok_or("there is no table below the changelog's heading")?
        + heading
        + 1;
    let end = if lines[rule - 1].ends_with("\r\n") {
        "\r\n"
    } else {
        "\n"
    };
    let row = row(lines[rule - 1], lines[rule], entry);
    let before = lines[..=rule].concat();
    let joint = if before.ends_with('\n') { "" } else { end };
    Ok(format!(
        "{before}{joint}{row}{end}{}",
        lines[rule + 1..].concat()
    ))
}

/// Whether the lines below a changelog's heading have the version. What a table says beside its column of versions
/// names those of other things, such as a base image's; where there is no table, the version may stand anywhere.
pub fn has_version<'a>(below: impl IntoIterator<Item = &'a str>, version: &str) -> bool {
    let mut above = "";
    // That of the versions, while in a table.
    let mut column = None;
    below.into_iter().any(|line| {
        let line = line.trim();
        column = match column {
            _ if is_rule(line) => Some(version_column(above)),
            _ if !line.contains('|') => None,
            // Written as a row, though there is no header, or an empty line behind it.
            None if line.starts_with('|') => Some(0),
            column => column,
        };
        above = line;
        match column {
            Some(column) => cells(line)
                .get(column)
                .is_some_and(|cell| names_version(cell, version)),
            None => names_version(line, version),
        }
    })
}

/// The first column that says it has versions, else the first.
fn version_column(header: &str) -> usize {
    let header = header.to_lowercase();
    let mut names = cells(&header).into_iter();
    names.position(is_of_versions).unwrap_or(0)
}

fn is_of_versions(name: &str) -> bool {
    name.contains("version")
}

/// Whether a line parts a table's header from its rows: `|:---|---|`.
fn is_rule(line: &str) -> bool {
    let line = line.trim();
    line.contains('|')
        && line.contains('-')
        && line.chars().all(|c| matches!(c, '|' | '-' | ':' | ' '))
}

/// A row with the header's columns, as wide as the rule where that is wider.
fn row(header: &str, rule: &str, entry: &Entry) -> String {
    let widths = cells(rule).into_iter().map(|cell| cell.chars().count());
    let mut text = entry.text.replace('|', "\\|").replace(['\r', '\n'], " ");
    let header = header.to_lowercase();
    let is_of_pulls = |name: &str| name.contains("pull") || name == "pr";
    // A table without a column for it names the pull request behind the text.
    if entry.pull_request.is_some() && !cells(&header).into_iter().any(is_of_pulls) {
        text = format!("{text} ({})", link(entry));
    }
    let mut texts = vec![text];
    let mut cell = |(name, width): (&str, usize)| {
        let text = match () {
            _ if is_of_versions(name) => entry.version.to_owned(),
            _ if name.contains("date") => entry.date.to_owned(),
            _ if is_of_pulls(name) => link(entry),
            _ => texts.pop().unwrap_or_default(),
        };
        format!(" {text:<width$} |")
    };
    let row: String = cells(&header)
        .into_iter()
        .zip(widths)
        .map(&mut cell)
        .collect();
    // Nobody sees the width of the last column.
    format!("|{} |", row.strip_suffix('|').unwrap_or(&row).trim_end())
}

/// The cells of a row; `\|` is no end of one.
fn cells(line: &str) -> Vec<&str> {
    let line = line.trim();
    let line = line.strip_prefix('|').unwrap_or(line);
    let line = line.strip_suffix('|').unwrap_or(line);
    let mut escaped = false;
    let ends = |c: char| {
        let ends = c == '|' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    };
    line.split(ends).map(str::trim).collect()
}

fn link(entry: &Entry) -> String {
    let number = entry
        .pull_request
        .map_or(PLACEHOLDER.to_owned(), |number| number.to_string());
    match entry.source {
        "" => number,
        source => format!("[{number}]({source}/pull/{number})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_added_on_top_and_only_once() {
        let entry = Entry {
            version: "1.2.4",
            date: "2026-11-23",
            pull_request: Some(7),
            text: "a | b",
            source: "https://example.com/o/r",
        };
        let link = "[7](https://example.com/o/r/pull/7)";
        for (page, expected) in [
            (
                "# X\n## Changelog\n\n| Version | Date | Pull Request | Subject |\n|:------|------|---|---|\n| 1.2.3 | d | p | s |\n",
                format!("# X\n## Changelog\n\n| Version | Date | Pull Request | Subject |\n|:------|------|---|---|\n| 1.2.4   | 2026-11-23 | {link} | a \\| b |\n| 1.2.3 | d | p | s |\n"),
            ),
            (
                "### CHANGELOG\r\nDate | Version | Note\r\n---|---|---",
                "### CHANGELOG\r\nDate | Version | Note\r\n---|---|---\r\n| 2026-11-23 | 1.2.4 | a \\| b ([7](https://example.com/o/r/pull/7)) |\r\n".to_owned(),
            ),
            ("## Changelog\n| V |\n|---|\n| 1.2.4 |\n", "## Changelog\n| V |\n|---|\n| 1.2.4 |\n".to_owned()),
            ("# X\n", "there is no heading `## Changelog`".to_owned()),
            ("| Version |\n|---|\n## Changelog\n", "there is no table below the changelog's heading".to_owned()),
        ] {
            assert_eq!(add(page, &entry).unwrap_or_else(|error| error), expected);
        }
        // What was added is there, whichever column it is in.
        for page in [
            "## Changelog\n|Version|Date|Note|\n|-|-|-|\n|1.2.3|d|from 1.2.2 to v1.2.4|\n",
            "## Changelog\n|Note|Version|\n|-|-|\n",
        ] {
            let once = add(page, &entry).unwrap();
            assert_ne!(once, page);
            assert_eq!(add(&once, &entry).unwrap(), once);
        }
        let unknown = Entry {
            pull_request: None,
            source: "",
            ..entry
        };
        let page = add("## Changelog\n|Version|PR|\n|-|-|\n", &unknown).unwrap();
        assert!(
            page.ends_with("|\n| 1.2.4 | *PR_NUMBER_PLACEHOLDER* |\n"),
            "{page}"
        );
    }

    #[test]
    fn a_version_is_looked_for_in_its_column() {
        let table = "| Version | Date | Subject |\n|:---|:---|:---|\n";
        let second = "| Date | Connector VERSION | Subject |\n|---|---|---|\n";
        for (top, line, expected) in [
            (table, "| 1.2.4 | d | s |", true),
            (table, "  | **[v1.2.4](x)** | d | s |", true),
            (table, "1.2.4 | d | s", true),
            (table, "| 5.4.3 | d | Base image v1.2.4 |", false),
            (table, "5.4.3 | d | Base image v1.2.4", false),
            (table, "| 11.2.4 | d | s |", false),
            (table, "\n| 1.2.4 | d | s |", true),
            (table, "\n| 5.4.3 | d | 1.2.4 |", false),
            (table, "\n- 1.2.4: s", true),
            (table, "\n- 5.4.3: with 1.2.4 | 1.2.5", true),
            (second, "| d | 1.2.4 | s |", true),
            (second, "| 1.2.4 | 5.4.3 | 1.2.4 |", false),
            (second, "| a \\| b | 1.2.4 | s |", true),
            (second, "| d |", false),
            ("| X | Y |\n|---|---|\n", "| 1.2.4 | y |", true),
            ("| X | Y |\n|---|---|\n", "| x | 1.2.4 |", false),
            ("", "| 1.2.4 | d |", true),
            ("", "| 5.4.3 | 1.2.4 |", false),
            ("", "### 1.2.4", true),
            ("", "", false),
        ] {
            let page = format!("{top}{line}\n");
            assert_eq!(has_version(page.lines(), "1.2.4"), expected, "{page}");
        }
    }
}
