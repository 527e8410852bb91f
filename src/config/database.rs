//! Where the database is, who we are there, and how the way to it is protected.

use std::net::Ipv6Addr;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use url::{Host, Url};

use super::{
    DATABASE_READER_URL, DATABASE_SSL_CA, DATABASE_SSL_MODE, DATABASE_URL, IMPORT_FROM, RDS_DB_NAME,
    RDS_HOSTNAME, RDS_PASSWORD, RDS_PORT, RDS_READER_HOSTNAME, RDS_USERNAME, Secret, VarReader, Variable,
};

/// Where a database is and who we are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseTarget {
    /// Host name or address; resolved anew at each connect, because failover moves it.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User.
    pub user: String,
    /// Password.
    pub password: Secret,
    /// Name of the schema.
    pub name: String,
}

impl DatabaseTarget {
    /// Reads a URL as `DATABASE_URL` holds one.
    ///
    /// # Errors
    /// What it must be.
    pub fn from_url(text: &str) -> Result<Self, String> {
        from_url(text)
    }
}

/// How the connection to the database is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// Plain TCP: inside one private network only.
    Disabled,
    /// Encrypted, the server's name unverified.
    Required,
    /// Encrypted and verified, against this PEM file or the public authorities.
    VerifyIdentity(Option<String>),
}

/// MySQL's.
const PORT_DEFAULT: u16 = 3306;

impl VarReader<'_> {
    /// The writer, which every command needs.
    pub(super) fn writer(&mut self) -> DatabaseTarget {
        if self.text(DATABASE_URL).is_none() && self.text(RDS_HOSTNAME).is_none() {
            self.mistake(DATABASE_URL, "it or RDS_HOSTNAME is required");
        }
        // What stands in until the mistakes are reported.
        self.database(DATABASE_URL, RDS_HOSTNAME).unwrap_or_else(|| DatabaseTarget {
            host: String::new(),
            port: PORT_DEFAULT,
            user: String::new(),
            password: Secret(String::new()),
            name: String::new(),
        })
    }

    /// The reader, if there is one. Beside `DATABASE_URL` the RDS_ variables are of another database, which a
    /// platform set by itself: theirs is no reader of this writer.
    pub(super) fn reader(&mut self) -> Option<DatabaseTarget> {
        if self.text(DATABASE_URL).is_some() {
            return self.url(DATABASE_READER_URL);
        }
        self.database(DATABASE_READER_URL, RDS_READER_HOSTNAME)
    }

    /// What `import` brings over, if it is said.
    pub(super) fn import_source(&mut self) -> Option<DatabaseTarget> {
        self.url(IMPORT_FROM)
    }

    fn url(&mut self, variable: Variable) -> Option<DatabaseTarget> {
        let text = self.text(variable)?;
        from_url(&text).map_err(|mistake| self.mistake(variable, &mistake)).ok()
    }

    fn database(&mut self, url: Variable, host: Variable) -> Option<DatabaseTarget> {
        if self.text(url).is_some() {
            return self.url(url);
        }
        let host_name = self.text(host)?;
        let Some(host_name) = host_of(&host_name) else {
            let expected = "must be a host's name or address alone, without scheme, port or path";
            self.mistake(host, &format!("{expected}, is {host_name:?}"));
            return None;
        };
        let Some(user) = self.text(RDS_USERNAME) else {
            self.mistake(RDS_USERNAME, &format!("is required with {}", host.name));
            return None;
        };
        Some(DatabaseTarget {
            host: host_name,
            port: self.number(RDS_PORT, 1..=u16::MAX),
            user,
            password: self.secret(RDS_PASSWORD).unwrap_or_else(|| Secret(String::new())),
            name: self.text(RDS_DB_NAME).unwrap_or_default(),
        })
    }

    pub(super) fn ssl_mode(&mut self) -> SslMode {
        let authorities = self.text(DATABASE_SSL_CA);
        let mode =
            self.choice(DATABASE_SSL_MODE, &[("disabled", 0), ("required", 1), ("verify_identity", 2)]);
        if let Some(path) = &authorities {
            if mode != 2 {
                // Whoever names authorities wants them to be asked.
                self.mistake(DATABASE_SSL_CA, "is of use only with DATABASE_SSL_MODE=verify_identity");
            } else if let Err(mistake) = read_authorities(path) {
                self.mistake(DATABASE_SSL_CA, &mistake);
            }
        }
        match mode {
            0 => SslMode::Disabled,
            1 => SslMode::Required,
            _ => SslMode::VerifyIdentity(authorities),
        }
    }
}

