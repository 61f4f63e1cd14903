//! What must hold of all connectors together.

use std::collections::BTreeMap;

use super::{Check, Defect, Run, Subject};
use crate::model::finding::Severity;

/// Both look at every connector, whichever are checked; the command drops what they find in others.
pub const CHECKS: &[Check] = &[
    Check {
        id: "definition-id-unique",
        description: "no other connector has this definitionId",
        severity: Severity::Error,
        applies: "all; a -strict-encrypt variant shares its parent's",
        run: Run::Fleet(definition_id),
    },
    Check {
        id: "docker-repository-unique",
        description: "no other connector has this dockerRepository",
        severity: Severity::Error,
        applies: "all",
        run: Run::Fleet(docker_repository),
    },
];

fn definition_id(subjects: &[Subject]) -> Vec<(usize, Defect)> {
    let family = |subject: &Subject| {
        let name = subject.files.name.as_str();
        name.trim_end_matches("-strict-encrypt").to_owned()
    };
    shared(subjects, "definitionId", family)
}

fn docker_repository(subjects: &[Subject]) -> Vec<(usize, Defect)> {
    shared(subjects, "dockerRepository", |subject| {
        subject.files.name.clone()
    })
}

/// Connectors of different families with the same value.
fn shared(
    subjects: &[Subject],
    field: &str,
    family: impl Fn(&Subject) -> String,
) -> Vec<(usize, Defect)> {
    let mut owners: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, subject) in subjects.iter().enumerate() {
        if let Some(value) = subject.text(field) {
            owners.entry(value.to_lowercase()).or_default().push(index);
        }
    }
    let mut defects = Vec::new();
    for indexes in owners.into_values().filter(|indexes| indexes.len() > 1) {
        for &index in &indexes {
            let subject = &subjects[index];
            let others: Vec<&str> = indexes
                .iter()
                .filter(|other| family(&subjects[**other]) != family(subject))
                .map(|other| subjects[*other].files.name.as_str())
                .collect();
            if !others.is_empty() {
                let message = format!("{field}: {} has the same", others.join(", "));
                let help = "one of them was copied; give it its own";
                defects.push((index, subject.in_metadata(field, message, help)));
            }
        }
    }
    defects
}
