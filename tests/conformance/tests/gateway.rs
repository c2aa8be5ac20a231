//! Runs the firmware of `examples/gateway-qemu` on an emulated board, against the emulator and a real
//! `redis-server`: one program for all that happens here.
//!
//! `GATEWAY` names the firmware, and `GATEWAY_P256` the one that understands P-256 alone: `cargo xtask
//! test gateway` sees to that.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use amr_emulator::{Chain, Emulator, Options, Store};
use conformance::case::root_der;
use defmt_decoder::{DecodeError, Table};

/// No board runs longer, in seconds. They give up before, by what their command lines say; on a busy
/// machine a handshake of theirs takes long.
const LIMIT: &str = "400";

fn emulator(chain: &str, life: u64) -> Emulator {
    let chain = Chain::named(chain).expect("there is such a chain");
    let store = Store::Redis("redis-server".into());
    let options = Options { chain, life, store, ..Options::default() };
    Emulator::start(&options).expect("the emulator starts")
}

/// The firmware, running.
struct Board {
    qemu: Child,
    lines: mpsc::Receiver<String>,
    said: Vec<String>,
    root: PathBuf,
}

impl Board {
    /// Boots the firmware in a network where nobody is but the emulator, with these words on its
    /// command line.
    fn boot(emulator: &Emulator, name: &str, words: &[&str]) -> Self {
        Self::boot_one("GATEWAY", emulator, name, words)
    }

    /// The same with the firmware that this variable names.
    fn boot_one(firmware: &str, emulator: &Emulator, name: &str, words: &[&str]) -> Self {
        let firmware = std::env::var_os(firmware).expect("it is not set: see the top");
        let elf = std::fs::read(&firmware).expect("the firmware is there");
        let root = std::env::temp_dir();
        let root = root.join(format!("redis-entraid-{name}-{}.der", std::process::id()));
        std::fs::write(&root, root_der(emulator.root_pem())).expect("it can be written");
        let words = words.iter().map(|word| format!(",arg={word}")).collect::<String>();
        let plain = emulator.plain();
        let identity = plain.rsplit(':').next().expect("there is a port");
        // One connection of ours for each of the board's.
        let forward = env!("CARGO_BIN_EXE_forward").replace(',', ",,");
        let network = format!(
            "user,model=lan9118,restrict=on,\
            guestfwd=tcp:10.0.2.100:10000-cmd:'{forward}' {},\
            guestfwd=tcp:10.0.2.101:80-cmd:'{forward}' {identity}",
            emulator.redis_port()
        );
        let semihosting = format!(
            "enable=on,target=native,arg=gateway,arg=host=localhost,arg=root={}{words}",
            root.display()
        );
        let mut qemu = Command::new("timeout");
        qemu.args([LIMIT, "qemu-system-arm", "-M", "mps2-an385", "-nographic"]);
        qemu.args(["-monitor", "none", "-serial", "none", "-nic", &network]);
        qemu.args(["-semihosting-config", &semihosting, "-kernel"]).arg(firmware);
        qemu.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut qemu = qemu.spawn().expect("QEMU is there");
        let mut log = qemu.stdout.take().expect("it is piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let table = Table::parse(&elf).expect("it can be read").expect("it logs");
            let (mut decoder, mut bytes) = (table.new_stream_decoder(), [0; 4096]);
            while let Ok(len @ 1..) = log.read(&mut bytes) {
                decoder.received(&bytes[..len]);
                loop {
                    match decoder.decode() {
                        Ok(frame) => drop(sender.send(frame.display_message().to_string())),
                        Err(DecodeError::UnexpectedEof) => break,
                        Err(DecodeError::Malformed) => drop(sender.send("?".into())),
                    }
                }
            }
        });
        Self { qemu, lines, said: Vec::new(), root }
    }

    /// Waits until it has said `what`, once more.
    fn until(&mut self, what: &str) {
        loop {
            match self.lines.recv_timeout(Duration::from_secs(180)) {
                Ok(line) => {
                    println!("{line}");
                    let found = line.contains(what);
                    self.said.push(line);
                    if found {
                        return;
                    }
                }
                Err(_) => panic!("no {what}: {:#?}", self.said),
            }
        }
    }

    /// Waits until it ends. Answers with all that it has said.
    fn end(mut self) -> (ExitStatus, String) {
        let status = self.qemu.wait().expect("it ends");
        self.said.extend(self.lines.iter().inspect(|line| println!("{line}")));
        (status, self.said.join("\n"))
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // Through `timeout`, which passes it on.
        let _ = Command::new("kill").arg(self.qemu.id().to_string()).stderr(Stdio::null()).status();
        let _ = self.qemu.wait();
        let _ = std::fs::remove_file(&self.root);
    }
}

