//! What this host's network needs: a CA bundle of its own, proxies.

use camino::Utf8PathBuf;

/// Where the distributions keep the bundle that includes what an administrator added.
const BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Variables that docker passes to a build by name without keeping them in the image ("predefined ARGs").
const PROXIES: [&str; 8] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// The CA bundle that programs on this host trust: SSL_CERT_FILE, else the distribution's.
pub fn ca_bundle() -> Option<Utf8PathBuf> {
    let named = std::env::var("SSL_CERT_FILE").ok();
    named
        .into_iter()
        .chain(BUNDLES.map(str::to_owned))
        .map(Utf8PathBuf::from)
        .find(|path| path.is_file())
}

/// Names of the proxy variables that are set; their values may hold passwords and stay in the environment.
pub fn proxy_variables() -> Vec<&'static str> {
    PROXIES
        .into_iter()
        .filter(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
        .collect()
}
