//! The subject of the embassy host: its public client, on whatever network the device has. The same
//! code runs as a process, over a network in memory, and as a firmware.
//!
//! Lines come from anywhere. Before the first one of a case a device is told where it is:
//!
//! | line | |
//! |---|---|
//! | `set NAME VALUE` | a variable, as the others have them in their environment |
//! | `go` | those were all |

mod place;
mod settings;
mod text;

use core::fmt::{self, Write as _};
use core::time::Duration;

use embassy_futures::join::join_array;
use embassy_futures::select::select;
use embassy_net::Stack;
use embassy_time::{Instant, Timer, with_timeout};
use redis_entraid_core::transport::{Read, Write};
use redis_entraid_embassy::edge_tls::rand_core::CryptoRngCore;
use redis_entraid_embassy::{Client, Error};
use static_cell::ConstStaticCell;

use self::place::{HEARD, Memory, Order, Place, failure, send};
use self::settings::Settings;
use self::text::{LineReader, Text};
use crate::{Options, Subject};

/// What this subject can't do, in the words of the cases. Its `connect` reports the first problem, which
/// the runner behind it takes for nothing final.
pub const LACKS: &[&str] = &[
    "large",
    "lingering",
    "moved",
    "pipeline",
    "second-look",
    "slices",
    "subscribe-resp2",
    "transactions",
];

/// Clients of one case. Each has memory of its own, once.
const CLIENTS: usize = 8;

static CLIENTS_MEMORY: ConstStaticCell<[Memory; CLIENTS]> =
    ConstStaticCell::new([const { Memory::new() }; CLIENTS]);
static LINES_MEMORY: ConstStaticCell<[u8; 4096]> = ConstStaticCell::new([0; 4096]);

/// Does what the lines say that come from `input`, and writes the answers to `output`, until there
/// are no more. `rng` makes sources of chance.
// On a device all of it lies in a static.
#[allow(clippy::large_futures)]
pub async fn serve<I: Read, O: Write, R: CryptoRngCore>(
    stack: Stack<'static>,
    rng: impl Fn() -> R,
    input: I,
    mut output: O,
) {
    let mut lines = LineReader::new(input, LINES_MEMORY.take());
    let mut settings = Settings::empty();
    while let Some(line) = lines.next().await.filter(|line| *line != "go") {
        let said = settings.set(line).map_or("err not a setting\n", |()| "ok\n");
        if output.write_all(said.as_bytes()).await.is_err() || output.flush().await.is_err() {
            return;
        }
    }
    if output.write_all(b"ok\n").await.is_err() || output.flush().await.is_err() {
        return;
    }
    let settings = settings.freeze();
    place::trust(settings);
    let places = [const { Place::new() }; CLIENTS];
    let mut memory = CLIENTS_MEMORY.take().iter_mut();
    let clients = places.each_ref().map(|place| {
        let memory = memory.next();
        let rng = &rng;
        async move {
            if let Some(memory) = memory {
                place.live(stack, settings, memory, rng).await;
            }
        }
    });
    let mut subject = Devices { places: &places };
    let serving = async {
        while let Some(line) = lines.next().await {
            let mut answer = Text::<1024>::default();
            // An answer that is too long is a wrong one.
            let _ = crate::answer(&mut subject, line, &mut answer).await;
            let _ = answer.write_char('\n');
            let written = output.write_all(answer.as_str().as_bytes()).await;
            if written.is_err() || output.flush().await.is_err() {
                return;
            }
        }
    };
    select(serving, join_array(clients)).await;
}

/// Clients by name.
struct Devices<'p> {
    places: &'p [Place; CLIENTS],
}

impl Devices<'_> {
    fn place(&self, name: &str) -> Option<(&Place, Client)> {
        let place = self.places.iter().find(|place| place.is_called(name))?;
        Some((place, place.client()?))
    }
}

/// How often is looked.
const LOOK: embassy_time::Duration = embassy_time::Duration::from_millis(10);

/// What the others call their start timeout.
const PATIENCE: embassy_time::Duration = embassy_time::Duration::from_secs(30);

