//! Where the board's pictures go, and under which address they are linked.

use std::path::PathBuf;

use url::Url;

use super::{
    AWS_ACCESS_KEY_ID, AWS_REGION, AWS_SECRET_ACCESS_KEY, CDN_BASE_URL, S3_BUCKET, S3_ENDPOINT, S3_REGION,
    Secret, UPLOAD_DIR, UPLOAD_ORPHAN_SECONDS, VarReader, Variable,
};

/// The region that is signed for where a service of one's own asks for none.
const REGION_OF_OWN_SERVICE: &str = "us-east-1";

/// The store of the board's pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pictures {
    /// The bucket; without one the folder is used.
    pub bucket: Option<Bucket>,
    /// The folder.
    pub folder: PathBuf,
    /// What links begin with, without a slash at the end.
    pub cdn_base_url: Option<String>,
    /// Seconds after which a picture without a row is deleted.
    pub orphan_seconds: u64,
}

/// A bucket and who we are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// Its region, which requests are signed for.
    pub region: String,
    /// Another service than AWS that speaks S3.
    pub endpoint: Option<Url>,
    /// Key and secret; without them the instance's role.
    pub key: Option<(String, Secret)>,
}

impl VarReader<'_> {
    pub(super) fn pictures(&mut self) -> Pictures {
        let (bucket, folder) = (self.bucket(), PathBuf::from(self.text(UPLOAD_DIR).unwrap_or_default()));
        // What is not there is made; in what is there and no folder, nothing can be.
        let there = folder.ancestors().find(|path| path.exists());
        if bucket.is_none()
            && let Some(there) = there.filter(|path| !path.is_dir())
        {
            self.mistake(UPLOAD_DIR, &format!("cannot be a folder: {there:?} is none"));
        }
        Pictures {
            bucket,
            folder,
            cdn_base_url: self.web_address(CDN_BASE_URL).map(|url| url.as_str().trim_end_matches('/').into()),
            // Longer than any upload takes: the sweep must not overtake one that is under way.
            orphan_seconds: self.number(UPLOAD_ORPHAN_SECONDS, 10..=2_592_000),
        }
    }

    fn bucket(&mut self) -> Option<Bucket> {
        let endpoint = self.web_address(S3_ENDPOINT);
        let region = self.text(S3_REGION).or_else(|| self.text(AWS_REGION));
        let key = self.key();
        let Some(name) = self.text(S3_BUCKET) else {
            // A half-set bucket would silently put pictures into a folder. AWS_ variables alone say nothing:
            // platforms set them for every process.
            for variable in [S3_ENDPOINT, S3_REGION] {
                if self.text(variable).is_some() {
                    self.mistake(variable, "is of no use without S3_BUCKET");
                }
            }
            return None;
        };
        if !is_bucket_name(&name) {
            self.mistake(S3_BUCKET, &format!("must be a bucket's name, is {name:?}"));
        }
        let last = endpoint.as_ref().and_then(|url| url.path_segments()?.rfind(|part| !part.is_empty()));
        if last == Some(name.as_str()) {
            self.mistake(S3_ENDPOINT, "must not end with the bucket: S3_BUCKET names it");
        }
        let is_region = |text: &String| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        for variable in [S3_REGION, AWS_REGION] {
            if let Some(text) = self.text(variable).filter(|text| !is_region(text)) {
                self.mistake(variable, &format!("must be a region such as eu-west-1, is {text:?}"));
            }
        }
        let region = match (region, &endpoint) {
            (Some(region), _) => region,
            (None, Some(_)) => REGION_OF_OWN_SERVICE.to_owned(),
            (None, None) => {
                self.mistake(S3_REGION, "is required with S3_BUCKET, unless AWS_REGION is set");
                String::new()
            }
        };
        Some(Bucket { name, region, endpoint, key })
    }

    fn key(&mut self) -> Option<(String, Secret)> {
        match (self.text(AWS_ACCESS_KEY_ID), self.secret(AWS_SECRET_ACCESS_KEY)) {
            (Some(id), Some(secret)) => Some((id, secret)),
            (None, None) => None,
            (Some(_), None) => {
                self.mistake(AWS_SECRET_ACCESS_KEY, "is required with AWS_ACCESS_KEY_ID");
                None
            }
            (None, Some(_)) => {
                self.mistake(AWS_ACCESS_KEY_ID, "is required with AWS_SECRET_ACCESS_KEY");
                None
            }
        }
    }

    /// An `http` or `https` URL to which a path can be added.
    fn web_address(&mut self, variable: Variable) -> Option<Url> {
        let text = self.text(variable)?;
        match Url::parse(&text) {
            Ok(url)
                if matches!(url.scheme(), "http" | "https")
                    && url.has_host()
                    && url.username().is_empty()
                    && url.password().is_none()
                    && url.query().is_none()
                    && url.fragment().is_none() =>
            {
                Some(url)
            }
            // The value is not shown: it may hold a password.
            _ => {
                self.mistake(
                    variable,
                    "must be a URL such as https://cdn.example.com, without user or query",
                );
                None
            }
        }
    }
}

