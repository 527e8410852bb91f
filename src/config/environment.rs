//! Where variables come from.

use std::collections::HashMap;
use std::env::VarError;

use super::{APP_ENV, VARIABLES, Variable};

/// Where variables come from: the process, or a map in tests.
pub trait Vars {
    /// The value of `name`, if it is set.
    fn get(&self, name: &str) -> Option<String>;
}

impl Vars for HashMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        HashMap::get(self, name).cloned()
    }
}

/// The process's environment, under it a `.env` file where this is development.
pub struct Environment {
    dotenv: HashMap<String, String>,
}

impl Environment {
    /// Reads `.env` of the working directory, unless `APP_ENV` says production. What is set in the
    /// process wins over the file.
    ///
    /// # Errors
    /// Texts for the user when the file is there and cannot be read, and when a variable is no UTF-8: it would
    /// count as unset.
    pub fn read() -> Result<Self, Vec<String>> {
        let is_text =
            |variable: &&Variable| !matches!(std::env::var(variable.name), Err(VarError::NotUnicode(_)));
        let mistakes = VARIABLES.iter().filter(|variable| !is_text(variable));
        let mut mistakes: Vec<String> =
            mistakes.map(|variable| format!("{}: must be UTF-8", variable.name)).collect();
        let production = std::env::var(APP_ENV.name).is_ok_and(|value| value.trim() == "production");
        let mut dotenv = HashMap::new();
        if !production {
            match dotenvy::from_filename_iter(".env") {
                Ok(lines) => {
                    for line in lines {
                        match line {
                            Ok((name, value)) => drop(dotenv.insert(name, value)),
                            Err(error) => mistakes.push(format!(".env: {error}")),
                        }
                    }
                }
                Err(error) if error.not_found() => {}
                Err(error) => mistakes.push(format!(".env: {error}")),
            }
        }
        if mistakes.is_empty() { Ok(Self { dotenv }) } else { Err(mistakes) }
    }
}

impl Vars for Environment {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().or_else(|| self.dotenv.get(name).cloned())
    }
}
