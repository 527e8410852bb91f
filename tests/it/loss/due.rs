//! What was acknowledged to its writer, and so is to be told in time, whatever is wrong.

use std::collections::HashMap;
use std::sync::Mutex;

use tokio::time::Instant;

use super::book::Book;

/// What a user is entitled to beyond doubt: their own conversations, and the messages in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    Conversation,
    Message,
}

/// Each user's, with the moment at which the writer had read the answer, the oldest first.
#[derive(Default)]
struct Acknowledged {
    era: u64,
    items: HashMap<u64, [Vec<(Instant, u64)>; 2]>,
}

/// See the module.
#[derive(Default)]
pub struct Due {
    acknowledged: Mutex<Acknowledged>,
}

/// How far a client was found to have been told.
#[derive(Default)]
pub struct Told {
    era: u64,
    counts: [usize; 2],
}

/// When a client asked, and in which history.
#[derive(Clone, Copy)]
pub struct Asked {
    pub at: Instant,
    pub era: u64,
}

impl Due {
    /// Which history this is: another one after a backup was taken, and after it was restored.
    pub fn era(&self) -> u64 {
        self.acknowledged.lock().unwrap().era
    }

    /// From now on nothing of before is due.
    pub fn begin_era(&self) {
        let mut all = self.acknowledged.lock().unwrap();
        all.era += 1;
        all.items.clear();
    }

    pub fn ask(&self) -> Asked {
        Asked { at: Instant::now(), era: self.era() }
    }

    /// A write that began in `era` was acknowledged just now.
    pub fn acknowledge(&self, era: u64, user: u64, item: Item, id: u64) {
        let mut all = self.acknowledged.lock().unwrap();
        if all.era == era {
            let of_user = all.items.entry(user).or_default();
            of_user[item as usize].push((Instant::now(), id));
        }
    }

    /// What was acknowledged before `before` and is not in the book of a client that `asked`, and how long before.
    pub fn untold(
        &self,
        told: &mut Told,
        book: &Book,
        item: Item,
        asked: Asked,
        before: Instant,
    ) -> Option<String> {
        let all = self.acknowledged.lock().unwrap();
        if all.era != asked.era {
            return None;
        }
        if told.era != all.era {
            *told = Told { era: all.era, ..Told::default() };
        }
        let of_user = all.items.get(&book.user)?;
        let count = &mut told.counts[item as usize];
        while let Some((at, id)) = of_user[item as usize].get(*count) {
            let is_told = match item {
                Item::Conversation => book.conversations.contains_key(id),
                Item::Message => book.messages.contains_key(id),
            };
            if !is_told {
                let late = before.checked_duration_since(*at)?;
                return Some(format!("{item:?} {id} is too late by {late:?} already"));
            }
            *count += 1;
        }
        None
    }
}
