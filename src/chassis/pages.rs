//! Pages for browsers: files of the binary, answered from memory.
//!
//! A page is an HTML file and what it loads: style sheets, ES modules, pictures. All of these are at
//! `/page/<version>/<file>`, where the version is a hash over all files: so a browser keeps them for ever and asks
//! again only after they changed, and modules import each other by plain names (`./base.js`). The HTML itself is
//! asked for each time, and mostly answered by 304.
//!
//! Everything is packed (gzip, Brotli) once, when the process starts.

use std::io::Write as _;

use bytes::Bytes;
use http::StatusCode;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ETAG, HeaderMap, HeaderName,
    HeaderValue, IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use ring::digest::{Context, SHA256};

use super::known::Known;
use super::{Error, Response, response};

/// One file as it is in the source.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// Its name in URLs, which no other file of any page has.
    pub name: &'static str,
    /// What is in it.
    pub text: &'static str,
}

/// What a service shows to people.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The folder of `src/` it is in: the service's name.
    pub folder: &'static str,
    /// Its URL.
    pub path: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What one can do there, in one sentence.
    pub about: &'static str,
    /// The HTML first, then what it loads.
    pub files: &'static [File],
}

/// `page!("folder of src", "Title", "What one can do there.", ["the.html", "its.css", "its.js"])`, of the files in
/// the folder's `page/`.
#[macro_export]
macro_rules! page {
    ($folder:literal, $title:literal, $about:literal, [$($file:literal),+ $(,)?]) => {
        $crate::chassis::pages::Page {
            folder: $folder,
            path: concat!("/", $folder, "/"),
            title: $title,
            about: $about,
            files: &[$($crate::chassis::pages::File {
                name: $file,
                text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/", $folder, "/page/", $file)),
            }),+],
        }
    };
}

/// What HTML files have in place of the address of all other files.
const FILES: &str = "{{files}}";
/// Brotli's best but one: the best takes ten times as long for two bytes in a hundred.
const BROTLI_QUALITY: i32 = 9;
const BROTLI_WINDOW_BITS: i32 = 22;

const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");
const BY_CODING: HeaderValue = HeaderValue::from_static("accept-encoding");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// The files of all pages that are on, as they are sent.
pub struct Files {
    version: String,
    files: Vec<(&'static str, Packed)>,
}

impl Files {
    /// Packs the files of these pages in each coding, once for the life of the process.
    ///
    /// # Errors
    /// Two files of one name, or one whose type is not known: a mistake of ours.
    pub fn new<'p>(pages: impl IntoIterator<Item = &'p Page>) -> Result<Self, String> {
        let mut all: Vec<File> = Vec::new();
        for file in pages.into_iter().flat_map(|page| page.files.iter().skip(1)) {
            if all.iter().any(|other| other.name == file.name) {
                return Err(format!("two files of pages are called {}", file.name));
            }
            all.push(*file);
        }
        let texts = all.iter().flat_map(|file| [file.name, "\0", file.text, "\0"]);
        let version = hash(texts.map(str::as_bytes));
        let packed = |file: &File| {
            Ok((
                file.name,
                Packed::new(media_type(file.name)?, &lean(file.text, file.name.ends_with(".css")))?,
            ))
        };
        let files = all.iter().map(packed).collect::<Result<_, String>>()?;
        Ok(Self { version, files })
    }

    /// A page's HTML, with the address of its files put in.
    ///
    /// # Errors
    /// A text that cannot be packed, or a policy that is no header: a mistake of ours.
    pub fn html(&self, text: &str, policy: &str) -> Result<Html, String> {
        let text = text.replace(FILES, &format!("/page/{}", self.version));
        let policy = HeaderValue::from_str(policy).map_err(|error| error.to_string())?;
        Ok(Html { packed: Packed::new("text/html; charset=utf-8", &text)?, policy })
    }

    /// A file, by the last two segments of its path.
    ///
    /// # Errors
    /// 404 for a name that is none.
    pub fn answer(&self, version: &str, name: &str, headers: &HeaderMap) -> Result<Response, Error> {
        let file = self.files.iter().find(|(known, _)| *known == name);
        let (_, packed) = file.ok_or(Error::not_found("File not found"))?;
        // While instances of two versions serve side by side, a page may ask the other one. It gets what there is.
        let cache = if version == self.version { FOR_EVER } else { ASK_AGAIN };
        Ok(packed.answer(headers, cache))
    }
}

/// A page's HTML as it is sent.
pub struct Html {
    packed: Packed,
    policy: HeaderValue,
}

impl Html {
    /// The page, or 304 where the browser has it already.
    #[must_use]
    pub fn answer(&self, headers: &HeaderMap) -> Response {
        let mut response = self.packed.answer(headers, ASK_AGAIN);
        let to = response.headers_mut();
        to.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        to.insert(OPENER_POLICY, SAME_ORIGIN);
        response
    }
}

/// One text in each content coding.
struct Packed {
    media_type: HeaderValue,
    /// The smallest first; the last is not compressed.
    forms: Vec<Form>,
}

struct Form {
    coding: &'static str,
    bytes: Bytes,
    /// The ETag. Each coding has its own, because a strong tag stands for exact bytes.
    tag: HeaderValue,
}

