//! What a source file names: every path in its `use` trees, expressions, types, attributes and macros, in full.
//!
//! The file is taken apart into tokens, not into syntax: a path looks the same wherever it stands, and a macro's
//! arguments have no syntax. What the names of a path's first part stand for is looked up in the file's `use`s.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A path, as it is written.
#[derive(Clone, Debug)]
struct Mention {
    line: usize,
    /// Its parts; the first one is empty where it begins with `::`, the last one `*` where it is a glob.
    parts: Vec<String>,
    /// The module that it stands in.
    module: Vec<String>,
    is_test: bool,
}

/// A path, as it is meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub line: usize,
    /// `crate` first where it is one of ours, else the library's name.
    pub parts: Vec<String>,
    /// Stands in a test of this file.
    pub is_test: bool,
}

impl Name {
    /// Whether it is this one or is in it. A glob over what holds `path` is, too.
    pub fn is_in(&self, path: &str) -> bool {
        let mut path = path.split("::");
        for part in &self.parts {
            match path.next() {
                None => return true,
                Some(_) if part == "*" => return true,
                Some(expected) if expected == part => {}
                Some(_) => return false,
            }
        }
        path.next().is_none()
    }
}

/// The crate's modules, and the macros that they export to its root.
#[derive(Default)]
pub struct Crate {
    pub modules: BTreeSet<Vec<String>>,
    pub macros: BTreeMap<String, Vec<String>>,
}

impl Crate {
    pub fn of<'a>(sources: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut this = Self::default();
        for (path, text) in sources {
            let module = module(path);
            for declaration in text.split("macro_rules! ").skip(1) {
                let end = declaration.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
                this.macros.insert(declaration[..end.unwrap_or(0)].to_owned(), module.clone());
            }
            this.modules.insert(module);
        }
        this
    }

    /// All that a file names.
    pub fn names(&self, path: &str, text: &str) -> Vec<Name> {
        let mut walk = Walk { module: module(path), ..Walk::default() };
        walk.tokens(text.parse().unwrap_or_else(|error| panic!("{path}: {error}")), false);
        let mut names = Vec::new();
        for mention in &walk.mentions {
            for parts in self.absolute(&mention.parts, &mention.module, &walk.aliases, 0) {
                names.push(Name { line: mention.line, parts, is_test: mention.is_test });
            }
        }
        names
    }

    /// What a path may mean: more than one thing where the file has two `use`s of one name.
    fn absolute(
        &self,
        parts: &[String],
        module: &[String],
        aliases: &BTreeMap<String, Vec<Mention>>,
        depth: usize,
    ) -> Vec<Vec<String>> {
        let Some((first, rest)) = parts.split_first() else { return Vec::new() };
        let internal = |module: &[String], rest: &[String]| {
            let root = [vec!["crate".to_owned()], module.to_vec(), rest.to_vec()].concat();
            match root.get(1).and_then(|name| self.macros.get(name)) {
                Some(home) if !self.modules.contains(&root[1..2]) => {
                    [vec!["crate".to_owned()], home.clone()].concat()
                }
                _ => root,
            }
        };
        match first.as_str() {
            "" => return vec![rest.to_vec()],
            "crate" | "hyperdesk" => return vec![internal(&[], rest)],
            "self" | "super" => {
                let ups = parts.iter().take_while(|part| *part == "super").count();
                let above = &module[..module.len().saturating_sub(ups)];
                return vec![internal(above, &parts[ups.max(1)..])];
            }
            _ => {}
        }
        let is_itself = |alias: &&Mention| alias.parts.as_slice() != &parts[..1];
        // A `use` of a name that it brings in itself ends here.
        if let Some(known) = aliases.get(first).filter(|_| depth < 4) {
            let known: Vec<&Mention> = known.iter().filter(is_itself).collect();
            if !known.is_empty() {
                let whole = |alias: &Mention| [alias.parts.as_slice(), rest].concat();
                return known
                    .iter()
                    .flat_map(|alias| self.absolute(&whole(alias), &alias.module, aliases, depth + 1))
                    .collect();
            }
        }
        if self.modules.contains(&[module, std::slice::from_ref(first)].concat()) {
            return vec![internal(module, parts)];
        }
        vec![parts.to_vec()]
    }
}

/// The module that a file is.
pub fn module(path: &str) -> Vec<String> {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').filter(|part| !["lib", "main"].contains(part)).map(str::to_owned).collect()
}

/// The way through a file's tokens.
#[derive(Default)]
struct Walk {
    module: Vec<String>,
    is_test: bool,
    mentions: Vec<Mention>,
    /// What a `use` calls something, and what that is.
    aliases: BTreeMap<String, Vec<Mention>>,
}

fn is_punct(token: Option<&TokenTree>, sign: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

fn is_word(token: Option<&TokenTree>, word: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == word)
}

