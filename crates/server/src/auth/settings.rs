//! Who may ask, as settings: the same table in the server's TOML (for `/v1`) and in each profile.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tidings_brokers::store::key::TOKEN_PREFIX;

use super::duration;
use super::place::PlaceSettings;
pub use super::rights::{
    AnonymousGrants, AnonymousSettings, GrantSettings, LimitedSettings, OneOrMany, PrincipalSettings, PublishSettings,
};
use super::secret::Secret;

/// Who may ask.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthSettings {
    /// Where credentials come from, in this order: the first source whose credential is in the request decides.
    /// Default: the keys, the tokens of jobs and the tickets that the program makes, so that nothing else has to be set up.
    pub sources: Vec<SourceSettings>,
    /// What happens to a request without any credential. Default `"reject"`: nothing is shown to nobody.
    pub anonymous: AnonymousSettings,
}

impl AuthSettings {
    /// The parameters of the query in which a credential may stand.
    pub fn query_parameters(&self) -> impl Iterator<Item = &str> {
        let places = self.sources.iter().flat_map(|source| match source {
            SourceSettings::ApiKey(source) => &source.places[..],
            SourceSettings::Jwt(source) => &source.places,
            SourceSettings::Forward(source) => &source.places,
            SourceSettings::ProxyHeader(_) => &[],
            SourceSettings::JobToken(source) => &source.places,
            SourceSettings::Ticket(source) => &source.places,
        });
        places.filter_map(|place| place.query.as_deref())
    }
}

impl Default for AuthSettings {
    fn default() -> Self {
        AuthSettings {
            sources: vec![
                SourceSettings::ApiKey(Default::default()),
                SourceSettings::JobToken(Default::default()),
                SourceSettings::Ticket(Default::default()),
            ],
            anonymous: AnonymousSettings::Reject,
        }
    }
}

/// One source of credentials.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum SourceSettings {
    /// Keys that the program made (`tidings key create`), and keys from settings.
    ApiKey(ApiKeySettings),
    /// Signed tokens of the app or of an identity provider (RFC 7519).
    Jwt(Box<JwtSettings>),
    /// The app is asked: its wall stays the wall.
    Forward(Box<ForwardSettings>),
    /// A reverse proxy that has logged the user in says who it is.
    ProxyHeader(Box<ProxyHeaderSettings>),
    /// Tokens of jobs, from `POST /v1/jobs`.
    JobToken(JobTokenSettings),
    /// One-time tickets from `POST /v1/tickets`.
    Ticket(TicketSettings),
}

/// What a wrong credential of a source means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnInvalid {
    /// The request is refused.
    #[default]
    Reject,
    /// The next source is asked. When no other source accepts the request it is refused all the same, never taken
    /// as anonymous.
    Next,
}

/// API keys.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiKeySettings {
    /// Where to look. Default: `Authorization: Bearer tdg_…`, then `X-Api-Key`, then where a browser can put it: the
    /// subprotocol `bearer.tdg_…`, and `token` of what it says first.
    #[serde(rename = "in")]
    pub places: Vec<PlaceSettings>,
    /// Whether a wrong key is refused or the next source is asked. Default `"reject"`.
    pub on_invalid: OnInvalid,
    /// Whether the keys that the program keeps count. Default `true`.
    pub stored: bool,
    /// Keys from settings, for apps that have one key in their own configuration. Default: none.
    pub keys: Vec<StaticKeySettings>,
}

impl Default for ApiKeySettings {
    fn default() -> Self {
        ApiKeySettings {
            places: vec![
                PlaceSettings::bearer().prefixed(TOKEN_PREFIX),
                PlaceSettings { header: Some("x-api-key".into()), ..Default::default() },
                PlaceSettings::subprotocol().prefixed(TOKEN_PREFIX),
                PlaceSettings::payload("token").prefixed(TOKEN_PREFIX),
            ],
            on_invalid: OnInvalid::Reject,
            stored: true,
            keys: Vec::new(),
        }
    }
}

/// One key from settings. It is said in exactly one way.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StaticKeySettings {
    /// Its name: the id of its principal.
    pub name: String,
    /// The SHA-256 of the key in hex, so that the file does not hold the key.
    pub sha256: Option<String>,
    /// The key itself.
    pub value: Option<Secret>,
    /// A file that holds the key.
    pub value_file: Option<PathBuf>,
    /// A variable of the environment that holds the key.
    pub value_env: Option<String>,
    /// What it may see. Default: nothing but what everyone may.
    pub grants: Vec<String>,
    /// What it may publish. Default `false`.
    pub publish: PublishSettings,
    /// Whether it may revoke, explain and look into the program. Default `false`.
    pub operator: bool,
}

