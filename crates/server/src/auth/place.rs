//! Where in a request, or in what a client says first, a credential stands.

use http::{HeaderName, Method, header};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;
use tidings_transports::Request;

use super::AuthError;

/// The subprotocol of this program's own messages (`protocol/README.md` §8.1). It is no credential.
const OWN_SUBPROTOCOL: &str = "tidings.v1";

/// What stands before a credential that a browser offers as a subprotocol (`protocol/README.md` §8.1).
pub const BEARER_SUBPROTOCOL: &str = "bearer.";

/// One place to look for a credential. Exactly one of `header`, `query`, `cookie`, `subprotocol` and `payload` is set.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlaceSettings {
    /// The name of a header.
    pub header: Option<String>,
    /// With `header`: the scheme before the credential, as in `Bearer <token>`. A header with another scheme counts
    /// as not there. Unset: the whole value is the credential.
    pub scheme: Option<String>,
    /// The name of a parameter of the query. What stands in a URL ends up in logs of proxies, so a header is better
    /// where the client can send one; an EventSource can't.
    pub query: Option<String>,
    /// The name of a cookie.
    pub cookie: Option<String>,
    /// What stands before the credential in a subprotocol that a WebSocket client offers (`Sec-WebSocket-Protocol`), as a
    /// browser can set no other header: `"bearer."`. The first that begins so counts. Empty: the first that is neither
    /// `tidings.v1` nor begins with `bearer.` is the credential as it is.
    pub subprotocol: Option<String>,
    /// The name of a member of what the client says first: the `auth` of Socket.IO, or an `authenticate` message.
    pub payload: Option<String>,
    /// What the credential begins with. One that begins otherwise counts as not there, so that another source may
    /// know it. The prefix is part of the credential.
    pub prefix: Option<String>,
    /// The methods on which this place counts. Unset: all. `["GET", "HEAD", "OPTIONS"]` keeps a credential in a link
    /// from changing anything.
    pub methods: Option<Vec<String>>,
}

impl PlaceSettings {
    /// `Authorization: Bearer <credential>` (RFC 6750 §2.1).
    pub fn bearer() -> Self {
        PlaceSettings { header: Some("authorization".into()), scheme: Some("Bearer".into()), ..Self::default() }
    }

    /// A parameter of the query.
    pub fn query(name: &str) -> Self {
        PlaceSettings { query: Some(name.into()), ..Self::default() }
    }

    /// A cookie.
    pub fn cookie(name: &str) -> Self {
        PlaceSettings { cookie: Some(name.into()), ..Self::default() }
    }

    /// An offered subprotocol, `bearer.<credential>`.
    pub fn subprotocol() -> Self {
        PlaceSettings { subprotocol: Some(BEARER_SUBPROTOCOL.into()), ..Self::default() }
    }

    /// A member of what the client says first.
    pub fn payload(name: &str) -> Self {
        PlaceSettings { payload: Some(name.into()), ..Self::default() }
    }

    /// The same for credentials that begin with `prefix`.
    pub fn prefixed(self, prefix: &str) -> Self {
        PlaceSettings { prefix: Some(prefix.into()), ..self }
    }
}

/// What was found in a request.
#[derive(Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// A credential.
    One(String),
    /// Something that can't be read as one credential, with the reason.
    Unclear(&'static str),
}

/// The places to look, in their order.
pub struct Places(Vec<Place>);

struct Place {
    kind: Kind,
    prefix: Option<String>,
    methods: Option<Vec<Method>>,
}

enum Kind {
    Header(HeaderName, Option<String>),
    Query(String),
    Cookie(String),
    Subprotocol(String),
    Payload(String),
}

impl Places {
    /// Checks the places that stand at `path` in the settings.
    pub fn new(settings: &[PlaceSettings], path: &str) -> Result<Self, AuthError> {
        let places =
            settings.iter().enumerate().map(|(index, place)| Place::new(place, &format!("{path}.in[{index}]")));
        Ok(Places(places.collect::<Result<_, _>>()?))
    }

    /// Which place can't be passed on as it is, as no header of the request holds it: its index.
    pub fn first_beside_headers(&self) -> Option<usize> {
        self.0.iter().position(|place| !matches!(place.kind, Kind::Header(..) | Kind::Cookie(_)))
    }

