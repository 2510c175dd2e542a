//! How this process, as a client, believes servers over HTTPS: by rustls over ring, which is the one TLS here, and by the
//! system's authorities beside those that the operator adds.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// Why nobody can be believed.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// The bundle of authorities.
    #[error("the bundle of authorities {path} cannot be used: {cause}")]
    Bundle {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// TLS itself.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Returns what an HTTPS client is given: it trusts the system's authorities, and those of `ca_bundle` (PEM).
///
/// # Errors
/// The bundle cannot be read.
pub fn client_config(ca_bundle: Option<&Path>) -> Result<ClientConfig, HttpsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_bundle {
        let unusable =
            |cause: &dyn ToString| HttpsError::Bundle { path: path.to_owned(), cause: cause.to_string() };
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unusable(&error))? {
            roots.add_parsable_certificates([certificate.map_err(|error| unusable(&error))?]);
        }
    }
    let provider = Arc::new(ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}
