//! From one product to the other: a Rails help desk on MariaDB goes to MySQL, and the other way round.

use std::io::Write as _;

use super::{forget_reader, import, is_served, is_the_same, migrated, reader};
use crate::support::rails::{Rails, Shape};
use crate::support::{Product, Schema, Server};

/// A server of each product, if both are here. The run for MySQL has both; what another run leaves out is said past
/// the harness, which keeps what a test that passes says to itself.
async fn both() -> Option<[Server; 2]> {
    let (chosen, other) = (Product::chosen(), Product::chosen().other());
    if chosen == Product::MariaDb && other.program_if_any().is_none() {
        let why = "SKIPPED: imports between MariaDB and MySQL, as there is no mysqld (`deploy/local/test mysql` has one)\n";
        std::io::stderr().write_all(why.as_bytes()).unwrap();
        return None;
    }
    Some([Server::start_of(chosen, &[]).await, Server::start_of(other, &[]).await])
}

async fn is_brought_over(from: &Server, to: &Server) {
    for shape in
        [Shape::default(), Shape { sender: "user_id", sender_role: false, links: "text", ..Shape::default() }]
    {
        let rails = Rails::in_schema(Schema::on(from).await, shape).await;
        rails.fill().await;
        rails.fill_many(2_000).await;
        let before = rails.checksums().await;
        let target = migrated(Schema::on(to).await).await;
        let url = reader(&rails.schema).await;
        let said = import(&url, &target).await;
        assert!(said.contains("messages: 2005 rows, 2005 added, 0 were here, 0 not taken"), "{said}");
        is_the_same(&rails, &target).await;
        let again = import(&url, &target).await;
        assert!(again.contains("messages: 2005 rows, 0 added, 2005 were here, 0 not taken"), "{again}");
        is_the_same(&rails, &target).await;
        forget_reader(&rails.schema).await;
        assert_eq!(rails.checksums().await, before, "the source is as it was");
        is_served(&rails, &target).await;
    }
}

#[tokio::test]
async fn to_the_other_product() {
    let Some([own, other]) = both().await else { return };
    is_brought_over(&own, &other).await;
}

#[tokio::test]
async fn from_the_other_product() {
    let Some([own, other]) = both().await else { return };
    is_brought_over(&other, &own).await;
}