    /// Whether there is no place to look.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What stands in the first place that has something.
    pub fn find(&self, request: &Request<'_>) -> Found {
        self.0.iter().map(|place| place.find(request)).find(|found| *found != Found::Absent).unwrap_or(Found::Absent)
    }
}

impl Place {
    fn new(settings: &PlaceSettings, path: &str) -> Result<Self, AuthError> {
        let PlaceSettings { header, scheme, query, cookie, subprotocol, payload, prefix, methods } = settings;
        if scheme.is_some() && header.is_none() {
            return Err(AuthError::new(format!("{path}.scheme"), "a scheme belongs to a header"));
        }
        let kind = match (header, query, cookie, subprotocol, payload) {
            (Some(name), None, None, None, None) => {
                let name = name
                    .parse()
                    .map_err(|_| AuthError::new(format!("{path}.header"), format!("{name:?} is not a header name")))?;
                Kind::Header(name, scheme.clone())
            }
            (None, Some(name), None, None, None) if !name.is_empty() => Kind::Query(name.clone()),
            (None, None, Some(name), None, None) if !name.is_empty() => Kind::Cookie(name.clone()),
            (None, None, None, Some(before), None) if before.chars().all(is_token) => Kind::Subprotocol(before.clone()),
            (None, None, None, Some(before), None) => {
                let message = format!("{before:?} can't begin a subprotocol, which is one word");
                return Err(AuthError::new(format!("{path}.subprotocol"), message));
            }
            (None, None, None, None, Some(name)) if !name.is_empty() => Kind::Payload(name.clone()),
            _ => {
                let message = "a place is exactly one of header, query, cookie, subprotocol and payload, with a name";
                return Err(AuthError::new(path, message));
            }
        };
        let read = |method: &String| {
            Method::from_bytes(method.as_bytes())
                .map_err(|_| AuthError::new(format!("{path}.methods"), format!("{method:?} is not a method")))
        };
        let methods = methods.as_ref().map(|methods| methods.iter().map(read).collect::<Result<_, _>>()).transpose()?;
        Ok(Place { kind, prefix: prefix.clone(), methods })
    }

    fn find(&self, request: &Request<'_>) -> Found {
        if self.methods.as_ref().is_some_and(|methods| !methods.contains(request.method)) {
            return Found::Absent;
        }
        let found = match &self.kind {
            Kind::Header(name, scheme) => find_header(request, name, scheme.as_deref()),
            Kind::Query(name) => find_query(request, name),
            Kind::Cookie(name) => cookie(request, name).map_or(Found::Absent, |value| Found::One(value.to_owned())),
            Kind::Subprotocol(before) => find_subprotocol(request, before),
            Kind::Payload(name) => find_payload(request, name),
        };
        match (found, &self.prefix) {
            (Found::One(value), _) if value.is_empty() => Found::Absent,
            (Found::One(value), Some(prefix)) if !value.starts_with(prefix.as_str()) => Found::Absent,
            (found, _) => found,
        }
    }
}

fn find_header(request: &Request<'_>, name: &HeaderName, scheme: Option<&str>) -> Found {
    let mut values = request.headers.get_all(name).iter();
    let Some(value) = values.next() else { return Found::Absent };
    // Which of two a proxy or an app before us went by is unknown, so neither is believed.
    if values.next().is_some() {
        return Found::Unclear("the header with the credential is there more than once");
    }
    let Ok(value) = value.to_str() else { return Found::Unclear("the credential has characters that are not ASCII") };
    let value = value.trim();
    match scheme {
        None => Found::One(value.to_owned()),
        Some(scheme) => match value.split_once(' ') {
            Some((given, credential)) if given.eq_ignore_ascii_case(scheme) => Found::One(credential.trim().to_owned()),
            _ => Found::Absent,
        },
    }
}