/// How much of the stack was never used.
fn spare(said: &str) -> Option<u32> {
    let (_, stack) = said.split_once("stack: ")?;
    let mut numbers = stack.split(' ').filter_map(|word| word.parse::<u32>().ok());
    let (used, room) = (numbers.next()?, numbers.next()?);
    room.checked_sub(used)
}

/// What it says at its end, but for the smallest one.
const AT_ONCE: &str = "eight commands at once, each with its own reply: true";

#[test]
fn it_stays_logged_in_through_three_tokens_a_cut_and_a_restart() {
    let emulator = emulator("rsa", 24);
    let words = ["seed=1", "seconds=300", "readings=100", "reauths=3", "connects=3"];
    let mut board = Board::boot(&emulator, "stays", &words);
    for _ in 0..3 {
        board.until("Reauthenticated");
    }
    let counts = emulator.counts();
    assert_eq!((counts.connections, counts.logins, counts.reauths), (1, 1, 3), "{counts:?}");
    emulator.cut();
    board.until("Disconnected");
    board.until("LoggedIn");
    emulator.restart().expect("the server starts again");
    board.until("LoggedIn");
    let (status, said) = board.end();
    assert!(status.success() && said.contains(AT_ONCE), "{said}");
    let counts = emulator.counts();
    assert_eq!((counts.refused, counts.expired), (0, 0), "{counts:?}");
}

#[test]
fn with_p256_alone_it_logs_in_again() {
    let emulator = emulator("p256", 24);
    let words = ["seed=4", "seconds=300", "readings=10", "reauths=1"];
    let (status, said) = Board::boot_one("GATEWAY_P256", &emulator, "p256", &words).end();
    assert!(status.success() && said.contains("enough"), "{said}");
    let counts = emulator.counts();
    assert_eq!((counts.connections, counts.logins, counts.reauths), (1, 1, 1), "{counts:?}");
    // 56 KiB of RAM would do.
    assert!(spare(&said) >= Some(8 * 1024), "{said}");
}

#[test]
fn a_server_that_cant_show_who_it_is_never_sees_a_token() {
    for (chain, why) in [
        ("other-name", "the certificate is not for this host name"),
        ("other-root", "invalid signature in the certificate chain"),
        ("expired", "the certificate has expired"),
        ("leaf-as-authority", "a certificate's issuer is not a CA"),
    ] {
        let emulator = emulator(chain, 3600);
        let words = ["seed=2", "seconds=300", "readings=1"];
        let (status, said) = Board::boot(&emulator, chain, &words).end();
        assert_eq!(status.code(), Some(1), "{chain}: {said}");
        assert!(said.contains(why), "{chain}: {said}");
        assert!(said.contains("there is no connection: can't connect"), "{chain}: {said}");
        let counts = emulator.counts();
        assert_eq!((counts.tokens, counts.logins, counts.refused), (1, 0, 0), "{counts:?}");
    }
}

#[test]
fn a_token_that_is_refused_is_told_with_what_to_do() {
    let emulator = emulator("rsa", 3600);
    emulator.arm("auth#* wrongpass").expect("it is a fault");
    let words = ["seed=3", "seconds=300", "readings=1"];
    let (status, said) = Board::boot(&emulator, "refused", &words).end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("there is no connection: WRONGPASS: no access policy"), "{said}");
    assert_eq!(emulator.counts().commands, 0);
}
