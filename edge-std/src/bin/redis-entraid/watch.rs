//! `watch`: stays connected, and shows the life of the token and of the connection.

mod round_trips;
mod view;

use std::future::pending;
use std::time::{Duration, Instant};

use redis_entraid::entraid_core::manager::Generation;
use redis_entraid::{Client, Error, Event, args};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::MissedTickBehavior;

use crate::arguments::{Target, Watch};
use crate::failure::Failure;
use crate::output::Output;
use crate::setup::Setup;
use crate::time::number;
use round_trips::RoundTrips;
use view::{Screen, View};

/// How often what is on a terminal is drawn anew.
const FRAME: Duration = Duration::from_millis(200);

/// What happens.
enum News {
    /// To the token or the connection.
    Event(Event),
    /// A command was answered, or not.
    Ping(Result<Duration, Error>),
}

/// Stays connected until it is told to end, or for as long as was asked.
pub(crate) async fn run(target: &Target, options: &Watch, output: &Output) -> Result<(), Failure> {
    let setup = Setup::read(target)?;
    let server = format!("{}:{}", setup.place.host, setup.place.port);
    let (tell, told) = unbounded_channel();
    let told_by_hook = tell.clone();
    let redis = setup
        .client(target)
        .command_timeout(target.timeout)
        .on_event(move |event| {
            let _ = told_by_hook.send(News::Event(*event));
        })
        .start()?;
    let pings = tokio::spawn(ping(redis.clone(), options.every, target.timeout, tell));
    let watcher = Watcher {
        view: View {
            server,
            begun: Instant::now(),
            login: None,
            round_trips: RoundTrips::default(),
        },
        redis,
        output: *output,
        screen: output.drawn.then(Screen::default),
    };
    let ended = watcher.watch(told, options.time).await;
    pings.abort();
    ended
}

/// Sends `PING`, `every` so often.
async fn ping(mut redis: Client, every: Duration, limit: Duration, tell: UnboundedSender<News>) {
    // The first login is no part of a round trip.
    while !redis.health().is_ready() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let sent = Instant::now();
        let answered = redis.command_within(limit, args!["PING"]).await;
        let result = match answered {
            // Who may not send PING gets an answer, too.
            Ok(_) | Err(Error::Server(_)) => Ok(sent.elapsed()),
            Err(error) => Err(error),
        };
        if tell.send(News::Ping(result)).is_err() {
            return;
        }
    }
}

struct Watcher {
    redis: Client,
    output: Output,
    view: View,
    /// What is drawn anew, on a terminal.
    screen: Option<Screen>,
}

