//! What an instance knows of users whose table does this and that.

use super::super::token::SessionId;
use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_768_473_000_000_000);
const HORIZON_S: u64 = 86_400;

fn user(user_id: u64, age_s: i64) -> Registration {
    Registration { user_id, created_at: Timestamp::from_micros(NOW.micros() - age_s * 1_000_000) }
}

fn claims(of: Registration) -> Claims {
    Claims {
        user_id: of.user_id,
        session: SessionId::from_bytes([7; 16]),
        user_created_at: Some(of.created_at),
        expires_at: 0,
        issued_at: None,
    }
}

/// A table of users, newest first, and what an instance knows of it.
struct Table(Registrations, Vec<Registration>);

impl Table {
    fn of(users: &[Registration]) -> Table {
        let table = Table(Registrations::new(), users.to_vec());
        table.0.follow();
        table.refresh(false).unwrap();
        table
    }

    /// A refresh that reads what the refresh of the users' module would.
    fn refresh(&self, anew: bool) -> Result<(), Replaced> {
        let refresh = self.0.begin(anew);
        self.end(&refresh)
    }

    fn end(&self, refresh: &Refresh) -> Result<(), Replaced> {
        let last = self.1.iter().position(|user| refresh.ends_with(*user, NOW, HORIZON_S));
        let newest = &self.1[..last.map_or(self.1.len(), |last| last + 1)];
        let asked: Vec<_> =
            self.1.iter().copied().filter(|user| refresh.asked.contains(&user.user_id)).collect();
        self.0.end(refresh, newest, &asked, NOW, HORIZON_S)
    }

    /// Judged by a request that came before the last refresh, so that what it read decides.
    fn judge(&self, of: Registration) -> Standing {
        let before = self.0.read().as_of.unwrap();
        self.0.judge(&claims(of), before)
    }
}

#[test]
fn without_a_refresh_everybody_is_known_and_with_one_to_come_nobody() {
    let registrations = Registrations::new();
    assert_eq!(registrations.judge(&claims(user(7, 1)), Instant::now()), Standing::Known);
    registrations.follow();
    assert_eq!(registrations.judge(&claims(user(7, 1)), Instant::now()), Standing::Unknown);
    registrations.add(user(7, 1));
    assert_eq!(registrations.judge(&claims(user(7, 1)), Instant::now()), Standing::Known);
}

#[test]
fn a_newcomer_is_known_by_the_time_of_their_row() {
    let table = Table::of(&[user(9, 1), user(8, 60), user(4, 90_000), user(2, 99_999)]);
    assert_eq!(table.judge(user(9, 1)), Standing::Known);
    assert_eq!(table.judge(user(9, 2)), Standing::Nobody);
    assert_eq!(table.judge(user(8, 59)), Standing::Nobody);
    // Longer there than a token can live: no token of another one with the id lives.
    assert_eq!(table.judge(user(4, 1)), Standing::Known);
    assert_eq!(table.judge(user(10, 1)), Standing::Nobody);
    // A tool's token does not say when.
    let mut tools = claims(user(9, 2));
    tools.user_created_at = None;
    assert_eq!(table.0.judge(&tools, Instant::now()), Standing::Known);
    tools.user_id = 10;
    assert_eq!(table.0.judge(&tools, Instant::now()), Standing::Unknown);
}

#[test]
fn nobody_is_refused_by_an_old_refresh() {
    let mut table = Table::of(&[user(8, 60)]);
    for stranger in [user(8, 59), user(9, 1)] {
        assert_eq!(table.0.judge(&claims(stranger), Instant::now()), Standing::Unknown, "{stranger:?}");
    }
    table.1.insert(0, user(9, 1));
    table.refresh(false).unwrap();
    assert_eq!(table.judge(user(9, 1)), Standing::Known);
    assert_eq!(table.judge(user(8, 59)), Standing::Nobody);
    assert_eq!(table.judge(user(8, 60)), Standing::Known);
}

