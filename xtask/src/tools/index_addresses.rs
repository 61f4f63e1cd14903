//! Where packages come from: the index addresses and credentials of uv's and pip's own configuration.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use url::Url;
use xshell::{Shell, cmd};

use super::{keyring, process::Program};
use crate::model::problem::Problem;

const QUESTION: Duration = Duration::from_secs(30);
/// pip knows its default index; this program names no host.
const PIP_DEFAULT: &str = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)";

/// One package index (PEP 503): its address ends in a slash and holds no credentials.
#[derive(Debug, Clone)]
pub struct Index {
    pub address: Url,
    pub login: Option<Login>,
}

/// What tells an index who asks.
#[derive(Debug, Clone)]
pub enum Login {
    /// Value of the Authorization header.
    Known(Secret),
    /// The user is known, and a keyring may have the password.
    Keyring(keyring::Entry),
}

impl Index {
    /// Value of the Authorization header, for which a keyring may have to be asked.
    pub fn authorization(&self) -> Result<Option<Secret>> {
        Ok(match &self.login {
            None => None,
            Some(Login::Known(secret)) => Some(secret.clone()),
            Some(Login::Keyring(entry)) => {
                let password = entry.password().with_context(|| {
                    format!("find the password of {} for {}", entry.user, self.address)
                })?;
                password.map(|password| basic(&entry.user, &password))
            }
        })
    }
}

fn basic(user: &str, password: &str) -> Secret {
    let both = BASE64_STANDARD.encode(format!("{user}:{password}"));
    Secret(format!("Basic {both}"))
}

/// A value that is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// What the machine says; gathered by [`Settings::gather`], judged by [`Settings::indexes`].
#[derive(Debug, Default)]
pub struct Settings {
    /// The environment.
    variables: BTreeMap<String, String>,
    /// Texts of uv.toml, the user's before the system's.
    uv: Vec<String>,
    /// What `pip config list` prints.
    pip: String,
    /// pip's own default index, asked for only when nothing else names one.
    pip_default: Option<String>,
    netrc: String,
}

impl Settings {
    /// Asks pip too, which may be missing; a uv.toml that is needed and is no TOML is an error.
    pub fn gather() -> Result<Settings> {
        let mut settings = Settings::without_pip();
        // A machine may have uv alone; then uv's configuration has to name the index.
        settings.pip = python(&["-m", "pip", "config", "list"]).unwrap_or_default();
        if settings.default_index()?.is_none() {
            settings.pip_default = python(&["-c", PIP_DEFAULT]).ok();
        }
        Ok(settings)
    }

    /// What variables and files say: enough for an index whose address is known.
    pub fn without_pip() -> Settings {
        let variables: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let home = variables.get("HOME").cloned().unwrap_or_default();
        let config = variables
            .get("XDG_CONFIG_HOME")
            .cloned()
            .unwrap_or_else(|| format!("{home}/.config"));
        let uv = match variables.get("UV_CONFIG_FILE") {
            Some(file) => vec![file.clone()],
            None => vec![format!("{config}/uv/uv.toml"), "/etc/uv/uv.toml".to_owned()],
        };
        let netrc = variables
            .get("NETRC")
            .cloned()
            .unwrap_or_else(|| format!("{home}/.netrc"));
        Settings {
            uv: uv
                .iter()
                .filter_map(|path| std::fs::read_to_string(path).ok())
                .collect(),
            netrc: std::fs::read_to_string(netrc).unwrap_or_default(),
            variables,
            ..Settings::default()
        }
    }

    /// Every index in the order they are asked: additional ones first, as uv does, the default last.
    pub fn indexes(&self) -> Result<Vec<Index>> {
        let mut named = self.additional()?;
        let default = self
            .default_index()?
            .or_else(|| self.pip_default.clone().map(|url| (None, url)));
        named.extend(default);
        if named.is_empty() {
            return Err(Problem::environment("no package index is known")
                .help("install pip, whose default is then used, or set UV_DEFAULT_INDEX")
                .into());
        }
        let mut indexes: Vec<Index> = Vec::new();
        for (name, url) in named {
            let index = self.index(name.as_deref(), &url)?;
            if indexes.iter().all(|known| known.address != index.address) {
                indexes.push(index);
            }
        }
        Ok(indexes)
    }

