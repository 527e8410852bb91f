//! The feed is for every service: it has no word of one, in its code, its comments, its tests and its SQL.

use super::{Source, paths, report, root, services};

/// What the services' things are called, and what happens to them; a name of a service is one as well.
const WORDS: [&str; 23] = [
    "desk",
    "conversation",
    "conversations",
    "message",
    "messages",
    "expert",
    "experts",
    "initiator",
    "assigned",
    "assignment",
    "claim",
    "claims",
    "claimed",
    "unclaim",
    "unclaimed",
    "resolved",
    "queue",
    "queues",
    "queued",
    "title",
    "username",
    "book",
    "books",
];

/// The words in a line: identifiers are taken apart.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for letter in line.chars() {
        if !letter.is_alphabetic() || (was_lower && letter.is_uppercase()) {
            words.push(String::new());
        }
        was_lower = letter.is_lowercase();
        if letter.is_alphabetic()
            && let Some(word) = words.last_mut()
        {
            word.extend(letter.to_lowercase());
        }
    }
    words
}

fn wrong(source: &Source) -> Vec<String> {
    let services = services();
    let is_of_service = |word: &String| WORDS.contains(&word.as_str()) || services.contains(word);
    let lines = source.text.lines().enumerate();
    lines
        .flat_map(|(index, line)| words(line).into_iter().map(move |word| (index + 1, word)))
        .filter(|(_, word)| is_of_service(word))
        .map(|(number, word)| format!("{}:{number}: {word}", source.path))
        .collect()
}

#[test]
fn the_feed_has_no_word_of_a_service() {
    let all = paths(&["src/feed", "sql/feed"]).into_iter().map(|path| {
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        Source { path, text }
    });
    let all: Vec<Source> = all.collect();
    assert!(all.len() > 15, "the feed is somewhere else");
    report("the feed has no word of a service", &all.iter().flat_map(wrong).collect::<Vec<_>>());
    for (line, is_wrong) in [
        ("    conversation_id: u64,", true),
        ("pub struct ConversationAsk;", true),
        ("/// Who sees the waiting queue.", true),
        ("SELECT id FROM messages", true),
        ("const EXPERTS_MAX: usize = 64;", true),
        ("let by = helpdesk::store;", true),
        ("assert_eq!(item.expertId, 1);", true),
        ("// The bookstore has no part in it.", true),
        ("    recipients: IdMap<u64>, // of one topic, in turn", false),
        ("/// An expertise, a bookkeeping, and many a messenger.", false),
    ] {
        let planted = Source { path: "src/feed/planted.rs".to_owned(), text: format!("//! It.\n{line}") };
        assert_eq!(!wrong(&planted).is_empty(), is_wrong, "{line}");
    }
}
