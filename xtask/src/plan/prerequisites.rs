//! The script that prepares an image before anything is installed: Airbyte's EXTRA_PREREQS_SCRIPT.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;

use crate::model::{connector::Language, platform::Platform, problem::Problem};

/// A script of the connector's that runs as root in its image: of all steps the one that the other platform's
/// processor has to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prerequisites {
    /// Path in the connector's directory.
    pub script: String,
    /// Platforms that it is emulated on.
    pub emulated: Vec<Platform>,
}

impl Prerequisites {
    /// The script that configuration names; an error when it is no file of the connector, whose paths are `files`.
    pub fn choose(
        connector: &str,
        script: &str,
        files: &BTreeSet<String>,
        platforms: &[Platform],
        native: Platform,
    ) -> Result<Prerequisites, Problem> {
        if !files.contains(script) {
            return Err(Problem::usage(format!(
                "{connector} has no file {script}, which prepares its image"
            ))
            .help(format!(
                "add it, or take {connector} out of `prerequisites` in the configuration"
            )));
        }
        let foreign = platforms.iter().filter(|platform| **platform != native);
        Ok(Prerequisites {
            script: script.to_owned(),
            emulated: foreign.copied().collect(),
        })
    }
}

impl fmt::Display for Prerequisites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} runs as root in the image", self.script)?;
        let emulated: Vec<String> = self.emulated.iter().map(Platform::to_string).collect();
        match emulated.is_empty() {
            true => Ok(()),
            false => write!(f, ", emulated for {}", emulated.join(" and ")),
        }
    }
}

/// An error for a script that nothing would run.
pub fn refuse(connector: &str, language: Language) -> Problem {
    Problem::usage(format!(
        "{connector} is {language}, and only images of python connectors are prepared by a script"
    ))
    .help(format!(
        "take {connector} out of `prerequisites` in the configuration"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_there_and_said_to_be_emulated() {
        let files: BTreeSet<String> = ["install.sh".to_owned()].into();
        for (script, platforms, expected) in [
            (
                "install.sh",
                &Platform::ALL[..],
                "install.sh runs as root in the image, emulated for linux/arm64",
            ),
            (
                "install.sh",
                &[Platform::LinuxAmd64],
                "install.sh runs as root in the image",
            ),
            (
                "other.sh",
                &Platform::ALL,
                "source-a has no file other.sh, which prepares its image",
            ),
        ] {
            let native = Platform::LinuxAmd64;
            let got = match Prerequisites::choose("source-a", script, &files, platforms, native) {
                Ok(prerequisites) => prerequisites.to_string(),
                Err(problem) => problem.message,
            };
            assert_eq!(got, expected);
        }
    }
}
