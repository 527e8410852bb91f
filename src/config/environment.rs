//! Where variables come from.

use std::collections::HashMap;
use std::env::VarError;

use super::{APP_ENV, VARIABLES, Variable};

/// Where variables come from: the process, or a map in tests.
pub trait Vars {
    /// The value of `name`, if it is set.
    fn get(&self, name: &str) -> Option<String>;

    /// What is wrong with where they come from, a line each; each begins with a variable's name or a file's, and a
    /// colon.
    fn mistakes(&self) -> &[String] {
        &[]
    }
}

impl Vars for HashMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        HashMap::get(self, name).cloned()
    }
}

/// The process's environment, under it a `.env` file where this is development.
pub struct Environment {
    dotenv: HashMap<String, String>,
    mistakes: Vec<String>,
}

impl Environment {
    /// Reads `.env` of the working directory, unless `APP_ENV` says production. What is set in the
    /// process wins over the file. A file that is there and cannot be read, and a variable that is no UTF-8 and so
    /// would count as unset, are mistakes of the configuration.
    #[must_use]
    pub fn read() -> Self {
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
        Self { dotenv, mistakes }
    }
}

impl Vars for Environment {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().or_else(|| self.dotenv.get(name).cloned())
    }

    fn mistakes(&self) -> &[String] {
        &self.mistakes
    }
}
