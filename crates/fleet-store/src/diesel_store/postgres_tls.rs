//! TLS to PostgreSQL, by rustls: which certificates are believed, and what is told when one is not.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

use super::postgres_url::{Roots, SslMode};

/// How connections are protected.
#[derive(Clone)]
pub(super) struct Tls {
    config: Arc<ClientConfig>,
}

impl Tls {
    /// None where nothing is to be protected. The error says what is wrong with the certificates to believe.
    pub(super) fn new(mode: SslMode, roots: &Roots) -> Result<Option<Self>, String> {
        let believed = match (mode, roots) {
            (SslMode::Disable, _) => return Ok(None),
            // As with libpq: a file that was named is for something.
            (SslMode::Prefer | SslMode::Require, Roots::Unsaid) => None,
            _ => Some(load(roots)?),
        };
        let provider = Arc::new(ring::default_provider());
        let verifier = Verifier {
            provider: Arc::clone(&provider),
            believed,
            names: mode == SslMode::VerifyFull,
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Some(Self {
            config: Arc::new(config),
        }))
    }
}

fn load(roots: &Roots) -> Result<RootCertStore, String> {
    let mut believed = RootCertStore::empty();
    let Roots::File(path) = roots else {
        let system = rustls_native_certs::load_native_certs();
        believed.add_parsable_certificates(system.certs);
        if believed.is_empty() {
            return Err("this system has no trusted certificates".to_owned());
        }
        return Ok(believed);
    };
    let refuse = |why: String| format!("sslrootcert {}: {why}", path.display());
    let text = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
        believed
            .add(certificate)
            .map_err(|error| refuse(error.to_string()))?;
    }
    if believed.is_empty() {
        return Err(refuse("no certificate in PEM form is in it".to_owned()));
    }
    Ok(believed)
}

/// Which certificates of servers are believed.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    /// None believes all: against listeners, not against impostors.
    believed: Option<RootCertStore>,
    /// Whether the certificate has to be for the host that was asked for.
    names: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.believed {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                roots,
                intermediates,
                now,
                algorithms,
            )?;
            if self.names {
                verify_server_name(&certificate, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl<S> MakeTlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Protected<S>;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Handshake> {
        // A socket in a folder has no name; TLS is not spoken on it.
        let host = if host.is_empty() { "localhost" } else { host };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Handshake {
            connector: TlsConnector::from(Arc::clone(&self.config)),
            name,
        })
    }
}

/// One connection that is about to be protected.
pub(super) struct Handshake {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl<S> TlsConnect<S> for Handshake
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Protected<S>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Protected<S>, Self::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            match self.connector.connect(self.name, stream).await {
                Ok(stream) => Ok(Protected(Box::new(stream))),
                // What is inside tells more, and can be told apart.
                Err(error)
                    if error
                        .get_ref()
                        .is_some_and(|inner| inner.is::<rustls::Error>()) =>
                {
                    Err(error.into_inner().unwrap_or_else(|| "TLS failed".into()))
                }
                Err(error) => Err(error.into()),
            }
        })
    }
}

/// A protected stream.
pub(super) struct Protected<S>(Box<tokio_rustls::client::TlsStream<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Protected<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Protected<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Protected<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

/// Why a connection is not safe enough, and what to do about it.
pub(super) struct Unsafe {
    pub(super) cause: String,
    pub(super) help: String,
}

impl fmt::Display for Unsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.cause, self.help)
    }
}

/// What went wrong, if it was about TLS.
pub(super) fn explain(error: &tokio_postgres::Error, mode: SslMode) -> Option<Unsafe> {
    let unsafe_because = |cause: String, help: &str| {
        let help = help.to_owned();
        Some(Unsafe { cause, help })
    };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(told) = cause.downcast_ref::<rustls::Error>() {
            let (cause, help) = explain_rustls(told);
            return unsafe_because(cause, help);
        }
        let text = cause.to_string();
        if text.contains("server does not support TLS") {
            return unsafe_because(
                format!("the server does not speak TLS, which sslmode={mode} asks for"),
                "set ssl = on in its postgresql.conf, or say sslmode=disable in the URL if the network is trusted",
            );
        }
        if text.contains("no pg_hba.conf entry") && text.contains("no encryption") {
            return unsafe_because(
                format!("the server lets nobody in without TLS, and sslmode={mode} speaks none"),
                "say sslmode=verify-full in the URL, and sslrootcert=FILE unless this system trusts its certificate",
            );
        }
        source = cause.source();
    }
    None
}

fn explain_rustls(error: &rustls::Error) -> (String, &'static str) {
    use CertificateError as C;
    let rustls::Error::InvalidCertificate(told) = error else {
        return (
            format!("the TLS handshake failed: {error}"),
            "check that this is the port of PostgreSQL, and that it allows TLS 1.2 or newer",
        );
    };
    match told {
        C::NotValidForName | C::NotValidForNameContext { .. } => (
            format!("the server's certificate is for another name: {told}"),
            "use the name that the certificate is for, or give the server one for this name (a subjectAltName)",
        ),
        C::UnknownIssuer => (
            "the server's certificate was issued by nobody that is trusted here".to_owned(),
            "say sslrootcert=FILE in the URL, with the certificate of the authority that issued it",
        ),
        C::Expired | C::ExpiredContext { .. } => (
            format!("the server's certificate has expired: {told}"),
            "give the server a new certificate, and check the clocks of both machines",
        ),
        C::NotValidYet | C::NotValidYetContext { .. } => (
            format!("the server's certificate is not valid yet: {told}"),
            "check the clocks of both machines",
        ),
        _ if error.to_string().contains("CaUsedAsEndEntity") => (
            "the server's certificate is that of an authority, which is not for a server"
                .to_owned(),
            "issue one for the server by it (basicConstraints=CA:FALSE), and name the authority's in sslrootcert",
        ),
        _ => (
            format!("the server's certificate cannot be used: {told}"),
            "give the server a certificate for TLS servers, of version 3",
        ),
    }
}
