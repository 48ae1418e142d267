//! A TLS and QUIC echo peer for the lab: `rustls_peer ROLE ADDRESS [key=value ...]`; says what it negotiated.
//!
//! Roles: `server`, `client`, `quic-server`, `quic-client`. Values: `cert`, `key`, `ca` (PEM files), `name` (SNI),
//! `word` (what the client sends and gets back), `groups`, `suites`, `versions`, `alpn` (lists with commas),
//! `times` (connections of a client, one after another), `early` (0-RTT; bytes for a server, any value for a client),
//! `sessions=none` (a server that resumes nothing), `ech` (`grease`, or a file with an `ECHConfigList`).

use std::{
    collections::HashMap,
    error::Error,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection,
    Stream, SupportedProtocolVersion,
    client::{EchConfig, EchGreaseConfig, EchMode},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, EchConfigListBytes, PrivateKeyDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

struct Options(HashMap<String, String>);

impl Options {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn need(&self, key: &str) -> Outcome<&str> {
        self.get(key).ok_or_else(|| format!("{key}=... is missing").into())
    }

    fn list(&self, key: &str) -> Vec<&str> {
        self.get(key).map(|v| v.split(',').collect()).unwrap_or_default()
    }

    fn alpn(&self) -> Vec<Vec<u8>> {
        self.list("alpn").into_iter().map(|p| p.as_bytes().to_vec()).collect()
    }

    fn pair(&self) -> Outcome<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain = CertificateDer::pem_file_iter(self.need("cert")?)?.collect::<Result<_, _>>()?;
        Ok((chain, PrivateKeyDer::from_pem_file(self.need("key")?)?))
    }

    fn roots(&self) -> Outcome<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(self.need("ca")?)? {
            roots.add(certificate?)?;
        }
        Ok(roots)
    }

    fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        match self.get("versions") {
            Some("1.2") => vec![&TLS12],
            Some("1.3") => vec![&TLS13],
            _ => vec![&TLS13, &TLS12],
        }
    }

    /// The provider with the groups and suites that were asked for, in that order.
    fn provider(&self) -> Outcome<Arc<CryptoProvider>> {
        let mut provider = aws_lc_rs::default_provider();
        let pick = |name: &str, all: &str| format!("no {name:?}; there is {all}");
        let groups = self.list("groups");
        if !groups.is_empty() {
            provider.kx_groups = groups
                .iter()
                .map(|name| {
                    let mut all = aws_lc_rs::ALL_KX_GROUPS.iter();
                    let found =
                        all.find(|g| format!("{:?}", g.name()).eq_ignore_ascii_case(name)).copied();
                    found.ok_or_else(|| pick(name, &format!("{:?}", aws_lc_rs::ALL_KX_GROUPS)))
                })
                .collect::<Result<_, _>>()?;
        }
        let suites = self.list("suites");
        if !suites.is_empty() {
            provider.cipher_suites = suites
                .iter()
                .map(|name| {
                    let mut all = aws_lc_rs::ALL_CIPHER_SUITES.iter();
                    let found = all.find(|s| format!("{:?}", s.suite()) == *name).copied();
                    found.ok_or_else(|| pick(name, &format!("{:?}", aws_lc_rs::ALL_CIPHER_SUITES)))
                })
                .collect::<Result<_, _>>()?;
        }
        Ok(Arc::new(provider))
    }

    fn client(&self) -> Outcome<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(self.provider()?);
        let builder = match self.get("ech") {
            None => builder.with_protocol_versions(&self.versions())?,
            Some("grease") => builder.with_ech(EchMode::Grease(grease()?))?,
            Some(file) => {
                let list = EchConfigListBytes::from(std::fs::read(file)?);
                let suites = aws_lc_rs::hpke::ALL_SUPPORTED_SUITES;
                builder.with_ech(EchMode::Enable(EchConfig::new(list, suites)?))?
            }
        };
        let builder = builder.with_root_certificates(self.roots()?);
        let mut config = match self.get("cert") {
            Some(_) => {
                let (chain, key) = self.pair()?;
                builder.with_client_auth_cert(chain, key)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn();
        config.enable_early_data = self.get("early").is_some();
        Ok(config)
    }

    fn server(&self) -> Outcome<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(self.provider()?)
            .with_protocol_versions(&self.versions())?;
        let builder = match self.get("ca") {
            None => builder.with_no_client_auth(),
            Some(_) => {
                let roots = Arc::new(self.roots()?);
                let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
                    roots,
                    self.provider()?,
                );
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let (chain, key) = self.pair()?;
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = self.alpn();
        if let Some(bytes) = self.get("early") {
            config.max_early_data_size = bytes.parse()?;
        }
        if self.get("sessions") == Some("none") {
            config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }
}

/// An ECH extension that looks like a real one and is not.
fn grease() -> Outcome<EchGreaseConfig> {
    let suite = aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_128;
    let (public, _) = rustls::crypto::hpke::Hpke::generate_key_pair(suite)?;
    Ok(EchGreaseConfig::new(suite, public))
}

fn serve(address: SocketAddr, options: &Options) -> Outcome<()> {
    let config = Arc::new(options.server()?);
    let listener = TcpListener::bind(address)?;
    for wire in listener.incoming() {
        let mut wire = wire?;
        let mut tls = ServerConnection::new(Arc::clone(&config))?;
        if let Err(error) = echo(&mut tls, &mut wire) {
            println!("failed: {error}");
        }
    }
    Ok(())
}

fn echo(tls: &mut ServerConnection, wire: &mut TcpStream) -> Outcome<()> {
    while tls.is_handshaking() && tls.early_data().is_none() {
        tls.complete_io(wire)?;
    }
    let mut buffer = vec![0; 1024];
    loop {
        if let Some(mut early) = tls.early_data() {
            let size = early.read(&mut buffer)?;
            tls.writer().write_all(&buffer[..size])?;
        }
        let size = Stream::new(tls, wire).read(&mut buffer)?;
        if size == 0 {
            break;
        }
        Stream::new(tls, wire).write_all(&buffer[..size])?;
    }
    tls.send_close_notify();
    tls.write_tls(wire)?;
    Ok(())
}

fn connect(address: SocketAddr, options: &Options) -> Outcome<()> {
    let config = Arc::new(options.client()?);
    let times: usize = options.get("times").unwrap_or("1").parse()?;
    for _ in 0..times {
        let name = ServerName::try_from(options.need("name")?.to_owned())?;
        let mut tls = ClientConnection::new(Arc::clone(&config), name)?;
        let mut wire = TcpStream::connect(address)?;
        let word = format!("{}\n", options.need("word")?);
        let word = word.as_bytes();
        let mut sent = 0;
        if let Some(mut early) = tls.early_data() {
            sent = early.write(word)?;
        }
        while tls.is_handshaking() {
            if let Err(error) = tls.complete_io(&mut wire) {
                println!("failed: {error} ech={:?}", tls.ech_status());
                return Ok(());
            }
        }
        if sent == 0 || !tls.is_early_data_accepted() {
            Stream::new(&mut tls, &mut wire).write_all(word)?;
        }
        // Servers send the line back as it is, or reversed.
        let mut back = vec![0; word.len()];
        Stream::new(&mut tls, &mut wire).read_exact(&mut back)?;
        println!(
            "{} early={} ech={:?}",
            said(&tls),
            tls.is_early_data_accepted(),
            tls.ech_status()
        );
        tls.send_close_notify();
        tls.write_tls(&mut wire)?;
    }
    Ok(())
}

fn said(tls: &ClientConnection) -> String {
    let version = match tls.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "TLSv1.2",
    };
    let cipher =
        tls.negotiated_cipher_suite().map(|s| format!("{:?}", s.suite())).unwrap_or_default();
    let group =
        tls.negotiated_key_exchange_group().map(|g| format!("{:?}", g.name())).unwrap_or_default();
    let alpn = String::from_utf8_lossy(tls.alpn_protocol().unwrap_or_default()).into_owned();
    format!(
        "version={version} cipher={cipher} group={group} alpn={alpn} kind={:?}",
        tls.handshake_kind()
    )
}

