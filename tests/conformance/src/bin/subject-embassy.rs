//! The embassy host in a process of its own, over a network in memory: lines on standard input,
//! answers on standard output. `PORTS` says which port of this machine is which of the network:
//! `10000=4711 80=...`.
#![allow(clippy::print_stderr)]

use conformance::device;
use embedded_io_adapters::tokio_1::FromTokio;
use rand_core::OsRng;
use tokio::task::LocalSet;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let ports = std::env::var("PORTS").unwrap_or_default();
    let number = |text: &str| text.parse::<u16>().ok();
    let pair = |(outside, inside)| number(outside).zip(number(inside));
    let ports: Vec<_> =
        ports.split(' ').filter_map(|word| word.split_once('=')).filter_map(pair).collect();
    let serving = async {
        let stack = network::device(&ports);
        let (input, output) =
            (FromTokio::new(tokio::io::stdin()), FromTokio::new(tokio::io::stdout()));
        Box::pin(device::serve(stack, || OsRng, input, output)).await;
    };
    LocalSet::new().run_until(serving).await;
}