/// Signed tokens. The key is exactly one of `secret`, `public_key`, `jwks_url` and `jwks_file`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JwtSettings {
    /// Where to look. Default: `Authorization: Bearer`, the subprotocol `bearer.…`, `token` of what the client says first.
    #[serde(rename = "in")]
    pub places: Vec<PlaceSettings>,
    /// Whether a wrong token is refused or the next source is asked. Default `"reject"`.
    pub on_invalid: OnInvalid,
    /// The shared secret of HS256, HS384 and HS512; at least 16 bytes, as a shorter one can be guessed offline.
    pub secret: Option<Secret>,
    /// A file that holds the secret.
    pub secret_file: Option<PathBuf>,
    /// A variable of the environment that holds the secret.
    pub secret_env: Option<String>,
    /// A public key as PEM: RSA, EC (P-256, P-384) or Ed25519.
    pub public_key: Option<String>,
    /// A file that holds the public key.
    pub public_key_file: Option<PathBuf>,
    /// The address of the key set (RFC 7517), http or https.
    pub jwks_url: Option<String>,
    /// A file that holds the key set.
    pub jwks_file: Option<PathBuf>,
    /// How long a fetched key set counts where its answer has no `max-age`. Default `"10m"`.
    #[serde(deserialize_with = "duration::required")]
    pub jwks_refresh: Duration,
    /// The least time between two fetches: a token with a made-up key id must not make us ask each time. Default `"10s"`.
    #[serde(deserialize_with = "duration::required")]
    pub jwks_floor: Duration,
    /// How long a fetch may take. Default `"5s"`.
    #[serde(deserialize_with = "duration::required")]
    pub jwks_timeout: Duration,
    /// The algorithms that count. Default: those that fit the key.
    pub algorithms: Vec<String>,
    /// Who the token must be for (`aud`), any one of these. Default: none, and a token that names an audience is
    /// refused, as it was made for somebody else (RFC 7519 §4.1.3); `["*"]` takes any.
    pub audience: Vec<String>,
    /// Who must have made the token (`iss`), any one of these. Default: not checked.
    pub issuer: Vec<String>,
    /// How far in the future `nbf` may lie, for clocks that differ. Default `"10s"`.
    #[serde(deserialize_with = "duration::required")]
    pub leeway: Duration,
    /// How long after `exp` a token still counts. Default `"0s"`: a stream ends when its token does.
    #[serde(deserialize_with = "duration::required")]
    pub expiry_leeway: Duration,
    /// Whether a token must have an `exp`. Default `true`: one without is for ever.
    pub expiry_required: bool,
    /// Who the token stands for. Paths start with `claims`. Default: `id = "{claims.sub}"`, `session` from `jti` or `sid`.
    pub principal: PrincipalSettings,
}

impl Default for JwtSettings {
    fn default() -> Self {
        JwtSettings {
            places: vec![PlaceSettings::bearer(), PlaceSettings::subprotocol(), PlaceSettings::payload("token")],
            on_invalid: OnInvalid::Reject,
            secret: None,
            secret_file: None,
            secret_env: None,
            public_key: None,
            public_key_file: None,
            jwks_url: None,
            jwks_file: None,
            jwks_refresh: Duration::from_secs(600),
            jwks_floor: Duration::from_secs(10),
            jwks_timeout: Duration::from_secs(5),
            algorithms: Vec::new(),
            audience: Vec::new(),
            issuer: Vec::new(),
            leeway: Duration::from_secs(10),
            expiry_leeway: Duration::ZERO,
            expiry_required: true,
            principal: PrincipalSettings::default(),
        }
    }
}

/// Asking the app.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardSettings {
    /// Where the credential is that the app is asked about. Empty: the app is asked about every request. Default: empty.
    #[serde(rename = "in")]
    pub places: Vec<PlaceSettings>,
    /// Whether a credential that the app refuses is refused or the next source is asked. Default `"reject"`.
    pub on_invalid: OnInvalid,
    /// The address that answers 2xx to who is logged in, and 401 or 403 to who is not. Needed.
    pub url: String,
    /// The method. Default `"GET"`.
    pub method: String,
    /// The headers of the request that are passed on; `x-app-*` is every one that begins so. `forwarded` and
    /// `x-forwarded-*` of the request are passed on only if the peer is in `trusted`; `x-forwarded-for` gets the peer
    /// added. Default: `cookie`, `authorization`.
    pub headers: Vec<String>,
    /// Headers to add, by name; `{credential}` is the credential that was found: `{ authorization = "Bearer {credential}" }`.
    /// Needed with a place of `in` that is no header and no cookie: the app could not be told of it otherwise.
    pub set: BTreeMap<String, Secret>,
    /// The reverse proxies whose `x-forwarded-*` headers are passed on. Default: none.
    pub trusted: Vec<String>,
    /// How long the app may take. Default `"5s"`.
    #[serde(deserialize_with = "duration::required")]
    pub timeout: Duration,
    /// How long a yes is remembered, at most `"60s"`. Default `"5s"`: a page that opens three streams asks once.
    #[serde(deserialize_with = "duration::required")]
    pub cache: Duration,
    /// The most questions at once; the others wait within `timeout`. Default 32.
    pub concurrent: usize,
    /// How often the app is asked again about streams that are open. Default: never, the app revokes.
    #[serde(deserialize_with = "duration::optional")]
    pub recheck: Option<Duration>,
    /// How long a stream goes on when the app can't answer such a question. Default `"10m"`.
    #[serde(deserialize_with = "duration::required")]
    pub max_stale: Duration,
    /// Who it is. Paths start with `body` (the JSON answer) or `header` (lower-case names). `id` is needed.
    pub principal: PrincipalSettings,
}