/// Whether the file can be trusted by: without a certificate in it, every connection would fail.
fn read_authorities(path: &str) -> Result<(), String> {
    let text = std::fs::read(path).map_err(|error| format!("{path:?} cannot be read: {error}"))?;
    let mut authorities = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let added = certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| authorities.add(certificate).map_err(|error| error.to_string()));
        added.map_err(|error| format!("{path:?} has a certificate that cannot be used: {error}"))?;
    }
    if authorities.is_empty() {
        return Err(format!("{path:?} holds no certificate in PEM form"));
    }
    Ok(())
}

/// A host's name or address as it is connected to; an IPv6 address may stand in brackets.
fn host_of(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<Ipv6Addr>().is_ok() {
        return Some(bare.to_owned());
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (!text.is_empty() && text.bytes().all(is_name)).then(|| text.to_owned())
}

/// Reads `mysql://user:password@host:port/name`; Rails' scheme `mysql2` is the same.
fn from_url(text: &str) -> Result<DatabaseTarget, String> {
    const SHAPE: &str = "must be mysql://user:password@host:port/name, with / ? # @ : and % in user and password percent-encoded";
    let url = Url::parse(text).map_err(|_| SHAPE)?;
    let has_shape = matches!(url.scheme(), "mysql" | "mysql2") && url.fragment().is_none();
    let name = decode(url.path().strip_prefix('/').unwrap_or_default());
    let (user, password) = (decode(url.username()), decode(url.password().unwrap_or_default()));
    let host = match url.host() {
        Some(Host::Domain(name)) => host_of(name),
        Some(Host::Ipv4(address)) => Some(address.to_string()),
        Some(Host::Ipv6(address)) => Some(address.to_string()),
        None => None,
    };
    let (Some(host), Some(name), Some(user), Some(password)) = (host, name, user, password) else {
        return Err(SHAPE.to_owned());
    };
    if !has_shape || name.is_empty() || name.contains('/') || user.is_empty() || url.port() == Some(0) {
        return Err(SHAPE.to_owned());
    }
    for (parameter, value) in url.query_pairs() {
        judge_parameter(&parameter, &value)?;
    }
    Ok(DatabaseTarget {
        host,
        port: url.port().unwrap_or(PORT_DEFAULT),
        user,
        password: Secret(password),
        name,
    })
}

/// The text behind percent-encoding; none where a `%` begins nothing, as in a password that was not encoded.
fn decode(part: &str) -> Option<String> {
    let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = part.as_bytes();
    let is_encoded = bytes
        .iter()
        .enumerate()
        .all(|(place, byte)| *byte != b'%' || (is_hex(bytes.get(place + 1)) && is_hex(bytes.get(place + 2))));
    let text = percent_encoding::percent_decode_str(part).decode_utf8().ok()?;
    is_encoded.then(|| text.into_owned())
}

/// A parameter in the URL is one of Rails' that asks for what is done anyway, or a mistake: to drop a wish, such as
/// one for encryption, would be silent harm.
fn judge_parameter(name: &str, value: &str) -> Result<(), String> {
    let plain: String = name.to_ascii_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    let value = value.to_ascii_lowercase();
    let means_tls = ["ssl", "tls", "verify", "cafile", "capath", "cert", "encrypt"];
    if means_tls.iter().any(|word| plain.contains(word)) {
        return Err(format!("does not take {name:?}: set DATABASE_SSL_MODE and DATABASE_SSL_CA"));
    }
    match plain.as_str() {
        "encoding" | "charset" | "characterencoding" if ["utf8mb4", "utf8", "utf-8"].contains(&&*value) => {
            Ok(())
        }
        "reconnect" if value == "true" => Ok(()),
        "pool" | "poolsize" | "maxconnections" | "connectionlimit" => {
            Err(format!("does not take {name:?}: set DB_POOL_SIZE"))
        }
        _ => Err(format!("does not take {name:?}: leave it out")),
    }
}