impl Packed {
    fn new(media_type: &'static str, text: &str) -> Result<Self, String> {
        let plain = text.as_bytes();
        let hash = hash([plain]);
        let form = |coding: &'static str, bytes: Vec<u8>| {
            let tag = HeaderValue::try_from(format!("\"{hash}-{coding}\""));
            tag.map(|tag| Form { coding, bytes: bytes.into(), tag }).map_err(|error| error.to_string())
        };
        let failed = |error: std::io::Error| error.to_string();
        let forms = vec![
            form("br", brotli(plain).map_err(failed)?)?,
            form("gzip", gzip(plain).map_err(failed)?)?,
            form("identity", plain.to_vec())?,
        ];
        Ok(Self { media_type: HeaderValue::from_static(media_type), forms })
    }

    /// The text in the smallest coding that the client takes, or 304 where the client has it.
    fn answer(&self, asked: &HeaderMap, cache: HeaderValue) -> Response {
        let best = self.forms.iter().find(|form| takes(asked, form.coding));
        // A client that takes none of them gets the uncompressed text, which every client can read.
        let Some(form) = best.or(self.forms.last()) else { return response::empty(StatusCode::NOT_FOUND) };
        let mut response = if has(asked, &form.tag) {
            response::empty(StatusCode::NOT_MODIFIED)
        } else {
            let mut full = response::with_body(StatusCode::OK, self.media_type.clone(), form.bytes.clone());
            if form.coding != "identity" {
                full.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(form.coding));
            }
            full
        };
        let to = response.headers_mut();
        to.insert(ETAG, form.tag.clone());
        to.insert(CACHE_CONTROL, cache);
        to.insert(VARY, BY_CODING);
        to.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
        to.insert(REFERRER_POLICY, SAME_ORIGIN);
        response
    }
}

/// Whether `Accept-Encoding` has a coding, and not with a weight of zero (RFC 9110 §12.5.3).
fn takes(asked: &HeaderMap, coding: &str) -> bool {
    let lists = asked.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|item| {
        let (name, weight) = item.split_once(';').unwrap_or((item, ""));
        let weight = weight.trim().strip_prefix("q=").unwrap_or("1").trim();
        name.trim().eq_ignore_ascii_case(coding) && weight.parse::<f32>().is_ok_and(|weight| weight > 0.0)
    })
}

/// Whether `If-None-Match` has this tag.
fn has(asked: &HeaderMap, tag: &HeaderValue) -> bool {
    let tag = tag.to_str().unwrap_or_default().trim_matches('"');
    Known::of(asked.get_all(IF_NONE_MATCH), tag) != Known::Other
}

/// What a style sheet says as well without the space.
const SPACES: &[(&str, &str)] =
    &[("; }", "}"), (": ", ":"), ("; ", ";"), (" {", "{"), ("{ ", "{"), (" }", "}"), (", ", ",")];

/// A style sheet or a script without its indentation and its comments. These stand on lines of their own, and no text
/// goes over several lines.
fn lean(text: &str, is_style: bool) -> String {
    let mut lean = String::with_capacity(text.len());
    let mut is_comment = false;
    for line in text.lines().map(str::trim) {
        is_comment |= line.starts_with("/*");
        if !is_comment && !line.is_empty() && !line.starts_with("//") {
            // In a script, or between quotes, a space may be part of a text.
            let is_rule = is_style && !line.contains(['"', '\'']);
            let spaces = if is_rule { SPACES } else { &[] };
            let line = spaces.iter().fold(line.to_owned(), |line, (long, short)| line.replace(long, short));
            lean.push_str(&line);
            lean.push('\n');
        }
        is_comment &= !line.ends_with("*/");
    }
    lean
}

fn media_type(name: &str) -> Result<&'static str, String> {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("css") => Ok("text/css; charset=utf-8"),
        Some("js") => Ok("text/javascript; charset=utf-8"),
        Some("svg") => Ok("image/svg+xml"),
        _ => Err(format!("what {name} is, is not known")),
    }
}

fn gzip(text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(text)?;
    packer.finish()
}

fn brotli(mut text: &[u8]) -> std::io::Result<Vec<u8>> {
    let parameters = brotli::enc::BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        lgwin: BROTLI_WINDOW_BITS,
        size_hint: text.len(),
        ..Default::default()
    };
    let mut packed = Vec::new();
    brotli::BrotliCompress(&mut text, &mut packed, &parameters)?;
    Ok(packed)
}

/// 64 bits are enough to tell versions of a file apart.
fn hash<'t>(texts: impl IntoIterator<Item = &'t [u8]>) -> String {
    let mut context = Context::new(&SHA256);
    texts.into_iter().for_each(|text| context.update(text));
    context.finish().as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_coding_is_taken_where_it_is_named_with_a_weight() {
        for (list, br, gzip) in [
            ("gzip, deflate, br", true, true),
            ("br;q=0, gzip;q=0.5", false, true),
            ("GZIP", false, true),
            ("br ; q=0.0, x", false, false),
            ("brx", false, false),
            ("", false, false),
        ] {
            let asked = asking(ACCEPT_ENCODING, list);
            assert_eq!((takes(&asked, "br"), takes(&asked, "gzip")), (br, gzip), "{list}");
        }
    }

    #[test]
    fn comments_and_indentation_are_not_sent() {
        let text = "// Why.\n\n/** How:\n *  so. */\nlet a = 1; // one\n  a += 2;\n/* x */\n";
        assert_eq!(lean(text, false), "let a = 1; // one\na += 2;\n");
        assert_eq!(lean("a, b { color: red; margin: 0 1px; }\n", true), "a,b{color:red;margin:0 1px}\n");
    }

    #[test]
    fn a_tag_is_found_in_a_list() {
        let tag = HeaderValue::from_static("\"0123-br\"");
        for (list, found) in [
            ("\"0123-br\"", true),
            ("\"x\", W/\"0123-br\"", true),
            ("*", true),
            ("\"0123-gzip\"", false),
            ("0123-br", false),
        ] {
            assert_eq!(has(&asking(IF_NONE_MATCH, list), &tag), found, "{list}");
        }
    }
}
