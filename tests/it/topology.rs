//! One process and a cluster are the same server: the same answers, the same doors, exact membership.

use crate::harness::{Cluster, Server};
use crate::lake::Lake;
use std::time::Duration;

#[test]
fn a_standalone_server_answers_on_both_doors() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    assert!(server.cluster.is_none(), "a standalone server has no cluster door");
    let sql = "SELECT name, budget FROM dept WHERE city = 'Oslo' ORDER BY name";
    let expected = [["Engineering", "500000"], ["Support", "80000"]];
    assert_eq!(server.connect().rows(sql), expected);
    assert_eq!(server.connect_flight().rows(sql), expected);
}

#[test]
fn a_cluster_gives_the_answers_of_one_process() {
    let lake = Lake::standard();
    let server = Server::standalone(&lake);
    let cluster = Cluster::start(&lake, 3);
    let sql = "SELECT country, count(*), sum(quantity * price) FROM sales JOIN customers USING (customer_id) \
               GROUP BY country ORDER BY country";
    let expected = server.connect().rows(sql);
    assert_eq!(expected.len(), 4);
    assert_eq!(cluster.connect().rows(sql), expected, "placed by size");
    assert_eq!(cluster.connect_distributed().rows(sql), expected, "always on workers");
}

#[test]
fn a_distributed_plan_shows_stages_and_a_small_one_stays_on_the_coordinator() {
    let lake = Lake::standard();
    let cluster = Cluster::start(&lake, 3);
    let sql = "EXPLAIN SELECT parity, count(*) FROM numbers GROUP BY parity";
    let text = |rows: Vec<Vec<String>>| rows.concat().join("\n");
    let small = text(cluster.connect().rows(sql));
    let forced = text(cluster.connect_distributed().rows(sql));
    assert!(forced.contains("Stage"), "{forced}");
    assert!(!small.contains("Stage 1"), "{small}");
}

#[test]
fn workers_join_and_leave_and_membership_is_exact() {
    let lake = Lake::standard();
    let mut cluster = Cluster::start(&lake, 1);
    let sql = "SELECT sum(n) FROM numbers";
    assert_eq!(cluster.connect_distributed().scalar(sql), "50005000");
    let idx = cluster.add_worker();
    cluster.wait_for_members(2);
    assert_eq!(cluster.connect_distributed().scalar(sql), "50005000");
    let status = cluster.stop_worker(idx, Duration::from_secs(10));
    assert!(status.success(), "a worker that is asked to leave ends well: {status}");
    assert_eq!(cluster.connect_distributed().scalar(sql), "50005000");
}