impl Devices<'_> {
    /// Makes a client, and waits until it has logged in. If it can't, says why.
    async fn open(
        &self,
        name: &str,
        order: Order,
        answer: &mut dyn fmt::Write,
    ) -> Result<bool, fmt::Error> {
        let Some(place) = self.places.iter().find(|place| place.is_free()) else {
            return answer.write_str("err no room for another client").map(|()| false);
        };
        place.open(name, order);
        let until = Instant::now() + PATIENCE;
        loop {
            Timer::after(LOOK).await;
            let Some(health) = place.client().map(|client| client.health()) else { continue };
            if health.connects > 0 {
                return Ok(true);
            }
            // A device goes on for ever; a case wants to know whether the login was good.
            let problem = health.problem;
            if problem.as_ref().is_some_and(place::is_hopeless) || Instant::now() > until {
                let error = Error::Unavailable { cause: problem };
                return failure(&error, answer).map(|()| false);
            }
        }
    }
}

impl Subject for Devices<'_> {
    async fn connect(
        &mut self,
        name: &str,
        options: Options<'_>,
        answer: &mut dyn fmt::Write,
    ) -> fmt::Result {
        let opened = self.open(name, Order::from(options), answer).await?;
        answer.write_str(if opened { "ok" } else { "" })
    }

    async fn subscribe(
        &mut self,
        name: &str,
        channel: &str,
        options: Options<'_>,
        answer: &mut dyn fmt::Write,
    ) -> fmt::Result {
        if !self.open(name, Order::from(options).listening(channel), answer).await? {
            return Ok(());
        }
        // The first thing is that it hears all from then on.
        match HEARD.receive().await.as_str() {
            "gap" => answer.write_str("ok"),
            other => write!(answer, "err {other}"),
        }
    }

    async fn hear(&mut self, _: &str, answer: &mut dyn fmt::Write) -> fmt::Result {
        answer.write_str(HEARD.receive().await.as_str())
    }

    /// One after the other: this host has no pipelines.
    async fn send(
        &mut self,
        name: &str,
        commands: &str,
        answer: &mut dyn fmt::Write,
    ) -> fmt::Result {
        match self.place(name) {
            Some((_, client)) => send(client, commands, answer).await,
            None => answer.write_str("err no such client"),
        }
    }

    async fn leave(
        &mut self,
        name: &str,
        patience: Duration,
        commands: &str,
        answer: &mut dyn fmt::Write,
    ) -> fmt::Result {
        let mut said = Text::<512>::default();
        let patience = embassy_time::Duration::from_millis(patience.as_millis() as u64);
        match with_timeout(patience, self.send(name, commands, &mut said)).await {
            Ok(sent) => sent.and(answer.write_str(said.as_str())),
            Err(_) => answer.write_str("gone"),
        }
    }

    async fn begin(
        &mut self,
        name: &str,
        command: &str,
        answer: &mut dyn fmt::Write,
    ) -> fmt::Result {
        match self.place(name) {
            Some((place, _)) => {
                place.begin(command);
                answer.write_str("ok")
            }
            None => answer.write_str("err no such client"),
        }
    }

    async fn end(&mut self, name: &str, answer: &mut dyn fmt::Write) -> fmt::Result {
        match self.place(name) {
            Some((place, _)) => answer.write_str(place.end().await.as_str()),
            None => answer.write_str("err no such client"),
        }
    }

    async fn wait(
        &mut self,
        name: &str,
        what: &str,
        count: u32,
        patience: Duration,
        answer: &mut dyn fmt::Write,
    ) -> fmt::Result {
        let Some((_, client)) = self.place(name) else {
            return answer.write_str("err no such client");
        };
        let until =
            Instant::now() + embassy_time::Duration::from_millis(patience.as_millis() as u64);
        loop {
            let health = client.health();
            let refreshes = health.token.map_or(0, |token| token.refreshes);
            let times = match what {
                "reauth" => health.reauths,
                "reconnect" => health.connects.saturating_sub(1),
                "refresh" => refreshes.saturating_sub(1),
                "down" => u32::from(health.connection.is_none()),
                "unready" => u32::from(!health.is_ready()),
                _ => return answer.write_str("err nothing to wait for"),
            };
            if times >= count {
                return answer.write_str("ok");
            }
            if Instant::now() >= until {
                return answer.write_str("err timeout");
            }
            Timer::after(LOOK).await;
        }
    }

    async fn close(&mut self, name: &str, answer: &mut dyn fmt::Write) -> fmt::Result {
        if let Some((place, _)) = self.place(name) {
            place.close();
        }
        answer.write_str("ok")
    }
}
