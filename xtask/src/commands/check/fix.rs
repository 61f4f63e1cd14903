//! `check --fix`: mends what has one right answer, or an entry that only waits for its words.

use anyhow::Result;
use camino::Utf8PathBuf;

use crate::{
    commands::{
        Context,
        bump::{self, Row},
        edits::{Edit, Edits},
    },
    model::{connector::Connector, date::Date},
    plan::{
        bump as edit,
        checks::{Check, Subject},
    },
};

/// What a changelog says until its author does.
const TO_BE_WRITTEN: &str = "TODO: say what changed";

/// Mends what `chosen` find in the connectors of `directories`, and says what it wrote, and what it can't mend.
pub fn run(
    context: &Context,
    directories: &[Utf8PathBuf],
    chosen: &[&'static Check],
    today: Date,
) -> Result<()> {
    let row = Row::new(context, TO_BE_WRITTEN, None)?;
    let mend = |change: &dyn Fn(&mut Edits) -> Result<Option<Utf8PathBuf>>| {
        let mut edits = Edits::new(&context.repo.root);
        let mended = change(&mut edits).and_then(|file| edits.write().map(|()| file));
        match mended {
            Ok(Some(file)) => context.report.note(format_args!("mended {file}")),
            Ok(None) => {}
            Err(error) => context
                .report
                .warning(format_args!("not mended: {error:#}")),
        }
    };
    // Metadata that can't be read is a finding of the checks.
    for connector in &context.repo.load_from(directories)?.connectors {
        let files = context.repo.connector_files(&connector.directory);
        let subject = Subject::new(&files, today, &context.resolved.config.checks);
        let found = |id: &str| {
            let check = chosen.iter().find(|check| check.id == id);
            check.is_some_and(|check| !check.of(&subject).is_empty())
        };
        if found("version-equal") {
            mend(&|edits| version(edits, connector));
        }
        if found("changelog-entry") {
            let version = connector.metadata.version.to_string();
            mend(&|edits| bump::add_row(edits, connector, &version, &row));
        }
    }
    Ok(())
}

/// Gives the package the version of metadata.yaml.
fn version(edits: &mut Edits, connector: &Connector) -> Result<Option<Utf8PathBuf>> {
    let to = &connector.metadata.version;
    let path = connector.directory.join("pyproject.toml");
    let of = |problem| bump::of(connector, problem);
    let edited = edits.edit(&path, |text| edit::pyproject(text, to).map_err(of))?;
    edits.edit(&connector.directory.join("uv.lock"), |text| {
        edit::uv_lock(text, to).map_err(of)
    })?;
    Ok((edited == Edit::Changed).then_some(path))
}