fn is_path_sign(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

fn group(token: Option<&TokenTree>, delimiter: Delimiter) -> Option<&Group> {
    match token {
        Some(TokenTree::Group(group)) if group.delimiter() == delimiter => Some(group),
        _ => None,
    }
}

impl Walk {
    fn tokens(&mut self, tokens: TokenStream, in_attribute: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let outside = self.is_test;
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let next = tokens.get(at + 1);
            let body = group(tokens.get(at + 2), Delimiter::Brace);
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    let inner = usize::from(is_punct(next, '!'));
                    if let Some(attribute) = group(tokens.get(at + 1 + inner), Delimiter::Bracket) {
                        self.attribute(attribute);
                        at += 1 + inner;
                    }
                    at += 1;
                }
                // Whatever was a test's only, ends.
                TokenTree::Punct(punct) if punct.as_char() == ';' => {
                    self.is_test = outside;
                    at += 1;
                }
                TokenTree::Ident(word) if *word == "mod" && body.is_some() => {
                    self.module.push(next.map(ToString::to_string).unwrap_or_default());
                    self.tokens(body.map(Group::stream).unwrap_or_default(), false);
                    self.module.pop();
                    self.is_test = outside;
                    at += 3;
                }
                TokenTree::Ident(word) if *word == "use" => at = self.path(&tokens, at + 1, &[], true),
                TokenTree::Ident(word) if *word == "extern" && is_word(next, "crate") => {
                    at = self.path(&tokens, at + 2, &[], true);
                }
                TokenTree::Ident(word) if *word == "async" || *word == "await" => {
                    self.word(token);
                    at += 1;
                }
                TokenTree::Ident(_) => at = self.path(&tokens, at, &[], false),
                TokenTree::Punct(_) if is_path_sign(&tokens, at) => {
                    at = self.path(&tokens, at, &[], false);
                }
                TokenTree::Group(group) => {
                    self.tokens(group.stream(), in_attribute);
                    if group.delimiter() == Delimiter::Brace {
                        self.is_test = outside;
                    }
                    at += 1;
                }
                TokenTree::Literal(literal) => {
                    // serde and others take paths in quotes.
                    let text = literal.to_string();
                    if in_attribute && let Ok(quoted) = text.trim_matches('"').parse::<TokenStream>() {
                        self.tokens(quoted, false);
                    }
                    at += 1;
                }
                TokenTree::Punct(_) => at += 1,
            }
        }
        self.is_test = outside;
    }

    /// Notes a word of the language that rules are about.
    fn word(&mut self, token: &TokenTree) {
        let line = token.span().start().line;
        let (module, is_test) = (self.module.clone(), self.is_test);
        self.mentions.push(Mention { line, parts: vec![token.to_string()], module, is_test });
    }

    fn attribute(&mut self, attribute: &Group) {
        let text = attribute.stream().to_string().replace(' ', "");
        self.is_test |= text == "cfg(test)";
        if !text.starts_with("doc=") {
            let outside = self.is_test;
            self.tokens(attribute.stream(), true);
            self.is_test = outside;
        }
    }

    /// Notes the path that begins at `at`, and those of the group it ends in. Returns where it ends.
    fn path(&mut self, tokens: &[TokenTree], mut at: usize, before: &[String], in_use: bool) -> usize {
        let begin = at;
        let line = tokens.get(begin).map_or(0, |token| token.span().start().line);
        let mut parts = before.to_vec();
        if is_path_sign(tokens, at) {
            parts.push(String::new());
            at += 2;
        }
        loop {
            match tokens.get(at) {
                Some(TokenTree::Ident(ident)) => {
                    parts.push(ident.to_string());
                    at += 1;
                }
                Some(TokenTree::Punct(punct)) if in_use && punct.as_char() == '*' => {
                    parts.push("*".to_owned());
                    at += 1;
                    break;
                }
                Some(TokenTree::Group(group)) if in_use && group.delimiter() == Delimiter::Brace => {
                    let inside: Vec<TokenTree> = group.stream().into_iter().collect();
                    for tree in inside.split(|token| is_punct(Some(token), ',')) {
                        if !tree.is_empty() {
                            self.path(tree, 0, &parts, true);
                        }
                    }
                    return at + 1;
                }
                _ => break,
            }
            if !is_path_sign(tokens, at) {
                break;
            }
            at += 2;
        }
        // `{self}` is what stands before it.
        if parts.len() > 1 && parts.last().is_some_and(|part| part == "self") {
            parts.pop();
        }
        let mention = Mention { line, parts, module: self.module.clone(), is_test: self.is_test };
        if in_use {
            let mut name = mention.parts.last().cloned().unwrap_or_default();
            if is_word(tokens.get(at), "as") {
                name = tokens.get(at + 1).map(ToString::to_string).unwrap_or_default();
                at += 2;
            }
            self.aliases.entry(name).or_default().push(mention.clone());
        }
        // A variable part of a macro is no name.
        let is_variable = begin > 0 && is_punct(tokens.get(begin - 1), '$') && mention.parts[0] != "crate";
        if (in_use || mention.parts.len() > 1) && !is_variable {
            self.mentions.push(mention);
        }
        at.max(begin + 1)
    }
}
