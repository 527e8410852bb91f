//! How long the help desk's first visit takes until somebody can sign in: printed, not asserted, since machines differ.

use serde_json::json;

use crate::browser::Browser;
use crate::support::{Hyperdesk, Schema};

/// Each visit is the first one of a browser without a cache.
const VISITS: usize = 5;

/// Notes when the name can be typed, in milliseconds since the visit began: at the first frame that shows its field
/// and gives it the keys.
const NOTE: &str = "
    const look = () => {
        const field = document.querySelector('#sign-name');
        if (field?.checkVisibility() && !field.disabled && document.activeElement === field) {
            window.inputAt = performance.now();
        } else {
            requestAnimationFrame(look);
        }
    };
    requestAnimationFrame(look);";

/// A network: round trips of so many milliseconds, and bits a second; none is this machine alone.
const NETWORKS: [(&str, Option<(u32, u32)>); 2] =
    [("no network between", None), ("150 ms round trip, 1.6 Mbit/s", Some((150, 1_600_000)))];

async fn visit(address: &str, network: Option<(u32, u32)>) -> [f64; 4] {
    let browser = Browser::start().await;
    browser.devtools("Network.enable", json!({})).await;
    if let Some((round_trip_ms, bits)) = network {
        let conditions = json!({
            "offline": false, "latency": round_trip_ms, "downloadThroughput": bits / 8, "uploadThroughput": bits / 8,
        });
        browser.devtools("Network.emulateNetworkConditions", conditions).await;
    }
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": NOTE })).await;
    browser.open(address).await;
    browser.until("window.inputAt").await;
    browser.keys("#sign-name", "ann").await;
    assert_eq!(browser.value("document.querySelector('#sign-name').value").await, "ann");
    let figures = browser
        .value(
            "(() => {
                const [visit] = performance.getEntriesByType('navigation');
                const all = [visit, ...performance.getEntriesByType('resource')];
                const bytes = all.reduce((sum, entry) => sum + entry.transferSize, 0);
                return [visit.domInteractive, window.inputAt, all.length, bytes];
            })()",
        )
        .await;
    let figure = |at: usize| figures[at].as_f64().unwrap_or_else(|| panic!("{figures}"));
    [figure(0), figure(1), figure(2), figure(3)]
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::test]
async fn the_first_visit_ends_in_a_form_that_takes_input() {
    let schema = Schema::fresh().await;
    let server = Hyperdesk::builder(&schema).start().await;
    let address = format!("http://{}/helpdesk/", server.addr());
    for (name, network) in NETWORKS {
        let mut visits = Vec::new();
        for _ in 0..VISITS {
            visits.push(visit(&address, network).await);
        }
        let of = |at: usize| median(visits.iter().map(|figures| figures[at]).collect());
        // Nothing is fetched twice, and nothing again.
        assert!(visits.iter().all(|figures| figures[2] < 16.0), "{visits:?}");
        let [interactive, input, requests, bytes] = [of(0), of(1), of(2), of(3)];
        println!(
            "first visit, {name}, median of {VISITS}: domInteractive {interactive:.0} ms, the sign-in takes input after \
             {input:.0} ms, {requests} requests, {bytes} bytes with their heads"
        );
    }
}
