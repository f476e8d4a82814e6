//! Jobs on a log and a store that keep their contracts, and on such that fail or die at any moment.

#[path = "jobs/bench.rs"]
mod bench;
#[path = "jobs/crash.rs"]
mod crash;
#[path = "jobs/crowd.rs"]
mod crowd;
#[path = "jobs/judge.rs"]
mod judge;
#[path = "jobs/life.rs"]
mod life;
#[path = "jobs/many.rs"]
mod many;
#[path = "jobs/replicas.rs"]
mod replicas;
#[path = "jobs/room.rs"]
mod room;
#[path = "jobs/shared.rs"]
mod shared;
#[path = "jobs/telling.rs"]
mod telling;
#[path = "jobs/world.rs"]
mod world;