impl Watcher {
    async fn watch(
        mut self,
        mut told: UnboundedReceiver<News>,
        time: Option<Duration>,
    ) -> Result<(), Failure> {
        let end = async {
            match time {
                Some(time) => tokio::time::sleep(time).await,
                None => pending().await,
            }
        };
        tokio::pin!(end);
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                Some(news) = told.recv() => self.hear(news)?,
                _ = frames.tick(), if self.screen.is_some() => self.draw()?,
                () = &mut end => break,
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted?;
                    break;
                }
            }
        }
        self.end().await
    }

    fn hear(&mut self, news: News) -> std::io::Result<()> {
        match news {
            News::Event(event) => {
                if let Event::LoggedIn { generation, .. } | Event::Reauthenticated { generation } =
                    event
                {
                    self.view.login = Some((generation, Instant::now()));
                }
                self.event(&event)
            }
            News::Ping(result) => {
                self.view.round_trips.push(result.as_ref().ok().copied());
                self.sample(&result)
            }
        }
    }

    /// Prints what happened.
    fn event(&mut self, event: &Event) -> std::io::Result<()> {
        let at = self.view.begun.elapsed().as_secs_f64();
        let problem = match event {
            Event::DialFailed { .. } => self.redis.problem().map(|problem| problem.to_string()),
            _ => None,
        };
        if self.output.json {
            return self.output.line(json!({
                "at_seconds": at, "event": name(event), "text": event.to_string(), "problem": problem,
            }));
        }
        let problem = problem.map(|problem| format!(": {problem}")).unwrap_or_default();
        self.above(&format!("{at:9.3} s  {:<9}  {event}{problem}", view::mark(event)))
    }

    /// Prints a round trip, where it isn't drawn.
    fn sample(&mut self, result: &Result<Duration, Error>) -> std::io::Result<()> {
        let health = self.redis.health();
        let at = self.view.begun.elapsed().as_secs_f64();
        if self.output.json {
            let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
            let token = &health.token;
            return self.output.line(json!({
                "at_seconds": at,
                "round_trip_ms": result.as_ref().ok().map(|time| time.as_secs_f64() * 1e3),
                "problem": result.as_ref().err().map(ToString::to_string),
                "ready": health.is_ready(),
                "token": {
                    "number": token.generation.map(|Generation(number)| number),
                    "age_seconds": seconds(token.age),
                    "ends_in_seconds": seconds(token.expires_in),
                    "next_refresh_in_seconds": seconds(Some(token.next_fetch_in)),
                },
                "tokens": token.refreshes,
                "reauths": health.reauths,
                "reconnects": health.reconnects,
            }));
        }
        match (result, &self.screen) {
            (Err(error), _) => self.above(&format!("{at:9.3} s  {:<9}  {error}", "no reply")),
            (Ok(_), Some(_)) => Ok(()),
            (Ok(time), None) => {
                let ping = crate::time::millis(*time);
                self.output
                    .line(format_args!("{at:9.3} s  {ping:>9}  {}", self.view.token(&health)))
            }
        }
    }

    /// Prints a line that stays, above what is drawn anew.
    fn above(&mut self, line: &str) -> std::io::Result<()> {
        if let Some(screen) = &mut self.screen {
            screen.erase(&self.output)?;
        }
        self.output.line(line)?;
        if self.screen.is_some() { self.draw() } else { Ok(()) }
    }

    fn draw(&mut self) -> std::io::Result<()> {
        match &mut self.screen {
            Some(screen) => {
                let lines = self.view.lines(&self.redis.health());
                screen.draw(&lines, &self.output)
            }
            None => Ok(()),
        }
    }

    /// Prints what there was in all. Where there is no connection in the end, that is a failure.
    async fn end(self) -> Result<(), Failure> {
        let health = self.redis.health();
        let (count, failed) = self.view.round_trips.counts();
        let seconds = self.view.begun.elapsed().as_secs_f64();
        if self.output.json {
            let (tokens, reauths, reconnects) =
                (health.token.refreshes, health.reauths, health.reconnects);
            self.output.line(json!({ "at_seconds": seconds, "summary": {
                "tokens": tokens, "reauths": reauths, "reconnects": reconnects,
                "pings": count, "failed": failed,
            } }))?;
        } else {
            let (summary, pings) = (view::summary(&health), number(count, "ping"));
            self.output.line(format_args!(
                "{seconds:9.3} s  {:<9}  {summary}, {pings}, {failed} without a reply",
                "in all"
            ))?;
        }
        if health.is_ready() {
            self.redis.close().await;
            return Ok(());
        }
        Err(self.redis.problem().unwrap_or(Error::Unavailable { cause: None }).into())
    }
}

/// The name of an event, in JSON.
const fn name(event: &Event) -> &'static str {
    match event {
        Event::Refreshed { .. } => "refreshed",
        Event::SameToken { .. } => "same_token",
        Event::FetchFailed { .. } => "fetch_failed",
        Event::LoggedIn { .. } => "logged_in",
        Event::Reauthenticated { .. } => "reauthenticated",
        Event::Rejected { .. } => "rejected",
        Event::ReplacementDue { .. } => "replacement_due",
        Event::StateLost(_) => "state_lost",
        Event::Disconnected { .. } => "disconnected",
        Event::DialFailed { .. } => "dial_failed",
        _ => "other",
    }
}
