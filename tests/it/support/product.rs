//! The two products that private servers are made of, and where they differ.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::child;

/// Whose server a private one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    MariaDb,
    MySql,
}

impl Product {
    /// What `TEST_DATABASE` asks for: `mariadb`, which is the default, or `mysql`.
    pub fn chosen() -> Product {
        match std::env::var("TEST_DATABASE").as_deref() {
            Err(_) | Ok("" | "mariadb") => Product::MariaDb,
            Ok("mysql") => Product::MySql,
            Ok(other) => panic!("TEST_DATABASE is mariadb or mysql, not {other}"),
        }
    }

    /// By what a server says of itself (`SELECT VERSION()`, `mysqld --version`).
    pub fn of(version: &str) -> Product {
        if version.to_lowercase().contains("mariadb") { Product::MariaDb } else { Product::MySql }
    }

    pub fn other(self) -> Product {
        match self {
            Product::MariaDb => Product::MySql,
            Product::MySql => Product::MariaDb,
        }
    }

    /// The server program.
    pub fn program(self) -> PathBuf {
        let advice = match self {
            Product::MariaDb => "apt-get install mariadb-server-core",
            Product::MySql => "`deploy/local/test mysql` installs one",
        };
        self.program_if_any().unwrap_or_else(|| panic!("there is no server program of {self:?} ({advice})"))
    }

    /// Nothing where it is not installed. MariaDB's packages have one by the name of MySQL's, too: a link to their own.
    pub fn program_if_any(self) -> Option<PathBuf> {
        static FOUND: [OnceLock<Option<PathBuf>>; 2] = [OnceLock::new(), OnceLock::new()];
        let name = match self {
            Product::MariaDb => "mariadbd",
            Product::MySql => "mysqld",
        };
        let is_its = |program: &PathBuf| Product::of(&version(program)) == self;
        FOUND[self as usize].get_or_init(|| child::find_all(name).find(is_its)).clone()
    }

    /// Options that only this one knows, for a small server that starts quickly.
    pub fn args(self) -> &'static [&'static str] {
        match self {
            Product::MariaDb => {
                &["--innodb-log-file-size=8M", "--key-buffer-size=1M", "--aria-pagecache-buffer-size=1M"]
            }
            // Managed MySQL often refuses tables without a primary key: here, too, so that none gets in.
            // And nothing waits for the disk: a process that is killed loses nothing by that, only a machine would.
            Product::MySql => &[
                "--innodb-redo-log-capacity=8M",
                "--innodb-flush-method=nosync",
                "--innodb-doublewrite=OFF",
                "--mysqlx=OFF",
                "--skip-log-bin",
                "--secure-file-priv=",
                "--sql-require-primary-key=ON",
            ],
        }
    }

    /// Makes a new data folder, with an administrator `root@127.0.0.1` who has no password, and with options that MySQL
    /// takes then or never.
    pub fn make_data_folder(self, folder: &Path, options: &[&str]) {
        let datadir = format!("--datadir={}", folder.display());
        let mut command = match self {
            Product::MariaDb => {
                let mut command = Command::new("mariadb-install-db");
                command
                    .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
                    .arg("--innodb-log-file-size=8M");
                command
            }
            Product::MySql => {
                let accounts = folder.with_extension("sql");
                let statements = "CREATE USER 'root'@'127.0.0.1';\n\
                                  GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;\n";
                std::fs::write(&accounts, statements).expect("the accounts");
                let mut command = Command::new(self.program());
                command
                    .args(["--no-defaults", "--initialize-insecure", "--innodb-redo-log-capacity=8M"])
                    .arg("--innodb-flush-method=nosync")
                    .arg(format!("--init-file={}", accounts.display()))
                    .args(options);
                command
            }
        };
        output(command.args(user_option()).arg(datadir));
        // Two servers of one name would not replicate from each other; it is made anew where it is missing.
        let _ = std::fs::remove_file(folder.join("auto.cnf"));
    }
}

/// What a server program says of itself.
pub fn version(program: &Path) -> String {
    output(Command::new(program).args(["--no-defaults", "--version"]))
}

/// Both refuse to be root unless told.
pub fn user_option() -> Option<&'static str> {
    rustix::process::geteuid().is_root().then_some("--user=root")
}

/// Runs a command that must succeed and returns what it wrote.
pub fn output(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {said}{complaint}");
    said
}
