//! The pages of the services that are on: `/` tells which there are, and each is at `/<name>/`.
//!
//! They are found after every URL of the services, so a poll pays nothing for them.

use http::{HeaderMap, Method};

use crate::chassis::pages::{Files, Html, Page};
use crate::chassis::route::{self, Access, GET, Miss, SEGMENTS_MAX, Spec, by_method, is_plain, segments};
use crate::chassis::{Answer, Error, Request};
use crate::config::Config;
use crate::page;

use super::PAGES;

/// The first page, and what all pages load.
const HOME: Page = page!(
    "services",
    "hyperdesk",
    "",
    ["home.html", "home.css", "base.css", "base.js", "sign.js", "icon.svg"]
);

/// Where HTML files have the links to the other pages, and what `/` has of each page.
const LINKS: &str = "<!--links-->";
const SUMMARIES: &str = "<!--summaries-->";
/// Where HTML files have the names of the services that are on.
const SERVICES: &str = "{{services}}";

/// A URL of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The variants are the rows of the URL table.
pub enum Route {
    Home,
    File,
    /// The page of the service at this place among all services.
    Service(usize),
}

impl Route {
    /// The service whose page this is; none of what all pages share.
    pub(super) fn service(self) -> Option<&'static str> {
        match self {
            Self::Home | Self::File => None,
            Self::Service(place) => page_at(place).map(|page| page.folder),
        }
    }
}

/// The page of the service at `place`, whether it is on or not.
fn page_at(place: usize) -> Option<&'static Page> {
    PAGES.get(place)?.as_ref()
}

/// How many of the first `services` services have a page.
const fn pages_before(services: usize) -> usize {
    let (mut count, mut place) = (0, 0);
    while place < services {
        count += PAGES[place].is_some() as usize;
        place += 1;
    }
    count
}

impl route::Route for Route {
    const COUNT: usize = 2 + pages_before(PAGES.len());

    fn spec(self) -> Spec {
        match self {
            Self::Home => Spec::get("/", Access::Public),
            Self::File => Spec::get("/page/:version/:file", Access::Public),
            Self::Service(place) => Spec::get(page_at(place).map_or("/", |page| page.path), Access::Public),
        }
    }

    fn ordinal(self) -> usize {
        match self {
            Self::Home => 0,
            Self::File => 1,
            Self::Service(place) => 2 + pages_before(place),
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        let with_page = (0..PAGES.len()).filter(|place| PAGES[*place].is_some());
        [Self::Home, Self::File].into_iter().chain(with_page.map(Self::Service))
    }
}

/// The pages as they are sent.
pub struct Pages {
    files: Files,
    home: Html,
    /// By the service's place; none where it is off, or has none.
    services: [Option<Html>; PAGES.len()],
}

impl Pages {
    /// Those of the services that the configuration names.
    ///
    /// # Errors
    /// A text for the log: a mistake of ours.
    pub fn new(config: &Config) -> Result<Self, String> {
        let is_on = |name: &str| config.services.iter().any(|service| service == name);
        let on = || PAGES.iter().flatten().filter(|page| is_on(page.folder));
        let files = Files::new(std::iter::once(&HOME).chain(on()))?;
        let policy = policy(config.pictures.cdn_base_url.as_deref());
        let html = |own: &Page| {
            let link = |page: &Page| {
                let current = if page.path == own.path { " aria-current=\"page\"" } else { "" };
                format!("<a href=\"{}\"{current}>{}</a>", page.path, page.title)
            };
            let summary = |page: &Page| {
                format!("<li><a href=\"{}\">{}</a><p>{}</p></li>", page.path, page.title, page.about)
            };
            let text = own.files.first().map_or("", |file| file.text);
            let text = text.replace(SERVICES, &config.services.join(" "));
            let text = text.replace(LINKS, &on().map(link).collect::<String>());
            files.html(&text.replace(SUMMARIES, &on().map(summary).collect::<String>()), &policy)
        };
        let home = html(&HOME)?;
        let mut services = [const { None }; PAGES.len()];
        for (place, page) in services.iter_mut().zip(PAGES) {
            let page = page.as_ref().filter(|page| is_on(page.folder));
            *place = page.map(&html).transpose()?;
        }
        Ok(Self { files, home, services })
    }

    /// The route of a method and a path, with and without the slash at its end.
    ///
    /// # Errors
    /// A [`Miss`] tells 404 from 405.
    pub fn find(&self, method: &Method, path: &str) -> Result<Route, Miss> {
        let get = |route| by_method(method, GET, &[(Method::GET, route)]);
        match segments(path, &mut [""; SEGMENTS_MAX]) {
            [""] => get(Route::Home),
            ["page", version, file] if is_plain(version) && is_plain(file) => get(Route::File),
            [name, ""] | [name] => {
                let place = PAGES.iter().position(|page| page.is_some_and(|page| page.folder == *name));
                let place = place.filter(|place| self.services[*place].is_some()).ok_or(Miss::Path)?;
                get(Route::Service(place))
            }
            _ => Err(Miss::Path),
        }
    }

    /// Answers one request, from memory.
    pub fn call(&self, route: Route, request: &Request) -> Answer {
        let headers: &HeaderMap = &request.headers;
        Answer::now(match route {
            Route::Home => Ok(self.home.answer(headers)),
            Route::File => match segments(request.uri.path(), &mut [""; SEGMENTS_MAX]) {
                [_, version, file] => self.files.answer(version, file, headers),
                _ => Err(Error::not_found("File not found")),
            },
            Route::Service(place) => match &self.services[place] {
                Some(html) => Ok(html.answer(headers)),
                None => Err(Error::not_found("Not found")),
            },
        })
    }
}

/// What a page may do: load what is here, and pictures from where the board links them. No script of another place or
/// in the text runs, and none makes HTML of a text.
fn policy(pictures: Option<&str>) -> String {
    // A policy ends a source at a space, a comma and a semicolon; of a URL the origin is enough.
    let origin = pictures.map(|url| url.split('/').take(3).collect::<Vec<_>>().join("/")).unwrap_or_default();
    let is_source = !origin.contains([' ', ',', ';', '\'', '"']);
    let pictures = if is_source && !origin.is_empty() { format!(" {origin}") } else { String::new() };
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self' blob:{pictures}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_may_come_from_where_the_board_links_them() {
        let linked = policy(Some("https://cdn.example.com:8443/board/pictures"));
        assert!(linked.contains("img-src 'self' blob: https://cdn.example.com:8443; "), "{linked}");
        for none in [policy(None), policy(Some("https://x; script-src *"))] {
            assert!(none.contains("img-src 'self' blob:; ") && !none.contains('*'), "{none}");
        }
    }
}