#[test]
fn a_history_that_was_replaced_is_noticed_and_read_anew() {
    let old = [user(9, 60), user(8, 61), user(7, 62), user(3, 90_000)];
    for new in [
        vec![user(8, 61), user(7, 62), user(3, 90_000)],
        vec![user(9, 5), user(8, 61), user(7, 62)],
        vec![user(9, 5), user(8, 6), user(7, 62)],
        vec![user(12, 4), user(11, 5), user(10, 6), user(8, 61)],
        vec![user(12, 4), user(9, 5), user(8, 61)],
        vec![user(3, 90_000)],
        vec![],
    ] {
        let mut table = Table::of(&old);
        let version = table.0.version();
        table.1.clone_from(&new);
        assert_eq!(table.refresh(false), Err(Replaced), "{new:?}");
        table.refresh(true).unwrap();
        assert!(table.0.version() > version);
        for user in &new {
            assert_eq!(table.judge(*user), Standing::Known, "{new:?}");
        }
        for user in old.iter().filter(|old| !new.contains(old) && old.user_id > 3) {
            let is_gap = !new.iter().any(|new| new.user_id == user.user_id)
                && new.iter().any(|new| new.user_id > user.user_id);
            assert_eq!(table.judge(*user) == Standing::Nobody, !is_gap, "{user:?} {new:?}");
        }
        assert_eq!(table.refresh(false), Ok(()));
    }
}

#[test]
fn who_registers_changes_nothing_for_others() {
    let mut table = Table::of(&[user(8, 60), user(3, 90_000)]);
    let version = table.0.version();
    for id in 9..300 {
        table.1.insert(0, user(id, 1));
        if id % 100 == 0 {
            table.refresh(false).unwrap();
        }
    }
    // Commits out of order, and rows of long ago from elsewhere.
    table.1.retain(|user| user.user_id != 298);
    table.refresh(false).unwrap();
    table.1.insert(1, user(298, 1));
    table.1.insert(0, user(301, 999_999));
    table.refresh(false).unwrap();
    for known in &table.1 {
        assert_eq!(table.judge(*known), Standing::Known, "{known:?}");
    }
    assert_eq!(table.0.version(), version);
}

#[test]
fn who_registers_here_during_a_refresh_stays_known() {
    let mut table = Table::of(&[user(8, 60)]);
    for anew in [false, true] {
        let refresh = table.0.begin(anew);
        let user = user(9 + u64::from(anew), 1);
        table.0.add(user);
        table.end(&refresh).unwrap();
        assert_eq!(table.judge(user), Standing::Known);
        table.1.insert(0, user);
        table.refresh(false).unwrap();
        assert_eq!(table.judge(user), Standing::Known);
    }
}

#[test]
fn who_registers_here_with_an_id_that_was_somebody_elses_takes_it_at_once() {
    let table = Table::of(&[user(8, 60)]);
    let version = table.0.version();
    table.0.add(user(8, 1));
    assert!(table.0.version() > version);
    assert_eq!(table.judge(user(8, 1)), Standing::Known);
    assert_eq!(table.judge(user(8, 60)), Standing::Nobody);
}

#[test]
fn who_is_asked_for_is_looked_up() {
    let mut table = Table::of(&[user(9, 1), user(8, 60), user(7, 70)]);
    let version = table.0.version();
    // Far below the newest, so only the look-up sees it.
    table.1[2] = user(7, 65);
    let asked = Instant::now();
    assert_eq!(table.0.judge(&claims(user(7, 65)), asked), Standing::Unknown);
    assert_eq!(table.refresh(false), Err(Replaced));
    table.refresh(true).unwrap();
    assert_eq!(table.0.judge(&claims(user(7, 65)), asked), Standing::Known);
    table.1.remove(2);
    assert_eq!(table.0.judge(&claims(user(7, 70)), Instant::now()), Standing::Unknown);
    table.refresh(false).unwrap();
    for age_s in [65, 70] {
        assert_eq!(table.judge(user(7, age_s)), Standing::Nobody);
    }
    assert!(table.0.version() > version + 1);
    for id in 10..10 + 2 * ASKED_MAX as u64 {
        assert_eq!(table.0.judge(&claims(user(id, 1)), Instant::now()), Standing::Unknown);
    }
    let refresh = table.0.begin(false);
    assert_eq!((refresh.asked.len(), refresh.anchor), (ASKED_MAX, None), "all are read instead");
}

#[test]
fn who_is_no_newcomer_any_more_is_forgotten() {
    let table = Table::of(&[user(8, 60), user(7, 80_000)]);
    let mut refresh = table.0.begin(false);
    refresh.begun += FORGET_EVERY * 2;
    let now = Timestamp::from_micros(NOW.micros() + 10_000 * 1_000_000);
    table.0.end(&refresh, &[user(8, 60)], &[], now, HORIZON_S).unwrap();
    assert_eq!(table.0.read().newcomers.len(), 2, "the first refresh begins the count");
    refresh.begun += FORGET_EVERY * 2;
    table.0.end(&refresh, &[user(8, 60)], &[], now, HORIZON_S).unwrap();
    assert_eq!(table.0.read().newcomers.keys().collect::<Vec<_>>(), [&8]);
}
