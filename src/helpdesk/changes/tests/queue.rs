//! The queue by time: it is given whole, or nothing of it has changed.

use super::super::item::QUEUE;
use super::super::places::Waiting;
use super::*;

/// An expert who shows the queue, and echoes the newest time in it.
struct Expert {
    user: u64,
    shown: BTreeMap<u64, (String, Timestamp)>,
    since: Timestamp,
}

/// What waits, and what the user works on.
fn queue(model: &Model, user: u64) -> BTreeMap<u64, (String, Timestamp)> {
    let is_in = |row: &&Conversation| {
        row.status == "waiting" || row.expert_id == Some(user) && row.status == "active"
    };
    let rows = model.conversations.values().filter(is_in);
    rows.map(|row| (row.id, (row.status.clone(), row.updated_at))).collect()
}

impl Expert {
    fn new(user: u64) -> Self {
        Self { user, shown: BTreeMap::new(), since: Timestamp::from_micros(500_000_000) }
    }

    /// Whether the queue came.
    fn poll(&mut self, model: &Model) -> bool {
        let answer = model.window.since(self.user, Class::Queue, self.since);
        match answer {
            Since::Whole => {
                self.shown = queue(model, self.user);
                self.since = self.shown.values().map(|(_, at)| *at).fold(self.since, Timestamp::max);
            }
            Since::Unchanged => assert_eq!(self.shown, queue(model, self.user), "user {}", self.user),
            other => panic!("{other:?}"),
        }
        answer == Since::Whole
    }
}

#[test]
fn who_is_told_nothing_shows_the_queue_as_it_is() {
    for seed in 0..40 {
        let mut model = Model::new(seed);
        let mut experts: Vec<Expert> = USERS.map(Expert::new).collect();
        for _ in 0..60 {
            for _ in 0..model.random.u8(1..4) {
                model.act();
            }
            model.tail(true);
            for expert in &mut experts {
                if model.random.bool() {
                    expert.poll(&model);
                }
                let now = Timestamp::from_micros(model.now + REACH_MICROS);
                assert_eq!(model.window.since(expert.user, Class::Queue, now), Since::Unchanged);
            }
        }
    }
}

#[test]
fn a_queue_that_is_shown_is_not_told_again() {
    let mut model = Model::new(1);
    let (mut expert, mut other) = (Expert::new(4), Expert::new(3));
    assert!(!expert.poll(&model) && !other.poll(&model), "nothing happened yet");
    for conversation in 1..=5 {
        model.now += 1_000_000;
        let now = Timestamp::from_micros(model.now);
        model.open(conversation, 1, now);
        model.tail(true);
        assert!(expert.poll(&model) && !expert.poll(&model));
        if conversation == 3 {
            assert!(other.poll(&model));
        }
    }
    // An echo of what is not the newest any more.
    assert_eq!(model.window.own_seq(4), 0);
    assert_eq!(model.window.own_seq(1), 5);
    assert_eq!(model.window.topic_seq(QUEUE), 5);
    assert!(other.poll(&model) && !other.poll(&model));
    // A change of the expert's own, in no list of anybody else's.
    model.now += 1_000_000;
    let now = Timestamp::from_micros(model.now);
    let row = model.conversations.get_mut(&2).unwrap();
    (row.expert_id, row.status, row.updated_at) = (Some(4), "active".to_owned(), now);
    model.event(Kind::Claimed, 2, Some(4), None);
    model.tail(true);
    assert!(expert.poll(&model) && !expert.poll(&model));
    assert_eq!(model.window.own_seq(4), 6);
    model.now += 1_000_000;
    let now = Timestamp::from_micros(model.now);
    model.conversations.get_mut(&2).unwrap().updated_at = now;
    model.event(Kind::Message, 2, None, None);
    model.tail(true);
    assert!(expert.poll(&model) && !expert.poll(&model));
    assert_eq!(model.window.topic_seq(QUEUE), 6, "the waiting list is as it was");
    // It is taken from them.
    model.now += 1_000_000;
    let now = Timestamp::from_micros(model.now);
    let row = model.conversations.get_mut(&2).unwrap();
    (row.expert_id, row.status, row.updated_at) = (None, "waiting".to_owned(), now);
    model.event(Kind::Unclaimed, 2, Some(4), None);
    model.tail(true);
    assert!(expert.poll(&model));
}

#[test]
fn what_the_database_said_of_a_queue_stands_until_it_changes() {
    let mut model = Model::new(1);
    model.window.retention.events_max = 3;
    for conversation in 1..=10 {
        model.now += 1_000_000;
        let now = Timestamp::from_micros(model.now);
        model.open(conversation, 1, now);
        model.tail(true);
    }
    let old = Timestamp::from_micros(1_000_000_000);
    assert_eq!(model.window.since(4, Class::Queue, old), Since::Unknown);
    model.window.verify(4, Class::Queue, old, model.window.position().seq);
    assert_eq!(model.window.since(4, Class::Queue, old), Since::Unchanged);
    let earlier = Timestamp::from_micros(999_999_999);
    assert_eq!(model.window.since(4, Class::Queue, earlier), Since::Unknown, "it did not speak of that");
    model.now += 1_000_000;
    let now = Timestamp::from_micros(model.now);
    model.open(11, 1, now);
    model.tail(true);
    assert_eq!(model.window.since(4, Class::Queue, old), Since::Whole);
    for conversation in 12..=16 {
        model.now += 1_000_000;
        let now = Timestamp::from_micros(model.now);
        model.open(conversation, 1, now);
        model.tail(true);
    }
    assert_eq!(model.window.since(4, Class::Queue, old), Since::Unknown, "what came since was evicted");
}