impl Default for ForwardSettings {
    fn default() -> Self {
        ForwardSettings {
            places: Vec::new(),
            on_invalid: OnInvalid::Reject,
            url: String::new(),
            method: "GET".into(),
            headers: vec!["cookie".into(), "authorization".into()],
            set: BTreeMap::new(),
            trusted: Vec::new(),
            timeout: Duration::from_secs(5),
            cache: Duration::from_secs(5),
            concurrent: 32,
            recheck: None,
            max_stale: Duration::from_secs(600),
            principal: PrincipalSettings::default(),
        }
    }
}

/// A reverse proxy says who it is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyHeaderSettings {
    /// The header with the user. Default `"x-forwarded-user"`.
    pub header: String,
    /// A header with their groups. Default: none.
    pub groups_header: Option<String>,
    /// What stands between two groups. Default `","`.
    pub groups_separator: String,
    /// The addresses of the proxies that are believed. Needed: from any other address the header is ignored.
    pub trusted: Vec<String>,
    /// Who it is. Paths are `user` and `groups`. Default: `id = "{user}"`.
    pub principal: PrincipalSettings,
}

impl Default for ProxyHeaderSettings {
    fn default() -> Self {
        ProxyHeaderSettings {
            header: "x-forwarded-user".into(),
            groups_header: None,
            groups_separator: ",".into(),
            trusted: Vec::new(),
            principal: PrincipalSettings::default(),
        }
    }
}

/// Tokens of jobs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobTokenSettings {
    /// Where to look. Default: `Authorization: Bearer tdj_…`, the parameter `token` of the query, as an EventSource can send no header,
    /// the subprotocol `bearer.tdj_…`, and `token` of what the client says first. A `cookie` is possible.
    #[serde(rename = "in")]
    pub places: Vec<PlaceSettings>,
    /// Whether a wrong token is refused or the next source is asked. Default `"reject"`.
    pub on_invalid: OnInvalid,
}

impl Default for JobTokenSettings {
    fn default() -> Self {
        let places = [
            PlaceSettings::bearer(),
            PlaceSettings::query("token"),
            PlaceSettings::subprotocol(),
            PlaceSettings::payload("token"),
        ];
        let places = places.map(|place| place.prefixed(tidings::job::TOKEN_PREFIX)).to_vec();
        JobTokenSettings { places, on_invalid: OnInvalid::Reject }
    }
}

/// One-time tickets.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TicketSettings {
    /// Where to look. Default: the parameter `ticket` of the query, `ticket` of what the client says first.
    #[serde(rename = "in")]
    pub places: Vec<PlaceSettings>,
    /// Whether a wrong ticket is refused or the next source is asked. Default `"reject"`.
    pub on_invalid: OnInvalid,
}

impl Default for TicketSettings {
    fn default() -> Self {
        let places = vec![PlaceSettings::query("ticket"), PlaceSettings::payload("ticket")];
        TicketSettings { places, on_invalid: OnInvalid::Reject }
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::*;

    /// The settings of a table, as it names them to who writes another.
    fn names<T: DeserializeOwned>() -> Vec<String> {
        let refused = serde_json::from_value::<T>(json!({ "?": 0 })).err().unwrap().to_string();
        let (_, expected) = refused.split_once(", expected ").unwrap();
        expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn each_setting_of_a_source_is_in_the_docs() {
        let docs = include_str!("../../../../docs/auth.md");
        let told = |table: &str, name: &str| {
            let (_, rows) = docs.split_once(&format!("| {table} |")).unwrap_or_else(|| panic!("no table {table:?}"));
            let mut rows = rows.lines().take_while(|line| !line.is_empty()).filter_map(|row| row.split('|').nth(1));
            rows.any(|names| names.contains(&format!("`{name}`")))
        };
        let sources = [
            ("of `api-key`", names::<ApiKeySettings>()),
            ("in `keys`", names::<StaticKeySettings>()),
            ("of `jwt`", names::<JwtSettings>()),
            ("of `forward`", names::<ForwardSettings>()),
            ("of `proxy-header`", names::<ProxyHeaderSettings>()),
            ("of all but `proxy-header`", names::<JobTokenSettings>()),
            ("of all but `proxy-header`", names::<TicketSettings>()),
            ("in `principal`", names::<PrincipalSettings>()),
        ];
        for (table, names) in sources {
            assert!(names.len() > 1, "{table}");
            let shared = |name: &str| ["in", "on_invalid"].contains(&name) && told("of all but `proxy-header`", name);
            let missing: Vec<_> = names.into_iter().filter(|name| !shared(name) && !told(table, name)).collect();
            assert!(missing.is_empty(), "{table}: {missing:?} in no row");
        }
    }
}
