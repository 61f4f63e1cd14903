//! `keyring`, the program that gives out passwords: uv and pip ask it where their `keyring-provider` is `subprocess`.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use super::{
    process::{Program, installed},
    work::lock,
};
use crate::model::problem::Problem;

/// It may have to unlock something, or ask a cloud for a token.
const LIMIT: Duration = Duration::from_secs(60);

/// Whose password is asked for, and where: once, by whoever needs it first.
#[derive(Debug, Clone)]
pub struct Entry {
    /// In the order they are asked for, as uv and pip do: the whole address, then its host.
    pub services: Vec<String>,
    pub user: String,
    answer: Arc<Mutex<Option<Answer>>>,
}

/// A password that is not printed; None where the keyring has none.
#[derive(Clone)]
struct Answer(Option<String>);

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Entry {
    /// Asks nobody yet; clones share what the first one is told.
    pub fn new(services: Vec<String>, user: String) -> Entry {
        Entry {
            services,
            user,
            answer: Arc::default(),
        }
    }

    /// The password; None where the keyring has none.
    ///
    /// # Errors
    /// When there is no keyring to ask.
    pub fn password(&self) -> Result<Option<String>> {
        let mut answer = lock(&self.answer);
        if let Some(Answer(known)) = &*answer {
            return Ok(known.clone());
        }
        let password = self.ask()?;
        *answer = Some(Answer(password.clone()));
        Ok(password)
    }

    fn ask(&self) -> Result<Option<String>> {
        if !installed("keyring") {
            let what = "`keyring-provider` is `subprocess`, and there is no program `keyring`";
            let help = "`uv tool install keyring`, with the backend that the index needs";
            return Err(Problem::environment(what).help(help).into());
        }
        let shell = Shell::new().context("open a shell")?;
        for service in &self.services {
            let user = &self.user;
            let asked = Program::from(cmd!(shell, "keyring get {service} {user}"))
                .limit(LIMIT)
                .finish()?;
            if asked.timed_out.is_some() {
                return Err(asked.error().into());
            }
            // It ends with 1 where it has no such entry.
            let password = asked.text().trim_end_matches(['\r', '\n']).to_owned();
            if asked.status.success() && !password.is_empty() {
                return Ok(Some(password));
            }
        }
        Ok(None)
    }
}
