//! `config`: each setting, its value and where it came from.

use anyhow::Result;

use super::Context;
use crate::{flags::Json, model::problem::Exit, report::table};

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