/// What AWS allows (3 to 63 of a-z, 0-9, dot and hyphen), so that no name changes the URL it becomes part of.
fn is_bucket_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    (3..=63).contains(&name.len())
        && name.bytes().all(is_allowed)
        && !name.starts_with(['.', '-'])
        && !name.ends_with(['.', '-'])
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::Config;
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Pictures, Vec<String>> {
        let database = [("DATABASE_URL", "mysql://user:password@host/name")];
        let pairs = database.iter().chain(pairs);
        let vars: HashMap<String, String> =
            pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::from_vars(&vars, &["board"]).map(|config| config.pictures)
    }

    #[test]
    fn a_folder_is_the_default() {
        let pictures = read(&[("AWS_REGION", "eu-west-1")]).unwrap();
        assert_eq!((pictures.bucket, pictures.cdn_base_url), (None, None));
        assert_eq!(pictures.folder, PathBuf::from("./.local/uploads"));
    }

    #[test]
    fn a_bucket_has_a_region_and_a_whole_key_or_none() {
        let pictures = read(&[
            ("S3_BUCKET", "pics"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "hush"),
            ("CDN_BASE_URL", "https://cdn.example.com/p/"),
        ])
        .unwrap();
        assert!(!format!("{pictures:?}").contains("hush"));
        assert_eq!(pictures.cdn_base_url.as_deref(), Some("https://cdn.example.com/p"));
        let bucket = pictures.bucket.unwrap();
        assert_eq!((bucket.name.as_str(), bucket.region.as_str()), ("pics", "eu-west-1"));
        assert_eq!(bucket.key.unwrap().0, "id");
    }

    #[test]
    fn what_does_not_fit_together_is_a_mistake() {
        let wrong: [(&[(&str, &str)], &str); 8] = [
            (&[("S3_BUCKET", "pics")], "S3_REGION"),
            (&[("S3_REGION", "eu-west-1")], "S3_REGION"),
            (&[("S3_ENDPOINT", "http://minio:9000")], "S3_ENDPOINT"),
            (&[("S3_BUCKET", "a/../b"), ("S3_REGION", "x")], "S3_BUCKET"),
            (&[("AWS_ACCESS_KEY_ID", "id")], "AWS_SECRET_ACCESS_KEY"),
            (&[("AWS_SECRET_ACCESS_KEY", "hush")], "AWS_ACCESS_KEY_ID"),
            (&[("CDN_BASE_URL", "cdn.example.com")], "CDN_BASE_URL"),
            (&[("UPLOAD_ORPHAN_SECONDS", "1")], "UPLOAD_ORPHAN_SECONDS"),
        ];
        for (vars, named) in wrong {
            let mistakes = read(vars).unwrap_err();
            assert!(mistakes.len() == 1 && mistakes[0].starts_with(named), "{vars:?}: {mistakes:?}");
        }
        assert!(read(&[("CDN_BASE_URL", "javascript:alert(1)")]).is_err());
        assert!(read(&[("CDN_BASE_URL", "https://cdn.example.com/?x=1")]).is_err());
    }
}