fn find_query(request: &Request<'_>, name: &str) -> Found {
    let mut found = Found::Absent;
    for pair in request.uri.query().unwrap_or_default().split('&') {
        let (given, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decode(given).as_deref() != Some(name) {
            continue;
        }
        if found != Found::Absent {
            return Found::Unclear("the parameter with the credential is there more than once");
        }
        found = match decode(value) {
            Some(value) => Found::One(value),
            None => Found::Unclear("the parameter with the credential is not UTF-8"),
        };
    }
    found
}

/// A subprotocol among those that are offered, in one header line or in several (RFC 6455 §11.3.4).
fn find_subprotocol(request: &Request<'_>, before: &str) -> Found {
    let values = request.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut offered = values.flat_map(|value| value.split(',')).map(str::trim).filter(|offer| !offer.is_empty());
    let found = match before {
        "" => offered.find(|offer| *offer != OWN_SUBPROTOCOL && !offer.starts_with(BEARER_SUBPROTOCOL)),
        _ => offered.find_map(|offer| offer.strip_prefix(before)),
    };
    found.map_or(Found::Absent, |credential| Found::One(credential.to_owned()))
}

fn find_payload(request: &Request<'_>, name: &str) -> Found {
    match request.payload.and_then(|payload| payload.get(name)) {
        None | Some(Value::Null) => Found::Absent,
        Some(Value::String(text)) => Found::One(text.clone()),
        Some(_) => Found::Unclear("the credential in the message is no text"),
    }
}

/// What may stand in a subprotocol: a token (RFC 9110 §5.6.2).
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

fn decode(text: &str) -> Option<String> {
    // `+` is a space in a form, but a base64 credential that was pasted into a URL has a real `+`, and no
    // credential has a space.
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

/// The value of a cookie: of the first, where there are more, which is the one of the longest path (RFC 6265 §5.4).
pub fn cookie<'r>(request: &Request<'r>, name: &str) -> Option<&'r str> {
    let values = request.headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(';')).find_map(|pair| {
        let (given, value) = pair.trim().split_once('=')?;
        (given == name).then(|| value.trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue, Uri};

    fn find(places: &[PlaceSettings], method: Method, uri: &str, headers: &[(&'static str, &str)]) -> Found {
        find_with(places, method, uri, headers, None)
    }

    fn find_with(
        places: &[PlaceSettings],
        method: Method,
        uri: &str,
        headers: &[(&'static str, &str)],
        payload: Option<Value>,
    ) -> Found {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let uri: Uri = uri.parse().unwrap();
        let payload = payload.as_ref().map(|payload| payload.as_object().unwrap());
        let request = Request { method: &method, uri: &uri, headers: &map, peer: [127, 0, 0, 1].into(), payload };
        Places::new(places, "sources[0]").ok().unwrap().find(&request)
    }

    fn one(text: &str) -> Found {
        Found::One(text.into())
    }

    impl std::fmt::Debug for Found {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(match self {
                Found::Absent => "absent",
                Found::One(text) => text,
                Found::Unclear(why) => why,
            })
        }
    }

    #[test]
    fn the_first_place_that_has_something_counts() {
        let bare = PlaceSettings { header: Some("authorization".into()), ..Default::default() };
        let places = [PlaceSettings::bearer(), bare, PlaceSettings::query("token"), PlaceSettings::cookie("sid")];
        let get = |uri, headers: &[_]| find(&places, Method::GET, uri, headers);
        assert_eq!(get("/?token=q", &[("authorization", "bearer  b ")]), one("b"));
        assert_eq!(get("/?token=q", &[("authorization", "b")]), one("b"));
        assert_eq!(get("/?a=1&token=q%2B+", &[("cookie", "sid=c")]), one("q++"));
        assert_eq!(get("/", &[("cookie", "a=b; sid=\"c\""), ("cookie", "sid=d")]), one("c"));
        assert_eq!(get("/?token=", &[("cookie", "sid=")]), Found::Absent);
    }

    #[test]
    fn a_place_counts_only_on_its_methods_and_with_its_prefix() {
        let safe = PlaceSettings { methods: Some(vec!["GET".into()]), ..PlaceSettings::query("k") };
        assert_eq!(find(std::slice::from_ref(&safe), Method::GET, "/?k=v", &[]), one("v"));
        assert_eq!(find(&[safe], Method::POST, "/?k=v", &[]), Found::Absent);
        let ours = [PlaceSettings::bearer().prefixed("tok_")];
        assert_eq!(find(&ours, Method::GET, "/", &[("authorization", "Bearer tok_1")]), one("tok_1"));
        assert_eq!(find(&ours, Method::GET, "/", &[("authorization", "Bearer x")]), Found::Absent);
    }

    #[test]
    fn another_scheme_counts_as_not_there() {
        assert_eq!(find(&[PlaceSettings::bearer()], Method::GET, "/", &[("authorization", "Basic x")]), Found::Absent);
        assert_eq!(find(&[PlaceSettings::bearer()], Method::GET, "/", &[("authorization", "Bearer")]), Found::Absent);
    }

    #[test]
    fn two_of_the_same_are_unclear_and_neither_is_believed() {
        let places = [PlaceSettings::bearer(), PlaceSettings::query("t")];
        let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        assert!(matches!(find(&places, Method::GET, "/", &twice), Found::Unclear(_)));
        assert!(matches!(find(&places, Method::GET, "/?t=a&%74=b", &[]), Found::Unclear(_)));
    }

    #[test]
    fn a_subprotocol_is_the_first_that_begins_as_the_place_says() {
        let offered = |place: &PlaceSettings, lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|line| ("sec-websocket-protocol", *line)).collect();
            find(std::slice::from_ref(place), Method::GET, "/", &lines)
        };
        let bearer = PlaceSettings::subprotocol();
        assert_eq!(offered(&bearer, &["tidings.v1, bearer.a, bearer.b"]), one("a"));
        assert_eq!(offered(&bearer, &["tidings.v1", "x,bearer.c"]), one("c"), "in a second line");
        assert_eq!(offered(&bearer, &["tidings.v1, bare"]), Found::Absent);
        assert_eq!(offered(&bearer, &["bearer."]), Found::Absent);
        assert_eq!(offered(&bearer.clone().prefixed("tdg_"), &["bearer.jwt"]), Found::Absent);
        let bare = PlaceSettings { subprotocol: Some(String::new()), ..Default::default() };
        assert_eq!(offered(&bare, &["tidings.v1, bearer.a,, 7f3a, 91bc"]), one("7f3a"));
        assert_eq!(offered(&bare, &["tidings.v1, bearer.a"]), Found::Absent);
        assert_eq!(offered(&bare, &[]), Found::Absent);
    }

    #[test]
    fn a_member_of_what_the_client_says_first_is_a_credential_if_it_is_text() {
        let places = [PlaceSettings::bearer(), PlaceSettings::payload("token")];
        let said = |payload| find_with(&places, Method::GET, "/", &[], payload);
        assert_eq!(said(Some(serde_json::json!({"token": "t", "key": "k"}))), one("t"));
        for absent in [None, Some(serde_json::json!({})), Some(serde_json::json!({"token": null}))] {
            assert_eq!(said(absent), Found::Absent);
        }
        assert_eq!(said(Some(serde_json::json!({"token": ""}))), Found::Absent);
        assert!(matches!(said(Some(serde_json::json!({"token": {"a": 1}}))), Found::Unclear(_)));
        let header = [("authorization", "Bearer h")];
        let both = find_with(&places, Method::GET, "/", &header, Some(serde_json::json!({"token": "t"})));
        assert_eq!(both, one("h"), "places count in their order");
    }

    #[test]
    fn a_malformed_place_is_named() {
        let wrong = [
            PlaceSettings::default(),
            PlaceSettings { header: Some("a b".into()), ..Default::default() },
            PlaceSettings { query: Some("a".into()), cookie: Some("b".into()), ..Default::default() },
            PlaceSettings { scheme: Some("Bearer".into()), ..PlaceSettings::query("a") },
            PlaceSettings { methods: Some(vec!["G T".into()]), ..PlaceSettings::query("a") },
            PlaceSettings { subprotocol: Some("a, b".into()), ..Default::default() },
            PlaceSettings { subprotocol: Some("bearer.".into()), ..PlaceSettings::payload("token") },
            PlaceSettings::payload(""),
        ];
        for place in wrong {
            let error = Places::new(&[PlaceSettings::bearer(), place], "sources[1]").err().unwrap();
            assert!(error.path.starts_with("sources[1].in[1]"), "{error}");
        }
    }
}
