//! From written settings to typed ones, finding every mistake on the way.
//!
//! Serde stops at the first mistake. So the value that is wrong is noted, left out, and everything is read again, until
//! nothing is wrong any more: each mistake is found once, at its place, and no type has to know of it.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};

use super::report::{Place, Report, Source, nearest};
use super::tree::{Kind, Node};

/// Reads a `T` from what was written. `None` if too much is wrong; the report says what is.
pub fn decode<'de, T: Deserialize<'de>>(root: &'de Node, report: &mut Report) -> Option<T> {
    let mut left_out = HashSet::new();
    loop {
        let error = match T::deserialize(Reader { node: root, left_out: &left_out }) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let id = error.at.unwrap_or(root.id);
        let node = root.find(&|node| node.id == id).unwrap_or(root);
        let wrong = error.describe(root, node, &left_out, report);
        if wrong == root.id || !left_out.insert(wrong) {
            return None;
        }
    }
}

/// A value that knows where it was written. Equal to another if the values are.
#[derive(Clone, Debug)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub place: Place,
}

impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T> std::ops::Deref for At<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> At<T> {
    /// A value that was written nowhere.
    pub fn nowhere(value: T) -> Self {
        let source = Arc::new(Source { name: "the defaults".into(), text: String::new(), shown: false });
        At { value, place: Place { source, start: 0, end: 0 } }
    }
}

/// The name under which [`At`] asks for a place.
const AT: &str = "$tidings::At";

thread_local! {
    /// The place that an [`At`] being read stands at. Serde can carry plain values only.
    static PLACE: std::cell::RefCell<Option<Place>> = const { std::cell::RefCell::new(None) };
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Read<T> {
            type Value = At<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<At<T>, D::Error> {
                let place = PLACE.take();
                let value = T::deserialize(deserializer)?;
                Ok(At { place: place.unwrap_or_else(|| At::nowhere(()).place), value })
            }
        }
        deserializer.deserialize_newtype_struct(AT, Read(std::marker::PhantomData))
    }
}

/// Why a value can't be read.
#[derive(Debug)]
struct DecodeError {
    what: What,
    /// The value, once known.
    at: Option<u32>,
}

#[derive(Debug)]
enum What {
    UnknownKey(String, &'static [&'static str]),
    UnknownWord(String, &'static [&'static str]),
    Missing(&'static str),
    Other(String),
}

impl DecodeError {
    fn or_at(mut self, node: &Node) -> Self {
        self.at.get_or_insert(node.id);
        self
    }

    /// Notes the mistake and gives the value to leave out.
    fn describe(self, root: &Node, node: &Node, left_out: &HashSet<u32>, report: &mut Report) -> u32 {
        match self.what {
            What::UnknownKey(name, known) => {
                // A tagged table is read at one remove: the mistake is somewhere within it.
                let (place, id) = match find_entry(root, node, &name, left_out) {
                    Some((place, id)) => (place, id),
                    None => (node.place.clone(), node.id),
                };
                let mistake = report.at(&place, format!("unknown key `{name}`"));
                match nearest(&name, known.iter().copied()) {
                    Some(near) => mistake.help(format!("did you mean `{near}`?")),
                    None if known.is_empty() => {}
                    None => mistake.help(format!("known here: {}", known.join(", "))),
                }
                id
            }
            What::UnknownWord(word, known) => {
                let is_word = |n: &Node| {
                    !left_out.contains(&n.id) && matches!(&n.kind, Kind::Text(t) | Kind::Variable(t) if *t == word)
                };
                let found = node.find(&is_word).unwrap_or(node);
                let mistake = report.at(&found.place, format!("{word:?} is not one of {}", known.join(", ")));
                if let Some(near) = nearest(&word, known.iter().copied()) {
                    mistake.help(format!("did you mean {near:?}?"));
                }
                // The table that the word chooses the kind of can't be read without it.
                if found.id == node.id { found.id } else { node.id }
            }
            What::Missing(name) => {
                let noted = matches!(node.entry(name), Some((_, value)) if left_out.contains(&value.id));
                if !noted {
                    let place = place_of(root, node);
                    report.at(&place, format!("`{name}` is missing"));
                }
                node.id
            }
            What::Other(message) => {
                report.at(&place_of(root, node), message);
                node.id
            }
        }
    }
}

/// Where to point for a value: at its key if the value is a table, else at itself.
fn place_of(root: &Node, node: &Node) -> Place {
    if matches!(node.kind, Kind::Table(_)) && node.place.start == node.place.end {
        let parent = root.find(&|parent| match &parent.kind {
            Kind::Table(entries) => entries.iter().any(|(_, value)| value.id == node.id),
            _ => false,
        });
        if let Some(Kind::Table(entries)) = parent.map(|parent| &parent.kind)
            && let Some((key, _)) = entries.iter().find(|(_, value)| value.id == node.id)
        {
            return key.place.clone();
        }
    }
    node.place.clone()
}