async fn quic_serve(address: SocketAddr, options: &Options) -> Outcome<()> {
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(options.server()?)?;
    let endpoint =
        quinn::Endpoint::server(quinn::ServerConfig::with_crypto(Arc::new(crypto)), address)?;
    while let Some(incoming) = endpoint.accept().await {
        let Ok(connection) = incoming.await else { continue };
        while let Ok((mut send, mut receive)) = connection.accept_bi().await {
            let words = receive.read_to_end(65536).await?;
            send.write_all(&words).await?;
            send.finish()?;
        }
    }
    Ok(())
}

async fn quic_connect(address: SocketAddr, options: &Options) -> Outcome<()> {
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(options.client()?)?;
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let endpoint = quinn::Endpoint::client("0.0.0.0:0".parse()?)?;
    let connection = endpoint.connect_with(config, address, options.need("name")?)?.await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(options.need("word")?.as_bytes()).await?;
    send.finish()?;
    let back = receive.read_to_end(65536).await?;
    assert!(back == options.need("word")?.as_bytes(), "the echo differs");
    println!("version=TLSv1.3 done");
    connection.close(0_u32.into(), b"");
    endpoint.wait_idle().await;
    Ok(())
}

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [role, address, rest @ ..] = words.as_slice() else {
        return Err(
            "rustls_peer server|client|quic-server|quic-client ADDRESS:PORT [key=value ...]".into(),
        );
    };
    let pairs = rest.iter().filter_map(|w| w.split_once('='));
    let options = Options(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect());
    let address = address.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match role.as_str() {
        "server" => serve(address, &options),
        "client" => connect(address, &options),
        "quic-server" => runtime.block_on(quic_serve(address, &options)),
        "quic-client" => runtime.block_on(quic_connect(address, &options)),
        _ => Err(format!("no role {role:?}").into()),
    }
}
