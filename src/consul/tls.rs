//! The TLS settings as rustls wants them.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::client::Tls;
use super::error::{Error, Kind};

/// A configuration that trusts nobody, for plain HTTP: no certificate is loaded, which saves the
/// memory for them.
pub(super) fn none() -> Result<ClientConfig, Error> {
    Ok(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// Trust the CA file, or the system's certificates when there is none.
pub(super) fn configured(tls: &Tls) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &tls.ca_file {
        for certificate in certificates(file)? {
            roots.add(certificate).map_err(|error| at(file, format!("is no CA: {error}")))?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(Error {
                address: "consul over https".to_owned(),
                what: "the system has no CA certificates; name Consul's CA file".to_owned(),
                kind: Kind::Invalid,
            });
        }
    }
    let builder = builder()?.with_root_certificates(roots);
    match (&tls.cert_file, &tls.key_file) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(cert), Some(key)) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| pem_at(key, error))?;
            builder
                .with_client_auth_cert(certificates(cert)?, private)
                .map_err(|error| at(cert, format!("does not go with its key: {error}")))
        }
        (Some(file), None) | (None, Some(file)) => {
            Err(at(file, "client certificate and key need each other; give both".to_owned()))
        }
    }
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error {
            address: "TLS".to_owned(),
            what: error.to_string(),
            kind: Kind::Invalid,
        })
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| pem_at(file, error))?;
    if certificates.is_empty() {
        return Err(at(file, "holds no certificate in PEM form".to_owned()));
    }
    Ok(certificates)
}

fn pem_at(file: &Path, error: pem::Error) -> Error {
    match error {
        pem::Error::Io(error) => at(file, format!("cannot be read: {error}")),
        other => at(file, format!("is not the PEM file that is expected: {other}")),
    }
}

fn at(file: &Path, what: String) -> Error {
    Error { address: format!("consul TLS file {}", file.display()), what, kind: Kind::Invalid }
}

/// What the handshake failed of, with the remedy, if it was that.
pub(super) fn trouble(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let found = rustls_error(error)?;
    Some(match found {
        rustls::Error::InvalidCertificate(why) => {
            format!("Consul's certificate is refused: {why}; is --consul-ca-file of the right CA?")
        }
        rustls::Error::AlertReceived(why) => format!(
            "Consul refuses the connection with {why:?}; does --consul-cert-file hold a \
             certificate of its CA?"
        ),
        other => format!("no TLS with Consul: {other}; is it https that it speaks there?"),
    })
}

/// The error of rustls somewhere among the causes. It comes wrapped in I/O errors, which show only
/// what is below of what they hold.
fn rustls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| rustls_error(inner)) {
            return Some(found);
        }
        cause = error.source();
    }
    None
}
