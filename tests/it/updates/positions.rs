//! Who waits is told their place, and how long it may take.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::helpdesk::{Desk, ask, claim};
use crate::support::schema::CHANGES;
use crate::support::{User, eventually, eventually_some};

const SOON: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(90);
/// feed.md: a change of place alone wakes a held poll at most once in this time.
const EVERY: Duration = Duration::from_secs(5);

fn cursor(answer: &Value) -> String {
    answer["cursor"].as_str().unwrap().to_owned()
}

/// Conversations and places, as an answer tells them.
fn places(answer: &Value) -> Vec<(String, u64)> {
    let list = answer["positions"].as_array().into_iter().flatten();
    list.map(|place| {
        (place["conversationId"].as_str().unwrap().to_owned(), place["position"].as_u64().unwrap())
    })
    .collect()
}

/// The next places that a user is told after `from`, and the cursor then.
async fn next_places(user: &User, from: &str) -> (Vec<(String, u64)>, Value) {
    let path = format!("/api/updates?parts=conversations,messages&cursor={from}");
    eventually_some(SOON, || async {
        let news = user.get(&path).await.expect_status(200).json();
        let places = places(&news);
        (!places.is_empty()).then_some((places, news))
    })
    .await
}

#[tokio::test]
async fn who_waits_is_told_their_place_and_when_it_changes() {
    let desk = Desk::start().await;
    let (ann, bob, eve) = (desk.user("ann").await, desk.user("bob").await, desk.user("eve").await);
    let (one, two) = (ask(&ann, "one").await, ask(&ann, "two").await);
    let last = ask(&bob, "last").await;
    let at = |id: &String, place: u64| (id.clone(), place);
    let state = async |user: &User| user.get("/api/updates").await.expect_status(200).json();
    let told = async |user: &User, expected: &[(String, u64)]| {
        eventually(SOON, || async { places(&state(user).await) == expected }).await;
        state(user).await
    };
    let hers = told(&ann, &[at(&one, 1), at(&two, 2)]).await;
    let his = told(&bob, &[at(&last, 3)]).await;
    assert_eq!(
        his["positions"],
        json!([{"conversationId": last, "position": 3, "expectedWaitSeconds": null}])
    );
    assert!(state(&eve).await.get("positions").is_none(), "nobody waits who did not ask");
    // Nothing new, nothing told.
    let idle = bob.get(&format!("/api/updates?cursor={}", cursor(&his))).await.json();
    assert!(idle.get("positions").is_none(), "{idle}");

    claim(&eve, &one).await;
    let (places_now, news) = next_places(&bob, &cursor(&his)).await;
    assert_eq!(places_now, [at(&last, 2)]);
    assert_eq!((&news["conversations"], &news["messages"]), (&json!([]), &json!([])), "his place alone");
    let (hers_now, _) = next_places(&ann, &cursor(&hers)).await;
    assert_eq!(hers_now, [at(&two, 1)]);
    // Given back, it has its old place, and everybody theirs.
    eve.post(&format!("/expert/conversations/{one}/unclaim"), json!({})).await.expect_status(200);
    let (places_now, news) = next_places(&bob, &cursor(&news)).await;
    assert_eq!(places_now, [at(&last, 3)]);
    // On any instance.
    let other = desk.second().await;
    let far = crate::updates::at(&bob, &other);
    told(&far, &[at(&last, 3)]).await;
    // Three claims are known: the place times the mean time between them.
    claim(&eve, &one).await;
    claim(&eve, &two).await;
    let expected = eventually_some(SOON, || async {
        let news = bob.get(&format!("/api/updates?cursor={}", cursor(&news))).await.json();
        (places(&news) == [at(&last, 1)]).then(|| news["positions"][0]["expectedWaitSeconds"].clone())
    })
    .await;
    let first_last: (i64, i64) = desk
        .schema
        .query_one(format!("SELECT TIMESTAMPDIFF(MICROSECOND, MIN(at), MAX(at)), COUNT(*) FROM {CHANGES} WHERE kind = 'claimed'"))
        .await;
    assert_eq!(first_last.1, 3);
    assert_eq!(expected, json!((first_last.0 / 2 + 500_000) / 1_000_000));
    // Claimed, it is nobody's place any more.
    claim(&eve, &last).await;
    eventually(SOON, || async { state(&bob).await.get("positions").is_none() }).await;
}

#[tokio::test]
async fn a_place_alone_wakes_a_held_poll_at_most_once_in_five_seconds() {
    let desk = Desk::start().await;
    let (ann, bob, eve) = (desk.user("ann").await, desk.user("bob").await, desk.user("eve").await);
    let mut ahead = Vec::new();
    for number in 0..4 {
        ahead.push(ask(&ann, &number.to_string()).await);
    }
    let last = ask(&bob, "last").await;
    let state = bob.get("/api/updates?parts=conversations,messages").await.json();
    let hold = async |from: &str| {
        let path = format!("/api/updates?parts=conversations,messages&wait=55&cursor={from}");
        let begun = Instant::now();
        let news = bob.request("GET", &path).limit(LONG).send().await.expect_status(200).json();
        (news, begun.elapsed())
    };
    let (first, second) = ahead.split_at(2);
    let claims = async |ids: &[String]| {
        for id in ids {
            claim(&eve, id).await;
        }
    };
    let ((news, took), ()) = {
        let from = cursor(&state);
        tokio::join!(hold(&from), claims(first))
    };
    assert_eq!(places(&news), [(last.clone(), 3)], "both claims in one answer");
    assert!(took >= EVERY, "not at once: {took:?}");
    // What moved before the next poll came waits as long.
    claims(second).await;
    let from = cursor(&news);
    let (news, took) = hold(&from).await;
    assert_eq!(places(&news), [(last.clone(), 1)]);
    assert!(took >= EVERY, "not at once: {took:?}");
    // What else is new is told at once, with the place.
    let mut from = cursor(&news);
    let before = ask(&bob, "another").await;
    loop {
        let (news, _) = hold(&from).await;
        from = cursor(&news);
        if places(&news) == [(last.clone(), 1), (before.clone(), 2)] {
            break;
        }
    }
}
