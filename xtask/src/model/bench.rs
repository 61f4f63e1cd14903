//! What `bench` measures.

use std::{fmt, str::FromStr};

use super::text::as_text;

/// One measurement, named as on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    /// A Python connector, everything empty.
    Cold,
    /// The same on a new machine, while the registry holds the layers of earlier releases.
    FreshMachine,
    /// One line of its code and its version changed, everything warm.
    CodeChange,
    /// Its version is there already.
    NoChange,
    /// Twenty Python connectors, everything empty.
    Batch,
    /// The fleet's manifest-only connectors, everything empty.
    Manifests,
    /// Connectors that are published, on a newer base.
    BaseBump,
    /// `docker run IMAGE spec`, which every sync pays.
    Start,
    /// `cargo xtask connector list`.
    List,
    /// `connector list --all-changed` over a large fleet.
    ListChanged,
    /// The most memory that any command over a large fleet takes.
    Memory,
    /// Compiling this tool, nothing compiled before.
    Compile,
}

impl Case {
    /// Every case, in the order in which they run where the command line names none.
    pub const ALL: [Case; 12] = [
        Case::Cold,
        Case::FreshMachine,
        Case::CodeChange,
        Case::NoChange,
        Case::Batch,
        Case::Manifests,
        Case::BaseBump,
        Case::Start,
        Case::List,
        Case::ListChanged,
        Case::Memory,
        Case::Compile,
    ];

    fn name(self) -> &'static str {
        match self {
            Case::Cold => "cold",
            Case::FreshMachine => "fresh-machine",
            Case::CodeChange => "code-change",
            Case::NoChange => "no-change",
            Case::Batch => "batch",
            Case::Manifests => "manifests",
            Case::BaseBump => "base-bump",
            Case::Start => "start",
            Case::List => "list",
            Case::ListChanged => "list-changed",
            Case::Memory => "memory",
            Case::Compile => "compile",
        }
    }

    /// Whether images are made, which takes an engine and a registry.
    pub fn needs_engine(self) -> bool {
        !matches!(
            self,
            Case::List | Case::ListChanged | Case::Memory | Case::Compile
        )
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Case, String> {
        let names = || Case::ALL.map(Case::name).join(", ");
        Case::ALL
            .into_iter()
            .find(|case| case.name() == text)
            .ok_or_else(|| format!("`{text}` is no case of the bench (there are {})", names()))
    }
}

as_text!(Case);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_known_by_its_name() {
        for case in Case::ALL {
            assert_eq!(case.to_string().parse(), Ok(case));
        }
        let error = "warm".parse::<Case>().unwrap_err();
        assert!(error.contains("cold, fresh-machine"), "{error}");
    }
}
