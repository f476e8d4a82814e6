//! Where credentials go, in AsyncAPI's words.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::auth::AuthSettings;
use crate::auth::place::PlaceSettings;
use crate::auth::settings::{AnonymousSettings, SourceSettings};
use crate::profile::Transport;

/// On which transports a credential can be in a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Only {
    Anywhere,
    WebSockets,
    SaidFirst,
}

/// The places of credentials, in the order in which they are looked for.
pub(super) struct Schemes {
    named: Vec<(String, Value, Only)>,
    is_needed: bool,
}

impl Schemes {
    pub fn of(auth: &AuthSettings) -> Self {
        let mut schemes = Schemes { named: Vec::new(), is_needed: matches!(auth.anonymous, AnonymousSettings::Reject) };
        for source in &auth.sources {
            let (kind, places): (&str, &[PlaceSettings]) = match source {
                SourceSettings::ApiKey(source) => ("An API key of the hub", &source.places),
                SourceSettings::Jwt(source) => ("A signed token (JWT)", &source.places),
                SourceSettings::Forward(source) => ("A credential of the app", &source.places),
                SourceSettings::JobToken(source) => ("The token of a job", &source.places),
                SourceSettings::Ticket(source) => ("A one-time ticket", &source.places),
                SourceSettings::ProxyHeader(source) => {
                    let about = "The user, as a reverse proxy says that has logged them in";
                    schemes.add(&source.header, http_key(&source.header, "header", about), Only::Anywhere);
                    continue;
                }
            };
            places.iter().for_each(|place| schemes.place(place, kind));
        }
        schemes
    }

    /// Whether nobody may listen without a credential.
    pub fn is_needed(&self) -> bool {
        self.is_needed
    }

    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// References to those that count on a transport: any one of them is enough.
    pub fn on(&self, transport: &Transport) -> Vec<Value> {
        let counts = |only: Only| match (only, transport) {
            (Only::Anywhere, _) | (Only::WebSockets, Transport::WebSocket(_)) => true,
            (Only::SaidFirst, transport) => matches!(transport, Transport::WebSocket(_) | Transport::SocketIo(_)),
            _ => false,
        };
        let counting = self.named.iter().filter(|(_, _, only)| counts(*only));
        counting.map(|(name, ..)| json!({ "$ref": format!("#/components/securitySchemes/{name}") })).collect()
    }

    pub fn to_json(&self) -> Value {
        self.named.iter().map(|(name, scheme, _)| (name.clone(), scheme.clone())).collect::<Map<_, _>>().into()
    }

    fn place(&mut self, place: &PlaceSettings, kind: &str) {
        let begins = place.prefix.as_ref().map(|prefix| format!(" that begins with `{prefix}`")).unwrap_or_default();
        let about = format!("{kind}{begins}");
        if let Some(header) = &place.header {
            match &place.scheme {
                Some(scheme) if header.eq_ignore_ascii_case("authorization") => {
                    let scheme = json!({ "type": "http", "scheme": scheme.to_ascii_lowercase(), "description": format!("{about}.") });
                    self.add("bearer", scheme, Only::Anywhere);
                }
                _ => self.add(header, http_key(header, "header", &about), Only::Anywhere),
            }
        } else if let Some(query) = &place.query {
            self.add(query, http_key(query, "query", &about), Only::Anywhere);
        } else if let Some(cookie) = &place.cookie {
            self.add(cookie, http_key(cookie, "cookie", &about), Only::Anywhere);
        } else if let Some(prefix) = &place.subprotocol {
            let about = format!("{about}, as a subprotocol: `{prefix}<credential>`");
            self.add("subprotocol", http_key("Sec-WebSocket-Protocol", "header", &about), Only::WebSockets);
        } else if let Some(member) = &place.payload {
            let about = format!("{about}, as `{member}` of what the client says first.");
            self.add(member, json!({ "type": "apiKey", "in": "password", "description": about }), Only::SaidFirst);
        }
    }

    /// The same scheme once. Names are keys of a document.
    fn add(&mut self, wanted: &str, scheme: Value, only: Only) {
        if self.named.iter().any(|(_, known, _)| *known == scheme) {
            return;
        }
        let wanted = super::safe(wanted);
        let taken: BTreeMap<&str, ()> = self.named.iter().map(|(name, ..)| (name.as_str(), ())).collect();
        let mut name = wanted.clone();
        let mut count = 1;
        while taken.contains_key(name.as_str()) {
            count += 1;
            name = format!("{wanted}{count}");
        }
        self.named.push((name, scheme, only));
    }
}

fn http_key(name: &str, place: &str, about: &str) -> Value {
    json!({ "type": "httpApiKey", "name": name, "in": place, "description": format!("{about}.") })
}