    /// The index that takes the place of pip's own default: (name, address).
    fn default_index(&self) -> Result<Option<(Option<String>, String)>> {
        let variable = |name: &str| {
            self.variables
                .get(name)
                .filter(|value| !value.is_empty())
                .cloned()
        };
        if let Some(text) = variable("UV_DEFAULT_INDEX").or_else(|| variable("UV_INDEX_URL")) {
            return Ok(Some(named(&text)));
        }
        for table in self.uv_tables()? {
            let chosen = uv_indexes(&table).find(|index| index.default);
            if let Some(index) = chosen {
                return Ok(Some((index.name, index.url)));
            }
            if let Some(url) = uv_key(&table, "index-url").and_then(|value| value.as_str()) {
                return Ok(Some((None, url.to_owned())));
            }
        }
        Ok(variable("PIP_INDEX_URL")
            .or_else(|| self.pip_key("index-url"))
            .map(|url| (None, url)))
    }

    fn additional(&self) -> Result<Vec<(Option<String>, String)>> {
        let words = |text: &str| text.split_whitespace().map(named).collect::<Vec<_>>();
        let variable = |name: &str| {
            self.variables
                .get(name)
                .map(|text| words(text))
                .unwrap_or_default()
        };
        let mut all = variable("UV_INDEX");
        all.extend(variable("UV_EXTRA_INDEX_URL"));
        for table in self.uv_tables()? {
            all.extend(
                uv_indexes(&table)
                    .filter(|index| !index.default)
                    .map(|index| (index.name, index.url)),
            );
            let extra = uv_key(&table, "extra-index-url").and_then(|value| value.as_array());
            all.extend(
                extra
                    .into_iter()
                    .flatten()
                    .filter_map(|url| Some((None, url.as_str()?.to_owned()))),
            );
        }
        match variable("PIP_EXTRA_INDEX_URL") {
            several if !several.is_empty() => all.extend(several),
            _ => all.extend(words(&self.pip_key("extra-index-url").unwrap_or_default())),
        }
        Ok(all)
    }

    fn uv_tables(&self) -> Result<Vec<toml::Table>> {
        self.uv
            .iter()
            .map(|text| {
                text.parse()
                    .map_err(|error| Problem::usage(format!("uv.toml: {error}")).into())
            })
            .collect()
    }

    /// A key of pip's configuration: the environment's before the commands' own before the global one.
    fn pip_key(&self, key: &str) -> Option<String> {
        [":env:", "install", "download", "global"]
            .iter()
            .find_map(|section| {
                let prefix = format!("{section}.{key}=");
                let value = self
                    .pip
                    .lines()
                    .find_map(|line| line.strip_prefix(&prefix))?;
                let value = value.trim().trim_matches(['\'', '"']);
                // Several values stand on several lines, which pip prints as `\n`.
                Some(value.replace("\\n", " ").trim().to_owned())
            })
    }

    /// The index at `url`. Its credentials are those of the address itself, of uv's variables for named ones or of netrc;
    /// where a user alone is known, his password may be in a keyring.
    pub fn index(&self, name: Option<&str>, url: &str) -> Result<Index> {
        let mut address = Url::parse(url).map_err(|error| {
            Problem::usage(format!(
                "`{}` is no address of a package index: {error}",
                without_userinfo(url)
            ))
        })?;
        if !matches!(address.scheme(), "http" | "https") {
            return Err(Problem::usage(format!(
                "package index {}: only http and https are supported",
                without_userinfo(url)
            ))
            .into());
        }
        let login = self.login(name, &address)?;
        address = without_login(&address);
        if !address.path().ends_with('/') {
            address.set_path(&format!("{}/", address.path()));
        }
        Ok(Index { address, login })
    }

