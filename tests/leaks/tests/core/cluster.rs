//! The rules of routing in a cluster.

use leaks::Shown;
use redis_entraid_core::args;
use redis_entraid_core::cluster::*;
use redis_entraid_core::command::CommandClass;
use redis_entraid_core::policy::Jitter;
use redis_entraid_core::resp::{Node, Value};
use redis_entraid_core::time::Instant;

pub(crate) fn cluster(shown: &mut Shown) {
    let now = Instant::from_millis(0);
    shown.value(&Slot::of(b"key"));
    shown.value(&route(args!["GET", "key"]));
    shown.value(&keys(args!["MGET", "a", "b"]).unwrap());
    shown.value(&Words::from(args!["GET", "key"]));
    shown.value(&Merge::Sum);
    shown.value(&Policy::default());
    shown.value(&RedirectPolicy::default());
    let command = args!["GET", "key"];
    let mut attempts = Attempts::new(command, CommandClass::Plain, route(command), now);
    shown.value(&attempts);
    let reply = Value::new(b"-TRYAGAIN x\r\n").unwrap();
    let policy = RedirectPolicy::default();
    shown.value(&attempts.refused(now, &policy, &mut Jitter::none(), &reply.error().unwrap()));
    shown.value(&To::Map);
    shown.value(&MapPolicy::default());
    let mut schedule = MapSchedule::new(MapPolicy::default(), Jitter::none());
    shown.value(&schedule.poll(now, true, [].into_iter()));
    shown.value(&schedule);
    shown.value(&Whom::Seed);
    let mut map = SlotMap::new([SlotRange::default(); 4], [Primary::default(); 4]);
    let reply = b"*1\r\n*3\r\n:0\r\n:9\r\n*2\r\n$1\r\na\r\n:1\r\n";
    let updated = map.update(Value::new(reply).unwrap(), "", |change| shown.value(&change));
    shown.value(&updated.unwrap());
    shown.value(&map);
    let node = Node { slot: 7, address: "a", port: 1 };
    shown.value(&map.moved(&node, "", |_| ()));
    let (id, primary) = map.primaries().next().unwrap();
    shown.value(&id);
    shown.value(primary);
    shown.value(&SlotRange::default());
    shown.value(&MapError::Empty);
}
