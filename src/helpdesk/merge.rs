//! Many conversations' messages as one list in order, of which only one end is wanted. Pure.
//!
//! Each conversation's messages are in order already (an index), so the end of them all is a merge. To read a page of
//! a thousand from each would cost a thousand times the answer; one message at a time, a round trip for each. So
//! each gives a small page first, and twice as many each time that it turns out to hold more of the wanted end (as in
//! a galloping search), the most promising ones first and a quarter of what is wanted in one exchange.

use crate::clock::Timestamp;

/// A message's place in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// When it was posted.
    pub at: Timestamp,
    /// Its id decides between those of one time.
    pub id: u64,
}

impl Key {
    /// After every message of that time.
    pub const fn end_of(at: Timestamp) -> Self {
        Self { at, id: i64::MAX as u64 }
    }

    /// Before every message of that time.
    pub const fn begin_of(at: Timestamp) -> Self {
        Self { at, id: 0 }
    }
}

/// Which end is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The oldest first.
    Oldest,
    /// The newest first.
    Newest,
}

impl End {
    /// Smaller is wanted earlier.
    fn rank(self, key: Key) -> (i64, i64) {
        let (at, id) = (key.at.micros(), key.id.cast_signed());
        match self {
            Self::Oldest => (at, id),
            Self::Newest => (-at, -id),
        }
    }
}

/// What is to be read next of one conversation: at most `rows` keys beyond `from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Whose.
    pub conversation: u64,
    /// Those before it (in the wanted order) are known, and so is it.
    pub from: Key,
    /// How many.
    pub rows: usize,
}

/// One conversation.
#[derive(Debug)]
struct SortedRun {
    next: Read,
    /// No unread message of it is wanted before this.
    bound: Key,
    is_read: bool,
}

/// The merge.
#[derive(Debug)]
pub struct Merge {
    end: End,
    wanted: usize,
    runs: Vec<SortedRun>,
    keys: Vec<Key>,
    /// The same of conversations that were not added yet.
    horizon: Option<Key>,
}

impl Merge {
    /// Of no conversation yet.
    pub fn new(end: End, wanted: usize) -> Self {
        Self { end, wanted, runs: Vec::new(), keys: Vec::new(), horizon: None }
    }

    /// Adds conversations, each with a bound before which it has no wanted message; `horizon` is one for all that
    /// are still to be added. All are read from `from` on.
    pub fn add(&mut self, from: Key, added: &[(u64, Key)], horizon: Option<Key>) {
        // One more than each holds if they take turns: then one page of each tells all.
        let rows = self.wanted.div_ceil(added.len().max(1)) + 1;
        self.runs.extend(added.iter().map(|&(conversation, bound)| SortedRun {
            next: Read { conversation, from, rows },
            bound,
            is_read: false,
        }));
        self.horizon = horizon;
    }

    /// Whether the wanted end may hold messages of conversations that were not added yet.
    pub fn lacks_conversations(&self) -> bool {
        self.horizon.is_some_and(|horizon| self.end.rank(horizon) < self.limit())
    }

    /// Beyond this rank nothing is wanted, as far as is known.
    fn limit(&self) -> (i64, i64) {
        if self.keys.len() < self.wanted {
            return (i64::MAX, i64::MAX);
        }
        let mut ranks: Vec<_> = self.keys.iter().map(|&key| self.end.rank(key)).collect();
        *ranks.select_nth_unstable(self.wanted - 1).1
    }

    /// What to read next, of at most so many conversations, the most promising first; nothing when all is known that
    /// can be without further conversations.
    pub fn reads(&self, most: usize) -> Vec<Read> {
        let horizon = self.horizon.map_or((i64::MAX, i64::MAX), |horizon| self.end.rank(horizon));
        let limit = self.limit().min(horizon);
        let open = self.runs.iter().filter(|run| !run.is_read && self.end.rank(run.bound) < limit);
        let mut open: Vec<&SortedRun> = open.collect();
        open.sort_unstable_by_key(|run| self.end.rank(run.bound));
        // What these tell may rule the others out.
        let mut rows = 0;
        let few = open.into_iter().take(most).take_while(|run| {
            let is_first = rows == 0;
            rows += run.next.rows;
            is_first || rows <= self.wanted / 4
        });
        few.map(|run| run.next).collect()
    }

    /// Takes in what was read: the conversation of each key with it, each conversation's in order.
    pub fn take(&mut self, reads: &[Read], found: &[(u64, Key)]) {
        let mut of = std::collections::HashMap::with_capacity(reads.len());
        for &(conversation, key) in found {
            let (count, last) = of.entry(conversation).or_insert((0, key));
            *count += 1;
            *last = key;
        }
        self.keys.extend(found.iter().map(|(_, key)| *key));
        let asked: std::collections::HashSet<u64> = reads.iter().map(|read| read.conversation).collect();
        for run in self.runs.iter_mut().filter(|run| asked.contains(&run.next.conversation)) {
            match of.get(&run.next.conversation) {
                Some(&(count, last)) if count >= run.next.rows => {
                    (run.next.from, run.bound) = (last, last);
                    run.next.rows = (2 * run.next.rows).min(self.wanted + 1);
                }
                _ => run.is_read = true,
            }
        }
    }