    fn login(&self, name: Option<&str>, address: &Url) -> Result<Option<Login>> {
        let own = |text: &str| Some(decoded(text)).filter(|text| !text.is_empty());
        let named = name.map(|name| self.uv_login(name)).unwrap_or_default();
        let user = own(address.username()).or(named.0);
        let password = own(address.password().unwrap_or_default()).or(named.1);
        if let Some(password) = password {
            let known = basic(&user.unwrap_or_default(), &password);
            return Ok(Some(Login::Known(known)));
        }
        let host = address.host_str().unwrap_or_default();
        if let Some((login, password)) = netrc(&self.netrc, host)
            && user.as_ref().is_none_or(|user| *user == login)
        {
            return Ok(Some(Login::Known(basic(&login, &password))));
        }
        let Some(user) = user else {
            return Ok(None);
        };
        if !self.has_keyring()? {
            return Ok(None);
        }
        let port = address.port().map(|port| format!(":{port}"));
        let host = format!("{host}{}", port.unwrap_or_default());
        let services = vec![without_login(address).to_string(), host];
        Ok(Some(Login::Keyring(keyring::Entry::new(services, user))))
    }

    /// Whether uv or pip is told to ask the program `keyring`.
    fn has_keyring(&self) -> Result<bool> {
        let variable = |name: &str| self.variables.get(name).cloned();
        let mut uv = variable("UV_KEYRING_PROVIDER");
        for table in self.uv_tables()? {
            let key = uv_key(&table, "keyring-provider").and_then(|value| value.as_str());
            uv = uv.or(key.map(str::to_owned));
        }
        let pip = variable("PIP_KEYRING_PROVIDER").or_else(|| self.pip_key("keyring-provider"));
        Ok([uv, pip]
            .iter()
            .flatten()
            .any(|provider| provider == "subprocess"))
    }

    /// `UV_INDEX_<NAME>_USERNAME` and `_PASSWORD`.
    fn uv_login(&self, name: &str) -> (Option<String>, Option<String>) {
        let name: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_uppercase()
                } else {
                    '_'
                }
            })
            .collect();
        let variable = |part| {
            self.variables
                .get(&format!("UV_INDEX_{name}_{part}"))
                .cloned()
        };
        (variable("USERNAME"), variable("PASSWORD"))
    }
}

struct UvIndex {
    name: Option<String>,
    url: String,
    default: bool,
}

fn uv_indexes(table: &toml::Table) -> impl Iterator<Item = UvIndex> {
    let entries = table.get("index").and_then(toml::Value::as_array);
    entries.into_iter().flatten().filter_map(|entry| {
        let flag = |key| entry.get(key).and_then(toml::Value::as_bool) == Some(true);
        // An explicit index serves only packages that name it.
        (!flag("explicit")).then_some(())?;
        Some(UvIndex {
            name: entry
                .get("name")
                .and_then(|name| name.as_str())
                .map(str::to_owned),
            url: entry.get("url")?.as_str()?.to_owned(),
            default: flag("default"),
        })
    })
}

/// A key at the top of uv.toml or in its `[pip]` table.
fn uv_key<'a>(table: &'a toml::Table, key: &str) -> Option<&'a toml::Value> {
    table.get(key).or_else(|| table.get("pip")?.get(key))
}

/// `name=https://...` or an address alone.
fn named(text: &str) -> (Option<String>, String) {
    match text.split_once('=') {
        Some((name, url)) if !name.contains([':', '/']) => (Some(name.to_owned()), url.to_owned()),
        _ => (None, text.to_owned()),
    }
}

fn decoded(text: &str) -> String {
    let bytes = url::form_urlencoded::parse(format!("x={}", text.replace('+', "%2B")).as_bytes())
        .next()
        .map(|(_, value)| value.into_owned());
    bytes.unwrap_or_default()
}

fn without_login(address: &Url) -> Url {
    let mut address = address.clone();
    // Neither fails for an address with a host.
    let _ = address.set_username("");
    let _ = address.set_password(None);
    address
}

fn without_userinfo(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!(
            "{scheme}://{}",
            rest.rsplit_once('@').map_or(rest, |(_, host)| host)
        ),
        None => url.to_owned(),
    }
}

