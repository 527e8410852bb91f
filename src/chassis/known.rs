//! What a client has already: `If-None-Match`. Pure.

use http::HeaderValue;

/// Which version of something its reader has, as `If-None-Match` says (RFC 9110 §13.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// None, or others.
    Other,
    /// This one.
    This,
    /// `*`: whichever there is, if there is one.
    Any,
}

impl Known {
    /// What all the headers of that name say together. `name` is the tag without its quotes; a weak tag is as good
    /// as a strong one here.
    #[must_use]
    pub fn of<'h>(headers: impl IntoIterator<Item = &'h HeaderValue>, name: &str) -> Self {
        let mut known = Self::Other;
        for header in headers {
            if header.as_bytes().trim_ascii() == b"*" {
                return Self::Any;
            }
            let tags = Tags(header.as_bytes());
            if tags.into_iter().any(|tag| tag == name.as_bytes()) {
                known = Self::This;
            }
        }
        known
    }
}

/// The tags of a list, without their quotes. What is no list ends it.
struct Tags<'h>(&'h [u8]);

impl<'h> Iterator for Tags<'h> {
    type Item = &'h [u8];

    fn next(&mut self) -> Option<&'h [u8]> {
        let between = |byte: &u8| matches!(byte, b',' | b' ' | b'\t');
        let start = self.0.iter().position(|byte| !between(byte))?;
        let tag = &self.0[start..];
        let tag = tag.strip_prefix(b"W/").unwrap_or(tag).strip_prefix(b"\"")?;
        let end = tag.iter().position(|&byte| byte == b'"')?;
        self.0 = &tag[end + 1..];
        Some(&tag[..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_version_is_found_in_every_list() {
        let known = |headers: &[&'static str]| {
            let headers: Vec<_> = headers.iter().map(|header| HeaderValue::from_static(header)).collect();
            Known::of(&headers, "cat.png")
        };
        for headers in [
            &["\"cat.png\""][..],
            &["W/\"cat.png\""],
            &["\"a,b\" , W/\"cat.png\""],
            &["\"a\"", "\"b\",\t\"cat.png\""],
            &[",\"cat.png\","],
        ] {
            assert_eq!(known(headers), Known::This, "{headers:?}");
        }
        for headers in [
            &[][..],
            &[""],
            &["cat.png"],
            &["\"cat.png"],
            &["\"xcat.png\""],
            &["\"cat.pn\", \"g\""],
            &["\"a\"cat.png\"b\""],
            &["w/\"cat.png\""],
            &["\"*\""],
        ] {
            assert_eq!(known(headers), Known::Other, "{headers:?}");
        }
        assert_eq!(known(&["*"]), Known::Any);
        assert_eq!(known(&["\"cat.png\"", " * "]), Known::Any);
    }
}
