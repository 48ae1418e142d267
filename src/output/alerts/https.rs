//! TLS to receivers: the system's certificate authorities, or those of a file; server names are always verified.
#![allow(clippy::disallowed_methods, reason = "edge: reads certificate authorities")]

use std::{path::Path, sync::Arc};

use hyper_rustls::ConfigBuilderExt as _;
use tokio_rustls::rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// Where nothing is encrypted because it does not leave the machine: trusts nobody.
pub(super) fn loopback_config() -> Result<ClientConfig, String> {
    Ok(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// TLS 1.2 and later.
///
/// # Errors
/// A sentence that names the file.
pub(super) fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let builder = builder()?;
    let Some(file) = ca_file else {
        let builder = builder
            .with_native_roots()
            .map_err(|error| format!("the system's certificate authorities: {error}"))?;
        return Ok(builder.with_no_client_auth());
    };
    let wrong = |error: &dyn std::fmt::Display| format!("ca_file: {}: {error}", file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() {
        return Err(wrong(&"holds no certificate; expected PEM"));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, String> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))
}
