//! A place for a client: its memory, what drives it, and what it is asked for.

use core::cell::Cell;
use core::fmt::{self, Write};
use core::time::Duration;

use embassy_futures::select::select3;
use embassy_net::Stack;
use embassy_sync::blocking_mutex::raw::{CriticalSectionRawMutex, NoopRawMutex};
use embassy_sync::channel::Channel;
use embassy_sync::signal::Signal;
use redis_entraid_core::auth::{LoginError, Protocol};
use redis_entraid_core::command::Topic;
use redis_entraid_core::connection::{Idle, Outcome};
use redis_entraid_core::listener::ListenerEvent;
use redis_entraid_core::resp::Arg;
use redis_entraid_core::source::{
    Authority, HttpSource, ManagedIdentity, Selector, ServicePrincipal, TokenSource,
};
use redis_entraid_core::storage::Buffer;
use redis_entraid_core::time::UnixTime;
use redis_entraid_core::transport::{ConnectErrorKind, Connector, Endpoint, TransportUser};
use redis_entraid_embassy::edge_tls::rand_core::CryptoRngCore;
use redis_entraid_embassy::edge_tls::{Buffers, RECORDS_IN};
use redis_entraid_embassy::{
    Client, Config, EmbassyClock, Error, Http, Listen, Listening, Problem, Roots, Runner, Storage,
    Tcp, Tls, new,
};
use static_cell::StaticCell;

use super::settings::Settings;
use super::text::Text;
use crate::{Options, commands, words, write_error, write_value};

static CLOCK: EmbassyClock = EmbassyClock::new(UnixTime(1_760_000_000));
static ROOTS: Roots = Roots::new(&[]);

/// What was heard. A case has one that listens.
pub(super) static HEARD: Channel<CriticalSectionRawMutex, Text<64>, 16> = Channel::new();

fn hear(heard: &ListenerEvent<'_>) {
    let mut text = Text::default();
    // What is too long is a wrong answer.
    let _ = match heard {
        ListenerEvent::Message(message) => {
            write!(text, "message {}", message.payload.str().unwrap_or("(bytes)"))
        }
        ListenerEvent::Subscribed => write!(text, "gap"),
        other => write!(text, "{other:?}"),
    };
    let _ = HEARD.try_send(text);
}

/// The memory of a client.
pub(super) struct Memory {
    store: Storage<2560, 4096, 512, 1024>,
    sockets: [[u8; 1024]; 4],
    records: [([u8; RECORDS_IN], [u8; 1024]); 2],
    head: [u8; 1024],
    request: [u8; 2048],
    channel: StaticCell<Text<32>>,
    wanted: StaticCell<[(Topic, &'static str); 1]>,
}

impl Memory {
    pub(super) const fn new() -> Self {
        Self {
            store: Storage::new(),
            sockets: [[0; 1024]; 4],
            records: [const { ([0; RECORDS_IN], [0; 1024]) }; 2],
            head: [0; 1024],
            request: [0; 2048],
            channel: StaticCell::new(),
            wanted: StaticCell::new(),
        }
    }
}

/// What kind of client is wanted.
#[derive(Clone, Copy)]
pub(super) struct Order {
    source: Source,
    protocol: Protocol,
    idle: Option<Duration>,
    /// How many records a key is good for.
    records: u32,
    channel: Option<Text<32>>,
}

#[derive(Clone, Copy)]
enum Source {
    Principal,
    /// With the kind of an id.
    AppService(Id),
    Imds(Id),
}

#[derive(Clone, Copy)]
enum Id {
    System,
    Client,
    Object,
    Resource,
}

impl From<Options<'_>> for Order {
    fn from(options: Options<'_>) -> Self {
        let source = options.get("source").unwrap_or("imds");
        let (source, id) = source.split_once('/').unwrap_or((source, "system"));
        let id = match id {
            "client-id" => Id::Client,
            "object-id" => Id::Object,
            "resource-id" => Id::Resource,
            _ => Id::System,
        };
        let source = match source {
            "principal" => Source::Principal,
            "app-service" => Source::AppService(id),
            _ => Source::Imds(id),
        };
        let protocol = match options.get("resp") {
            Some("2") => Protocol::Resp2,
            _ => Protocol::Resp3,
        };
        let seconds = options.get("idle").and_then(|text| text.parse().ok());
        let records = options.get("records").and_then(|text| text.parse().ok());
        let (idle, records) = (seconds.map(Duration::from_secs), records.unwrap_or(u32::MAX));
        Self { source, protocol, idle, records, channel: None }
    }
}

impl Order {
    /// One that listens to a channel.
    pub(super) fn listening(self, channel: &str) -> Self {
        Self { channel: Some(Text::from(channel)), ..self }
    }
}

/// A place for one client.
pub(super) struct Place {
    name: Cell<Option<Text<32>>>,
    client: Cell<Option<Client>>,
    order: Signal<NoopRawMutex, Order>,
    closed: Signal<NoopRawMutex, ()>,
    begun: Signal<NoopRawMutex, Text<128>>,
    reply: Signal<NoopRawMutex, Text<512>>,
}

impl Place {
    pub(super) const fn new() -> Self {
        Self {
            name: Cell::new(None),
            client: Cell::new(None),
            order: Signal::new(),
            closed: Signal::new(),
            begun: Signal::new(),
            reply: Signal::new(),
        }
    }

