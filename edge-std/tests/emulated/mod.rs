//! An emulator with its own store, and a client of it.

use amr_emulator::{Emulator, Options, Store};
use redis_entraid::tls::Roots;
use redis_entraid::{Builder, Client};

/// An emulator whose tokens live so many seconds.
pub(crate) fn emulator(life: u64) -> Emulator {
    let store = Store::Builtin;
    Emulator::start(&Options { life, store, ..Options::default() }).expect("the emulator starts")
}

/// A client of `emulator`, configured as by the environment.
pub(crate) fn client(emulator: &Emulator) -> Builder {
    let environment = emulator.environment();
    let find = |name: &str| environment.iter().find(|(known, _)| *known == name);
    Client::from_variables(|name| find(name).map(|(_, value)| value.clone()))
        .expect("the environment is whole")
        .roots(Roots::pem(emulator.root_pem().as_bytes()).expect("it is PEM"))
}
