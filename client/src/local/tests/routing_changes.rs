//! A cluster that changes while it is used.

use super::routing::{asked, change, cluster, incr, key_at, known};
use super::*;
use redis_entraid_core::drive::either;

#[test]
fn a_map_that_is_old_and_wrong_is_asked_for_at_once() {
    known(&cluster(), async |mut client, broker| {
        for _ in 0..35 {
            incr(&mut client, "k").await.unwrap();
            broker.sleep(Duration::from_secs(1)).await;
        }
        let before = asked(broker).len();
        let key = key_at(broker, 8500);
        change(broker, |cluster| cluster.replace(8500, 8503));
        incr(&mut client, &key).await.unwrap();
        broker.sleep(Duration::from_secs(1)).await;
        assert_eq!(asked(broker).len(), before + 1);
    });
}

#[test]
fn a_failover_is_found_at_once_also_when_the_map_is_old() {
    known(&cluster(), async |mut client, broker| {
        for _ in 0..35 {
            incr(&mut client, "k").await.unwrap();
            broker.sleep(Duration::from_secs(1)).await;
        }
        let key = key_at(broker, 8500);
        broker.cut_port(8500);
        broker.sleep(Duration::from_millis(5)).await;
        broker.holes.borrow_mut().push("10.0.0.1");
        let failover = async {
            broker.sleep(Duration::from_millis(400)).await;
            change(broker, |cluster| cluster.replace(8500, 8503));
            // The connections that there are live on.
            broker.sleep(Duration::from_millis(100)).await;
            broker.holes.borrow_mut().clear();
            core::future::pending::<()>().await;
        };
        let waiting = async {
            let before = broker.world.now();
            incr(&mut client, &key).await.unwrap();
            let took = broker.world.now().since(before).as_millis();
            assert!(took < 2000, "{took}");
        };
        either(waiting, failover).await;
    });
}