    /// Whether it was never taken.
    pub(super) fn is_free(&self) -> bool {
        self.name.get().is_none()
    }

    pub(super) fn is_called(&self, name: &str) -> bool {
        self.name.get().is_some_and(|known| known.as_str() == name)
    }

    pub(super) fn client(&self) -> Option<Client> {
        self.client.get()
    }

    /// Has a client made.
    pub(super) fn open(&self, name: &str, order: Order) {
        self.name.set(Some(Text::from(name)));
        self.order.signal(order);
    }

    /// Lets the client go.
    pub(super) fn close(&self) {
        self.client.set(None);
        self.closed.signal(());
    }

    /// Has a command sent, besides all else.
    pub(super) fn begin(&self, command: &str) {
        self.begun.signal(Text::from(command));
    }

    /// Waits for what was begun.
    pub(super) async fn end(&self) -> Text<512> {
        self.reply.wait().await
    }

    /// Waits until a client is wanted, and drives it until it isn't any more.
    pub(super) async fn live<R: CryptoRngCore>(
        &self,
        stack: Stack<'static>,
        settings: Settings,
        memory: &'static mut Memory,
        rng: impl Fn() -> R,
    ) {
        let order = self.order.wait().await;
        let Memory { store, sockets, records, head, request, channel, wanted } = memory;
        let [receive, transmit, http_receive, http_transmit] = sockets;
        let hosts = Hosts(Tcp::new(stack, receive, transmit));
        let http_hosts = Hosts(Tcp::new(stack, http_receive, http_transmit));
        let [records, http_records] =
            records.each_mut().map(|(records_in, records_out)| Buffers { records_in, records_out });
        let tls = Tls::new(hosts, &ROOTS, &CLOCK, records, rng()).with_records(order.records);
        let mut config = Config::new(settings.get("REDIS_HOSTNAME"), rng().next_u64());
        config.connection.protocol = order.protocol;
        if let Some(idle) = order.idle {
            config.connection.idle = Idle::Keep(idle);
        }
        let identity = match order.source {
            Source::Principal => {
                // No token comes before TLS, whose time somebody else has to tell then.
                let _ = CLOCK.set(UnixTime(settings.get("NOW").parse().unwrap_or_default()));
                let authority = Authority::at_host(
                    settings.get("AZURE_AUTHORITY_HOST"),
                    settings.get("AZURE_TENANT_ID"),
                );
                let [id, secret] =
                    ["AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"].map(|name| settings.get(name));
                let principal = ServicePrincipal::with_secret(authority, id, secret);
                let http_tls = Tls::new(http_hosts, &ROOTS, &CLOCK, http_records, rng());
                let source =
                    HttpSource::new(principal, Http::secure(http_tls, head), &mut request[..]);
                let (client, runner) = new(store, &CLOCK, config, tls, source);
                return self.drive(client, runner).await;
            }
            Source::AppService(id) => ManagedIdentity::app_service(
                settings.get("IDENTITY_ENDPOINT"),
                settings.get("IDENTITY_HEADER"),
                id.selector(settings),
            ),
            Source::Imds(id) => ManagedIdentity::imds_at(
                settings.get("AZURE_POD_IDENTITY_AUTHORITY_HOST"),
                id.selector(settings),
            ),
        };
        let http = Http::plain(http_hosts, head).setting(&CLOCK);
        let source = HttpSource::new(identity, http, &mut request[..]);
        let (client, runner) = new(store, &CLOCK, config, tls, source);
        let Some(name) = order.channel else { return self.drive(client, runner).await };
        let channel: &'static Text<32> = channel.init(name);
        let wanted = wanted.init([(Topic::Channel, channel.as_str())]);
        self.drive(client, runner.listening(Listening::new(wanted, hear))).await;
    }

