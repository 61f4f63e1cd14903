//! What this host's network needs: a CA bundle of its own, proxies.

use camino::Utf8PathBuf;
use serde::Serialize;

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

/// What a measurement was taken on.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub cores: usize,
    /// In units of 1,000,000 bytes.
    pub memory: u64,
    /// Name, release and architecture of the kernel.
    pub kernel: String,
}

impl Machine {
    /// Asks the system; where that does not tell there is 1 core, and memory is 0.
    pub fn here() -> Machine {
        let uname = rustix::system::uname();
        let words = [uname.sysname(), uname.release(), uname.machine()];
        Machine {
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get()),
            memory: memory_megabytes(),
            kernel: words
                .map(|word| word.to_string_lossy().into_owned())
                .join(" "),
        }
    }
}

/// How many programs wanted to run, on average over the last minute; None where the system doesn't tell.
pub fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

fn memory_megabytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes = text.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()
    });
    kibibytes.unwrap_or(0) * 1024 / 1_000_000
}
