//! The files through which a step of GitHub Actions gives outputs and a summary ("Workflow commands").

use std::{
    env,
    fs::OpenOptions,
    hash::{BuildHasher, RandomState},
    io::Write,
    path::PathBuf,
};

use anyhow::{Context, Result};

/// GitHub takes 1 MiB of summary from a step; a publish writes two of this length at most.
pub const SUMMARY: usize = 500_000;

/// Whether a step of Actions runs this, which reads annotations from what is printed.
pub fn is_runner() -> bool {
    env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true")
}

/// Appends outputs to $GITHUB_OUTPUT, in one write; nothing outside of Actions.
pub fn set_outputs(outputs: &[(&str, &str)]) -> Result<()> {
    match file("GITHUB_OUTPUT") {
        Some(path) => {
            let text: String = outputs
                .iter()
                .map(|(name, value)| output(name, value))
                .collect();
            append(&path, &text, "outputs")
        }
        None => Ok(()),
    }
}

/// Appends to the step summary; nothing outside of Actions.
pub fn add_to_summary(markdown: &str) -> Result<()> {
    match file("GITHUB_STEP_SUMMARY") {
        Some(path) => append(&path, markdown, "step summary"),
        None => Ok(()),
    }
}

fn file(variable: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

fn append(path: &PathBuf, text: &str, what: &str) -> Result<()> {
    let mut options = OpenOptions::new();
    let file = options.create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("write the {what} to {}", path.display()))
}

/// One output behind a delimiter that no value can hold by intent.
fn output(name: &str, value: &str) -> String {
    // The standard library seeds each hasher from the operating system.
    let random = || RandomState::new().hash_one(value);
    let delimiter = format!("xtask_{:016x}{:016x}", random(), random());
    format!("{name}<<{delimiter}\n{value}\n{delimiter}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_output_has_a_delimiter_of_its_own() {
        let (first, second) = (output("a", "x\ny"), output("a", "x\ny"));
        assert_ne!(first, second);
        let lines: Vec<&str> = first.lines().collect();
        let delimiter = lines[0].strip_prefix("a<<").unwrap();
        assert_eq!(lines[1..], ["x", "y", delimiter]);
        assert_eq!(delimiter.len(), "xtask_".len() + 32);
    }
}
