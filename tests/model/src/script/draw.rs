//! What happens by chance, from one seed.

use redis_entraid_core::command::Topic;
use simulation::Chance;

use super::{
    Command, Fault, KEYS, Kind, LISTS, Lacking, LoginFault, NAMES, Other, Script, Settings, Slot,
    Step,
};

fn pick<T: Copy>(chance: &mut Chance, of: &[T]) -> T {
    of[chance.between(0, of.len() as u64) as usize]
}

impl Settings {
    fn draw(chance: &mut Chance) -> Self {
        let receive = pick(chance, &[96, 128, 160, 256, 1024]);
        Self {
            resp2: chance.one_in(4),
            old_server: chance.one_in(8),
            cluster: chance.one_in(2),
            receive,
            transmit: pick(chance, &[96, 128, 256, 1024]),
            ring: pick(chance, &[2, 4, 8, 32]),
            eager: chance.one_in(3),
            set_info: chance.one_in(2),
            named: chance.one_in(2),
            overlap: chance.one_in(4),
            idle: pick(chance, &[(240, false), (240, false), (20, false), (60, true)]),
            max_block: pick(chance, &[10, 10, 2]),
            life: pick(chance, &[60, 300, 3600, 3600]),
        }
    }
}

impl Script {
    /// A script of so many steps.
    pub fn draw(seed: u64, len: usize, kind: Kind) -> Self {
        let mut chance = Chance::new(seed);
        let mut settings = Settings::draw(&mut chance);
        if let Kind::Real { cluster } = kind {
            settings = Settings {
                cluster,
                old_server: false,
                idle: Settings::PLAIN.idle,
                life: 3600,
                ..settings
            };
        }
        let mut steps = Vec::with_capacity(len);
        while steps.len() < len {
            draw_steps(&mut chance, kind, &mut steps);
        }
        Self { seed, settings, steps }
    }
}

fn draw_steps(chance: &mut Chance, kind: Kind, steps: &mut Vec<Step>) {
    let real = kind != Kind::Any;
    match chance.between(0, 100) {
        0..44 => steps.push(Step::User(draw_command(chance, real))),
        44..48 => {
            let limit = pick(chance, &[100, 2000, 60_000]);
            let command = draw_command(chance, real);
            steps.push(if real { Step::User(command) } else { Step::Within(limit, command) });
        }
        // A whole transaction: by chance alone there are few.
        48..54 => {
            for _ in 0..chance.between(0, 2) {
                steps.push(Step::User(Command::Watch(index(chance, KEYS.len()))));
            }
            steps.push(Step::User(Command::Multi));
            for _ in 0..chance.between(0, 4) {
                steps.push(Step::User(draw_command(chance, real)));
                if chance.one_in(4) {
                    steps.push(draw_other(chance));
                }
            }
            if chance.one_in(3) {
                steps.push(draw_time(chance, real));
            }
            if chance.one_in(8) {
                steps.push(draw_fault(chance, real));
            }
            let end = if chance.one_in(4) { Command::Discard } else { Command::Exec };
            steps.push(Step::User(end));
        }
        54..64 => steps.push(draw_other(chance)),
        64..76 => steps.push(Step::Flow(
            pick(chance, &[0, 1, 7, 40, usize::MAX]),
            pick(chance, &[0, 1, 7, 40, usize::MAX]),
        )),
        76..88 => steps.push(Step::Drain),
        88..94 => steps.push(draw_time(chance, real)),
        94 => steps.push(Step::Token),
        95..98 => steps.push(draw_fault(chance, real)),
        98 => steps.push(match chance.between(0, 6) {
            0 | 1 => Step::Cut,
            2 => Step::Retire,
            _ if real => Step::Token,
            3 => Step::LoginFault(pick(chance, &[LoginFault::WrongPass, LoginFault::Loading])),
            4 => Step::Logout,
            _ => Step::Token,
        }),
        _ if real => steps.push(Step::Drain),
        _ => steps.push(match chance.between(0, 5) {
            0 => Step::Death,
            1 => Step::Stall(chance.between(0, 40_000)),
            _ => Step::Silence(chance.between(0, 40_000)),
        }),
    }
}

fn draw_time(chance: &mut Chance, real: bool) -> Step {
    if real {
        return pick(chance, &[Step::Pass(50), Step::Drain, Step::Token]);
    }
    match chance.between(0, 3) {
        0 => Step::Pass(pick(chance, &[10, 500, 2000, 6000, 30_000, 300_000])),
        1 => Step::Pass(chance.between(0, 60_000)),
        _ => Step::Next(pick(chance, &[20_000, 300_000, 4_000_000])),
    }
}

fn draw_fault(chance: &mut Chance, real: bool) -> Step {
    Step::Fault(match chance.between(0, 4) {
        0 | 1 => Fault::NoPerm,
        _ if real => Fault::NoPerm,
        2 => Fault::NotNow(index(chance, 6)),
        _ => Fault::Odd(chance.one_in(2)),
    })
}

fn draw_other(chance: &mut Chance) -> Step {
    Step::Other(match chance.between(0, 6) {
        0 => Other::Set(index(chance, KEYS.len())),
        1 => Other::Delete(index(chance, KEYS.len())),
        2 => Other::Push(index(chance, LISTS.len())),
        3 | 4 => Other::Publish(index(chance, NAMES.len()), pick(chance, &[1, 10, 200])),
        _ => Other::Slot(pick(
            chance,
            &[Slot::Here, Slot::Here, Slot::Moved, Slot::Migrating, Slot::Down],
        )),
    })
}

fn draw_command(chance: &mut Chance, real: bool) -> Command {
    let key = index(chance, KEYS.len());
    match chance.between(0, 50) {
        0..6 => Command::Ping,
        6..11 => Command::Get(key),
        11..16 => Command::Set(key),
        16..19 => Command::Incr,
        19..22 => Command::MGet(key, index(chance, KEYS.len())),
        22..24 => Command::RPush(index(chance, LISTS.len())),
        24..27 => {
            let millis = if real { 2000 } else { pick(chance, &[100, 1000, 8000]) };
            Command::BlPop(index(chance, LISTS.len()), millis)
        }
        27..30 => Command::Multi,
        30..33 => Command::Exec,
        33 => Command::Discard,
        34 | 35 => Command::Watch(key),
        36 => Command::Unwatch,
        37 => Command::Tracking(!chance.one_in(3)),
        38..42 => Command::Large(pick(chance, &[20, 80, 150, 300]), chance.one_in(4)),
        42 => Command::Arity(pick(
            chance,
            &[
                Lacking::Get,
                Lacking::Watch,
                Lacking::Exec,
                Lacking::Discard,
                Lacking::Multi,
                Lacking::Subscribe,
            ],
        )),
        43..47 => Command::Subscribe(topic(chance), chance.between(1, 8) as u8),
        _ => Command::Unsubscribe(topic(chance), chance.between(0, 8) as u8),
    }
}

fn topic(chance: &mut Chance) -> Topic {
    pick(chance, &[Topic::Channel, Topic::Channel, Topic::Pattern, Topic::Shard])
}

fn index(chance: &mut Chance, len: usize) -> usize {
    chance.between(0, len as u64) as usize
}
