//! The least that a daemon can be: one thread, and one QUIC connection that stays.
//!
//! The benchmarks put `agentd` beside it: size, memory at rest, time to connected, CPU at rest.
//!
//! `minimal-daemon ADDRESS CERTIFICATE` connects to the server that shows the certificate (a DER
//! file), prints `connected`, sends back what each stream brings, and stays until its standard
//! input ends.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, TransportConfig};
use rustls::RootCertStore;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().context("the first argument is an address")?.parse()?;
    let certificate = arguments.next().context("the second argument is a file")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut roots = RootCertStore::empty();
        roots.add(std::fs::read(certificate)?.into())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        let mut transport = TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_secs(5)));
        config.transport_config(Arc::new(transport));
        let endpoint = Endpoint::client("127.0.0.1:0".parse()?)?;
        let connection = endpoint.connect_with(config, address, "localhost")?.await?;
        println!("connected");
        let (ended, end) = tokio::sync::oneshot::channel();
        std::thread::Builder::new().stack_size(16 * 1024).spawn(move || {
            let _ = std::io::stdin().read(&mut [0]);
            let _ = ended.send(());
        })?;
        let echo = async {
            while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                let bytes = receive.read_to_end(64 * 1024).await?;
                send.write_all(&bytes).await?;
                send.finish()?;
            }
            anyhow::Ok(())
        };
        tokio::select! {
            _ = end => {}
            echoed = echo => echoed?,
        }
        connection.close(0_u32.into(), b"");
        endpoint.wait_idle().await;
        Ok(())
    })
}
