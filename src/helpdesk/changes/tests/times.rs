//! What the time of a `since` poll stands for, in a window of messages.

use super::*;

/// A message of user 1 in a conversation of its own.
pub(super) fn posted(seq: u64, at: i64, stamp: i64, bytes: usize) -> Arc<Item<Entry>> {
    let payload = Entry {
        kind: Kind::Message,
        conversation_id: seq,
        initiator_id: 1,
        expert_id: None,
        former_expert_id: None,
        conversation: None,
        message: Some(Piece {
            id: seq,
            json: Bytes::from(vec![b'1'; bytes]),
            stamp: Timestamp::from_micros(stamp),
        }),
        queue: QueueChange::None,
    };
    Arc::new(Item { seq, id: seq, at: Timestamp::from_micros(at), group: seq, payload })
}

/// The bytes of each message that user 1 is told who asks by `since`, in microseconds; `None` where memory does not know.
fn told(window: &Window, since: i64) -> Option<Vec<usize>> {
    match window.since(1, Class::Messages, Timestamp::from_micros(since)) {
        Since::News(pieces, _) => Some(pieces.iter().map(Bytes::len).collect()),
        Since::Unchanged => Some(Vec::new()),
        Since::Unknown => None,
        Since::Whole => panic!("messages are not told whole"),
    }
}

#[test]
fn an_echo_is_told_what_is_later_or_was_numbered_later_and_nothing_else() {
    // Number, time of the change, time shown, group.
    for (items, since, expected) in [
        (vec![(1, 110, 100, 1), (2, 210, 200, 2), (3, 310, 300, 3)], 100, vec![2, 3]),
        (vec![(1, 110, 100, 1), (2, 210, 200, 2), (3, 310, 300, 3)], 200, vec![3]),
        (vec![(1, 110, 100, 1), (2, 210, 200, 2), (3, 310, 300, 3)], 300, vec![]),
        // Numbered late, before the echoed one, which whoever has it was told with it.
        (vec![(1, 250, 100, 1), (2, 260, 200, 2)], 200, vec![]),
        (vec![(1, 250, 100, 1), (2, 260, 200, 2), (3, 310, 300, 3)], 200, vec![3]),
        // After it.
        (vec![(1, 250, 200, 1), (2, 260, 100, 2)], 200, vec![2]),
        // Of one time the oldest counts.
        (vec![(1, 250, 200, 1), (2, 260, 200, 2)], 200, vec![2]),
        // Together with it: it may have been committed before or after.
        (vec![(1, 250, 100, 1), (2, 251, 200, 1)], 200, vec![1]),
        (vec![(1, 250, 100, 1), (2, 251, 200, 1), (3, 350, 300, 3)], 200, vec![1, 3]),
    ] {
        let mut window = Window::new(Position::default(), RETENTION, Places::default());
        for &(seq, at, stamp, group) in &items {
            let mut item = posted(seq, at, stamp, seq as usize);
            Arc::get_mut(&mut item).unwrap().group = group;
            window.apply(&[item]);
        }
        assert_eq!(told(&window, since), Some(expected), "{items:?}, {since}");
    }
}

#[test]
fn what_shows_a_later_time_than_the_echo_is_new_though_it_was_numbered_before() {
    for (floor, expected) in [(0, Some(vec![1, 3])), (250_000, None)] {
        let floor = Position { seq: 0, at: Timestamp::from_micros(floor) };
        let mut window = Window::new(floor, RETENTION, Places::default());
        // An answer by times that was cut after the second one lacks the first and the third.
        for (seq, stamp) in [(1, 300_000), (2, 200_000), (3, 400_000)] {
            window.apply(&[posted(seq, 500_000 + seq as i64, stamp, seq as usize)]);
        }
        assert_eq!(
            told(&window, 200_000),
            expected,
            "from {floor:?}: what shows a later time may have been before it"
        );
    }
}

#[test]
fn the_echo_of_what_was_numbered_together_with_a_read_mark_stands_for_all_even_once_both_are_evicted() {
    for (kind, expected) in [(Kind::Read, Since::Unchanged), (Kind::Message, Since::Unknown)] {
        let mut window = Window::new(Position::default(), RETENTION, Places::default());
        window.retention.events_max = 1;
        let [mut first, mut second, mut other] =
            [1, 2, 3].map(|seq| posted(seq, 1_000_000 * seq as i64, 1_000_000 * seq as i64 - 10, 1));
        Arc::get_mut(&mut first).unwrap().payload.kind = kind;
        Arc::get_mut(&mut second).unwrap().group = first.group;
        Arc::get_mut(&mut other).unwrap().payload.initiator_id = 2;
        window.apply(&[first, second]);
        window.apply(&[other]);
        let since = window.since(1, Class::Messages, Timestamp::from_micros(1_999_990));
        assert_eq!(since, expected, "{kind:?}: only a message may be lacking");
    }
}

