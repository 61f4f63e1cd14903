//! `config`: each setting, its value and where it came from.

use anyhow::Result;

use super::Context;
use crate::{flags::Json, model::problem::Exit, report::table};

/// Prints what every setting comes to, also those nobody set; a setting that is wrong has ended the run before.
pub fn run(context: &Context, flags: &Json) -> Result<Exit> {
    let settings = &context.resolved.settings;
    if flags.json {
        context.report.json(settings)?;
    } else {
        let rows = settings
            .iter()
            .map(|s| vec![s.key.clone(), s.origin.to_string(), s.value.to_string()]);
        context.report.result(table(
            &["SETTING", "FROM", "VALUE"],
            &rows.collect::<Vec<_>>(),
        ));
    }
    Ok(Exit::Success)
}