/// Login and password of a host in a netrc file, its `default` entry when it has none.
fn netrc(text: &str, host: &str) -> Option<(String, String)> {
    let words: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(str::split_whitespace)
        .collect();
    let entry = |start: usize| {
        let (mut login, mut password) = (String::new(), None);
        let mut rest = words[start..].iter();
        while let Some(word) = rest.next() {
            match *word {
                "login" => login = rest.next()?.to_string(),
                "password" => password = Some(rest.next()?.to_string()),
                "account" => drop(rest.next()),
                _ => break,
            }
        }
        Some((login, password?))
    };
    let machine = words
        .windows(2)
        .position(|pair| pair == ["machine", host])
        .map(|at| at + 2);
    let default = || {
        words
            .iter()
            .position(|word| *word == "default")
            .map(|at| at + 1)
    };
    entry(machine.or_else(default)?)
}

/// Standard output of `python3 ARGUMENTS`.
fn python(arguments: &[&str]) -> Result<String> {
    let shell = Shell::new().context("open a shell")?;
    Program::from(cmd!(shell, "python3 {arguments...}"))
        .limit(QUESTION)
        .read()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)], uv: &str, pip: &str, netrc: &str) -> Settings {
        Settings {
            variables: variables
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            uv: vec![uv.to_owned()],
            pip: pip.to_owned(),
            pip_default: Some("https://pip-default.invalid/simple".to_owned()),
            netrc: netrc.to_owned(),
        }
    }

    #[test]
    fn addresses_come_from_uv_then_pip_then_pips_default() {
        let uv_toml = "[[index]]\nname = 'own'\nurl = 'https://uv-extra.invalid/'\n[[index]]\nurl = 'https://uv-file.invalid/'\ndefault = true\n[[index]]\nurl = 'https://never.invalid'\nexplicit = true\n";
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str, &'a [&'a str]);
        let table: [Case; 8] = [
            (&[], "", "", &["pip-default"]),
            (
                &[("UV_DEFAULT_INDEX", "https://uv.invalid/simple")],
                uv_toml,
                "global.index-url='https://pip.invalid'",
                &["uv-extra", "uv"],
            ),
            (
                &[("UV_INDEX_URL", "https://old-uv.invalid")],
                "",
                "",
                &["old-uv"],
            ),
            (
                &[],
                uv_toml,
                "global.index-url='https://pip.invalid'",
                &["uv-extra", "uv-file"],
            ),
            (
                &[("PIP_INDEX_URL", "https://env.invalid/")],
                "",
                "global.index-url='https://pip.invalid'",
                &["env"],
            ),
            (
                &[],
                "",
                "global.index-url='https://pip.invalid'\ninstall.index-url='https://install.invalid'",
                &["install"],
            ),
            (
                &[],
                "",
                "global.extra-index-url='\\nhttps://a.invalid\\nhttps://b.invalid'",
                &["a", "b", "pip-default"],
            ),
            (
                &[
                    ("UV_INDEX", "one=https://one.invalid https://two.invalid"),
                    ("UV_DEFAULT_INDEX", "https://one.invalid/"),
                ],
                "",
                "",
                &["one", "two"],
            ),
        ];
        for (variables, uv, pip, expected) in table {
            let indexes = settings(variables, uv, pip, "").indexes().unwrap();
            let hosts: Vec<&str> = indexes
                .iter()
                .map(|index| {
                    index
                        .address
                        .host_str()
                        .unwrap()
                        .trim_end_matches(".invalid")
                })
                .collect();
            assert_eq!(hosts, expected, "{variables:?}");
            assert!(
                indexes
                    .iter()
                    .all(|index| index.address.path().ends_with('/'))
            );
        }
    }

    #[test]
    fn credentials_come_from_the_address_uv_or_netrc_and_are_never_printed() {
        let netrc = "# mine\nmachine index.invalid\n  login nora password n3t\nmachine other.invalid login x password y\n";
        for (variables, netrc, expected) in [
            (
                &[(
                    "UV_DEFAULT_INDEX",
                    "https://ann:p%40ss%2B@index.invalid/simple",
                )][..],
                netrc,
                Some("ann:p@ss+"),
            ),
            (
                &[("UV_DEFAULT_INDEX", "https://index.invalid/simple")],
                netrc,
                Some("nora:n3t"),
            ),
            (
                &[("UV_DEFAULT_INDEX", "https://index.invalid/simple")],
                "default login d password e",
                Some("d:e"),
            ),
            (
                &[("UV_DEFAULT_INDEX", "https://index.invalid/simple")],
                "",
                None,
            ),
            (
                &[
                    ("UV_DEFAULT_INDEX", "my-own=https://index.invalid/"),
                    ("UV_INDEX_MY_OWN_USERNAME", "u"),
                    ("UV_INDEX_MY_OWN_PASSWORD", "w"),
                ],
                netrc,
                Some("u:w"),
            ),
        ] {
            let indexes = settings(variables, "", "", netrc).indexes().unwrap();
            let got = indexes[0].authorization().unwrap().map(|secret| secret.0);
            let expected = expected.map(|login| format!("Basic {}", BASE64_STANDARD.encode(login)));
            assert_eq!(got, expected, "{variables:?}");
            assert!(indexes[0].address.username().is_empty());
            assert!(!format!("{indexes:?}").contains("Basic"));
        }
    }

    /// uv and pip have a keyring asked for the password of a user who is known: by the address as it is configured, then by
    /// its host.
    #[test]
    fn a_keyring_is_asked_where_it_is_configured_and_only_the_user_is_known() {
        let uv = ("UV_KEYRING_PROVIDER", "subprocess");
        let pip = ("PIP_KEYRING_PROVIDER", "subprocess");
        let off = ("UV_KEYRING_PROVIDER", "disabled");
        let named = ("UV_INDEX_OWN_USERNAME", "ann");
        let in_uv_toml = "keyring-provider = 'subprocess'";
        let in_pip = "global.keyring-provider='subprocess'";
        let (user, plain) = (
            "https://ann@index.invalid:8443/a",
            "https://index.invalid:8443/a",
        );
        let other = "machine index.invalid login bob password x";
        let same = "machine index.invalid login ann password x";
        type Case<'a> = (
            &'a str,
            &'a [(&'a str, &'a str)],
            &'a str,
            &'a str,
            &'a str,
            bool,
        );
        let table: [Case; 11] = [
            (user, &[uv], "", "", "", true),
            (user, &[pip], "", "", "", true),
            (user, &[], in_uv_toml, "", "", true),
            (
                user,
                &[],
                "[pip]\nkeyring-provider = 'subprocess'",
                "",
                "",
                true,
            ),
            (user, &[], "", in_pip, "", true),
            (user, &[], "", "", "", false),
            (user, &[off], in_uv_toml, "", "", false),
            (user, &[uv], "", "", other, true),
            (user, &[uv], "", "", same, false),
            (plain, &[uv, named], "", "", "", true),
            (plain, &[uv], "", "", "", false),
        ];
        for (url, variables, uv, pip, netrc, expected) in table {
            let index = settings(variables, uv, pip, netrc).index(Some("own"), url);
            let login = index.unwrap().login;
            let entry = match &login {
                Some(Login::Keyring(entry)) => Some((entry.user.as_str(), &entry.services[..])),
                _ => None,
            };
            let services = [plain.to_owned(), "index.invalid:8443".to_owned()];
            let wanted = expected.then_some(("ann", &services[..]));
            assert_eq!(entry, wanted, "{url} {variables:?} {uv} {pip} {netrc}");
        }
    }

    #[test]
    fn what_is_no_address_is_said_without_its_password() {
        for url in ["https://a:secret@[", "file://a:secret@host/simple"] {
            let error = settings(&[("UV_DEFAULT_INDEX", url)], "", "", "")
                .indexes()
                .unwrap_err();
            assert!(!format!("{error:#}").contains("secret"), "{error:#}");
        }
        let none = Settings::default().indexes().unwrap_err();
        assert_eq!(none.to_string(), "no package index is known");
    }
}
