//! The readings, and whether they arrive.

use defmt::{error, info};
#[cfg(feature = "rsa")]
use embassy_futures::join::join_array;
use embassy_time::{Duration, Instant, Timer};
use mps2_an385::host::Arguments;
use redis_entraid_embassy::entraid_core::connection::Outcome;
use redis_entraid_embassy::entraid_core::transport::ConnectErrorKind;
use redis_entraid_embassy::{Client, Error, Problem, args};

/// Publishes readings until there were as many as the command line says, and as many logins. Says
/// whether all went well.
pub async fn readings(client: Client, arguments: &Arguments) -> bool {
    let wanted = |what| arguments.number(what);
    let until = Instant::now() + Duration::from_secs(wanted("seconds"));
    let mut number = 0;
    loop {
        let health = client.health();
        let enough = number >= wanted("readings")
            && u64::from(health.reauths) >= wanted("reauths")
            && u64::from(health.connects) >= wanted("connects");
        if enough {
            let (connects, reauths) = (health.connects, health.reauths);
            info!("enough: {} readings, {} logins, {} again", number, connects, reauths);
            #[cfg(feature = "rsa")]
            return at_once(client).await;
            #[cfg(not(feature = "rsa"))]
            return true;
        }
        if Instant::now() > until {
            error!("not enough in time: {} readings", number);
            return false;
        }
        number += 1;
        if !publish(client, number).await {
            return false;
        }
        Timer::after_millis(100).await;
    }
}

/// Sends eight commands at once. Says whether each has its own reply. Eight futures take 2.3 kB, which the
/// smallest gateway doesn't have.
#[cfg(feature = "rsa")]
async fn at_once(client: Client) -> bool {
    let numbers = *b"12345678";
    let echo = async |number: &u8| {
        let (text, mut room) = ([*number], [0; 8]);
        let reply = client.command(args!["ECHO", &text], &mut room).await;
        reply.is_ok_and(|reply| reply.bytes() == Ok(&text[..]))
    };
    let all = join_array(numbers.each_ref().map(echo)).await.iter().all(|right| *right);
    info!("eight commands at once, each with its own reply: {}", all);
    all
}

/// Publishes one reading, as often as it takes: it has an id of its own, so that the server takes
/// it once.
async fn publish(client: Client, number: u64) -> bool {
    let (mut id, mut room) = ([0; 24], [0; 160]);
    let id = text(number, &mut id);
    // Each attempt waits for a connection, so that a few of them span an outage.
    for attempt in 1..=10 {
        let celsius = 20 + (number % 5) as u32;
        let command = args!["XADD", "readings", id, "celsius", celsius];
        match client.command(command, &mut room).await {
            Ok(_) => return true,
            // It has come the first time.
            Err(Error::Server(said))
                if attempt > 1 && said.message().contains("equal or smaller") =>
            {
                return true;
            }
            Err(error) => {
                let sent = error.outcome() != Outcome::NotSent;
                error!("reading {}: {} (sent: {})", number, defmt::Display2Format(&error), sent);
            }
        }
        // A server that isn't the right one, or that refuses the login, is not worth another try.
        let health = client.health();
        let hopeless = matches!(
            health.problem,
            Some(Problem::Connect(ConnectErrorKind::Tls) | Problem::Login(_))
        );
        if health.connects == 0 && hopeless {
            return false;
        }
    }
    false
}

/// `1-number`, the id of a reading.
fn text(mut number: u64, room: &mut [u8; 24]) -> &str {
    let mut start = room.len();
    loop {
        start -= 1;
        room[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    start -= 2;
    room[start..start + 2].copy_from_slice(b"1-");
    core::str::from_utf8(&room[start..]).unwrap_or_default()
}