    async fn drive<K: Connector, S: TokenSource, L: Listen>(
        &self,
        client: Client,
        mut runner: Runner<K, S, L>,
    ) {
        self.client.set(Some(client));
        let begun = async {
            loop {
                let line = self.begun.wait().await;
                let mut reply = Text::default();
                // What is too long is a wrong answer.
                let _ = send(client, line.as_str(), &mut reply).await;
                self.reply.signal(reply);
            }
        };
        select3(runner.run(), self.closed.wait(), begun).await;
    }
}

impl Id {
    fn selector(self, settings: Settings) -> Selector<&'static str> {
        match self {
            Self::System => Selector::System,
            Self::Client => Selector::ClientId(settings.get("EMULATOR_CLIENT_ID")),
            Self::Object => Selector::ObjectId(settings.get("EMULATOR_OBJECT_ID")),
            Self::Resource => Selector::ResourceId(settings.get("EMULATOR_RESOURCE_ID")),
        }
    }
}

/// Trusts the root that the settings name.
pub(super) fn trust(settings: Settings) {
    ROOTS.replace(settings.root());
}

/// All names of this network are one machine's.
struct Hosts(Tcp<'static>);

/// Its address.
const SERVERS: &str = "10.0.2.100";

impl Connector for Hosts {
    type Error = <Tcp<'static> as Connector>::Error;

    async fn connect<S: TransportUser>(
        &mut self,
        endpoint: &Endpoint<'_>,
        session: S,
    ) -> Result<S::Output, Self::Error> {
        self.0.connect(&endpoint.redirected(SERVERS, endpoint.port), session).await
    }
}

/// Sends commands, one after the other, and writes what came of them.
pub(super) async fn send(client: Client, text: &str, answer: &mut dyn Write) -> fmt::Result {
    let mut room = [0; 1024];
    for (at, command) in commands(text).enumerate() {
        answer.write_str(if at == 0 { "" } else { " | " })?;
        let (args, len): ([Arg<'_>; 16], usize) = words(command);
        match client.command(args.get(..len).unwrap_or_default(), &mut room).await {
            Ok(value) => {
                answer.write_str(if at == 0 { "ok " } else { "" })?;
                write_value(value, answer)?;
            }
            Err(error) => failure(&error, answer)?,
        }
    }
    Ok(())
}

/// Whether trying again soon can't help.
pub(super) fn is_hopeless(problem: &Problem) -> bool {
    match problem {
        Problem::Token(error) => !error.kind().is_retryable(),
        Problem::Connect(kind) => matches!(kind, ConnectErrorKind::Tls | ConnectErrorKind::Host),
        Problem::Login(error) => !error.is_transient(),
        Problem::Clock => true,
        _ => false,
    }
}

/// Writes an error as transcripts have it.
pub(super) fn failure(error: &Error, out: &mut dyn Write) -> fmt::Result {
    let (code, kind) = match error {
        Error::Refused(_) => (None, "usage"),
        Error::TooLarge(error) if error.buffer == Buffer::Transmit => (None, "usage"),
        Error::TooLarge(_) | Error::ReplyTooLarge { .. } => (None, "server"),
        Error::Server(error) if error.code() == "NOAUTH" => (Some(error.code()), "rejected"),
        Error::Server(error) => (Some(error.code()), "server"),
        Error::Unavailable { cause: Some(cause) } => match cause {
            Problem::Token(_) => (None, "token"),
            Problem::Connect(ConnectErrorKind::Tls) => (None, "tls"),
            Problem::Connect(_) | Problem::Clock => (None, "connect"),
            Problem::Login(error) => (code(*error), "rejected"),
            _ => (None, "lost"),
        },
        _ => (None, "lost"),
    };
    let outcome = match error.outcome() {
        Outcome::NotSent => "NotSent",
        _ => "Unknown",
    };
    write_error(code, kind, outcome, out)
}

/// The first word of what a server says that refuses a login.
const fn code(error: LoginError) -> Option<&'static str> {
    match error {
        LoginError::WrongPass => Some("WRONGPASS"),
        LoginError::NoPerm => Some("NOPERM"),
        LoginError::Denied => Some("DENIED"),
        _ => None,
    }
}