/// The key `name`: of the value `node` itself, else somewhere within it.
fn find_entry(root: &Node, node: &Node, name: &str, left_out: &HashSet<u32>) -> Option<(Place, u32)> {
    let direct = root.find(&|parent| match &parent.kind {
        Kind::Table(entries) => entries.iter().any(|(key, value)| value.id == node.id && key.name == name),
        _ => false,
    });
    let within = node.find(&|parent| parent.entry(name).is_some_and(|(_, value)| !left_out.contains(&value.id)));
    let (key, value) = match direct {
        Some(parent) => parent.entry(name)?,
        None => within?.entry(name)?,
    };
    Some((key.place.clone(), value.id))
}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        DecodeError { what: What::Other(message.to_string()), at: None }
    }

    // The value itself is left out of these two: it may be a secret.
    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let found = match found {
            de::Unexpected::Bool(_) => "true or false",
            de::Unexpected::Unsigned(_) | de::Unexpected::Signed(_) => "a whole number",
            de::Unexpected::Float(_) => "a number",
            de::Unexpected::Str(_) => "a text",
            de::Unexpected::Seq => "a list",
            de::Unexpected::Map => "a table",
            _ => "something else",
        };
        Self::custom(format!("expected {expected}, found {found}"))
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format!("expected {expected}"))
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        DecodeError { what: What::UnknownKey(name.to_owned(), known), at: None }
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        DecodeError { what: What::UnknownWord(word.to_owned(), known), at: None }
    }

    fn missing_field(name: &'static str) -> Self {
        DecodeError { what: What::Missing(name), at: None }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.what)
    }
}

impl std::error::Error for DecodeError {}

#[derive(Clone, Copy)]
struct Reader<'a, 'de> {
    node: &'de Node,
    left_out: &'a HashSet<u32>,
}

impl<'de> Reader<'_, 'de> {
    fn keep<T>(&self, result: Result<T, DecodeError>) -> Result<T, DecodeError> {
        result.map_err(|error| error.or_at(self.node))
    }
}

impl<'de> Deserializer<'de> for Reader<'_, 'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let result = match &self.node.kind {
            Kind::Text(text) => visitor.visit_str(text),
            Kind::Integer(number) => match u64::try_from(*number) {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => visitor.visit_i64(*number),
            },
            Kind::Float(number) => visitor.visit_f64(*number),
            Kind::Bool(yes) => visitor.visit_bool(*yes),
            Kind::List(items) => visitor.visit_seq(Items { reader: self, items: items.iter() }),
            Kind::Table(entries) => visitor.visit_map(Entries { reader: self, entries: entries.iter(), value: None }),
            Kind::Variable(text) => match Node::of_variable(text, &self.node.place).kind {
                Kind::Text(text) => visitor.visit_string(text),
                Kind::Integer(number) => match u64::try_from(number) {
                    Ok(number) => visitor.visit_u64(number),
                    Err(_) => visitor.visit_i64(number),
                },
                Kind::Float(number) => visitor.visit_f64(number),
                Kind::Bool(yes) => visitor.visit_bool(yes),
                kind => from_json(Node { kind, ..self.node.clone() }.to_json(), visitor),
            },
        };
        self.keep(result)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.keep(visitor.visit_some(self))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.kind {
            Kind::Variable(text) => self.keep(visitor.visit_str(text)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.kind {
            Kind::Variable(text) if !text.trim_start().starts_with('[') => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                let items: Vec<serde_json::Value> = items.map(Into::into).collect();
                self.keep(from_json(items.into(), visitor))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name == AT {
            PLACE.set(Some(self.node.place.clone()));
        }
        self.keep(visitor.visit_newtype_struct(self))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match &self.node.kind {
            Kind::Text(text) | Kind::Variable(text) => {
                self.keep(visitor.visit_enum(IntoDeserializer::<DecodeError>::into_deserializer(text.as_str())))
            }
            _ => self.keep(Err(de::Error::custom(format!("expected one of {} for {name}", variants.join(", "))))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        map struct identifier ignored_any
    }
}

/// Reads a list or a table from the environment, which can't be borrowed from. What is wrong with it is not said, as
/// that would show it.
fn from_json<'de, V: Visitor<'de>>(json: serde_json::Value, visitor: V) -> Result<V::Value, DecodeError> {
    json.deserialize_any(visitor).map_err(|_| de::Error::custom("something in the list or table is not as it must be"))
}

struct Items<'a, 'de> {
    reader: Reader<'a, 'de>,
    items: std::slice::Iter<'de, Node>,
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        let Some(node) = self.items.find(|node| !self.reader.left_out.contains(&node.id)) else { return Ok(None) };
        let reader = Reader { node, ..self.reader };
        reader.keep(seed.deserialize(reader)).map(Some)
    }
}

struct Entries<'a, 'de> {
    reader: Reader<'a, 'de>,
    entries: std::slice::Iter<'de, (super::tree::Key, Node)>,
    value: Option<&'de Node>,
}

impl<'de> MapAccess<'de> for Entries<'_, 'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        let Some((key, node)) = self.entries.find(|(_, node)| !self.reader.left_out.contains(&node.id)) else {
            return Ok(None);
        };
        self.value = Some(node);
        let key = IntoDeserializer::<DecodeError>::into_deserializer(key.name.as_str());
        seed.deserialize(key).map_err(|error| error.or_at(node)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let node = self.value.take().unwrap_or(self.reader.node);
        let reader = Reader { node, ..self.reader };
        reader.keep(seed.deserialize(reader))
    }
}