    /// The wanted end, in order, as far as it is known to be whole.
    pub fn keys(mut self) -> Vec<Key> {
        let end = self.end;
        self.keys.sort_unstable_by_key(|&key| end.rank(key));
        self.keys.truncate(self.wanted);
        if let Some(horizon) = self.horizon {
            self.keys.retain(|&key| end.rank(key) < end.rank(horizon));
        }
        self.keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Conversations with the times of their messages; an id is a time's place.
    struct Table(Vec<Vec<Key>>);

    impl Table {
        /// Times by a rule of conversation and place.
        fn of(conversations: u64, each: u64, at: impl Fn(u64, u64) -> i64) -> Self {
            let key =
                |one, place| Key { at: Timestamp::from_micros(at(one, place)), id: one * each + place + 1 };
            Self((0..conversations).map(|one| (0..each).map(|place| key(one, place)).collect()).collect())
        }

        fn read(&self, end: End, read: &Read) -> Vec<(u64, Key)> {
            let mut keys = self.0[read.conversation as usize].clone();
            keys.sort_unstable_by_key(|&key| end.rank(key));
            let beyond = keys.into_iter().filter(|&key| end.rank(key) > end.rank(read.from));
            beyond.take(read.rows).map(|key| (read.conversation, key)).collect()
        }

        /// The end, what it cost in keys read, and in exchanges.
        fn merged(&self, end: End, from: Key, wanted: usize) -> (Vec<Key>, usize, usize) {
            let mut merge = Merge::new(end, wanted);
            let all: Vec<_> = (0..self.0.len() as u64).map(|one| (one, from)).collect();
            merge.add(from, &all, None);
            let (mut read, mut exchanges) = (0, 0);
            loop {
                let reads = merge.reads(256);
                if reads.is_empty() {
                    return (merge.keys(), read, exchanges);
                }
                let found: Vec<_> = reads.iter().flat_map(|read| self.read(end, read)).collect();
                // To find nothing is a look, too.
                read += found.len().max(reads.len());
                exchanges += 1;
                merge.take(&reads, &found);
            }
        }

        fn expected(&self, end: End, from: Key, wanted: usize) -> Vec<Key> {
            let mut keys: Vec<Key> = self.0.concat();
            keys.retain(|&key| end.rank(key) > end.rank(from));
            keys.sort_unstable_by_key(|&key| end.rank(key));
            keys.truncate(wanted);
            keys
        }
    }

    const FIRST: Key = Key::begin_of(Timestamp::from_micros(i64::MIN / 2));
    const LAST: Key = Key::end_of(Timestamp::from_micros(i64::MAX / 2));

    #[test]
    fn the_merge_is_the_sorted_list_and_costs_a_few_times_what_it_gives() {
        let random = |one: u64, place: u64| (one * 7_919 + place).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let tables = [
            ("in turn", Table::of(1_000, 50, |one, place| (place * 1_000 + one) as i64)),
            ("one after the other", Table::of(1_000, 50, |one, place| (one * 50 + place) as i64)),
            ("at random", Table::of(1_000, 50, |one, place| random(one, place) as i64)),
            ("few", Table::of(3, 2_000, |one, place| random(one, place) as i64)),
            ("all at once", Table::of(300, 20, |_, _| 7)),
            ("one alone", Table::of(1, 5_000, |_, place| place as i64)),
            ("none", Table::of(0, 0, |_, _| 0)),
        ];
        for (name, table) in &tables {
            for (end, from) in [(End::Oldest, FIRST), (End::Newest, LAST)] {
                let (keys, read, exchanges) = table.merged(end, from, 1_000);
                assert_eq!(keys, table.expected(end, from, 1_000), "{name} {end:?}");
                assert!(read <= 3_800, "{name} {end:?}: {read} keys read");
                assert!(exchanges <= 20, "{name} {end:?}: {exchanges} exchanges");
            }
            let middle = Key::end_of(Timestamp::from_micros(25_000));
            assert_eq!(table.merged(End::Oldest, middle, 10).0, table.expected(End::Oldest, middle, 10));
        }
    }

    #[test]
    fn what_lies_beyond_the_conversations_added_is_not_given() {
        let table = Table::of(20, 10, |one, place| (one * 100 + place * 30) as i64);
        for end in [End::Oldest, End::Newest] {
            let bound = |one: u64| table.0[one as usize][if end == End::Oldest { 0 } else { 9 }];
            let before = |key: Key| match end {
                End::Oldest => Key::begin_of(key.at),
                End::Newest => Key::end_of(key.at),
            };
            let mut order: Vec<u64> = (0..20).collect();
            order.sort_unstable_by_key(|&one| end.rank(bound(one)));
            let from = if end == End::Oldest { FIRST } else { LAST };
            let mut merge = Merge::new(end, 30);
            let mut pages = order.chunks(2).peekable();
            let mut added = 0;
            loop {
                let reads = merge.reads(8);
                let found: Vec<_> = reads.iter().flat_map(|read| table.read(end, read)).collect();
                merge.take(&reads, &found);
                if !reads.is_empty() {
                    continue;
                }
                if added > 0 && !merge.lacks_conversations() {
                    break;
                }
                let page: Vec<_> =
                    pages.next().unwrap().iter().map(|&one| (one, before(bound(one)))).collect();
                merge.add(from, &page, pages.peek().map(|next| before(bound(next[0]))));
                added += page.len();
            }
            assert_eq!(merge.keys(), table.expected(end, from, 30), "{end:?}");
            assert!(added < 20, "{end:?}: not all were looked at");
        }
    }
}
