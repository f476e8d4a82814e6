//! What somebody holds and may publish, as settings.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// How what a source knows becomes a principal. Texts are templates; see the `template` file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrincipalSettings {
    /// Who it is: the first of these that finds something.
    pub id: OneOrMany<String>,
    /// What they hold. A hole that finds nothing yields no grant, one that finds a list yields one for each item.
    pub grants: Vec<GrantSettings>,
    /// Which login it is: the first of these that finds something. Revoking it ends just that one.
    pub session: OneOrMany<String>,
    /// What they may publish. Default `false`.
    pub publish: PublishSettings,
    /// When they are an operator: each path comes to one of its values. Default: never.
    pub operator: Option<BTreeMap<String, Value>>,
    /// What the app says of them, for a greeting: one path whose value is taken as it is, of any kind: `"{body}"`. At most
    /// 64 KiB of JSON; more is left out. Only of a token and of the app's answer. Default: nothing.
    pub about: Option<String>,
}

/// A grant, and when it is held. `"user/{claims.sub}"` or `{ grant = "role/admin", when = { "claims.admin" = true } }`.
#[derive(Clone, Debug, PartialEq)]
pub struct GrantSettings {
    /// A template of a grant.
    pub grant: String,
    /// It is held only if each path comes to one of its values.
    pub when: Option<BTreeMap<String, Value>>,
    /// It is held only if that is not so.
    pub unless: Option<BTreeMap<String, Value>>,
}

/// What may be published: `false`, `true`, or `{ topics = ["job/*"], names = ["progress"] }`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum PublishSettings {
    /// Nothing.
    #[default]
    None,
    /// Everything.
    All,
    /// Only these.
    Limited(LimitedSettings),
}

/// The events that may be published.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitedSettings {
    /// Any of these topics or patterns. Unset: every topic.
    pub topics: Option<Vec<String>>,
    /// Any of these names. Unset: every name.
    pub names: Option<Vec<String>>,
}

/// What a request without a credential is: `"reject"` or `{ grants = ["role/viewer"] }`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum AnonymousSettings {
    /// Refused with 401.
    #[default]
    Reject,
    /// A principal named `anonymous`.
    Grants(AnonymousGrants),
}

/// What nobody in particular may do.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnonymousGrants {
    /// What they hold, beside what everyone does.
    pub grants: Vec<String>,
    /// What they may publish. Default `false`.
    pub publish: PublishSettings,
    /// Whether they are an operator: only for a program that nobody else can reach. Default `false`.
    pub operator: bool,
}

/// One value or a list of them.
#[derive(Clone, Debug, PartialEq)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        OneOrMany(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = OneOrMany<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                T::deserialize(de::value::StrDeserializer::new(text)).map(|one| OneOrMany(vec![one]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(OneOrMany)
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

impl From<&str> for GrantSettings {
    fn from(grant: &str) -> Self {
        GrantSettings { grant: grant.into(), when: None, unless: None }
    }
}

impl<'de> Deserialize<'de> for GrantSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            grant: String,
            when: Option<BTreeMap<String, Value>>,
            unless: Option<BTreeMap<String, Value>>,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = GrantSettings;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a grant, or { grant = …, when = { … } }")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(text.into())
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let Table { grant, when, unless } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(GrantSettings { grant, when, unless })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for PublishSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = PublishSettings;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or { topics = […], names = […] }")
            }
            fn visit_bool<E: de::Error>(self, all: bool) -> Result<Self::Value, E> {
                Ok(if all { PublishSettings::All } else { PublishSettings::None })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                LimitedSettings::deserialize(MapAccessDeserializer::new(map)).map(PublishSettings::Limited)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for AnonymousSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = AnonymousSettings;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"reject\" or { grants = […] }")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                match text {
                    "reject" => Ok(AnonymousSettings::Reject),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                AnonymousGrants::deserialize(MapAccessDeserializer::new(map)).map(AnonymousSettings::Grants)
            }
        }
        deserializer.deserialize_any(Either)
    }
}