#[test]
fn a_time_that_no_change_shows_reaches_back_a_hundred_milliseconds() {
    let mut window = Window::new(Position::default(), RETENTION, Places::default());
    window.apply(&[posted(1, 1_000_000, 999_000, 1)]);
    assert_eq!((told(&window, 1_099_999), told(&window, 1_100_000)), (Some(vec![1]), Some(vec![])));
    window.apply(&[posted(2, 1_000_001, 1_000_001, 2)]);
    assert_eq!(told(&window, 1_100_000), Some(vec![2]));
}

#[test]
fn who_echoes_what_was_evicted_is_told_what_came_since_and_nothing_twice() {
    // What came after the echoed message, and whether memory can tell it.
    for (stamp, expected) in [(90_000_000, Some(vec![2])), (500_000, None)] {
        let mut window = Window::new(Position::default(), RETENTION, Places::default());
        window.retention.events_max = 1;
        let mut other = posted(2, 50_000_000, 50_000_000, 9);
        Arc::get_mut(&mut other).unwrap().payload.initiator_id = 2;
        window.apply(&[posted(1, 1_000_100, 1_000_000, 1)]);
        window.apply(&[other]);
        window.apply(&[posted(3, 90_000_100, stamp, 2)]);
        let told = told(&window, 1_000_000);
        assert_eq!(told, expected, "{stamp}: what was committed late may be lacking");
    }
}

#[test]
fn two_messages_of_one_time_are_both_told() {
    let mut window = Window::new(Position::default(), RETENTION, Places::default());
    for seq in [1, 2] {
        window.apply(&[posted(seq, 1_000_000 + seq as i64, 1_000_000, seq as usize)]);
    }
    assert_eq!(
        told(&window, 1_000_000),
        Some(vec![2]),
        "who was told the first alone echoes a time that is the second's, too"
    );
}

#[test]
fn a_time_is_settled_unless_something_earlier_may_have_come_after_it() {
    let floor = Position { seq: 0, at: Timestamp::from_micros(500) };
    let settled = |items: &[Arc<Item<Entry>>], since: i64| {
        let mut window = Window::new(floor, RETENTION, Places::default());
        window.retention.events_max = 1;
        items.iter().for_each(|item| window.apply(std::slice::from_ref(item)));
        window.is_settled(1, Class::Messages, Timestamp::from_micros(since))
    };
    let posted = |seq: u64, stamp| posted(seq, 1_000_000 + seq as i64, stamp, 1);
    assert!(!settled(&[], 2_000), "nothing is known of them");
    let in_order = [posted(1, 1_000), posted(2, 2_000)];
    assert!(settled(&in_order, 1_000) && settled(&in_order, 2_000), "though the first was evicted");
    assert!(!settled(&in_order, 500), "it is from before the window");
    let late = [posted(1, 2_000), posted(2, 1_000), posted(3, 3_000)];
    assert!(!settled(&late, 2_000) && settled(&late, 3_000));
    let same_time = [posted(1, 2_000), posted(2, 2_000)];
    assert!(!settled(&same_time, 2_000));
    let mut together = [posted(1, 1_000), posted(2, 2_000)];
    Arc::get_mut(&mut together[1]).unwrap().group = 1;
    assert!(
        !settled(&together, 2_000) && !settled(&together, 1_000),
        "in whichever order they were committed"
    );
    let mut window = Window::new(floor, RETENTION, Places::default());
    window.apply(&in_order);
    assert!(!window.is_settled(1, Class::Queue, Timestamp::from_micros(2_000)), "others take part in it");
}

#[test]
fn what_the_database_said_stands_for_all_that_was_committed_by_then() {
    let (asked, second) = (10_000_000, 1_000_000);
    for (since, expected) in [
        (asked, Some(vec![2])),
        (asked + 1, None),
        (asked + 5 * second - 1, None),
        (asked + 5 * second, Some(vec![2])),
    ] {
        let mut window = Window::new(Position::default(), RETENTION, Places::default());
        window.retention.events_max = 1;
        window.apply(&[posted(1, 16_000_000, 9_000_000, 1)]);
        let mut other = posted(2, 17_000_000, 17_000_000, 9);
        Arc::get_mut(&mut other).unwrap().payload.initiator_id = 2;
        window.apply(&[other]);
        window.verify(1, Class::Messages, Timestamp::from_micros(asked), 2);
        window.apply(&[posted(3, 20_000_010, 20_000_000, 2)]);
        assert_eq!(told(&window, since), expected, "{since}: a later commit may have an earlier time");
        // It was overtaken by one that came late.
        window.retention.events_max = 2;
        window.apply(&[posted(4, 20_000_020, 19_000_000, 3)]);
        assert_eq!(told(&window, since), None, "{since}");
    }
}