#[test]
fn a_position_is_told_from_one_of_another_history() {
    let waiting = Waiting { conversation: 1, opened_at: Timestamp::from_micros(1), initiator: 1 };
    let floor = Position { seq: 7, at: Timestamp::from_micros(70) };
    let mut window = Window::new(floor, RETENTION, Places::new(&[waiting]));
    assert_eq!(window.projection().count(), 1);
    for seq in 8..=9 {
        window.apply(&[posted(seq, 10 * seq as i64, 0, 1)]);
    }
    let bytes = posted(8, 80, 0, 1).bytes() + posted(9, 90, 0, 1).bytes();
    assert_eq!(window.size(), (2, bytes, 1, Some(Timestamp::from_micros(80))));
    assert_eq!(window.position(), Position { seq: 9, at: Timestamp::from_micros(90) });
    let holds = |seq, at| window.holds(Position { seq, at: Timestamp::from_micros(at) });
    for (seq, at) in [(7, 70), (8, 80), (9, 90)] {
        assert!(holds(seq, at), "{seq} at {at}");
    }
    for (seq, at) in [(0, 0), (0, 5), (6, 60), (7, 71), (8, 70), (9, 0), (10, 100), (10, 0)] {
        assert!(!holds(seq, at), "{seq} at {at}");
    }
}

/// A snapshot that holds the one may lack the other: they were committed in any order.
#[test]
fn what_was_numbered_together_with_an_echo_is_new() {
    for (group, expected) in [(1, 1), (2, 0)] {
        let mut window = Window::new(Position::default(), RETENTION, Places::default());
        for seq in 1..=2 {
            let entry = posted(seq, 500_000 + seq as i64, 100_000 * seq as i64, 1);
            let mut entry = Arc::into_inner(entry).unwrap();
            entry.group = if seq == 2 { group } else { 1 };
            window.apply(&[Arc::new(entry)]);
        }
        let found = match window.since(1, Class::Messages, Timestamp::from_micros(200_000)) {
            Since::News(pieces, _) => pieces.len(),
            Since::Unchanged => 0,
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expected, "with the second in group {group}");
    }
}

fn changed(seq: u64, change: impl FnOnce(&mut Entry)) -> Arc<Item<Entry>> {
    let mut entry = Arc::into_inner(posted(seq, seq as i64, seq as i64, seq as usize)).unwrap();
    change(&mut entry.payload);
    Arc::new(entry)
}

fn told(window: &Window, user: u64, seq: u64) -> (usize, Vec<u64>) {
    match after(window, user, seq, TELLS) {
        After::News(news, _) => (news.messages.len(), news.left),
        other => panic!("{other:?}"),
    }
}

#[test]
fn as_much_is_evicted_as_must_be_and_nothing_else() {
    let entries: Vec<_> = (1..=4).map(|seq| posted(seq, seq as i64, seq as i64, seq as usize)).collect();
    let bytes: usize = entries[2..].iter().map(|entry| entry.bytes()).sum();
    for retention in [Retention { events_max: 2, ..RETENTION }, Retention { bytes_max: bytes, ..RETENTION }] {
        let mut window = Window::new(Position::default(), retention, Places::default());
        window.apply(&entries);
        assert_eq!((window.size().0, window.size().1), (2, bytes), "{retention:?}");
        assert_eq!((after(&window, 1, 1, TELLS), told(&window, 1, 2).0), (After::TooOld, 2));
    }

    // What is first in a list need not be what is evicted.
    let mut window =
        Window::new(Position::default(), Retention { events_max: 3, ..RETENTION }, Places::default());
    window.apply(&[
        changed(1, |entry| entry.expert_id = Some(2)),
        changed(2, |entry| entry.initiator_id = 2),
        changed(3, |entry| entry.queue = QueueChange::Waits),
    ]);
    let unclaim = |entry: &mut Entry| (entry.conversation_id, entry.former_expert_id) = (1, Some(2));
    window.apply(&[changed(4, unclaim)]);
    assert_eq!(window.size().0, 3);
    assert_eq!(told(&window, 2, 1), (1, vec![3]), "the second is there, and the third, which left the queue");
    assert_eq!(told(&window, 9, 2), (0, vec![3]));
    // Of what was taken from somebody they learn that, and nothing else.
    let After::News(news, _) = after(&window, 2, 1, TELLS) else { panic!("there is news") };
    assert_eq!(news.unassigned, [1]);
    assert_eq!(window.since(2, Class::Messages, Timestamp::from_micros(REACH_MICROS + 3)), Since::Unchanged);
    window.apply(&[5, 6, 7].map(|seq| changed(seq, |_| {})));
    assert_eq!(after(&window, 2, 3, TELLS), After::TooOld, "that is evicted too");
}

#[test]
fn two_that_came_together_into_the_queue_are_told_to_who_echoes_one() {
    let mut model = Model::new(1);
    for conversation in 1..=2 {
        model.now += 1_000;
        let now = Timestamp::from_micros(model.now);
        model.open(conversation, 1, now);
    }
    let newest = Timestamp::from_micros(model.now);
    model.tail(true);
    assert_eq!(model.window.since(4, Class::Queue, newest), Since::Whole);
}

#[test]
fn who_has_nothing_to_be_told_by_a_thousand_changes_is_told_by_the_next() {
    let mut window = Window::new(Position::default(), RETENTION, Places::default());
    let count = 2 * NEWS_MAX as u64 + 1;
    for seq in 1..count {
        window.apply(&[changed(seq, |entry| entry.message = None)]);
    }
    assert_eq!(after(&window, 1, 0, TELLS), After::Unchanged(window.position()));
    window.apply(&[posted(count, count as i64, count as i64, 1)]);
    assert_eq!(told(&window, 1, 0), (1, vec![]));
}
